//! Conditions: `If-Match` and its relatives, as pure functions.
//!
//! A store evaluates a [`WriteCondition`] in the same atomic step that writes. A [`ReadCondition`] is judged by the front
//! door on the object that it is about to send.

use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::object::{Etag, ObjectInfo, Timestamp};

/// The right-hand side of `If-Match` and `If-None-Match`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EtagSet {
    /// `*`: any object at all.
    Any,
    /// One of these.
    Of(Vec<Etag>),
}

/// What must be true of the current object for a write to take effect.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WriteCondition {
    /// The current object is one of these.
    pub if_match: Option<EtagSet>,
    /// The current object is none of these.
    pub if_none_match: Option<EtagSet>,
}

/// Why a write condition does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unmet {
    /// `If-Match` was asked of a key that has no object.
    #[error("there is no object to match")]
    Missing,
    /// The current object is not the wanted one, or is the unwanted one.
    #[error("the current object does not meet the condition")]
    Mismatch,
}

/// What must be true of an object for a read to be answered with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadCondition {
    /// `If-Match`.
    pub if_match: Option<EtagSet>,
    /// `If-None-Match`.
    pub if_none_match: Option<EtagSet>,
    /// `If-Modified-Since`.
    pub if_modified_since: Option<Timestamp>,
    /// `If-Unmodified-Since`.
    pub if_unmodified_since: Option<Timestamp>,
}

/// What to do with a conditional read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadVerdict {
    /// Send the object.
    Send,
    /// Answer 304: the client has it.
    NotModified,
    /// Answer 412.
    Failed,
}

impl WriteCondition {
    /// No condition.
    pub fn none() -> WriteCondition {
        WriteCondition::default()
    }

    /// Only if there is no object yet.
    pub fn create() -> WriteCondition {
        WriteCondition {
            if_match: None,
            if_none_match: Some(EtagSet::Any),
        }
    }

    /// Only if the current object is `etag`.
    pub fn replace(etag: Etag) -> WriteCondition {
        WriteCondition {
            if_match: Some(EtagSet::Of(vec![etag])),
            if_none_match: None,
        }
    }

    /// Whether a write with this condition is a blind one.
    pub fn is_none(&self) -> bool {
        self.if_match.is_none() && self.if_none_match.is_none()
    }

    /// Judges the condition on the current object of the key. It is the same for writing and for deleting: what is gone
    /// matches nothing, so a client that deletes a version by its name hears whether it was the one who did.
    pub fn holds(&self, current: Option<&Etag>) -> Result<(), Unmet> {
        match (&self.if_match, current) {
            (Some(_), None) => return Err(Unmet::Missing),
            (Some(wanted), Some(etag)) if !wanted.contains(etag) => return Err(Unmet::Mismatch),
            (Some(_) | None, _) => {}
        }
        match (&self.if_none_match, current) {
            (Some(unwanted), Some(etag)) if unwanted.contains(etag) => Err(Unmet::Mismatch),
            (Some(_) | None, _) => Ok(()),
        }
    }
}

impl ReadCondition {
    /// Judges the condition in the order of RFC 9110, section 13.2.2.
    pub fn judge(&self, object: &ObjectInfo) -> ReadVerdict {
        // HTTP dates are whole seconds: what happened within that second counts as not later.
        let newer_than = |limit: Timestamp| object.modified.seconds() > limit.seconds();
        let stale = match (&self.if_match, self.if_unmodified_since) {
            (Some(wanted), _) => !wanted.contains(&object.etag),
            (None, Some(limit)) => newer_than(limit),
            (None, None) => false,
        };
        if stale {
            return ReadVerdict::Failed;
        }
        let known = match (&self.if_none_match, self.if_modified_since) {
            (Some(unwanted), _) => unwanted.contains(&object.etag),
            (None, Some(limit)) => !newer_than(limit),
            (None, None) => false,
        };
        if known {
            ReadVerdict::NotModified
        } else {
            ReadVerdict::Send
        }
    }

