//! Syncs, taken again.
//!
//! Beyond the steps themselves, it is checked that the driver told a sync next what it had asked for: that a floor was
//! raised, that rows were copied, a stamp above the one that was named; that answers came only from nodes that it pulls from
//! or settles at, one for each request; and that what a source handed out is in order and begins where it was to. That the
//! floor and the rows are there is what the steps on these rows show.

use std::collections::BTreeSet;

use trellis_spec::flaw::Sound;
use trellis_spec::layout::{Announcement, GatedRow, Sync, SyncStep};
use trellis_spec::quorum::NodeId;
use trellis_spec::register::{Accepted, Audience};
use trellis_spec::row::RowKey;
use trellis_spec::stamp::Stamp;
use trellis_spec::trace::{Omitted, SyncEvent, SyncInput, SyncRun, sync_step};

use super::pages::{Shapes, is_in_order};
use super::words::{self, Words};
use super::{Checked, Wrong};

type Said = SyncStep<RowKey, Omitted, Announcement>;

/// What is known of a sync between two events.
struct Driver<'a> {
    node: NodeId,
    run: &'a SyncRun,
    sync: Sync<RowKey, Omitted, Sound>,
    /// What it said last.
    last: Option<Said>,
    /// The newest stamp that it was given.
    stamp: Stamp,
    /// Where the last page was to begin.
    from: Option<RowKey>,
    /// Requests that were not answered, by round and node.
    open: BTreeSet<(u32, NodeId)>,
}

/// Takes a sync again, from its beginning to its end.
pub(super) fn sync(node: NodeId, run: &SyncRun) -> Result<Checked, Wrong> {
    let mut driver = Driver {
        node,
        run,
        sync: Sync::new(run.sources.clone()),
        last: None,
        stamp: Stamp::ZERO,
        from: None,
        open: BTreeSet::new(),
    };
    let mut checked = Checked::default();
    for event in &run.events {
        match event {
            SyncEvent::Told(input, recorded) => {
                driver.may_be_told(input)?;
                let expected = driver.tell(input);
                if expected != *recorded {
                    let (expected, recorded) = words::differing(&expected, recorded, said, rows);
                    return Err(driver.wrong(input, &expected, &recorded));
                }
                driver.said(expected);
                checked.told += 1;
            }
            SyncEvent::LeftOut => checked.cut_off = 1,
        }
    }
    Ok(checked)
}

impl Driver<'_> {
    /// May this happen now?
    fn may_be_told(&mut self, input: &SyncInput) -> Result<(), Wrong> {
        let must = |what: &str| Err(self.wrong(input, what, "it happened"));
        match (&self.last, input) {
            (None, SyncInput::Start) => Ok(()),
            (None, _) => must("the beginning first"),
            (Some(_), SyncInput::Start) => must("only one beginning"),
            (Some(SyncStep::Done(_)), _) => must("nothing after the end"),
            (Some(SyncStep::Raise(_)), SyncInput::Raised) => Ok(()),
            (Some(SyncStep::Raise(_)), _) => must("the floor raised first"),
            (Some(SyncStep::Copy(rows)), SyncInput::Copied(blocked)) => {
                let is_of_them = |of: &RowKey| rows.iter().any(|(key, _)| key == of);
                match blocked.iter().all(|(key, _)| is_of_them(key)) {
                    true => Ok(()),
                    false => must("no other rows than those that were to be copied"),
                }
            }
            (Some(SyncStep::Copy(_)), _) => must("the rows copied first"),
            (Some(SyncStep::Again { above }), SyncInput::Again(stamp)) => match *stamp > self.stamp.max(*above) {
                true => Ok(()),
                false => must(&format!("a stamp above {}", words::stamp(self.stamp.max(*above)))),
            },
            (Some(SyncStep::Again { .. }), _) => must("another try first"),
            (Some(SyncStep::Gated(_)), SyncInput::Gated(_)) => Ok(()),
            (Some(SyncStep::Gated(_)), _) => must("first what became of the bucket"),
            (Some(SyncStep::Wait | SyncStep::Pull { .. } | SyncStep::Ask(..)), input) => self.may_be_heard(input),
        }
    }

    /// The same while it waits.
    fn may_be_heard(&self, input: &SyncInput) -> Result<(), Wrong> {
        let must = |what: &str| Err(self.wrong(input, what, "it happened"));
        match input {
            SyncInput::Pulled(round, from, _) | SyncInput::Reply(round, from, _)
                if !self.open.contains(&(*round, *from)) =>
            {
                must("an answer only of who was asked in that round, and one of each")
            }
            SyncInput::Pulled(_, _, page) => {
                let keys = || page.rows.iter().map(|(key, _)| key);
                if keys().any(|key| !self.run.extent.has(key)) {
                    return must("rows of the leaves that it is about");
                }
                match is_in_order(keys(), self.from.as_ref(), None, page.bound.as_ref()) {
                    true => Ok(()),
                    false => must("rows in order, from where they were asked for"),
                }
            }
            SyncInput::Reply(..) | SyncInput::Patience => Ok(()),
            SyncInput::Start | SyncInput::Raised | SyncInput::Copied(_) => must("nothing that was not asked for"),
            SyncInput::Again(_) | SyncInput::Gated(_) => must("nothing that was not asked for"),
        }
    }

    fn tell(&mut self, input: &SyncInput) -> Said {
        let step = match input {
            SyncInput::Start => self.sync.start(),
            SyncInput::Pulled(round, from, page) => {
                self.open.remove(&(*round, *from));
                self.sync.on_pulled(*round, *from, page.clone())
            }
            SyncInput::Raised => self.sync.on_raised(),
            SyncInput::Copied(blocked) => self.sync.on_copied(blocked.clone()),
            SyncInput::Again(stamp) => {
                self.stamp = *stamp;
                self.sync.again(*stamp)
            }
            SyncInput::Reply(round, from, reply) => {
                self.open.remove(&(*round, *from));
                self.sync.on_reply(*round, *from, reply.clone())
            }
            SyncInput::Patience => self.sync.on_patience(),
            SyncInput::Gated(row) => self.sync.on_gated(*row),
        };
        sync_step(&step, |value| *value)
    }

    fn said(&mut self, step: Said) {
        let sources = &self.run.sources;
        match &step {
            SyncStep::Pull { round, from } => {
                self.from = from.clone();
                self.open = sources.pulled().into_iter().map(|node| (*round, node)).collect();
            }
            SyncStep::Ask(_, ask) => {
                let nodes = match ask.audience {
                    Audience::All => sources.settled(),
                    Audience::One(node) => vec![node],
                };
                self.open.extend(nodes.into_iter().map(|node| (ask.round, node)));
            }
            SyncStep::Wait | SyncStep::Raise(_) | SyncStep::Copy(_) => {}
            SyncStep::Again { .. } | SyncStep::Gated(_) | SyncStep::Done(_) => {}
        }
        self.last = Some(step);
    }

    fn wrong(&self, input: &SyncInput, expected: &str, recorded: &str) -> Wrong {
        let (partition, node) = (self.run.sources.partition().0, words::node(self.node));
        Wrong {
            machine: format!("a sync of partition {partition} at {node}"),
            input: heard(input),
            expected: expected.to_owned(),
            recorded: recorded.to_owned(),
        }
    }
}

