//! Blocks, taken again: what a replica keeps and lets go of, where a coordinator places them, and what a new owner pulls.
//!
//! Everything about one block happens under its lock, so that replay knows which references a replica has: not all, for
//! many are older than the trace, but of those that are known none may be forgotten when the last one is said to go.

use std::collections::{BTreeMap, BTreeSet};

use trellis_spec::block::{
    Brought, Data, Dropped, Held, Kept, Mark, Placing, Pulled, Pulling, StoreStep, Storing, dropped_for, let_go,
    proposed_until, removable,
};
use trellis_spec::flaw::Sound;
use trellis_spec::layout::Partition;
use trellis_spec::quorum::{NodeId, Verdict};
use trellis_spec::row::{Address, BlockName, BlockReference, Placement, VersionId};
use trellis_spec::trace::{
    DeleteStep, FateStep, KeepEvent, KeepRun, PlaceRun, Placed, PullEvent, PullRun, Release, ReleaseStep,
};

use super::words::{self, hex};
use super::{Checked, Wrong};

/// The blocks of one node.
#[derive(Default)]
pub(super) struct Blocks(BTreeMap<(Partition, BlockName), Known>);

/// What is known of one block.
#[derive(Default)]
struct Known {
    /// These versions refer to it, and maybe others.
    references: BTreeSet<VersionId>,
    /// This stands for it, if it is known to.
    mark: Option<Mark>,
}

impl Blocks {
    /// Takes again what was done to keep a block.
    pub(super) fn kept(&mut self, node: NodeId, run: &KeepRun) -> Result<Checked, Wrong> {
        let mut storing: Storing<Sound> = Storing::new(run.brought);
        let mut checked = Checked::default();
        for event in &run.events {
            let step = storing.step();
            let (told, is_next) = match event {
                KeepEvent::Done(done) => (done_in_words(*done), *done == step),
                KeepEvent::Looked(data) => (format!("the data were read: {data:?}"), step == StoreStep::Look),
                KeepEvent::Answered(kept) => (answer(*kept), step == StoreStep::Answer(*kept)),
            };
            if !is_next {
                let brought = match run.brought {
                    Brought::Data => "keep the data that came along",
                    Brought::Nothing => "keep a reference to data that are here",
                };
                return Err(wrong(node, run.partition, run.block, brought, &to_do(step), &told));
            }
            storing = match event {
                KeepEvent::Done(_) => storing.on_done(),
                KeepEvent::Looked(data) => storing.on_look(*data),
                KeepEvent::Answered(_) => storing,
            };
            if *event == KeepEvent::Done(StoreStep::Refer) {
                let known = self.0.entry((run.partition, run.block)).or_default();
                known.references.insert(run.version);
                known.mark = None;
            }
            checked.told += 1;
        }
        Ok(checked)
    }

    /// Takes again whether a reference may go, and what takes its place.
    pub(super) fn released(&mut self, node: NodeId, step: &ReleaseStep) -> Result<(), Wrong> {
        let reference = &step.reference;
        let known = self.0.entry((step.partition, reference.block)).or_default();
        let why = match &step.why {
            Release::Dead(subject) => {
                let (version, until) = (short(subject.version), subject.until);
                format!("version {version}, proposed until {until}, is dead")
            }
            Release::Left => "the node left the partition".to_owned(),
        };
        let others = if step.others { "others" } else { "no others" };
        let told = format!(
            "let go of the reference of {}? {why}; {others}",
            short(reference.version)
        );
        let differs = |expected: &str, recorded: &str| {
            Err(wrong(node, step.partition, reference.block, &told, expected, recorded))
        };
        let mut more = known.references.iter().filter(|version| **version != reference.version);
        if let Some(other) = more.next().filter(|_| !step.others) {
            return differs(
                &format!("another reference: that of {}", short(*other)),
                "there was none",
            );
        }
        let expected = match &step.why {
            Release::Dead(subject) => dropped_for(reference, subject, step.others, step.now_us),
            Release::Left => let_go(step.others, step.now_us),
        };
        if expected != step.dropped {
            return differs(&gone(expected), &gone(step.dropped));
        }
        match expected {
            Dropped::Kept => {}
            Dropped::Gone => _ = known.references.remove(&reference.version),
            Dropped::Replaced(mark) => {
                known.references.clear();
                known.mark = Some(mark);
            }
        }
        Ok(())
    }

