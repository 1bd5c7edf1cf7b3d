//! The layouts of a scenario, and how nodes come to know them.
//!
//! The partition that holds the scenario's rows has in each layout the replicas that the model's has. All others, with
//! buckets' names and the blocks of bodies, are the business of one more node, *backstage*, in every layout: what the model
//! does not have moves nowhere. No node tells another of layouts by itself. It hears of one when a step says so, or from a
//! message that was sent under it, and the same is true of who is synced.
//!
//! Syncs are those of the node (`Movers::sync`), whose messages wait on the stage. One that was overtaken by a newer view
//! notices with the next answer; so that it begins anew where the model's does, its messages are answered with nothing.

use std::sync::Arc;

use bytes::Bytes;
use trellis_model::world::{Collection, Plot};
use trellis_node::cluster::{Layouts, encode};
use trellis_node::env::Env;
use trellis_node::storage::Change;
use trellis_spec::layout::{Announcement, Layout, LayoutVersion, Member, Partition, View, initial};
use trellis_spec::row::{Address, BlockName, BucketId, Placement};
use trellis_spec::stamp::Stamp;

use super::super::World;
use super::super::cluster::SimulatedCluster;
use super::super::inspection::{Inspection, partition_of};
use super::super::shape::Shape;
use super::stage::{Stage, name};
use crate::stored;

/// Layouts that follow each other on a stage.
pub(super) struct Succession {
    world: World,
    stage: Stage,
    layouts: Vec<Layout>,
    /// Of the scenario's rows.
    partition: Partition,
    keys: Vec<Vec<u8>>,
    /// How many nodes the model has.
    replicas: usize,
    inspection: Inspection,
}

/// The layout that all nodes begin with. The last of them is backstage, where there is more than one layout.
pub(super) fn first(plot: &Plot, shape: &Shape, members: &[Member]) -> Layout {
    let holders = members.iter().take(plot.replicas.into()).cloned().collect();
    let place = |members, replicas| initial(members, replicas, shape.partitions).expect("a few nodes in as many zones");
    let Some(nodes) = plot.layouts.first().filter(|_| plot.layouts.len() > 1) else {
        return place(holders, shape.replicas);
    };
    let layout = place(members.to_vec(), 1);
    let (everywhere, backstage) = (places(&layout, members, nodes), members.len() - 1);
    let system = Placement::System.partition(&layout);
    // Nobody knows yet where the scenario's rows will be.
    let replicas = |partition| match partition == system {
        true => places(
            &layout,
            members,
            &[u8::try_from(backstage).expect("a scenario has few nodes")],
        ),
        false => everywhere.clone(),
    };
    Layout {
        replication_factor: u8::try_from(nodes.len()).unwrap_or(u8::MAX),
        assignment: layout.row_partitions().map(replicas).collect(),
        ..layout
    }
}

/// Are the rows of the bucket in another partition than the names of buckets?
pub(super) fn is_apart(world: &World) -> bool {
    let first = world.cluster.first_layout();
    partition_of(world, first).is_some_and(|partition| partition != Placement::System.partition(first))
}

/// The places of nodes among the members of a layout, which are in order of their ids.
fn places(layout: &Layout, nodes: &[Member], which: &[u8]) -> Vec<u16> {
    let ids = which.iter().filter_map(|at| nodes.get(usize::from(*at)));
    let of = |node: &Member| layout.members.iter().position(|member| member.id == node.id);
    let mut places: Vec<u16> = ids
        .filter_map(of)
        .filter_map(|place| u16::try_from(place).ok())
        .collect();
    places.sort_unstable();
    places
}

