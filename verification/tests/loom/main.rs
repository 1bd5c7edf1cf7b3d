//! Hand-made concurrent code of the node, in every order that its threads may run in.
//!
//! The files themselves are included here, with loom's twins in place of what `trellis_node::sync` has; nothing is built
//! twice for it. A wake-up that can be missed shows as a deadlock, an answer before its time as a failed assertion. Each
//! test says which mistake it was seen to find.

#![expect(
    dead_code,
    unreachable_pub,
    reason = "the node uses more of these files than the tests do"
)]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

#[path = "../../../node/src/cluster/changes.rs"]
mod changes;
mod commits;
mod signals;
mod storage;
mod sync;

mod env {
    //! What the trait of row stores names.

    pub(crate) type Boxed<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
}

/// Tries all orders in which a thread is interrupted at most so often where it need not be.
fn explore(interruptions: usize, scenario: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(interruptions);
    builder.check(scenario);
}
