//! The specification that every history is measured against, exactly.
//!
//! *An unconditional write is one or more writes of its value between its call and its answer (without end if its
//! outcome is unknown), at most one for each attempt, and no attempt starts after the client was answered; in strict
//! mode "or more" goes away. Everything else is linearizable per key.*
//!
//! What matters of real time is which operations were answered before which began. So a history is right if its
//! operations can be put in one order such that each finds what those before it left, and whoever was answered before
//! another began stands before it, with all its effects. The search below tries every order.

use trellis_spec::register::WriteMode;

use crate::coordinator::Outcome;
use crate::script::Kind;
use crate::value::{Condition, Key, OpIndex};

/// One operation that began.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Which.
    pub op: OpIndex,
    /// What it does.
    pub kind: Kind,
    /// On which object.
    pub key: Key,
    /// The operation whose value it writes.
    pub author: OpIndex,
    /// What its client was told, if it was.
    pub outcome: Option<Outcome>,
    /// The operations whose clients knew their outcome when it began, as bits.
    pub after: u16,
    /// How many attempts it made.
    pub attempts: u8,
}

/// Does a history satisfy the specification?
pub fn holds(entries: &[Entry], keys: u8, mode: WriteMode) -> bool {
    (0..keys).all(|key| {
        let on_key: Vec<Event> = entries
            .iter()
            .filter_map(|entry| event(entry, Key(key), mode))
            .collect();
        let order = Order {
            events: &on_key,
            applied: vec![0; on_key.len()],
        };
        order.exists(None, Bucket::There)
    })
}

/// An operation as one key sees it.
struct Event {
    op: OpIndex,
    author: OpIndex,
    act: Act,
    after: u16,
    /// It took effect, by what its client was told.
    certain: bool,
    most: u8,
}

/// What an operation does to one key, or must find there.
enum Act {
    Write(Option<OpIndex>),
    Swap(Condition, Option<OpIndex>),
    Find(Option<OpIndex>),
    Refuse(Condition, Option<OpIndex>),
    DropBucket,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bucket {
    There,
    Gone,
}

fn event(entry: &Entry, key: Key, mode: WriteMode) -> Option<Event> {
    let everywhere = matches!(entry.kind, Kind::List | Kind::DropBucket);
    if entry.key != key && !everywhere {
        return None;
    }
    let written = Some(entry.author);
    let act = match (entry.kind, &entry.outcome) {
        (_, Some(Outcome::Nothing)) => return None,
        (_, Some(Outcome::Found(found))) => Act::Find(*found),
        (_, Some(Outcome::Listed(rows))) => {
            Act::Find(rows.iter().find(|(listed, _)| *listed == key).map(|(_, by)| *by))
        }
        (Kind::Put(condition) | Kind::Remove(condition), Some(Outcome::Refused(found))) => {
            Act::Refuse(condition, *found)
        }
        // Who loses learns the winner, and nobody wins after another.
        (Kind::Elect, Some(Outcome::Refused(found))) => Act::Refuse(Condition::Absent, *found),
        (Kind::Elect, _) => Act::Swap(Condition::Absent, written),
        (Kind::Write, _) => Act::Write(written),
        (Kind::Delete, _) => Act::Write(None),
        (Kind::Put(condition), _) => Act::Swap(condition, written),
        (Kind::Remove(condition), _) => Act::Swap(condition, None),
        (Kind::DropBucket, _) => Act::DropBucket,
        (Kind::Read | Kind::Head | Kind::List | Kind::Again(_), _) => return None,
    };
    let repeats = matches!(act, Act::Write(_)) && mode == WriteMode::Available;
    Some(Event {
        op: entry.op,
        author: entry.author,
        act,
        after: entry.after,
        certain: !matches!(entry.outcome, None | Some(Outcome::Unknown)),
        most: if repeats { entry.attempts.max(1) } else { 1 },
    })
}

struct Order<'a> {
    events: &'a [Event],
    /// How often each took its place so far.
    applied: Vec<u8>,
}

