//! A world of one object, its upload, and the one block that all their versions share.
//!
//! Clients put, copy, delete, upload in parts and give uploads up; a collector asks which versions are dead; nodes drop
//! and delete. Rows are the registers of the specification, blocks its rules; a request is handled and its answer heard
//! in one step, as in [`crate::world`]. What was sent and not handled when its sender went on may arrive at any later
//! time. A coordinator that sleeps, or died, is one that takes no more steps.
//!
//! Nodes are alike and kept sorted, but where the blocks' partition moves; therefore the answers of a round are kept at the
//! nodes. The blocks' partition may move from nodes 1, 2, 3 to nodes 2, 3, 4 while all this goes on; the rows stay.

mod act;
mod check;
mod drain;
mod node;
mod rules;
mod state;
mod transition;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use stateright::{Model, Property};
use trellis_spec::block::Data;
use trellis_spec::flaw::Flaw;
use trellis_spec::layout::{LayoutVersion, View};
use trellis_spec::quorum::{NodeId, ReplicaSets};
use trellis_spec::register::{Cell, OpId};
use trellis_spec::row::{UploadState, VersionId};
use trellis_spec::stamp::Stamp;

pub use check::search;
pub use state::{Answer, Call, Key, Node, Process, Program, Slot, State};

use state::Stage;

/// Rows live on the first so many nodes.
const ROW_REPLICAS: u8 = 3;
/// A client's versions are numbered from its own number times this.
const TRIES_MAX: u8 = 4;

/// What happens in a world, apart from its rules.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The clients.
    pub programs: &'static [Program],
    /// A put may be proposed for so long after it began; clients' clocks are ten apart.
    pub valid: u64,
    /// Versions that one put may use up.
    pub versions: u8,
    /// Stamps that one operation may use up besides its first.
    pub stamps: u8,
    /// Whether processes go on without nodes that are slow to answer.
    pub patience: Patience,
    /// How often the collector asks.
    pub inquiries: u8,
    /// How many nodes may crash in the middle of storing.
    pub crashes: u8,
    /// Whether answers get lost.
    pub losses: Losses,
    /// Whether the block's lock is held from looking to deleting.
    pub lock: Lock,
    /// Whether the blocks' partition moves.
    pub moves: Moves,
    /// What is claimed besides.
    pub drains: Drains,
}

/// Do processes go on without nodes that are slow to answer?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// No: only when those that answered are reason enough.
    Endless,
    /// At any time.
    Short,
}

/// Do answers get lost?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Losses {
    /// None.
    Never,
    /// Any.
    Allowed,
}

/// Is the block's lock held from looking for references to deleting the data?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Yes.
    Held,
    /// No.
    NotHeld,
}

/// Does the blocks' partition move?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moves {
    /// No.
    Never,
    /// Once, as the rules say.
    Once,
    /// The same, but one continuing owner is not synced in time.
    WithoutOne,
    /// Once, and nodes serve requests under older views.
    Unchecked,
    /// Once, and a source does not adopt the view of who pulls.
    Unwedged,
    /// Once, and the old set retires when one new owner is synced.
    RetiredAtOne,
}

/// Is progress checked as well?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drains {
    /// No.
    Unchecked,
    /// In every state, with each node down in turn.
    Checked,
}

impl Plan {
    /// These clients on one layout, and one inquiry.
    pub const fn of(programs: &'static [Program]) -> Self {
        Plan {
            programs,
            valid: 5,
            versions: 1,
            stamps: 0,
            patience: Patience::Endless,
            inquiries: 1,
            crashes: 0,
            losses: Losses::Never,
            lock: Lock::Held,
            moves: Moves::Never,
            drains: Drains::Unchecked,
        }
    }
}

/// The world of a plan under some rules.
#[derive(Clone, Copy)]
pub struct BlockWorld {
    plan: Plan,
    lacks: Option<Flaw>,
}

/// What may happen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The collector asks about a version.
    Inquire(VersionId),
    /// A node handles what a process asks, and is heard.
    Deliver(u8, u8),
    /// A node handles it, and its answer is lost.
    Lose(u8, u8),
    /// A node crashes after its first step of storing.
    Cut(u8, u8),
    /// A process goes on without the nodes that did not answer.
    Patience(u8),
    /// A node handles what nobody waits for.
    Late(u8, Call),
    /// A node drops a reference that is dead.
    Drop(u8, VersionId),
    /// A node that holds no lock sees that the data may go.
    Notice(u8),
    /// A node deletes the data.
    Delete(u8),
    /// The new owner hears of the new layout.
    Learn,
    /// An owner of the new layout pulls from a node of the old one.
    Pull(u8, u8),
    /// It fetches the data.
    Fetch(u8),
    /// It is synced.
    Synced(u8),
    /// A node learns that the old layout is retired.
    Retire(u8),
    /// The node that left drops everything.
    Leave,
}

