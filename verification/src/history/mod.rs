//! Histories: what clients asked, when, and what they were told.
//!
//! A history is a list of [`Operation`]s, stored as JSON lines. The checkers hold it against one sentence:
//!
//! > An unconditional write is one or more writes of its value between its call and its answer (without end if its
//! > outcome is unknown); everything else is linearizable per key.
//!
//! A page of a listing is, for every key in its range, a read of that key inside the page's interval; a page is not a
//! snapshot of several keys. Values are named by their entity tags, so a workload must write each body once only.
//!
//! [`key`] cuts a history into one list of steps per key, [`linear`] decides each list exactly, [`brute`] is its slow
//! twin for tests, [`anomaly`] gives the usual violations their names, [`conflict`] finds the few operations that
//! cannot all be true, and [`report`] puts it into words.

pub mod anomaly;
pub mod brute;
pub mod conflict;
pub mod file;
pub mod key;
pub mod linear;
pub mod report;

use serde::{Deserialize, Serialize};

/// One request of one client and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Who asked; only for the reader of a report.
    pub client: u32,
    /// When the request began, in nanoseconds since the start of the run.
    pub call: u64,
    /// When the answer was complete; `None` when there was none.
    pub answer: Option<u64>,
    /// What was asked.
    pub action: Action,
    /// What the client knows of the result.
    pub outcome: Outcome,
}

/// What a client asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Read one object (GET or HEAD).
    Get {
        /// The object.
        key: String,
        /// The header it was made conditional with.
        #[serde(default, skip_serializing_if = "Condition::is_always")]
        condition: Condition,
    },
    /// Write one object.
    Put {
        /// The object.
        key: String,
        /// The entity tag its body has.
        value: String,
        /// The header it was made conditional with.
        #[serde(default, skip_serializing_if = "Condition::is_always")]
        condition: Condition,
    },
    /// Delete one object.
    Delete {
        /// The object.
        key: String,
        /// The header it was made conditional with.
        #[serde(default, skip_serializing_if = "Condition::is_always")]
        condition: Condition,
    },
    /// Ask for one page of a listing without delimiter.
    List {
        /// Only keys that begin with this.
        #[serde(default)]
        prefix: String,
        /// Only keys after this one.
        #[serde(default)]
        after: String,
    },
}

/// On what a request depends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// On nothing.
    #[default]
    Always,
    /// `If-None-Match: *`
    Absent,
    /// `If-Match: *`
    Present,
    /// `If-Match` with an entity tag.
    Is(String),
    /// `If-None-Match` with an entity tag; on a read that a 304 answered, record [`Outcome::Found`] instead.
    IsNot(String),
}

impl Condition {
    /// Whether the request is unconditional.
    pub fn is_always(&self) -> bool {
        *self == Condition::Always
    }

    /// Whether the condition holds for an object with this entity tag, or for none.
    pub fn holds(&self, value: Option<&str>) -> bool {
        match self {
            Condition::Always => true,
            Condition::Absent => value.is_none(),
            Condition::Present => value.is_some(),
            Condition::Is(tag) => value == Some(tag),
            Condition::IsNot(tag) => value != Some(tag),
        }
    }
}

/// What a client knows of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The write or deletion was acknowledged.
    Done,
    /// The read returned the object with this entity tag (or a 304 confirmed it).
    Found {
        /// The entity tag of the body that arrived.
        value: String,
    },
    /// The read was told that there is no such object.
    NotFound,
    /// The page of a listing.
    Page {
        /// Its entries in the order they came.
        entries: Vec<Entry>,
        /// The last key the page speaks for, when more pages follow.
        until: Option<String>,
    },
    /// The condition did not hold (412, or 404 to `If-Match`).
    Refused,
    /// Nothing was changed and nothing ever will be: a refusal before the request was carried out.
    Failed {
        /// Status or error, for the reader of a report.
        why: String,
    },
    /// No answer, or one that leaves open whether the write happened or is still to happen.
    Unknown {
        /// Status or error, for the reader of a report.
        why: String,
    },
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The object.
    pub key: String,
    /// Its entity tag.
    pub value: String,
}

/// Everything the checkers have to say about one history.
#[derive(Debug, Default)]
pub struct Verdict {
    /// How many operations were looked at.
    pub operations: usize,
    /// How many keys they touch.
    pub keys: usize,
    /// What cannot be, at most a few per key.
    pub findings: Vec<anomaly::Finding>,
    /// Keys whose history is too entangled to decide within the limit of [`linear`].
    pub undecided: Vec<String>,
}

impl Verdict {
    /// Whether the history was decided and found good.
    pub fn is_good(&self) -> bool {
        self.findings.is_empty() && self.undecided.is_empty()
    }
}

/// Checks a whole history.
pub fn check(history: &[Operation]) -> Verdict {
    let keys = key::split(history);
    let mut verdict = Verdict {
        operations: history.len(),
        keys: keys.len(),
        ..Verdict::default()
    };
    verdict.findings = anomaly::pages(history);
    for (name, key) in &keys {
        match check_key(name, key, history) {
            KeyVerdict::Good => {}
            KeyVerdict::Bad(findings) => verdict.findings.extend(findings),
            KeyVerdict::Undecided => verdict.undecided.push(name.clone()),
        }
    }
    verdict
}

enum KeyVerdict {
    Good,
    Bad(Vec<anomaly::Finding>),
    Undecided,
}

/// Named anomalies first, for they explain themselves; the exact checker has the last word.
fn check_key(name: &str, key: &key::KeyHistory, history: &[Operation]) -> KeyVerdict {
    let named = anomaly::of_key(name, key, history);
    if !named.is_empty() {
        return KeyVerdict::Bad(named);
    }
    match linear::check(&key.steps) {
        linear::Verdict::Linearizable => KeyVerdict::Good,
        linear::Verdict::Undecided => KeyVerdict::Undecided,
        linear::Verdict::Violated { step } => KeyVerdict::Bad(vec![conflict::explain(name, key, step)]),
    }
}
