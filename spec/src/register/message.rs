//! What coordinators ask replicas about one row, and what replicas answer.

use serde::{Deserialize, Serialize};

use super::cell::Accepted;
use crate::stamp::Stamp;

/// How much of a row's value is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Fetch {
    /// Everything but the inline body.
    Head,
    /// Everything. A driver may ask some replicas for the head only; attempts cope with either.
    Full,
}

/// Why a ballot is prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Purpose {
    /// To propose a new value. A replica may refuse a stamp that is too far ahead of its clock.
    Propose,
    /// To accept the value again that is there already. Never refused for its distance from the clock.
    Settle,
}

/// A request about one row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Request<V> {
    /// What do you hold?
    Read(Fetch),
    /// Accept this new value, unless you hold or promised something newer.
    Write(Accepted<V>),
    /// Accept this value that another replica holds, unless you hold or promised something newer.
    WriteBack(Accepted<V>),
    /// Promise to refuse everything below this ballot, and tell what you hold.
    Prepare {
        /// The ballot.
        ballot: Stamp,
        /// Why.
        purpose: Purpose,
    },
    /// Accept this value under a ballot that a majority promised.
    Accept(Accepted<V>),
}

/// A replica's reply about one row. Everything that it says is durable when it is sent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reply<V> {
    /// To `Read`: what is held. No floor comes with it, for no reader asks about one.
    Row {
        /// The value held, if any.
        accepted: Option<Accepted<V>>,
    },
    /// To `Write`, `WriteBack` and `Accept`: it is held.
    Accept,
    /// To `Prepare`: promised; this is what was held.
    Promise {
        /// The value held, if any.
        accepted: Option<Accepted<V>>,
        /// No tombstone above it was forgotten.
        floor: Stamp,
    },
    /// Refused: something at least as new is held, promised or forgotten. Nothing was changed.
    Nack {
        /// The newest stamp that stands in the way.
        seen: Stamp,
    },
    /// Refused: the bucket's gate is closed. Nothing was changed.
    Gated,
    /// Refused: the stamp is too far ahead of this replica's clock. Nothing was changed.
    TooFarAhead,
}