impl BlockWorld {
    /// The world of a plan; the rules lack this guard.
    pub fn new(plan: Plan, lacks: Option<Flaw>) -> Self {
        BlockWorld { plan, lacks }
    }

    fn moves(&self) -> bool {
        self.plan.moves != Moves::Never
    }

    fn node_count(&self) -> u8 {
        if self.moves() { 4 } else { 3 }
    }

    fn collector(&self) -> u8 {
        u8::try_from(self.plan.programs.len()).unwrap_or(u8::MAX)
    }

    /// The sets of the blocks' partition in a view.
    fn sets(view: View) -> ReplicaSets {
        let layouts = view.lo.0..=view.hi.0;
        ReplicaSets::new(
            layouts
                .map(|layout| (layout - 1..layout + 2).map(NodeId).collect())
                .collect(),
        )
    }

    fn row_sets() -> ReplicaSets {
        ReplicaSets::new(vec![(0..u64::from(ROW_REPLICAS)).map(NodeId).collect()])
    }

    fn version(client: u8, tries: u8) -> VersionId {
        VersionId([1 + client * TRIES_MAX + tries; 16])
    }

    fn client_of(version: VersionId) -> u8 {
        (version.0[0] - 1) / TRIES_MAX
    }

    /// All clients have sent what they begin with.
    fn start(&self, times: Vec<u64>) -> State {
        let mut node = Node {
            object: Cell::default(),
            upload: state::old_upload(UploadState::Open, 0),
            references: BTreeMap::new(),
            mark: None,
            data: Data::Absent,
            noticed: false,
            view: first_view(),
            synced: false,
            slots: vec![Slot::Empty; usize::from(self.collector()) + 1],
            late: BTreeSet::new(),
        };
        if let Some(at) = self
            .plan
            .programs
            .iter()
            .position(|program| *program == Program::Resume)
        {
            node.upload = state::old_upload(UploadState::Aborted, times[at]);
            let version = Self::version(u8::try_from(at).unwrap_or(u8::MAX), 0);
            node.references.insert(version, state::reference(version, 0));
            node.data = Data::Verified;
        }
        let process = |_| Process {
            stage: Arc::new(Stage::Over),
            step: 0,
            stamps: 0,
            tries: 0,
            version: VersionId::default(),
            until: 0,
            stamp: Stamp::ZERO,
            view: first_view(),
            round: 0,
            call: None,
            upload: OpId::default(),
        };
        let mut state = State {
            nodes: (0..self.node_count()).map(|_| Arc::new(node.clone())).collect(),
            processes: (0..=self.collector()).map(process).collect(),
            dead: BTreeMap::new(),
            pulling: vec![None; usize::from(self.node_count())],
            stored_before: BTreeSet::new(),
            times,
            inquiries: 0,
            crashes: 0,
            dropped: false,
            deleted: false,
        };
        (0..self.collector()).for_each(|client| self.begin(&mut state, client, 0));
        state
    }
}

fn first_view() -> View {
    View {
        lo: LayoutVersion(1),
        hi: LayoutVersion(1),
    }
}

/// All orders in which clocks of so many clients can stand.
fn orders(clients: usize) -> Vec<Vec<u64>> {
    let mut orders = vec![vec![]];
    for _ in 0..clients {
        orders = orders
            .into_iter()
            .flat_map(|order: Vec<u64>| {
                let unused = (1..=clients as u64).map(|rank| rank * 10);
                let unused: Vec<u64> = unused.filter(|time| !order.contains(time)).collect();
                unused.into_iter().map(move |time| [order.clone(), vec![time]].concat())
            })
            .collect();
    }
    orders
}

impl Model for BlockWorld {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        rules::enter(self.lacks);
        orders(self.plan.programs.len())
            .into_iter()
            .map(|times| self.start(times))
            .collect()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        rules::enter(self.lacks);
        self.process_actions(state, actions);
        self.node_actions(state, actions);
        if self.moves() {
            self.transition_actions(state, actions);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        rules::enter(self.lacks);
        let mut next = state.clone();
        self.act(&mut next, action);
        self.tidy(&mut next);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always("C10", |_, state: &State| check::covered(state)),
            Property::always("no data without a reference or a mark", |_, state: &State| {
                check::accounted(state)
            }),
        ];
        if self.plan.inquiries > 0 {
            properties.push(Property::sometimes("a reference was dropped", |_, state: &State| {
                state.dropped
            }));
            properties.push(Property::sometimes("data were deleted", |_, state: &State| {
                state.deleted
            }));
        }
        if self.plan.drains == Drains::Checked {
            properties.push(Property::always(
                "space of the dead comes back",
                |world: &Self, state| world.drains(state),
            ));
        }
        if self.moves() {
            properties.push(Property::sometimes("the partition moved", |_, state: &State| {
                state.nodes.iter().any(|node| node.view.lo == LayoutVersion(2))
            }));
        }
        properties
    }
}
