//! The side of a connection that listened: it hands requests to the node's service and sends the answers back.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::connection::{Connection, Receive};
use super::frame::{Frame, Violation};
use super::limits::{Credit, Turn};
use super::{Message, PeerId, Service};

/// The requests of one connection.
pub(super) struct Serving {
    pub(super) connection: Arc<Connection>,
    peer: PeerId,
    service: Arc<dyn Service>,
    places: Arc<Semaphore>,
}

impl Serving {
    pub(super) fn new(connection: Arc<Connection>, peer: PeerId, service: Arc<dyn Service>) -> Self {
        let places = Arc::new(Semaphore::new(connection.lane.served_at_once_max()));
        Self {
            connection,
            peer,
            service,
            places,
        }
    }

    /// The connection is over: what waits for its turn is not begun any more, what was begun is finished.
    pub(super) fn close(&self) {
        self.places.close();
    }

    fn serve(&self, number: u64, message: Message, credit: Credit) {
        let (places, service, peer) = (Arc::clone(&self.places), Arc::clone(&self.service), self.peer);
        let connection = Arc::clone(&self.connection);
        let serving = async move {
            let Ok(place) = places.acquire_owned().await else {
                return;
            };
            let mut debt = Debt {
                connection,
                number,
                turn: Some(Turn {
                    _credit: credit,
                    _place: place,
                }),
            };
            let reply = service.serve(peer, message).await;
            debt.pay(reply);
        };
        self.connection.env.spawner.spawn("serve", Box::pin(serving));
    }
}

impl Receive for Serving {
    fn receive(&self, frame: Frame) -> Result<(), Violation> {
        match frame {
            Frame::Request { number, message } => {
                let credit = self
                    .connection
                    .window
                    .claim(&message)
                    .map_err(|_| Violation::WindowExceeded)?;
                self.serve(number, message, credit);
                Ok(())
            }
            Frame::Reply { .. }
            | Frame::TooLarge { .. }
            | Frame::Failed { .. }
            | Frame::Ping { .. }
            | Frame::Pong { .. } => Err(Violation::WrongDirection),
        }
    }
}

/// An answer that is owed. Paid or not, the peer is told: a service that panics must not leave a caller waiting.
struct Debt {
    connection: Arc<Connection>,
    number: u64,
    turn: Option<Turn>,
}

impl Debt {
    fn pay(&mut self, reply: Message) {
        let (number, bytes) = (self.number, reply.size_bytes());
        let limit = self.connection.lane.message_max_bytes();
        self.send(if bytes > limit {
            tracing::error!(bytes, limit, "an answer is over the limit of its lane");
            Frame::TooLarge {
                number,
                bytes: bytes as u64,
            }
        } else {
            Frame::Reply { number, message: reply }
        });
    }

    fn send(&mut self, frame: Frame) {
        if let Some(turn) = self.turn.take() {
            self.connection.send(frame, Some(turn));
        }
    }
}

impl Drop for Debt {
    fn drop(&mut self) {
        self.send(Frame::Failed { number: self.number });
    }
}
