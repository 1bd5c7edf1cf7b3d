//! The other nodes as this one sees them.

use std::collections::BTreeMap;

use trellis_spec::layout::{Layout, Member};

use super::status::{LinkState, NodeRole, NodeStatus};
use crate::folder::NodeName;
use crate::link::{LaneState, LaneStatus, PeerId, PeerStatus};
use crate::membership::{Contact, Known};

/// A node that a layout names, or that is known otherwise.
struct Found<'a> {
    name: NodeName,
    member: Option<&'a Member>,
    host: Option<String>,
    is_this_node: bool,
}

/// The nodes of the layout by zone, then those without a role.
pub(super) fn nodes(newest: &Layout, known: &[Known], mine: &Contact, peers: &[PeerStatus]) -> Vec<NodeStatus> {
    let mut found: BTreeMap<NodeName, Found<'_>> = BTreeMap::new();
    let of = |name, member, host| Found {
        name,
        member,
        host,
        is_this_node: name == mine.name,
    };
    found.insert(mine.name, of(mine.name, None, Some(mine.host.clone())));
    found.extend(
        known
            .iter()
            .map(|known| (known.name, of(known.name, None, known.host.clone()))),
    );
    for member in &newest.members {
        let name = NodeName::of(member);
        let entry = found.entry(name).or_insert_with(|| of(name, None, None));
        entry.member = Some(member);
    }
    let peers: BTreeMap<PeerId, &PeerStatus> = peers.iter().map(|status| (status.peer, status)).collect();
    let status = |found: Found<'_>| {
        let peer = peers.get(&found.name.key).copied();
        node_status(found, peer)
    };
    let mut nodes: Vec<NodeStatus> = found.into_values().map(status).collect();
    let rank = |node: &NodeStatus| (node.role == NodeRole::None, node.zone.clone(), node.id.clone());
    nodes.sort_by_cached_key(rank);
    nodes
}

fn node_status(found: Found<'_>, peer: Option<&PeerStatus>) -> NodeStatus {
    let mut status = NodeStatus {
        id: found.name.to_string(),
        role: found.member.map_or(NodeRole::None, |member| NodeRole::of(member.role)),
        zone: found.member.map_or_else(String::new, |member| member.zone.clone()),
        capacity_bytes: found.member.map_or(0, |member| member.role.capacity_bytes()),
        tags: found.member.map_or_else(Vec::new, |member| member.tags.clone()),
        host: found.host,
        address: peer.map(|peer| peer.address.clone()),
        state: match found.is_this_node {
            true => LinkState::ThisNode,
            false => LinkState::Connecting,
        },
        round_trip_ms: None,
        last_heard_ms: None,
        connections_lost: 0,
        problem: None,
    };
    if let Some(peer) = peer {
        let lanes = [&peer.control, &peer.bulk];
        status.state = lanes
            .iter()
            .map(|lane| link_state(&lane.state))
            .fold(LinkState::Connected, worse);
        status.round_trip_ms = peer.round_trip.map(|time| (time.as_secs_f64() * 1e6).round() / 1e3);
        status.last_heard_ms = lanes.iter().filter_map(|lane| silence(lane)).min();
        status.connections_lost = lanes.iter().map(|lane| lost(lane)).sum();
        status.problem = lanes.iter().find_map(|lane| problem(lane));
    }
    status
}

fn link_state(state: &LaneState) -> LinkState {
    match state {
        LaneState::Connecting => LinkState::Connecting,
        LaneState::Connected { .. } => LinkState::Connected,
        LaneState::Lost => LinkState::Lost,
        LaneState::Failing(_) => LinkState::Failing,
    }
}

/// What to show when the two connections to a node fare differently.
fn worse(a: LinkState, b: LinkState) -> LinkState {
    let rank = |state: &LinkState| match state {
        LinkState::ThisNode => 0,
        LinkState::Connected => 1,
        LinkState::Connecting => 2,
        LinkState::Lost => 3,
        LinkState::Failing => 4,
    };
    std::cmp::max_by_key(a, b, rank)
}

fn silence(lane: &LaneStatus) -> Option<u64> {
    match &lane.state {
        LaneState::Connected { silence } => u64::try_from(silence.as_millis()).ok(),
        LaneState::Connecting | LaneState::Lost | LaneState::Failing(_) => None,
    }
}

fn lost(lane: &LaneStatus) -> u64 {
    match &lane.state {
        LaneState::Connected { .. } => lane.connections.saturating_sub(1),
        LaneState::Connecting | LaneState::Lost | LaneState::Failing(_) => lane.connections,
    }
}

fn problem(lane: &LaneStatus) -> Option<String> {
    match &lane.state {
        LaneState::Failing(failure) => Some(failure.to_string()),
        LaneState::Connecting | LaneState::Connected { .. } | LaneState::Lost => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_connections_the_worse_one_is_shown() {
        assert_eq!(worse(LinkState::Connected, LinkState::Failing), LinkState::Failing);
        assert_eq!(worse(LinkState::Lost, LinkState::Connected), LinkState::Lost);
    }
}
