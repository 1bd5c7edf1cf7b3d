//! Whom this node could not reach lately, and when.
//!
//! A node that was out of reach, or out of whose reach this one was, may have missed what was written meanwhile, and no
//! copy here shows that. So what was seen before counts for less: "everything is everywhere" needs a comparison that began
//! after the last such moment, and one follows soon after contact is back. All of it is by this node's own clock.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use trellis_spec::layout::assign::Role;
use trellis_spec::quorum::NodeId;

use super::calls::Calls;

/// How long after contact came back everything is compared: nodes often come back together.
pub(super) const LOOK_AFTER: Duration = Duration::from_secs(15);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Contact(Mutex<Found>);

#[derive(Debug, Default)]
struct Found {
    away: BTreeSet<NodeId>,
    failed_at: Option<Duration>,
    look_is_due: bool,
}

impl Contact {
    /// A node gave no answer.
    fn failed(&self, node: NodeId, now: Duration) {
        let mut found = self.found();
        found.away.insert(node);
        found.failed_at = Some(now);
    }

    /// A node answered. Says whether a look should follow that is not planned yet.
    fn answered(&self, node: NodeId) -> bool {
        let mut found = self.found();
        let is_back = found.away.remove(&node);
        is_back && !std::mem::replace(&mut found.look_is_due, true)
    }

    fn looked(&self) {
        self.found().look_is_due = false;
    }

    /// When somebody gave no answer last, in monotonic time.
    pub(super) fn failed_at(&self) -> Option<Duration> {
        self.found().failed_at
    }

    /// Who of these gave no answer when asked last.
    pub(super) fn away(&self, is_meant: impl Fn(NodeId) -> bool) -> Vec<NodeId> {
        let away = self.found().away.clone();
        away.into_iter().filter(|node| is_meant(*node)).collect()
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Calls {
    /// A node of the newest layout was asked, and answered or did not.
    pub(super) fn note_contact(&self, node: NodeId, answered: bool) {
        let (known, contact) = (self.layouts().now(), &self.replica.repairs().contact);
        let newest = known.peer.knowledge.newest();
        let member = newest.and_then(|newest| newest.member(node));
        // A gateway has no copies that could lack anything.
        if member.is_none_or(|member| member.role == Role::Gateway) {
            return;
        }
        if !answered {
            contact.failed(node, self.env.clock.monotonic());
        } else if contact.answered(node) {
            self.look_later();
        }
    }

    fn look_later(&self) {
        let (replica, pause) = (Arc::downgrade(&self.replica), self.env.clock.sleep(LOOK_AFTER));
        let task = async move {
            pause.await;
            if let Some(replica) = replica.upgrade() {
                replica.repairs().contact.looked();
                replica.repairs().compare_all(&replica.layouts().now());
            }
        };
        self.env.spawner.spawn("look after a failure", Box::pin(task));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_look_follows_when_contact_is_back_however_many_were_away() {
        let (contact, now) = (Contact::default(), Duration::from_secs(7));
        assert!(!contact.answered(NodeId(1)) && contact.failed_at().is_none());
        contact.failed(NodeId(1), Duration::from_secs(6));
        contact.failed(NodeId(2), now);
        assert!(contact.answered(NodeId(1)) && !contact.answered(NodeId(2)));
        assert!(!contact.answered(NodeId(2)), "it was there already");
        assert_eq!(contact.failed_at(), Some(now));
        contact.looked();
        contact.failed(NodeId(2), now);
        assert!(contact.answered(NodeId(2)));
    }
}
