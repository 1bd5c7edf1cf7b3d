//! What a protocol costs, and what it survives: measured, not argued.

use super::run::{Delays, Run, Taken};
use super::{Conditions, Links, Membership, Protocol};
use crate::script::Kind;
use crate::value::Condition;

/// Three zones. Within one, as between machines of one room; between them, as between Paris, Warsaw and Montreal.
pub const ZONES: Delays = [[250, 13_000, 42_000], [13_000, 250, 53_000], [42_000, 53_000, 250]];

/// Every message takes half a round trip, wherever it goes.
const UNIFORM: Delays = [[HALF_ROUND_TRIP_US; 3]; 3];
const HALF_ROUND_TRIP_US: u64 = 500;

/// The value of an object's row in the sheet, in bytes.
pub const VALUE_BYTES: u64 = 4096;
/// What every message has besides values: names, stamps, frames and a message's authentication.
pub const HEADER_BYTES: u64 = 128;

/// The costs of a protocol on three nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sheet {
    /// What it expects of links.
    pub links: Links,
    /// Whether its nodes are replaced.
    pub membership: Membership,
    /// A write of a register that was written before, and at rest.
    pub write: Costs,
    /// A read of it.
    pub read: Costs,
    /// A write on condition that something is there; nothing, where that is not offered.
    pub conditional: Option<Costs>,
    /// What still works with so many nodes dead.
    pub survives: [Survival; 2],
}

/// The costs of one kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Costs {
    /// Over links that are all alike.
    pub alike: Taken,
    /// Until the answer, for a client in each zone of [`ZONES`].
    pub zones_us: [u64; 3],
}

/// Of all choices of dead nodes, how many leave an operation able to finish, for clients near any living node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Survival {
    /// How many nodes are dead.
    pub dead: u32,
    /// How many choices there are.
    pub choices: usize,
    /// Writes finish in so many of them.
    pub writes: usize,
    /// Reads do.
    pub reads: usize,
    /// Both do, once the dead were removed; nothing, where nobody removes them.
    pub removed: Option<usize>,
}

impl Costs {
    /// Round trips until the client is answered.
    pub fn round_trips(&self) -> f64 {
        self.alike.time_us as f64 / (2 * HALF_ROUND_TRIP_US) as f64
    }

    /// Bytes on the network.
    pub fn bytes(&self) -> u64 {
        self.alike.messages * HEADER_BYTES + self.alike.payloads * VALUE_BYTES
    }
}

/// Measures a protocol.
pub fn sheet<P: Protocol>(protocol: &P) -> Sheet {
    Sheet {
        links: P::LINKS,
        membership: P::MEMBERSHIP,
        write: costs(protocol, Kind::Write),
        read: costs(protocol, Kind::Read),
        conditional: (P::CONDITIONS == Conditions::Offered).then(|| costs(protocol, Kind::Put(Condition::Present))),
        survives: [1, 2].map(|dead| survival(protocol, dead)),
    }
}

fn costs<P: Protocol>(protocol: &P, kind: Kind) -> Costs {
    let measured = |delays, zone| {
        let mut run = written(protocol, delays);
        let (_, taken) = run.perform(kind, zone).expect("nothing fails");
        taken
    };
    Costs {
        alike: measured(UNIFORM, 0),
        zones_us: [0, 1, 2].map(|zone| measured(ZONES, zone).time_us),
    }
}

fn written<P: Protocol>(protocol: &P, delays: Delays) -> Run<P> {
    let mut run = Run::new(protocol.clone(), delays);
    run.perform(Kind::Write, 0);
    run
}

fn survival<P: Protocol>(protocol: &P, dead: u32) -> Survival {
    let choices: Vec<u8> = (0_u8..8).filter(|nodes| nodes.count_ones() == dead).collect();
    let finish = |kind: Kind, removal: Removal| {
        let finishes = choices
            .iter()
            .filter(|nodes| finishes(protocol, kind, **nodes, removal));
        finishes.count()
    };
    let removed = || finish(Kind::Write, Removal::Removed).min(finish(Kind::Read, Removal::Removed));
    Survival {
        dead,
        choices: choices.len(),
        writes: finish(Kind::Write, Removal::None),
        reads: finish(Kind::Read, Removal::None),
        removed: (P::MEMBERSHIP == Membership::Service).then(removed),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Removal {
    None,
    Removed,
}

/// Does an operation finish from everywhere when the nodes of this mask are dead?
fn finishes<P: Protocol>(protocol: &P, kind: Kind, dead: u8, removal: Removal) -> bool {
    let is_dead = |node: &u8| dead & (1 << node) != 0;
    (0..3).filter(|node| !is_dead(node)).all(|nearest| {
        let mut run = written(protocol, UNIFORM);
        for node in (0..3).filter(is_dead) {
            run.crash(node);
        }
        for node in (0..3).filter(|node| removal == Removal::Removed && is_dead(node)) {
            run.remove(node);
        }
        run.perform(kind, nearest).is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workbench::chain::CHAIN;
    use crate::workbench::elastic::ELASTIC;
    use crate::workbench::quorum::ABD;

    #[test]
    fn a_chain_costs_what_its_links_say() {
        let sheet = sheet(&CHAIN);
        // Client, head, middle, tail, client; and two acknowledgements back.
        assert_eq!((sheet.write.round_trips(), sheet.write.alike.messages), (2.0, 6));
        assert_eq!((sheet.write.alike.durable, sheet.write.alike.most_from_one), (3, 1));
        let [ab, bc, ca] = [ZONES[0][1], ZONES[1][2], ZONES[2][0]];
        assert_eq!(
            sheet.write.zones_us,
            [ZONES[0][0] + ab + bc + ca, 2 * ab + 2 * bc, ca + ab + bc + ZONES[2][2]]
        );
        assert_eq!(sheet.read.zones_us[2], 2 * ZONES[2][2]);
    }

    #[test]
    fn a_majority_waits_for_the_nearer_of_two_others() {
        let sheet = sheet(&ABD);
        assert_eq!((sheet.write.round_trips(), sheet.read.round_trips()), (2.0, 2.0));
        let [ab, ac] = [ZONES[0][1], ZONES[0][2]];
        assert_eq!(sheet.read.zones_us, [4 * ab, 4 * ab, 4 * ac]);
        assert_eq!(sheet.conditional, None);
    }

    #[test]
    fn who_needs_all_waits_for_the_dead_to_be_removed() {
        let [one, two] = sheet(&ELASTIC).survives;
        assert_eq!((one.writes, one.reads, one.removed), (0, 0, Some(3)));
        assert_eq!((two.writes, two.reads, two.removed), (0, 0, Some(3)));
        let [one, two] = sheet(&ABD).survives;
        assert_eq!((one.writes, one.reads, one.removed), (3, 3, None));
        assert_eq!((two.writes, two.reads), (0, 0));
    }
}