    /// Whether nothing is asked.
    pub fn is_none(&self) -> bool {
        *self == ReadCondition::default()
    }
}

impl EtagSet {
    /// Whether `etag` is in the set.
    pub fn contains(&self, etag: &Etag) -> bool {
        match self {
            EtagSet::Any => true,
            EtagSet::Of(listed) => listed.contains(etag),
        }
    }
}

impl From<Unmet> for StoreError {
    fn from(unmet: Unmet) -> StoreError {
        match unmet {
            Unmet::Missing => StoreError::NoSuchKey,
            Unmet::Mismatch => StoreError::PreconditionFailed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Metadata;

    fn etag(text: &str) -> Etag {
        Etag::parse(text)
    }

    #[test]
    fn writes() {
        let a = etag("a");
        assert_eq!(WriteCondition::none().holds(None), Ok(()));
        assert_eq!(WriteCondition::create().holds(None), Ok(()));
        assert_eq!(WriteCondition::create().holds(Some(&a)), Err(Unmet::Mismatch));
        assert_eq!(WriteCondition::replace(a.clone()).holds(Some(&a)), Ok(()));
        assert_eq!(
            WriteCondition::replace(a.clone()).holds(Some(&etag("b"))),
            Err(Unmet::Mismatch)
        );
        assert_eq!(WriteCondition::replace(a.clone()).holds(None), Err(Unmet::Missing));
        let anything = WriteCondition {
            if_match: Some(EtagSet::Any),
            if_none_match: None,
        };
        assert_eq!(anything.holds(None), Err(Unmet::Missing));
        assert_eq!(anything.holds(Some(&a)), Ok(()));
    }

    #[test]
    fn reads_in_the_order_of_the_standard() {
        let object = ObjectInfo {
            size: 0,
            etag: etag("a"),
            modified: Timestamp::from_ms(10_500),
            metadata: Metadata::default(),
            checksum: None,
            parts: Vec::new(),
        };
        let set = |tag| Some(EtagSet::Of(vec![etag(tag)]));
        let at = |seconds: u64| Some(Timestamp::from_ms(seconds * 1000));
        let none = ReadCondition::default();
        let cases = [
            (none.clone(), ReadVerdict::Send),
            (
                ReadCondition {
                    if_match: set("b"),
                    ..none.clone()
                },
                ReadVerdict::Failed,
            ),
            (
                ReadCondition {
                    if_unmodified_since: at(9),
                    ..none.clone()
                },
                ReadVerdict::Failed,
            ),
            (
                ReadCondition {
                    if_unmodified_since: at(10),
                    ..none.clone()
                },
                ReadVerdict::Send,
            ),
            // A matching tag outweighs an old date.
            (
                ReadCondition {
                    if_match: set("a"),
                    if_unmodified_since: at(1),
                    ..none.clone()
                },
                ReadVerdict::Send,
            ),
            (
                ReadCondition {
                    if_none_match: set("a"),
                    ..none.clone()
                },
                ReadVerdict::NotModified,
            ),
            (
                ReadCondition {
                    if_none_match: Some(EtagSet::Any),
                    ..none.clone()
                },
                ReadVerdict::NotModified,
            ),
            (
                ReadCondition {
                    if_modified_since: at(10),
                    ..none.clone()
                },
                ReadVerdict::NotModified,
            ),
            (
                ReadCondition {
                    if_modified_since: at(9),
                    ..none.clone()
                },
                ReadVerdict::Send,
            ),
            // A differing tag outweighs a recent date.
            (
                ReadCondition {
                    if_none_match: set("b"),
                    if_modified_since: at(20),
                    ..none.clone()
                },
                ReadVerdict::Send,
            ),
            (
                ReadCondition {
                    if_match: set("b"),
                    if_none_match: set("a"),
                    ..none
                },
                ReadVerdict::Failed,
            ),
        ];
        for (condition, verdict) in cases {
            assert_eq!(condition.judge(&object), verdict, "{condition:?}");
        }
    }
}
