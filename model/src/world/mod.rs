//! Worlds: replicas, coordinators, clients and faults around the rules of the specification.
//!
//! A world is a [`stateright::Model`] over the running code: a replica answers with `serve_row`, a coordinator is one of
//! the attempts. Nothing of the protocol is written again here. Four reductions keep the state spaces small:
//!
//! - *Fusion.* A replica handles a request and its coordinator hears the answer in one action. Hearing touches the
//!   coordinator alone, so it may be moved to the moment of the answer; what its client does later is only more
//!   constrained by it. "Handled, answer lost" and "handled late, nobody listens" stay actions. [`Fusion::Apart`] does
//!   without, for comparison.
//! - *Late starts.* An operation begins with its first message handled, and a client is answered at the first moment
//!   possible: both give the strictest order in real time.
//! - *Purge.* A message that would be refused now is refused for ever, for promises and ballots only rise; it is
//!   dropped. A message never delivered is a message lost.
//! - *Symmetry.* Replicas are alike: their columns are kept sorted. An attempt knows replicas only by the answers of its
//!   current round, which are kept in the columns and told to it anew. Not where one replica is asked alone.

mod act;
mod client;
mod collection;
mod config;
mod events;
mod force;
mod layouts;
mod plot;
mod possible;
mod replica;
mod show;
mod state;
mod syncs;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;

use stateright::{Model, Path, Property};
use trellis_spec::flaw::Sound;
use trellis_spec::layout::{Admitted, Knowledge, View};
use trellis_spec::quorum::NodeId;
use trellis_spec::register::WriteMode;

pub use act::Action;
pub use config::{
    Clocks, Collection, Deadlines, DiskLoss, Disks, Entrance, Entropy, Faults, Fusion, Learning, Resend, Restamp,
    Settlers, Snapshots, Stamps, Witness,
};
pub use events::{Event, Line, Over, Party};
pub use force::Force;
pub use layouts::oldest_needed;
pub(crate) use plot::PlotError;
pub use plot::{Ask, Asked, Beat, Cue, Heard, Held, Plot, Said};
pub use show::Names;
pub use state::{Column, Disk, Ghost, Op, Progress, Seat, Slot, State, Verdict};
pub use table::Table;

use crate::listing::Suspects;
use crate::rules::{PARTITION, Protocol, sound};
use crate::script::Script;
use crate::svg::Picture;
use crate::transcript::walk;
use crate::value::Body;

/// One configuration of a model.
#[derive(Clone)]
pub struct World {
    /// The rules.
    pub protocol: Arc<dyn Protocol>,
    /// What clients do.
    pub script: Script,
    /// What has happened already: where a mutant shows itself only after many steps, most of which are known.
    pub prelude: &'static [Action],
    /// How many replicas there are.
    pub replicas: u8,
    /// Those that never answer.
    pub dead: Vec<u8>,
    /// The replicas of each layout.
    pub layouts: Vec<Vec<u8>>,
    /// So many of them are decided from the beginning.
    pub decided: u8,
    /// One of them is forced.
    pub force: Option<Force>,
    /// Who hears of a layout by itself.
    pub learning: Learning,
    /// How many syncs settle rows at a time.
    pub settlers: Settlers,
    /// From when pulled rows are.
    pub snapshots: Snapshots,
    /// Lost disks.
    pub disk_loss: DiskLoss,
    /// Forgotten tombstones.
    pub collection: Collection,
    /// Rows of a former time.
    pub entrance: Entrance,
    /// Do pulls tell of gates?
    pub gates_are_pulled: bool,
    /// Does a sync hear that a bucket is gone?
    pub fates_are_known: bool,
    /// What unconditional writes do when they meet something newer.
    pub mode: WriteMode,
    /// How often an operation may get another stamp.
    pub retries: u8,
    /// After so many rounds an operation gives up. Reads may begin again without a stamp.
    pub rounds: u32,
    /// The order of clocks.
    pub clocks: Clocks,
    /// The stamps of retries.
    pub restamp: Restamp,
    /// Actions apart or fused.
    pub fusion: Fusion,
    /// What goes wrong with messages.
    pub faults: Faults,
    /// Repeated requests.
    pub resend: Resend,
    /// When changes are durable.
    pub disks: Disks,
    /// Repair between replicas.
    pub entropy: Entropy,
    /// Are stamps unique?
    pub stamps: Stamps,
    /// What is checked.
    pub witness: Witness,
    /// May clients give up?
    pub deadlines: Deadlines,
    /// Bodies of objects.
    pub body: Body,
    /// What deletions do with suspects.
    pub suspects: Suspects,
    /// Rows in one answer to a scan.
    pub page_limit: usize,
    /// Are columns sorted?
    pub sorted: bool,
    /// Checked besides the specification.
    pub claims: Vec<Property<World>>,
    admitted: Admitted,
    known: Arc<BTreeMap<View, Knowledge>>,
}

impl World {
    /// Sound rules, and the simplest of everything else.
    pub fn new(script: Script, replicas: u8) -> Self {
        let layouts = vec![(0..replicas).collect()];
        let known = layouts::knowledge(replicas, &layouts, None);
        let admitted = admitted(&known);
        World {
            protocol: sound(),
            script,
            prelude: &[],
            replicas,
            dead: Vec::new(),
            layouts,
            decided: 1,
            force: None,
            learning: Learning::Anyone,
            settlers: Settlers::Any,
            snapshots: Snapshots::AfterFence,
            disk_loss: DiskLoss::Never,
            collection: Collection::Off,
            entrance: Entrance::Wiped,
            gates_are_pulled: true,
            fates_are_known: true,
            mode: WriteMode::Available,
            retries: 1,
            rounds: u32::MAX,
            clocks: Clocks::AnyOrder,
            restamp: Restamp::Close,
            fusion: Fusion::Fused,
            faults: Faults::All,
            resend: Resend::Never,
            disks: Disks::Immediate,
            entropy: Entropy::Off,
            stamps: Stamps::Unique,
            witness: Witness::History,
            deadlines: Deadlines::BeforeNext,
            body: Body::Absent,
            suspects: Suspects::Count,
            page_limit: usize::MAX,
            sorted: true,
            claims: Vec::new(),
            admitted,
            known: Arc::new(known),
        }
    }

