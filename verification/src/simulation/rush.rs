//! A client of a storm: in a hurry, and after the same few keys as everybody else.

use futures_util::future::join_all;

use super::client::Client;
use super::session::{Size, Spot};
use crate::history::{Condition, Outcome};

/// Clients take these parts by their number.
const PARTS: u32 = 6;

impl Client {
    /// Does one thing, at any node.
    pub(super) async fn rush(&self) {
        let world = &self.session.world;
        let Some(bucket) = world.journal.lasting() else { return };
        let (at, epoch) = (self.any_node(), world.epoch());
        let number = world.dice.below(world.shape.keys);
        let spot = |key: String| Spot {
            bucket: bucket.clone(),
            key,
        };
        let (object, copied) = (
            spot(format!("{epoch:04}/{number:02}")),
            spot(format!("{epoch:04}/copy-{number:02}")),
        );
        match self.session.number % PARTS {
            0..2 => self.change(at, &object, &copied).await,
            2..4 if world.dice.percent(80) => drop(self.get(at, &object).await),
            2..4 => drop(self.get(at, &copied).await),
            4 => self.tend(at, &spot(format!("{epoch:04}q/{number:02}"))).await,
            _ => {
                self.list_everywhere(&spot(String::new()), &format!("{epoch:04}q/"))
                    .await
            }
        }
    }

    fn any_node(&self) -> usize {
        let world = &self.session.world;
        world.dice.below(world.cluster.len())
    }

    /// Writes, and looks through all nodes at once what came of it.
    async fn change(&self, at: usize, object: &Spot, copied: &Spot) {
        let dice = &self.session.world.dice;
        let outcome = match dice.below(100) {
            0..12 => self.put(at, object, Condition::Always).await,
            12..38 => self.put(at, object, Condition::Absent).await,
            38..50 => self.put(at, object, self.on_what_was_seen(object)).await,
            50..68 => self.session.delete(at, object, Condition::Always).await,
            68..72 => self.session.delete(at, object, Condition::Present).await,
            72..97 => return self.copy_at_once(at, object, copied).await,
            _ => return self.session.upload(at, object, Condition::Always).await,
        };
        if outcome == Outcome::Refused || outcome == Outcome::Done && dice.percent(30) {
            self.read_everywhere(object).await;
        }
    }

    /// Copies what was just written in blocks, while some replicas have not heard of them yet.
    async fn copy_at_once(&self, at: usize, object: &Spot, copied: &Spot) {
        let written = self.session.put(at, object, Size::Large, Condition::Always).await;
        if written == Outcome::Done {
            self.session
                .copy(self.any_node(), object, copied, Condition::Always)
                .await;
        }
    }

    async fn read_everywhere(&self, object: &Spot) {
        let nodes = 0..self.session.world.cluster.len();
        join_all(nodes.map(|at| self.get(at, object))).await;
    }

    async fn list_everywhere(&self, start: &Spot, prefix: &str) {
        let nodes = 0..self.session.world.cluster.len();
        join_all(nodes.map(|at| self.session.list(at, start, prefix, 100))).await;
    }

    /// Writes and deletes a key that is listed, but read by nobody: a read would mend it.
    async fn tend(&self, at: usize, quiet: &Spot) {
        self.session.put(at, quiet, Size::Small, Condition::Always).await;
        self.session.delete(self.any_node(), quiet, Condition::Always).await;
    }
}
