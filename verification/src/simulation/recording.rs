//! Traces of simulated nodes.

use std::sync::{Arc, Mutex, PoisonError};

use trellis_model::trace::Part;
use trellis_node::trace::Recorder;
use trellis_spec::quorum::NodeId;

/// A life of a simulated node records no more than this; what comes on top is left out.
const LIFE_MAX_BYTES: usize = 1 << 30;

/// The recorders of all lives of all nodes, if anybody records.
#[derive(Clone)]
pub(crate) struct Recording(Option<Arc<Mutex<Vec<Life>>>>);

struct Life {
    node: NodeId,
    number: u64,
    recorder: Arc<Recorder>,
}

impl Recording {
    /// Nobody records.
    pub(crate) fn off() -> Self {
        Recording(None)
    }

    /// Everything is recorded, up to the last step before a crash.
    pub(crate) fn on() -> Self {
        Recording(Some(Arc::default()))
    }

    /// The recorder for the next life of a node.
    pub(crate) fn begin(&self, node: NodeId) -> Option<Arc<Recorder>> {
        let mut lives = self.0.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        let number = 1 + lives.iter().filter(|life| life.node == node).count() as u64;
        let recorder = Recorder::new(node, number, LIFE_MAX_BYTES, 100);
        let life = Life {
            node,
            number,
            recorder: recorder.clone(),
        };
        lives.push(life);
        Some(recorder)
    }

    /// What was recorded, as it would lie in a folder.
    pub(crate) fn take(&self) -> Vec<Part> {
        let Some(lives) = &self.0 else { return Vec::new() };
        let lives = lives.lock().unwrap_or_else(PoisonError::into_inner);
        let part = |life: &Life| {
            let name = format!("{:016x}-{:010}.trace", life.node.0, life.number);
            Part::named(name, [life.recorder.opening(0), life.recorder.take()].concat())
        };
        lives.iter().map(part).collect()
    }
}
