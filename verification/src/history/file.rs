//! Histories as files: one JSON object per line, one line per operation, in any order.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use crate::history::{Action, Operation, Outcome};

/// Why a file is no history. Nothing was checked.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file could not be read.
    #[error("cannot read the history: {0}")]
    Io(#[from] io::Error),
    /// A line is not an operation.
    #[error("line {line}: {source}")]
    Syntax {
        /// Counted from one.
        line: usize,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// A line is an operation that cannot have been recorded.
    #[error("line {line}: {why}")]
    Nonsense {
        /// Counted from one.
        line: usize,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// Reads a history from a file.
pub fn read(path: &Path) -> Result<Vec<Operation>, ReadError> {
    parse(BufReader::new(File::open(path)?))
}

/// Reads a history from lines.
pub fn parse(input: impl BufRead) -> Result<Vec<Operation>, ReadError> {
    let mut history = Vec::new();
    for (index, text) in input.lines().enumerate() {
        let (text, line) = (text?, index + 1);
        if text.trim().is_empty() {
            continue;
        }
        let operation = serde_json::from_str(&text).map_err(|source| ReadError::Syntax { line, source })?;
        if let Some(why) = nonsense(&operation) {
            return Err(ReadError::Nonsense { line, why });
        }
        history.push(operation);
    }
    Ok(history)
}

/// Writes a history to a file.
pub fn write(path: &Path, history: &[Operation]) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    for operation in history {
        serde_json::to_writer(&mut out, operation)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// What makes an operation impossible to have been recorded, whatever the server did.
fn nonsense(operation: &Operation) -> Option<&'static str> {
    match operation.answer {
        Some(answer) if answer < operation.call => return Some("the answer comes before the call"),
        Some(_) => {}
        None if matches!(operation.outcome, Outcome::Unknown { .. }) => {}
        None => return Some("an outcome is known although there was no answer"),
    }
    let fits = match (&operation.action, &operation.outcome) {
        (_, Outcome::Unknown { .. } | Outcome::Failed { .. }) => true,
        (Action::Get { .. }, Outcome::Found { .. } | Outcome::NotFound) => true,
        (Action::Put { .. } | Action::Delete { .. }, Outcome::Done) => true,
        (Action::List { .. }, Outcome::Page { .. }) => true,
        (
            Action::Get { condition, .. } | Action::Put { condition, .. } | Action::Delete { condition, .. },
            Outcome::Refused,
        ) => !condition.is_always(),
        (Action::Get { .. }, Outcome::Done | Outcome::Page { .. })
        | (
            Action::Put { .. } | Action::Delete { .. },
            Outcome::Found { .. } | Outcome::NotFound | Outcome::Page { .. },
        )
        | (Action::List { .. }, Outcome::Done | Outcome::Found { .. } | Outcome::NotFound | Outcome::Refused) => false,
    };
    (!fits).then_some("the outcome does not belong to the action")
}