fn heard(input: &SyncInput) -> String {
    match input {
        SyncInput::Start => "begin".to_owned(),
        SyncInput::Pulled(round, from, page) => {
            let (from, floor) = (words::node(*from), words::stamp(page.floor));
            format!(
                "{from} hands out {} rows in round {round}, floor {floor}",
                page.rows.len()
            )
        }
        SyncInput::Raised => "the floor is raised".to_owned(),
        SyncInput::Copied(blocked) => format!("the rows are copied, but for {}", blocked.len()),
        SyncInput::Again(stamp) => format!("go on under {}", words::stamp(*stamp)),
        SyncInput::Reply(round, from, reply) => {
            let reply = Words(&Shapes).reply(reply);
            format!("{} to round {round}: {reply}", words::node(*from))
        }
        SyncInput::Patience => "there was ample time".to_owned(),
        SyncInput::Gated(GatedRow::BucketThere) => "the bucket of the row is there".to_owned(),
        SyncInput::Gated(GatedRow::BucketGone) => "the bucket of the row is gone".to_owned(),
    }
}

/// The first row of two steps that differs, in words.
fn rows(expected: &Said, recorded: &Said) -> Option<(String, String)> {
    let (SyncStep::Copy(expected), SyncStep::Copy(recorded)) = (expected, recorded) else {
        return None;
    };
    let mut rows = expected.iter().zip(recorded).filter(|(one, other)| one != other);
    rows.next().map(|(one, other)| (row(one), row(other)))
}

fn said(step: &Said) -> String {
    match step {
        SyncStep::Wait => "wait".to_owned(),
        SyncStep::Pull { round, from } => {
            let from = from
                .as_ref()
                .map_or("the beginning".to_owned(), |from| words::key(from));
            format!("pull from {from} in round {round}")
        }
        SyncStep::Raise(floor) => format!("raise the floor to {}", words::stamp(*floor)),
        SyncStep::Copy(rows) => format!("copy {} rows", rows.len()),
        SyncStep::Ask(key, ask) => {
            let request = Words(&Shapes).request(&ask.request);
            format!("settle {} in round {}: {request}", words::key(key), ask.round)
        }
        SyncStep::Again { above } => format!("try again above {}", words::stamp(*above)),
        SyncStep::Gated(key) => format!("what became of the bucket of {}?", words::key(key)),
        SyncStep::Done(said) => format!("done: synced for layout {}", said.version.0),
    }
}

fn row((key, held): &(RowKey, Accepted<Omitted>)) -> String {
    format!("{} is {}", words::key(key), Words(&Shapes).held(held))
}