    /// The same clients where these layouts follow each other, the second of them decided. Nodes have roles now, so that
    /// columns are not sorted.
    pub fn transit(&mut self, layouts: &[&[u8]]) {
        let highest = layouts.iter().flat_map(|nodes| nodes.iter()).max();
        self.replicas = highest.map_or(1, |highest| highest + 1);
        self.layouts = layouts.iter().map(|nodes| nodes.to_vec()).collect();
        self.decided = self.layouts.len().min(2) as u8;
        self.known = Arc::new(layouts::knowledge(self.replicas, &self.layouts, self.force.as_ref()));
        self.sorted = false;
    }

    /// The same without symmetry: every replica keeps its column, and so its name.
    pub fn unsorted(self) -> Self {
        World { sorted: false, ..self }
    }

    /// The replicas' names, column by column of an unsorted state.
    pub(crate) fn node(column: usize) -> NodeId {
        NodeId(column as u64 + 1)
    }

    pub(crate) fn rows(&self) -> usize {
        usize::from(self.script.keys()) + if self.script.has_gate() { 2 } else { 0 }
    }

    fn initial(&self, clocks: &[u64]) -> State {
        self.protocol.take_effect();
        let op = |clock, is_sync| Op {
            clock,
            spent: 0,
            is_sync,
            progress: Progress::Waiting,
        };
        let ops = clocks.iter().map(|clock| op(*clock, false));
        let syncs = self.syncers().into_iter().map(|_| op(0, true));
        let ops: Vec<Op> = ops.chain(syncs).collect();
        let column = |index| {
            let dead = self.dead.contains(&index);
            Arc::new(Column::new(self.rows(), ops.len(), dead, self.first_seat(), self.disks))
        };
        let mut state = State {
            columns: (0..self.replicas).map(column).collect(),
            ops: ops.clone(),
            answered: trellis_spec::stamp::Stamp::ZERO,
            crashes: 0,
            decided: self.decided,
            lost: 0,
            forgiven: 0,
            reports: BTreeMap::new(),
            ghost: Ghost::default(),
            verdict: Verdict::Fine,
        };
        self.make_ready(&mut state);
        self.tidy(&mut state);
        state
    }
}

/// In one layout the real door answers the same for every request: it is passed once.
fn admitted(known: &BTreeMap<View, Knowledge>) -> Admitted {
    let (view, knowledge) = known.iter().next().expect("there is a layout");
    knowledge
        .admit::<Sound>(World::node(0), PARTITION, *view)
        .expect("a member is admitted under its own view")
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let stamped = self.script.deeds.iter().filter(|deed| deed.kind.is_stamped()).count();
        let orders = match self.clocks {
            Clocks::InOrder => vec![(0..stamped).collect()],
            Clocks::AnyOrder => permutations(stamped),
        };
        orders
            .iter()
            .map(|order| self.begun(self.initial(&self.clocks_of(order))))
            .collect()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.possible(state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        self.apply(&mut state, action);
        self.tidy(&mut state);
        if self.has_transitions() && self.has_fallen(last, &state) {
            state.verdict = Verdict::Fell;
        }
        Some(state)
    }

    fn format_action(&self, action: &Action) -> String {
        format!("{action:?}")
    }

    fn format_step(&self, last: &State, action: Action) -> Option<String> {
        Some(self.narrate(last, action, &Names::plain(self.replicas)))
    }

    fn as_svg(&self, path: Path<State, Action>) -> Option<String> {
        let start = path.clone().into_states().into_iter().next()?;
        let walk = walk(self, String::new(), start, &path.into_actions()).ok()?;
        Some(Picture::of(&walk).to_string())
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always("the specification holds", |_, state: &State| {
                state.verdict == Verdict::Fine
            }),
            Property::sometimes("everything was answered", |_, state: &State| state.is_over()),
        ];
        properties.extend(self.claims.iter().cloned());
        properties
    }
}

impl World {
    fn begun(&self, first: State) -> State {
        self.prelude.iter().fold(first, |state, action| {
            let mut possible = Vec::new();
            self.possible(&state, &mut possible);
            assert!(possible.contains(action), "{action:?} cannot happen here:\n{state:?}");
            self.next_state(&state, *action).unwrap_or(state)
        })
    }

    /// Clocks stand far enough apart for every retry to fit between two of them.
    fn clocks_of(&self, order: &[usize]) -> Vec<u64> {
        const GAP: u64 = 100;
        let mut order = order.iter();
        let mut rank = || order.next().map_or(0, |rank| (*rank as u64 + 1) * GAP);
        self.script
            .deeds
            .iter()
            .map(|deed| if deed.kind.is_stamped() { rank() } else { 0 })
            .collect()
    }
}

fn permutations(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let insert = |shorter: Vec<usize>| {
        (0..count).map(move |place| {
            let mut longer = shorter.clone();
            longer.insert(place, count - 1);
            longer
        })
    };
    permutations(count - 1).into_iter().flat_map(insert).collect()
}
