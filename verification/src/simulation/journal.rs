//! What was asked, told, written and done in a run.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use trellis_node::env::simulated::Simulation;
use trellis_s3api::bucket::{BucketId, BucketInfo};

use crate::history::{Action, Operation, Outcome};

/// The name of the bucket that nobody deletes.
pub(crate) const LASTING: &str = "lasting";

/// Something that was done to the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Harm {
    /// When, since the run began.
    pub at: Duration,
    /// What.
    pub what: String,
}

impl Display for Harm {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:>11.6} s  {}", self.at.as_secs_f64(), self.what)
    }
}

/// The journal of a run. Clones are the same journal.
#[derive(Clone)]
pub(crate) struct Journal {
    simulation: Simulation,
    notes: Arc<Mutex<Notes>>,
}

#[derive(Default)]
struct Notes {
    last: u64,
    history: Vec<Operation>,
    complaints: Vec<String>,
    harms: Vec<Harm>,
    /// The body that goes with each entity tag.
    bodies: BTreeMap<String, Bytes>,
    buckets: BTreeMap<BucketId, BucketInfo>,
}

impl Journal {
    pub(crate) fn new(simulation: &Simulation) -> Self {
        Journal {
            simulation: simulation.clone(),
            notes: Arc::default(),
        }
    }

    /// Nanoseconds since the run began. No two moments are the same: what happened earlier is known to.
    pub(crate) fn now(&self) -> u64 {
        let now = u64::try_from(self.simulation.now().as_nanos()).unwrap_or(u64::MAX);
        let mut notes = self.notes();
        notes.last = now.max(notes.last + 1);
        notes.last
    }

    /// Writes down an operation that began at `call` and is over now.
    pub(crate) fn record(&self, client: u32, call: u64, action: Action, outcome: Outcome) {
        let answer = Some(self.now());
        self.notes().history.push(Operation {
            client,
            call,
            answer,
            action,
            outcome,
        });
    }

    /// Writes down what is wrong whatever else was told.
    pub(crate) fn complain(&self, complaint: String) {
        let at = self.simulation.now();
        self.notes().complaints.push(format!("{at:?}: {complaint}"));
    }

    /// Writes down what was done to the cluster.
    pub(crate) fn harm(&self, what: String) {
        let at = self.simulation.now();
        self.notes().harms.push(Harm { at, what });
    }

    /// Remembers which bytes an entity tag stands for.
    pub(crate) fn wrote(&self, tag: &str, body: &Bytes) {
        self.notes().bodies.insert(tag.to_owned(), body.clone());
    }

    /// The bytes that an entity tag stands for.
    pub(crate) fn body(&self, tag: &str) -> Option<Bytes> {
        self.notes().bodies.get(tag).cloned()
    }

    /// Remembers a bucket.
    pub(crate) fn met(&self, bucket: &BucketInfo) {
        self.notes().buckets.insert(bucket.id, bucket.clone());
    }

    /// A bucket is as if nobody had ever met it.
    pub(crate) fn forget(&self, bucket: &BucketInfo) {
        self.notes().buckets.remove(&bucket.id);
    }

    /// The bucket that nobody deletes.
    pub(crate) fn lasting(&self) -> Option<BucketInfo> {
        self.buckets()
            .into_iter()
            .find(|bucket| bucket.name.as_str() == LASTING)
    }

    /// Every bucket that anybody met.
    pub(crate) fn buckets(&self) -> Vec<BucketInfo> {
        self.notes().buckets.values().cloned().collect()
    }

    /// Every key that anybody asked for by name.
    pub(crate) fn keys(&self) -> Vec<String> {
        let notes = self.notes();
        let named = notes.history.iter().filter_map(|operation| match &operation.action {
            Action::Get { key, .. } | Action::Put { key, .. } | Action::Delete { key, .. } => Some(key.clone()),
            Action::List { .. } => None,
        });
        let mut keys: Vec<String> = named.collect();
        keys.sort();
        keys.dedup();
        keys
    }

    pub(crate) fn harms(&self) -> Vec<Harm> {
        self.notes().harms.clone()
    }

    /// History and complaints.
    pub(crate) fn take(&self) -> (Vec<Operation>, Vec<String>) {
        let mut notes = self.notes();
        (
            std::mem::take(&mut notes.history),
            std::mem::take(&mut notes.complaints),
        )
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
