//! What works in the background of a node.

use crate::cluster::{Worker, WorkerError, WorkerReport, WorkerState};

use super::observer::Observer;
use super::status::LinkState;

/// All workers of a node.
pub(super) fn workers(observer: &Observer) -> Vec<WorkerReport> {
    let coordinator = observer.coordinator();
    let mut workers = coordinator.workers();
    workers.push(membership(observer));
    workers.sort_by_key(|report| report.worker);
    workers
}

/// Membership never rests: its steps are the nodes that it keeps up with, done where they are connected.
fn membership(observer: &Observer) -> WorkerReport {
    let nodes = observer.nodes();
    let others = nodes.iter().filter(|node| node.state != LinkState::ThisNode);
    let connected = others.clone().filter(|node| node.state == LinkState::Connected);
    let problem = others.clone().find_map(|node| node.problem.clone());
    WorkerReport {
        state: WorkerState::Working,
        steps: others.count() as u64,
        steps_done: connected.count() as u64,
        seconds: observer.uptime().as_secs(),
        // The problem is there now.
        last_error: problem.map(|what| WorkerError {
            what,
            at_ms: observer.now_ms(),
        }),
        ..WorkerReport::idle(Worker::Membership)
    }
}
