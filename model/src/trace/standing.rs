//! What nodes know of layouts, from change to change, and each change taken again.
//!
//! Steps of replicas name the change that was the newest when they were admitted. They may be recorded a while after it, so
//! some older moments are kept.

use trellis_spec::flaw::Sound;
use trellis_spec::layout::{
    Announcement, Footing, Knowledge, Layout, LayoutMark, LayoutVersion, LearnError, Learned, Partition, View,
};
use trellis_spec::quorum::{NodeId, ReplicaSets};
use trellis_spec::trace::{ClearedStep, LayoutsInput, LayoutsNews, LayoutsStep, Standing};

use super::Wrong;
use super::history::{Certainty, History};
use super::words;

/// So many moments are kept.
const MOMENTS: usize = 256;

/// What one node knew of layouts.
#[derive(Default)]
pub(super) struct Standings {
    known: Option<History<Moment>>,
    /// Were some of the changes that follow in the trace made before the newest moment?
    is_ahead: bool,
}

/// What a node knew at one moment.
#[derive(Clone)]
pub(super) struct Moment {
    standing: Standing,
    mark: LayoutMark,
}

impl Moment {
    fn of(standing: Standing) -> Self {
        let newest = standing.knowledge.newest().map(Layout::hash).unwrap_or_default();
        let mark = LayoutMark::of(&newest);
        Moment { standing, mark }
    }

    /// Where the node stands.
    pub(super) fn footing(&self, node: NodeId, partition: Partition) -> Footing {
        self.standing.knowledge.footing(node, partition)
    }

    /// For which layout the node is synced.
    pub(super) fn synced(&self, partition: Partition, node: NodeId) -> LayoutVersion {
        self.standing.heard.synced(partition, node)
    }

    /// Has the newest layout of who asks the number of the node's own, and another content?
    pub(super) fn is_other(&self, asked: View, mark: LayoutMark) -> bool {
        let newest = self.standing.knowledge.newest().map(|newest| newest.version);
        asked.hi == newest.unwrap_or_default() && mark != self.mark
    }

    /// What is told, as the node hears it. Nothing: it is not taken.
    fn told(&mut self, node: NodeId, told: &LayoutsInput) -> Option<LayoutsNews> {
        let Standing { knowledge, heard, .. } = &mut self.standing;
        let mut news = LayoutsNews::default();
        match told {
            LayoutsInput::Learn(layouts) => {
                for layout in layouts {
                    match knowledge.learn(layout.clone()) {
                        Ok(Learned::New) => news.learned.push(layout.version),
                        Ok(Learned::Known) => {}
                        Err(LearnError::Gap(_)) => break,
                        Err(LearnError::Conflict(_)) => return None,
                    }
                }
                if let Some(newest) = knowledge.newest().filter(|_| !news.learned.is_empty()) {
                    self.mark = LayoutMark::of(&newest.hash());
                }
            }
            // That it was admitted, under what was known then, is for the door to say.
            LayoutsInput::Adopt(partition, view) | LayoutsInput::Hear(partition, view) => {
                let before = knowledge.view(*partition).lo;
                knowledge.hear(*partition, *view);
                note_raised(knowledge, *partition, before, &mut news);
            }
            LayoutsInput::Announce(said) => {
                news.heard = said
                    .iter()
                    .filter(|said| heard.hear(knowledge, said))
                    .copied()
                    .collect();
                let mut partitions: Vec<Partition> = news.heard.iter().map(|said| said.partition).collect();
                partitions.sort();
                partitions.dedup();
                for partition in partitions {
                    let before = knowledge.view(partition).lo;
                    if let Some(certificate) = heard.certificate::<Sound>(knowledge, node, partition) {
                        knowledge.retire(&certificate);
                    }
                    note_raised(knowledge, partition, before, &mut news);
                }
            }
        }
        Some(news)
    }
}

fn note_raised(knowledge: &Knowledge, partition: Partition, before: LayoutVersion, news: &mut LayoutsNews) {
    let lo = knowledge.view(partition).lo;
    if lo > before {
        news.raised.push((partition, lo));
    }
}

impl Standings {
    /// What was known at the change at this position.
    pub(super) fn at(&self, position: u64) -> Option<&Moment> {
        let known = self
            .known
            .as_ref()
            .filter(|known| known.certainty() == Certainty::Exact)?;
        let mut newest_first = known.states().iter().rev();
        newest_first.find_map(|(at, moment)| (*at == position).then_some(moment))
    }

