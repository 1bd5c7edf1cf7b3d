//! Bugs between a node and its disk, or between two nodes, to see that a run notices them.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use clap::ValueEnum;
use trellis_node::env::{Boxed, Env};
use trellis_node::storage::{Batch, Position, Rows, RowsError, Versioned};
use trellis_spec::layout::Pulled;
use trellis_spec::peer::Answer;
use trellis_spec::stamp::Stamp;

/// The bug that is put in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Sabotage {
    /// None.
    #[default]
    None,
    /// Rows are called durable when they are only visible.
    EagerWrites,
    /// What is read is called durable when it is only visible; writes wait as they should.
    DirtyReads,
    /// One batch in a hundred is dropped, and called durable in its time.
    LostBatches,
    /// One look at a row in fifty shows it as it was before its last change.
    OldCopies,
    /// Who pulls rows because a layout gave it a partition is told by others that there are none.
    EmptyPulls,
    /// Who would forget tombstones is told by others that they have them, whatever they have.
    FalseReports,
}

impl Sabotage {
    /// The rows as the node is to see them.
    pub(crate) fn between(self, rows: Arc<dyn Rows>, env: &Env) -> Arc<dyn Rows> {
        match self {
            Sabotage::None | Sabotage::EmptyPulls | Sabotage::FalseReports => rows,
            Sabotage::EagerWrites | Sabotage::DirtyReads | Sabotage::LostBatches | Sabotage::OldCopies => {
                Arc::new(Sabotaged {
                    rows,
                    env: env.clone(),
                    sabotage: self,
                    old: Mutex::default(),
                })
            }
        }
    }

    /// What a peer is to hear of an answer.
    pub(crate) fn between_nodes(self, told: Answer) -> Answer {
        match (self, told) {
            (Sabotage::EmptyPulls, Answer::Pulled(_)) => Answer::Pulled(Pulled {
                rows: Vec::new(),
                bound: None,
                floor: Stamp::ZERO,
            }),
            (Sabotage::FalseReports, Answer::Reported(held)) => {
                Answer::Reported(vec![Stamp::new(u64::MAX, u64::MAX); held.len()])
            }
            (_, told) => told,
        }
    }

    fn told<T>(self, found: Versioned<T>) -> Versioned<T> {
        match self {
            Sabotage::DirtyReads => Versioned {
                written_at: Position::default(),
                ..found
            },
            Sabotage::None | Sabotage::EagerWrites | Sabotage::LostBatches => found,
            Sabotage::OldCopies | Sabotage::EmptyPulls | Sabotage::FalseReports => found,
        }
    }
}

impl Display for Sabotage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Sabotage::None => "none",
            Sabotage::EagerWrites => "eager-writes",
            Sabotage::DirtyReads => "dirty-reads",
            Sabotage::LostBatches => "lost-batches",
            Sabotage::OldCopies => "old-copies",
            Sabotage::EmptyPulls => "empty-pulls",
            Sabotage::FalseReports => "false-reports",
        })
    }
}

struct Sabotaged {
    rows: Arc<dyn Rows>,
    env: Env,
    sabotage: Sabotage,
    /// What rows held before their last change.
    old: Mutex<BTreeMap<Bytes, Option<Bytes>>>,
}

impl Sabotaged {
    /// Whether it is time for this bug, which comes about once in `times`.
    fn strikes(&self, sabotage: Sabotage, times: u64) -> bool {
        self.sabotage == sabotage && self.env.random_u64().is_multiple_of(times)
    }

    fn old(&self) -> MutexGuard<'_, BTreeMap<Bytes, Option<Bytes>>> {
        self.old.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rows for Sabotaged {
    fn get(&self, key: &[u8]) -> Result<Versioned<Option<Bytes>>, RowsError> {
        let found = self.sabotage.told(self.rows.get(key)?);
        let old = self.old().get(key).cloned();
        Ok(match old {
            Some(value) if self.strikes(Sabotage::OldCopies, 50) => Versioned { value, ..found },
            Some(_) | None => found,
        })
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Versioned<Vec<(Bytes, Bytes)>>, RowsError> {
        Ok(self.sabotage.told(self.rows.scan(from, to, limit)?))
    }

    fn apply(&self, batch: Batch) -> Result<Position, RowsError> {
        if self.strikes(Sabotage::LostBatches, 100) {
            return self.rows.apply(Batch::new());
        }
        if self.sabotage == Sabotage::OldCopies {
            for (key, _) in &batch {
                let before = self.rows.get(key)?.value;
                self.old().insert(key.clone(), before);
            }
        }
        self.rows.apply(batch)
    }

    fn durable(&self, position: Position) -> Boxed<'_, Result<(), RowsError>> {
        match self.sabotage {
            Sabotage::EagerWrites => Box::pin(std::future::ready(Ok(()))),
            Sabotage::None | Sabotage::DirtyReads | Sabotage::LostBatches => self.rows.durable(position),
            Sabotage::OldCopies | Sabotage::EmptyPulls | Sabotage::FalseReports => self.rows.durable(position),
        }
    }
}
