//! A client of the safety phase: a bit of everything, again and again.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::World;
use super::session::{Manners, Session, Size, Spot};
use super::setup::Weather;
use crate::history::{Condition, Outcome};

/// How far a client that was refused or not heard backs off.
const BACK_OFF: Duration = Duration::from_millis(200);

/// One client.
pub(crate) struct Client {
    pub(super) session: Session,
    /// The entity tags that it saw last.
    seen: Mutex<BTreeMap<String, String>>,
}

impl Client {
    pub(crate) fn new(number: u32, world: &World) -> Self {
        Client {
            session: Session::new(number, world, Manners::Hasty),
            seen: Mutex::default(),
        }
    }

    pub(crate) async fn run(self, until: Duration) {
        let (dice, thinking) = (self.session.world.dice.clone(), self.session.world.shape.thinking);
        while dice.now() < until {
            dice.pause(thinking).await;
            match self.session.world.shape.weather {
                Weather::Varied if dice.percent(25) => self.session.visit_fleeting(self.node()).await,
                Weather::Varied => self.act(self.node()).await,
                Weather::Storm => self.rush().await,
            }
        }
    }

    /// Most of the time its own node.
    fn node(&self) -> usize {
        let (dice, nodes) = (&self.session.world.dice, self.session.world.cluster.len());
        if dice.percent(70) {
            self.session.number as usize % nodes
        } else {
            dice.below(nodes)
        }
    }

    async fn act(&self, at: usize) {
        let Some(bucket) = self.session.world.journal.lasting() else {
            return;
        };
        let spot = |key: String| Spot {
            bucket: bucket.clone(),
            key,
        };
        let epoch = self.session.world.epoch();
        let number = self.session.world.dice.below(self.session.world.shape.keys);
        let object = spot(format!("{epoch:04}/{number:02}"));
        let copied = spot(format!("{epoch:04}/copy-{number:02}"));
        let from = spot(if self.session.world.dice.percent(50) {
            String::new()
        } else {
            object.key.clone()
        });
        let outcome = match self.session.world.dice.below(100) {
            0..30 => self.get(at, &object).await,
            30..48 => self.put(at, &object, Condition::Always).await,
            48..58 => self.put(at, &object, Condition::Absent).await,
            58..70 => self.put(at, &object, self.on_what_was_seen(&object)).await,
            70..72 => self.session.put_cut_short(at, &object).await,
            72..78 => self.session.delete(at, &object, Condition::Always).await,
            78..81 => self.session.delete(at, &object, Condition::Present).await,
            81..85 => return self.session.copy(at, &object, &copied, Condition::Always).await,
            85..87 => self.get(at, &copied).await,
            87..92 => return self.session.upload(at, &object, self.sometimes_absent()).await,
            _ => {
                let limit = self.session.world.dice.below(12) + 1;
                self.session.list(at, &from, &format!("{epoch:04}/"), limit).await
            }
        };
        if let Outcome::Unknown { .. } | Outcome::Failed { .. } = outcome {
            self.session.world.dice.pause(BACK_OFF).await;
        }
    }

    pub(super) async fn get(&self, at: usize, spot: &Spot) -> Outcome {
        let outcome = self.session.get(at, spot).await;
        if let Outcome::Found { value } = &outcome {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.insert(spot.name(), value.clone());
        }
        outcome
    }

    pub(super) async fn put(&self, at: usize, spot: &Spot, condition: Condition) -> Outcome {
        let size = if self.session.world.dice.percent(30) {
            Size::Large
        } else {
            Size::Small
        };
        self.session.put(at, spot, size, condition).await
    }

    /// On what was seen last; where nothing was, on there being nothing.
    pub(super) fn on_what_was_seen(&self, spot: &Spot) -> Condition {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&spot.name())
            .map_or(Condition::Absent, |value| Condition::Is(value.clone()))
    }

    fn sometimes_absent(&self) -> Condition {
        if self.session.world.dice.percent(30) {
            Condition::Absent
        } else {
            Condition::Always
        }
    }
}