    /// Takes again whether a block's data may go.
    pub(super) fn deleted(&mut self, node: NodeId, step: &DeleteStep) -> Result<(), Wrong> {
        let key = (step.partition, step.block);
        let DeleteStep { now_us, grace_us, .. } = *step;
        let told = format!(
            "may the data go at {now_us} µs, {grace_us} µs after the mark? {}",
            held(step.held)
        );
        let differs =
            |expected: &str, recorded: &str| Err(wrong(node, step.partition, step.block, &told, expected, recorded));
        if let Some(known) = self.0.get(&key) {
            let is_referenced = !known.references.is_empty() && step.held != Held::Referenced;
            let is_other = known.mark.is_some_and(|mark| step.held != Held::Marked(mark));
            match (is_referenced, known.mark.filter(|_| is_other)) {
                (true, _) => return differs(&held(Held::Referenced), &held(step.held)),
                (false, Some(mark)) => return differs(&held(Held::Marked(mark)), &held(step.held)),
                (false, None) => {}
            }
        }
        let may_go = removable(step.held, now_us, grace_us);
        if may_go != step.may_go {
            let say = |may_go| if may_go { "they may go" } else { "they stay" };
            return differs(say(may_go), say(step.may_go));
        }
        if may_go {
            // Whether they went, or their disk was away, is not told.
            self.0.remove(&key);
        }
        Ok(())
    }
}

/// Takes again how a block was placed.
pub(super) fn placed(node: NodeId, run: &PlaceRun) -> Result<Checked, Wrong> {
    let mut placing: Placing<Sound> = Placing::new(run.block, run.sets.clone());
    let (mut heard, mut checked) = (BTreeSet::new(), Checked::default());
    let members = run.sets.members();
    for (from, kept, recorded) in &run.events {
        let told = format!("{} answers: {}", words::node(*from), answer(*kept));
        let differs = |expected: &str, recorded: &str| {
            Err(Wrong {
                machine: format!("the placing of block {} at {}", name(run.block.name), words::node(node)),
                ..wrong(node, run.partition, run.block.name, &told, expected, recorded)
            })
        };
        if !members.contains(from) || !heard.insert(*from) {
            return differs("an answer of each replica, once", "it happened");
        }
        placing.on_kept(*from, *kept);
        let expected = Placed {
            verdict: placing.verdict(),
            needs_data: placing.needs_data(),
        };
        if expected != *recorded {
            return differs(&verdict(expected), &verdict(*recorded));
        }
        checked.told += 1;
    }
    Ok(checked)
}

/// Takes again how references were pulled.
pub(super) fn pulled(node: NodeId, run: &PullRun) -> Result<Checked, Wrong> {
    let mut pulling: Pulling<Sound> = Pulling::new(run.sources.clone());
    let (mut heard, mut checked) = (BTreeSet::new(), Checked::default());
    let wrong = |told: String, expected: &str, recorded: &str| Wrong {
        machine: format!(
            "a pull of the references of partition {} at {}",
            run.partition.0,
            words::node(node)
        ),
        input: told,
        expected: expected.to_owned(),
        recorded: recorded.to_owned(),
    };
    for event in &run.events {
        match event {
            PullEvent::Pulled(from, references, recorded) => {
                let told = format!("{} reports {} references", words::node(*from), references.len());
                if !heard.insert(*from) {
                    return Err(wrong(told, "an answer of each source, once", "it happened"));
                }
                pulling.on_pulled(*from, references.iter().map(reported).collect());
                let say = |is_complete| {
                    if is_complete {
                        "enough have answered"
                    } else {
                        "more are needed"
                    }
                };
                if pulling.is_complete() != *recorded {
                    return Err(wrong(told, say(pulling.is_complete()), say(*recorded)));
                }
            }
            PullEvent::Judged(missing, recorded) => {
                let is_here = |reference: &BlockReference| match missing.contains(&reference.block) {
                    true => Data::Absent,
                    false => Data::Verified,
                };
                let say = |is_synced| {
                    if is_synced {
                        "everything is here"
                    } else {
                        "something is missing"
                    }
                };
                let is_synced = pulling.is_synced(is_here);
                if is_synced != *recorded {
                    let told = format!("all was fetched but for {} blocks", missing.len());
                    return Err(wrong(told, say(is_synced), say(*recorded)));
                }
            }
            PullEvent::LeftOut => {
                checked.cut_off = 1;
                break;
            }
        }
        checked.told += 1;
    }
    Ok(checked)
}