impl Succession {
    /// The layouts of a plot, once there is a bucket; nodes that are new to one need no floors where the model's need none.
    pub(super) fn begin(plot: &Plot, world: &World, stage: &Stage, keys: &[String]) -> Result<Self, &'static str> {
        let (cluster, bucket) = (&world.cluster, world.journal.lasting().ok_or("there is no bucket")?);
        let first = cluster.first_layout();
        let partition = partition_of(world, first).ok_or("there is no bucket")?;
        let id = BucketId(bucket.id.0);
        let succession = Succession {
            layouts: all(plot, cluster, partition),
            world: world.clone(),
            stage: stage.clone(),
            partition,
            keys: keys
                .iter()
                .map(|key| Address::object(id, 1, key.as_bytes()).key)
                .collect(),
            replicas: plot.replicas.into(),
            inspection: Inspection::default(),
        };
        if plot.collection == Collection::Off {
            (0..succession.replicas).for_each(|at| succession.give_floors(at));
        }
        (0..succession.replicas).for_each(|at| succession.let_sync(at));
        Ok(succession)
    }

    /// Is the only block of this body one that never moves?
    pub(super) fn is_backstage(&self, body: &[u8]) -> bool {
        let first = self.world.cluster.first_layout();
        let block = Placement::Block(BlockName::of(body)).partition(first);
        let mut pairs = first.row_partitions().zip(first.block_partitions());
        pairs.any(|pair| pair == (Placement::System.partition(first), block))
    }

    /// Nothing was ever forgotten: a node that enters need not ask.
    fn give_floors(&self, at: usize) {
        let Some(table) = self.world.cluster.table(at) else {
            return;
        };
        let key = |layout: &Layout| Bytes::from(stored::floor(self.partition, layout.version));
        let floors = self.layouts.iter().skip(1).map(key);
        let floors = floors.map(|key| (key, Change::Put(encode(&Stamp::ZERO))));
        table.apply(floors.collect()).expect("nobody damages this disk");
    }

    /// From now on a node syncs the scenario's rows whenever it has to.
    fn let_sync(&self, at: usize) {
        let (cluster, stage, partition) = (&self.world.cluster, self.stage.clone(), self.partition);
        let (Some(movers), Some(layouts)) = (cluster.movers(at), cluster.layouts(at)) else {
            return;
        };
        let env = cluster.node(at).env();
        let spawner = env.spawner.clone();
        let syncing = async move {
            let mut changes = layouts.changes();
            while !stage.is_over() {
                changes.mark_unchanged();
                match is_due(&layouts, partition) {
                    true => _ = movers.sync(partition).await,
                    false => changes.changed().await,
                }
                pause(&env).await;
            }
        };
        spawner.spawn("sync", Box::pin(syncing));
    }

    fn layouts_of(&self, at: usize) -> Result<Arc<Layouts>, String> {
        self.world
            .cluster
            .layouts(at)
            .ok_or_else(|| "its node is down".to_owned())
    }

    /// What a node takes for the layouts of now.
    pub(super) fn view(&self, at: usize) -> Option<View> {
        let layouts = self.world.cluster.layouts(at)?;
        Some(layouts.now().peer.knowledge.view(self.partition))
    }

    /// A node hears of the next layout.
    pub(super) fn learn(&self, at: usize) -> Result<(), String> {
        let layouts = self.layouts_of(at)?;
        let next = layouts.now().newest().next();
        self.teach(at, next)
    }

    fn teach(&self, at: usize, until: LayoutVersion) -> Result<(), String> {
        let new: Vec<Layout> = self
            .layouts
            .iter()
            .filter(|layout| layout.version <= until)
            .cloned()
            .collect();
        let layouts = self.layouts_of(at)?;
        layouts
            .learn(&new, |_| None)
            .map(|_| ())
            .map_err(|error| error.to_string())
    }

    /// The coordinator at one node hears of all layouts that another node knows, and which of them are needed.
    pub(super) fn inform(&self, at: usize, by: usize) -> Result<(), String> {
        let view = self.view(by).ok_or("its node is down")?;
        self.teach(at, view.hi)?;
        let layouts = self.layouts_of(at)?;
        layouts
            .hear_view(self.partition, view)
            .map_err(|error| error.to_string())
    }

    /// A node hears of everybody who is synced, and must take this layout for the oldest active one.
    pub(super) fn retire(&self, at: usize, to: u8) -> Result<(), String> {
        let known = (0..self.replicas).filter_map(|at| self.world.cluster.layouts(at));
        let said: Vec<Announcement> = known
            .flat_map(|layouts| layouts.now().heard().announcements().collect::<Vec<_>>())
            .collect();
        let layouts = self.layouts_of(at)?;
        layouts.announce(&said).map_err(|error| error.to_string())?;
        let lo = layouts.now().peer.knowledge.view(self.partition).lo;
        match lo >= LayoutVersion(to.into()) {
            true => Ok(()),
            false => Err(format!("{} still needs layout {}", name(at), lo.0)),
        }
    }

    /// A node drops the rows that it may, and must not have any left.
    pub(super) async fn drop_rows(&self, at: usize) -> Result<(), String> {
        let movers = self.world.cluster.movers(at).ok_or("its node is down")?;
        let node = self.world.cluster.node(at);
        let worked = node.run(async move { movers.work().await });
        worked.await.map_err(|_| "its node crashed".to_owned())?;
        self.world.dice.wait(super::AFTER_A_STEP).await;
        match self.has_rows(at) {
            true => Err(format!("{} keeps its rows", name(at))),
            false => Ok(()),
        }
    }

    fn has_rows(&self, at: usize) -> bool {
        let disk = self.world.cluster.rows(at);
        let mut places = self.layouts.iter().flat_map(|layout| {
            self.keys
                .iter()
                .map(|key| stored::row(self.partition, layout.version, key))
        });
        places.any(|place| disk.durable(&place).is_some())
    }

    /// Does a node say that it is synced for this layout, or a newer one?
    pub(super) fn is_synced(&self, at: usize, version: u8) -> bool {
        let layouts = self.world.cluster.layouts(at);
        layouts.is_some_and(|layouts| {
            let known = layouts.now();
            known.synced(self.partition, known.peer.me) >= LayoutVersion(version.into())
        })
    }

    /// After each step: syncs that a newer view overtook begin anew, and the disks are held against what clients were told.
    pub(super) fn after_a_step(&mut self) {
        for at in 0..self.replicas {
            if let Some(view) = self.view(at) {
                self.stage.outdate(at, view);
            }
        }
        self.inspection.see(&self.world);
    }

    /// Nodes tell each other of layouts, sync and drop, until all that are up know the last layout for the only one.
    pub(super) async fn settle(&mut self) {
        let cluster = self.world.cluster.clone();
        (0..cluster.len()).for_each(|at| cluster.let_move(at));
        let mut waited = std::time::Duration::ZERO;
        while !self.is_settled() && waited < super::SETTLED_WITHIN {
            self.world.dice.wait(super::AFTER_A_STEP).await;
            waited += super::AFTER_A_STEP;
            self.inspection.see(&self.world);
        }
    }

    fn is_settled(&self) -> bool {
        let views: Vec<View> = (0..self.world.cluster.len()).filter_map(|at| self.view(at)).collect();
        let newest = views.iter().map(|view| view.hi).max();
        views.iter().all(|view| view.lo == view.hi && Some(view.hi) == newest)
    }
}