    /// Are these the replicas of a partition under a view, of which quorums are wanted, or each of them alone? Where nobody
    /// was ever declared lost, the layouts of the view tell.
    pub(super) fn replicas(
        &self,
        node: NodeId,
        (partition, view): (Partition, View),
        sets: &ReplicaSets,
    ) -> Result<(), Wrong> {
        let known = self
            .known
            .as_ref()
            .filter(|known| known.certainty() == Certainty::Exact);
        let Some(knowledge) = known.map(|known| &known.last().standing.knowledge) else {
            return Ok(());
        };
        let is_told = knowledge.layout(view.lo).is_some() && knowledge.layout(view.hi).is_some();
        let expected = knowledge.replica_sets::<Sound>(partition, view);
        let alone = ReplicaSets::new(expected.members().into_iter().map(|node| vec![node]).collect());
        if !is_told || !knowledge.lost().is_empty() || [&expected, &alone].contains(&sets) {
            return Ok(());
        }
        let (expected, recorded) = words::differing(&expected, sets, words::sets, |_, _| None);
        Err(Wrong {
            machine: format!("a coordinator at {}", words::node(node)),
            input: format!("partition {} under {}", partition.0, words::view(view)),
            expected,
            recorded,
        })
    }

    /// The node stopped in order and was started again.
    pub(super) fn reopened(&mut self) {
        self.known.iter_mut().for_each(History::reopened);
    }

    /// The node crashed and was started again; every change up to this position was durable.
    pub(super) fn crashed(&mut self, durable: u64) {
        if self.known.as_mut().is_some_and(|known| !known.crashed(durable)) {
            self.known = None;
        }
    }

    /// All that is known: at the beginning of a life, of a part that is not its first, or of what comes behind a gap.
    pub(super) fn is(&mut self, node: NodeId, standing: Standing, place: Beginning) -> Result<(), Wrong> {
        let wrong = |expected: &str, recorded: &Standing| Wrong {
            machine: format!("what {} knows of layouts", words::node(node)),
            input: "it begins".to_owned(),
            expected: expected.to_owned(),
            recorded: summary(recorded),
        };
        let Some(known) = &self.known else {
            self.is_ahead = place == Beginning::Midway;
            self.known = Some(History::of(standing.at, Moment::of(standing)));
            return Ok(());
        };
        if place == Beginning::Midway {
            return match self.at(standing.at) {
                Some(moment) if moment.standing != standing => {
                    let left = format!("as its changes left it: {}", summary(&moment.standing));
                    Err(wrong(&left, &standing))
                }
                Some(_) | None => Ok(()),
            };
        }
        let left = &known.first().standing;
        let expected = match known.certainty() {
            Certainty::Exact if (&left.knowledge, &left.heard) != (&standing.knowledge, &standing.heard) => {
                Some("as it was when the node stopped")
            }
            Certainty::AtLeast if is_behind(&standing, left) => Some("as it was durable before the crash, or newer"),
            Certainty::Exact | Certainty::AtLeast => None,
        };
        if let Some(expected) = expected {
            return Err(wrong(&format!("{expected}: {}", summary(left)), &standing));
        }
        self.known = Some(History::of(standing.at, Moment::of(standing)));
        self.is_ahead = false;
        Ok(())
    }

    /// Takes a change again.
    pub(super) fn step(&mut self, node: NodeId, step: &LayoutsStep) -> Result<(), Wrong> {
        let Some(known) = &mut self.known else { return Ok(()) };
        let newest = known.last().standing.at;
        // What is told midway was known when it was written down, and changes from before come behind it.
        if self.is_ahead && step.written_at <= newest {
            return Ok(());
        }
        self.is_ahead = false;
        let mut moment = known.last().clone();
        let news = moment.told(node, &step.told);
        let wrong = |expected: &str, recorded: &str| Wrong {
            machine: format!("what {} knows of layouts", words::node(node)),
            input: told(&step.told),
            expected: expected.to_owned(),
            recorded: recorded.to_owned(),
        };
        if news.as_ref() != Some(&step.news) {
            let expected = news.as_ref().map_or("another layout is known".to_owned(), new);
            return Err(wrong(&expected, &new(&step.news)));
        }
        if step.news == LayoutsNews::default() {
            return Err(wrong("a change", "nothing new"));
        }
        if step.written_at <= newest {
            return Err(wrong("a place behind the last change", "none"));
        }
        moment.standing.at = step.written_at;
        known.push(step.written_at, moment);
        known.leave_out_all_but(MOMENTS);
        Ok(())
    }

