//! The conditions that an object store puts on its rows.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::Row;
use crate::register::{Accepted, Change, Content, Decision, OpId};

/// A conditional request's condition on the object that is there (RFC 9110, section 13.1). All parts must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Condition {
    /// `If-Match`.
    pub if_match: Option<Match>,
    /// `If-None-Match`.
    pub if_none_match: Option<Match>,
}

/// The operand of a condition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Match {
    /// `*`: any object at all.
    Any,
    /// One of these entity tags, without quotes.
    Etags(Vec<String>),
}

/// What must be there for a change to happen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Guard {
    /// No live value.
    Absent,
    /// The value that this operation made.
    MadeBy(OpId),
    /// An object of which this holds.
    Object(Condition),
}

/// A guarded change of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Swap {
    /// What must be there.
    pub guard: Guard,
    /// What takes its place.
    pub content: Content<Row>,
}

impl Match {
    fn matches(&self, etag: Option<&str>) -> bool {
        match (self, etag) {
            (Match::Any, etag) => etag.is_some(),
            (Match::Etags(etags), Some(etag)) => etags.iter().any(|wanted| wanted == etag),
            (Match::Etags(_), None) => false,
        }
    }
}

impl Condition {
    /// Is there no condition?
    pub fn is_empty(&self) -> bool {
        self.if_match.is_none() && self.if_none_match.is_none()
    }

    /// Does it hold for an object with this entity tag, or for none?
    pub fn holds(&self, etag: Option<&str>) -> bool {
        self.if_match.as_ref().is_none_or(|wanted| wanted.matches(etag))
            && self
                .if_none_match
                .as_ref()
                .is_none_or(|unwanted| !unwanted.matches(etag))
    }
}

impl Guard {
    fn holds(&self, current: Option<&Accepted<Row>>) -> bool {
        let live = current.and_then(|accepted| accepted.content.live());
        match self {
            Guard::Absent => live.is_none(),
            Guard::MadeBy(op) => current.is_some_and(|accepted| accepted.op == *op),
            Guard::Object(condition) => condition.holds(etag(live)),
        }
    }
}

fn etag(row: Option<&Row>) -> Option<&str> {
    match row? {
        Row::Object(object) => Some(&object.etag),
        Row::Upload(_) | Row::Part(_) | Row::Manifest(_) | Row::Gate(_) => None,
        Row::Bucket(_) | Row::Name(_) | Row::AccessKey(_) => None,
    }
}

impl Change<Row> for Swap {
    fn decide(&self, current: Option<&Accepted<Row>>) -> Decision<Row> {
        if self.guard.holds(current) {
            Decision::Write(self.content.clone())
        } else {
            Decision::Refuse
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;

    #[test]
    fn conditions_hold_as_http_says() {
        let etags = |etag: &str| Some(Match::Etags(vec![etag.to_string()]));
        let none = Condition {
            if_none_match: Some(Match::Any),
            ..Condition::default()
        };
        assert!(none.holds(None) && !none.holds(Some("a")));
        let matching = Condition {
            if_match: etags("a"),
            ..Condition::default()
        };
        assert!(matching.holds(Some("a")) && !matching.holds(Some("b")) && !matching.holds(None));
        let other = Condition {
            if_none_match: etags("a"),
            ..Condition::default()
        };
        assert!(other.holds(Some("b")) && other.holds(None) && !other.holds(Some("a")));
    }
}