/// All layouts, the first as everybody knows it.
fn all(plot: &Plot, cluster: &SimulatedCluster, partition: Partition) -> Vec<Layout> {
    let (mut layouts, mut nodes) = (vec![cluster.first_layout().clone()], cluster.members());
    // As scenarios number them, not in order of ids.
    nodes.sort_by_key(|member| cluster.at(member.id));
    let backstage = u8::try_from(cluster.len() - 1).expect("a scenario has few nodes");
    for replicas in plot.layouts.iter().skip(1) {
        let before = layouts.last().expect("there is a first one");
        let of = |line: Partition| match line == partition {
            true => places(before, &nodes, replicas),
            false => places(before, &nodes, &[backstage]),
        };
        let next = Layout {
            version: before.version.next(),
            previous: before.hash(),
            replication_factor: u8::try_from(replicas.len()).unwrap_or(u8::MAX),
            assignment: before.row_partitions().map(of).collect(),
            ..before.clone()
        };
        layouts.push(next);
    }
    layouts
}

/// Does the node have to sync?
fn is_due(layouts: &Layouts, partition: Partition) -> bool {
    let known = layouts.now();
    let me = known.peer.me;
    let newest = known.peer.knowledge.newest();
    newest.is_some_and(|newest| newest.holds(me, partition) && known.synced(partition, me) < newest.version)
}

/// Between two tries of a sync.
async fn pause(env: &Env) {
    env.clock.sleep(super::BETWEEN_SYNCS).await;
}
