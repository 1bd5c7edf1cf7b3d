//! How nodes talk to each other.
//!
//! [`Network`] and [`Service`] are what the rest of a node sees: it asks peers and answers them. [`Mesh`] is the real thing,
//! [`simulated`] its twin under a seed.
//!
//! In a mesh every node keeps two TLS connections to every peer, one per [`Lane`], and sends its own requests over the
//! connections it dialed; the connections that peers dialed carry their requests. So no two nodes need to agree on
//! which of two crossing connections survives, and a firewall that lets one direction through harms the other alone.
//!
//! From the outside in: `listening` and `dialing` make connections, `handshake` (with `tls` and `identity`) makes sure who
//! is at the other end, `connection` moves `frame`s within `limits`, `asking` and `serving` are its two roles.

mod asking;
mod connection;
mod dialing;
pub(crate) mod frame;
mod handshake;
mod identity;
mod limits;
mod listening;
mod mesh;
mod roster;
mod serving;
pub mod simulated;
mod tls;

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

pub use handshake::HandshakeError;
pub use identity::{ClusterSecret, Identity, NotAPeerId};
pub use limits::Timing;
pub use mesh::{Mesh, MeshConfig};
pub use roster::{LaneState, LaneStatus, PeerStatus};

use crate::env::Boxed;

/// A node's identity on the network: its ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct PeerId(pub [u8; 32]);

/// Which connection a message takes, so that a row never queues behind a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Small messages: rows, listings.
    Control,
    /// Blocks.
    Bulk,
}

/// One message: a small encoded part and, for blocks, opaque bytes that are never copied into it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// Encoded request or reply.
    pub head: Bytes,
    /// Block data, or nothing.
    pub body: Bytes,
}

impl fmt::Debug for Message {
    /// Lengths only: what is in a message belongs into no log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Message(head of {} bytes, body of {})",
            self.head.len(),
            self.body.len()
        )
    }
}

/// Why a call got no answer. The peer may or may not have acted on it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// No connection to that peer now; the request was not sent.
    #[error("not connected to the peer")]
    NotConnected,
    /// The connection ended while the request was on its way.
    #[error("the connection was lost")]
    Lost,
    /// The peer refuses messages of this size.
    #[error("a message of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// Size of the message.
        bytes: usize,
        /// The limit it is over.
        limit: usize,
    },
}

/// Sends requests to peers.
pub trait Network: Send + Sync {
    /// Sends `message` to `to` and waits for the answer. Dropping the future forgets the call; the caller sets deadlines.
    fn call(&self, to: PeerId, lane: Lane, message: Message) -> Boxed<'static, Result<Message, LinkError>>;

    /// How long a small message takes to the peer and back; nothing if that is not known now.
    fn round_trip(&self, to: PeerId) -> Option<Duration>;
}

/// Answers requests of peers.
pub trait Service: Send + Sync + 'static {
    /// The answer to `message`, which the peer `from` sent.
    fn serve(&self, from: PeerId, message: Message) -> Boxed<'static, Message>;
}