/// Takes again what an upload's row says about its parts.
pub(super) fn fate(node: NodeId, step: &FateStep) -> Result<(), Wrong> {
    let fate = proposed_until::<Sound>(&step.upload);
    if fate == step.fate {
        return Ok(());
    }
    Err(Wrong {
        machine: format!("the collector at {}", words::node(node)),
        input: format!(
            "{} is {:?}, proposed until {}",
            words::key(&step.key),
            step.upload.state,
            step.upload.until
        ),
        expected: format!("{fate:?}"),
        recorded: format!("{:?}", step.fate),
    })
}

/// The rule asks no more of a reference than what block it is of.
fn reported((block, version, data): &(BlockName, VersionId, Data)) -> Pulled {
    let owner = Address {
        placement: Placement::System,
        key: Vec::new(),
    };
    Pulled {
        reference: BlockReference {
            block: *block,
            owner,
            version: *version,
            until: 0,
        },
        data: *data,
    }
}

fn wrong(node: NodeId, partition: Partition, block: BlockName, told: &str, expected: &str, recorded: &str) -> Wrong {
    let (partition, node) = (partition.0, words::node(node));
    Wrong {
        machine: format!("the keeper of block {} in partition {partition} at {node}", name(block)),
        input: told.to_owned(),
        expected: expected.to_owned(),
        recorded: recorded.to_owned(),
    }
}

fn name(block: BlockName) -> String {
    hex(&block.0[..8])
}

fn short(version: VersionId) -> String {
    hex(&version.0)[..8].to_owned()
}

fn to_do(step: StoreStep) -> String {
    match step {
        StoreStep::Refer => "first the reference".to_owned(),
        StoreStep::Fill => "first the data".to_owned(),
        StoreStep::Look => "first a look at the data".to_owned(),
        StoreStep::Answer(kept) => answer(kept),
    }
}

fn done_in_words(step: StoreStep) -> String {
    match step {
        StoreStep::Refer => "the reference was written".to_owned(),
        StoreStep::Fill => "the data were written".to_owned(),
        StoreStep::Look => "the data were looked at".to_owned(),
        StoreStep::Answer(kept) => answer(kept),
    }
}

fn answer(kept: Kept) -> String {
    let what = match kept {
        Kept::Both => "both are on disk",
        Kept::NeedData => "the data are needed",
        Kept::Neither => "nothing that counts",
    };
    what.to_owned()
}

fn gone(dropped: Dropped) -> String {
    match dropped {
        Dropped::Gone => "it goes".to_owned(),
        Dropped::Replaced(mark) => format!("it goes, and a mark of {} µs takes its place", mark.since_us),
        Dropped::Kept => "it stays".to_owned(),
    }
}

fn held(held: Held) -> String {
    match held {
        Held::Referenced => "it is referred to".to_owned(),
        Held::Marked(mark) => format!("nothing refers to it since {} µs", mark.since_us),
        Held::Unknown => "nothing is known of it".to_owned(),
    }
}

fn verdict(placed: Placed) -> String {
    let verdict = match placed.verdict {
        Verdict::Reached => "it is stored",
        Verdict::Pending => "more answers are needed",
        Verdict::Impossible => "it cannot be stored",
    };
    let data = if placed.needs_data { ", and data are needed" } else { "" };
    format!("{verdict}{data}")
}