impl Order<'_> {
    /// Can the rest be ordered, when the key holds `object` now?
    fn exists(&self, object: Option<OpIndex>, bucket: Bucket) -> bool {
        let all_there = |(event, applied): (&Event, &u8)| !event.certain || *applied > 0;
        if self.events.iter().zip(&self.applied).all(all_there) {
            return true;
        }
        (0..self.events.len()).any(|next| {
            self.may_come(next)
                && self
                    .results(next, object, bucket)
                    .into_iter()
                    .flatten()
                    .any(|(object, bucket)| {
                        let mut applied = self.applied.clone();
                        applied[next] += 1;
                        let rest = Order {
                            events: self.events,
                            applied,
                        };
                        rest.exists(object, bucket)
                    })
        })
    }

    /// May `next` come now, as far as its place in time goes?
    fn may_come(&self, next: usize) -> bool {
        let event = &self.events[next];
        let is_over = self
            .events
            .iter()
            .zip(&self.applied)
            .any(|(later, applied)| *applied > 0 && later.after & bit(event.op) != 0);
        let waits = self
            .events
            .iter()
            .zip(&self.applied)
            .any(|(earlier, applied)| *applied == 0 && earlier.certain && event.after & bit(earlier.op) != 0);
        self.applied[next] < event.most && !is_over && !waits
    }

    /// What `next` may leave behind, if it may happen here at all.
    fn results(&self, next: usize, object: Option<OpIndex>, bucket: Bucket) -> [Option<(Option<OpIndex>, Bucket)>; 2] {
        let event = &self.events[next];
        let there = bucket == Bucket::There;
        let result = match &event.act {
            Act::Write(written) => (there || written.is_none()).then_some((*written, bucket)),
            Act::Swap(condition, written) => {
                (condition.holds(object) && (there || written.is_none())).then_some((*written, bucket))
            }
            Act::Find(found) => (*found == object).then_some((object, bucket)),
            Act::Refuse(condition, found) => (!condition.holds(object) && *found == object).then_some((object, bucket)),
            Act::DropBucket => object.is_none().then_some((object, Bucket::Gone)),
        };
        // A client that sent its request twice is told of success if either took effect.
        let twin = self
            .events
            .iter()
            .zip(&self.applied)
            .any(|(other, applied)| other.op != event.op && other.author == event.author && *applied > 0);
        [
            result,
            (twin && event.certain && matches!(event.act, Act::Swap(..))).then_some((object, bucket)),
        ]
    }
}

fn bit(op: OpIndex) -> u16 {
    1 << op.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(op: u8, kind: Kind, outcome: Outcome, after: u16) -> Entry {
        Entry {
            op: OpIndex(op),
            kind,
            key: Key(0),
            author: OpIndex(op),
            outcome: Some(outcome),
            after,
            attempts: 2,
        }
    }

    fn found(op: u8, value: Option<u8>, after: u16) -> Entry {
        entry(op, Kind::Read, Outcome::Found(value.map(OpIndex)), after)
    }

    #[test]
    fn a_read_may_not_miss_what_was_acknowledged() {
        let write = entry(0, Kind::Write, Outcome::Wrote, 0);
        assert!(holds(&[write.clone(), found(1, None, 0)], 1, WriteMode::Strict));
        assert!(!holds(&[write, found(1, None, 0b1)], 1, WriteMode::Strict));
    }

    #[test]
    fn new_then_old_is_wrong_but_where_a_write_may_act_twice() {
        let first = Entry {
            outcome: Some(Outcome::Wrote),
            ..entry(0, Kind::Write, Outcome::Wrote, 0)
        };
        let second = entry(1, Kind::Write, Outcome::Wrote, 0);
        let reads = [
            found(2, Some(0), 0),
            found(3, Some(1), 0b100),
            found(4, Some(0), 0b1100),
        ];
        let mut history = vec![first, second];
        history.extend(reads);
        assert!(!holds(&history, 1, WriteMode::Strict));
        assert!(holds(&history, 1, WriteMode::Available));
        history[0].attempts = 1;
        assert!(!holds(&history, 1, WriteMode::Available));
    }

    #[test]
    fn of_two_creators_only_one_is_told_that_it_created() {
        let create = |op| entry(op, Kind::Put(Condition::Absent), Outcome::Wrote, 0);
        assert!(!holds(&[create(0), create(1)], 1, WriteMode::Strict));
        let lost = entry(1, Kind::Put(Condition::Absent), Outcome::Refused(Some(OpIndex(0))), 0);
        assert!(holds(&[create(0), lost.clone()], 1, WriteMode::Strict));
        assert!(!holds(
            &[entry(0, Kind::Put(Condition::Absent), Outcome::Wrote, 0b10), lost],
            1,
            WriteMode::Strict
        ));
    }

    #[test]
    fn nothing_is_acknowledged_in_a_bucket_that_is_gone() {
        let dropped = entry(0, Kind::DropBucket, Outcome::Dropped, 0);
        let write = |after| entry(1, Kind::Write, Outcome::Wrote, after);
        assert!(!holds(&[dropped.clone(), write(0)], 1, WriteMode::Strict));
        assert!(!holds(&[dropped, write(1)], 1, WriteMode::Strict));
    }

    #[test]
    fn what_is_unknown_may_happen_late_or_never() {
        let write = entry(0, Kind::Write, Outcome::Unknown, 0);
        let history = [
            write,
            found(1, None, 0),
            found(2, Some(0), 0b10),
            found(3, Some(0), 0b110),
        ];
        assert!(holds(&history, 1, WriteMode::Strict));
    }
}