    /// Something is deleted that the node may need no more.
    pub(super) fn cleared(&self, node: NodeId, step: &ClearedStep) -> Result<(), Wrong> {
        let Some(moment) = self.at(step.known_at) else {
            return Ok(());
        };
        let Standing { knowledge, heard, .. } = &moment.standing;
        let partition = step.partition;
        let may_go = match step.entered {
            Some(entered) => heard.is_over::<Sound>(knowledge, node, partition, entered),
            None => heard.droppable::<Sound>(knowledge, node, partition).is_some(),
        };
        if may_go {
            return Ok(());
        }
        let what = match step.entered {
            Some(entered) => format!("the rows that it holds since layout {}", entered.0),
            None => "the references to blocks".to_owned(),
        };
        Err(Wrong {
            machine: format!("what {} holds of partition {}", words::node(node), partition.0),
            input: format!("may {what} go? {}", summary(&moment.standing)),
            expected: "no: they stay".to_owned(),
            recorded: "they go".to_owned(),
        })
    }
}

/// What begins where all that is known is told.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Beginning {
    #[default]
    OfALife,
    /// A later part of a life, or what is left of it behind a gap.
    Midway,
}

/// Is anything of `standing` older than in `least`?
fn is_behind(standing: &Standing, least: &Standing) -> bool {
    let lacks = |layout: &Layout| standing.knowledge.layout(layout.version) != Some(layout);
    let mut partitions = least.knowledge.newest().into_iter().flat_map(Layout::partitions);
    let mut heard = least.heard.announcements();
    least.knowledge.newest_first().any(lacks)
        || partitions.any(|partition| {
            let (lo, least) = (
                standing.knowledge.view(partition).lo,
                least.knowledge.view(partition).lo,
            );
            lo < least
        })
        || heard.any(|said| standing.heard.synced(said.partition, said.node) < said.version)
}

fn summary(standing: &Standing) -> String {
    let newest = standing.knowledge.newest();
    let newest = newest.map_or("no layout".to_owned(), |newest| {
        format!("layouts up to {}", newest.version.0)
    });
    let partitions = standing.knowledge.newest().into_iter().flat_map(Layout::partitions);
    let views = partitions.map(|partition| standing.knowledge.view(partition));
    let retired = views.filter(|view| view.lo == view.hi).count();
    let (heard, at) = (standing.heard.announcements().count(), standing.at);
    format!("{newest}, {retired} partitions with the newest alone, {heard} syncs, by the change at {at}")
}

fn told(told: &LayoutsInput) -> String {
    match told {
        LayoutsInput::Learn(layouts) => {
            let versions: Vec<String> = layouts.iter().map(|layout| layout.version.0.to_string()).collect();
            format!("layouts {}", versions.join(", "))
        }
        LayoutsInput::Adopt(partition, view) => {
            format!("a request on partition {} under {}", partition.0, words::view(*view))
        }
        LayoutsInput::Hear(partition, view) => {
            format!("another node has {} of partition {}", words::view(*view), partition.0)
        }
        LayoutsInput::Announce(said) => match &said[..] {
            [said] => synced(said),
            said => format!("{} syncs", said.len()),
        },
    }
}

fn new(news: &LayoutsNews) -> String {
    let learned = news
        .learned
        .iter()
        .map(|version| format!("layout {} is new", version.0));
    let heard = news.heard.iter().map(|said| format!("new: {}", synced(said)));
    let raised = news.raised.iter();
    let raised = raised.map(|(partition, lo)| format!("partition {} needs layout {} and newer", partition.0, lo.0));
    let all: Vec<String> = learned.chain(heard).chain(raised).collect();
    if all.is_empty() {
        "nothing new".to_owned()
    } else {
        all.join("; ")
    }
}

fn synced(said: &Announcement) -> String {
    format!(
        "{} is synced for partition {} of layout {}",
        words::node(said.node),
        said.partition.0,
        said.version.0
    )
}
