//! A verdict in words: what was violated, and the few operations that show it, in order of time.

use std::fmt::{self, Display, Formatter};

use crate::history::anomaly::Finding;
use crate::history::{Action, Condition, Operation, Outcome, Verdict};

/// How many findings are written out; the rest is counted.
const FINDINGS_SHOWN_MAX: usize = 20;
/// How many operations of one finding are written out, the last ones.
const OPERATIONS_SHOWN_MAX: usize = 40;
/// How many characters of an entity tag are shown.
const TAG_SHOWN_LEN: usize = 12;

/// A verdict together with the history it is about.
pub struct Report<'a> {
    /// What the checkers found.
    pub verdict: &'a Verdict,
    /// What they looked at.
    pub history: &'a [Operation],
}

impl Display for Report<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Verdict {
            operations,
            keys,
            findings,
            undecided,
        } = self.verdict;
        for finding in findings.iter().take(FINDINGS_SHOWN_MAX) {
            write!(
                f,
                "{}",
                Shown {
                    finding,
                    history: self.history
                }
            )?;
        }
        if findings.len() > FINDINGS_SHOWN_MAX {
            writeln!(f, "... and {} more", findings.len() - FINDINGS_SHOWN_MAX)?;
        }
        for key in undecided {
            writeln!(f, "key {key:?}: undecided, too many operations of unknown order")?;
        }
        let unknown = self
            .history
            .iter()
            .filter(|o| matches!(o.outcome, Outcome::Unknown { .. }))
            .count();
        write!(
            f,
            "{operations} operations on {keys} keys, {unknown} of unknown outcome: "
        )?;
        match (findings.len(), undecided.len()) {
            (0, 0) => write!(f, "good"),
            (bad, open) => write!(f, "{bad} violations, {open} keys undecided"),
        }
    }
}

/// One finding with the operations that show it.
pub struct Shown<'a> {
    /// What the checkers found.
    pub finding: &'a Finding,
    /// Where they found it.
    pub history: &'a [Operation],
}

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Finding { key, kind, .. } = self.finding;
        writeln!(f, "key {key:?}: {kind:?}: {}", kind.sentence())?;
        let operations = self.operations();
        let left_out = operations.len().saturating_sub(OPERATIONS_SHOWN_MAX);
        if left_out > 0 {
            writeln!(f, "  ... {left_out} earlier ones")?;
        }
        for operation in &operations[left_out..] {
            writeln!(f, "  {}", line(operation, key))?;
        }
        Ok(())
    }
}

impl Shown<'_> {
    /// The operations that cannot all be true, in order of time.
    pub fn operations(&self) -> Vec<&Operation> {
        let indices = self.finding.operations.iter();
        let mut operations: Vec<&Operation> = indices.map(|&index| &self.history[index]).collect();
        operations.sort_by_key(|operation| operation.call);
        operations.dedup();
        operations
    }
}

fn line(operation: &Operation, key: &str) -> String {
    let end = operation.answer.map_or_else(|| "         ...".to_owned(), seconds);
    let (call, client) = (seconds(operation.call), operation.client);
    format!(
        "{call} to {end}  client {client:<4} {} -> {}",
        action(&operation.action),
        outcome(&operation.outcome, key)
    )
}

fn seconds(nanoseconds: u64) -> String {
    format!(
        "{:>4}.{:06} s",
        nanoseconds / 1_000_000_000,
        nanoseconds / 1_000 % 1_000_000
    )
}

fn action(action: &Action) -> String {
    match action {
        Action::Get { condition, .. } => format!("GET{}", header(condition)),
        Action::Put { value, condition, .. } => format!("PUT {}{}", tag(value), header(condition)),
        Action::Delete { condition, .. } => format!("DELETE{}", header(condition)),
        Action::List { prefix, after } => format!("LIST prefix {prefix:?} after {after:?}"),
    }
}

fn header(condition: &Condition) -> String {
    match condition {
        Condition::Always => String::new(),
        Condition::Absent => " If-None-Match: *".to_owned(),
        Condition::Present => " If-Match: *".to_owned(),
        Condition::Is(value) => format!(" If-Match: {}", tag(value)),
        Condition::IsNot(value) => format!(" If-None-Match: {}", tag(value)),
    }
}

fn outcome(outcome: &Outcome, key: &str) -> String {
    match outcome {
        Outcome::Done => "done".to_owned(),
        Outcome::Found { value } => tag(value),
        Outcome::NotFound => "no such object".to_owned(),
        Outcome::Refused => "condition refused".to_owned(),
        Outcome::Failed { why } => format!("failed: {why}"),
        Outcome::Unknown { why } => format!("unknown: {why}"),
        Outcome::Page { entries, until } => {
            let listed = entries.iter().find(|entry| entry.key == key);
            let what = listed.map_or_else(
                || "without it".to_owned(),
                |entry| format!("with {}", tag(&entry.value)),
            );
            let until = until
                .as_ref()
                .map_or_else(|| "the end".to_owned(), |until| format!("{until:?}"));
            format!("{} entries up to {until}, {what}", entries.len())
        }
    }
}

fn tag(value: &str) -> String {
    value.chars().take(TAG_SHOWN_LEN).collect()
}
