//! The side of a connection that dialed: it asks, and matches answers to the calls that wait for them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::connection::{Connection, Receive};
use super::frame::{Frame, Violation};
use super::limits::Credit;
use super::{LinkError, Message};

/// The calls of one connection.
pub(super) struct Asking {
    pub(super) connection: Connection,
    calls: Mutex<Calls>,
}

enum Calls {
    Open {
        next_number: u64,
        waiting: BTreeMap<u64, Call>,
    },
    Closed,
}

/// A call without an answer. It stays when its caller gives up, since the peer is still busy with it.
struct Call {
    answer: oneshot::Sender<Result<Message, LinkError>>,
    _credit: Credit,
}

impl Asking {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            connection,
            calls: Mutex::new(Calls::Open {
                next_number: 0,
                waiting: BTreeMap::new(),
            }),
        }
    }

    /// Waits for room on the connection, sends the message and waits for the answer.
    pub(super) async fn call(self: Arc<Self>, message: Message) -> Result<Message, LinkError> {
        let credit = self
            .connection
            .window
            .enter(&message)
            .await
            .ok_or(LinkError::NotConnected)?;
        let (answer, answered) = oneshot::channel();
        let number = self
            .register(Call {
                answer,
                _credit: credit,
            })
            .ok_or(LinkError::NotConnected)?;
        self.connection.send(Frame::Request { number, message }, None);
        answered.await.unwrap_or(Err(LinkError::Lost))
    }

    /// The connection is over: no call will be answered.
    pub(super) fn close(&self) {
        let gone = std::mem::replace(&mut *self.lock(), Calls::Closed);
        drop(gone);
    }

    fn register(&self, call: Call) -> Option<u64> {
        match &mut *self.lock() {
            Calls::Open { next_number, waiting } => {
                let number = *next_number;
                *next_number += 1;
                waiting.insert(number, call);
                Some(number)
            }
            Calls::Closed => None,
        }
    }

    fn answer(&self, number: u64, answer: Result<Message, LinkError>) -> Result<(), Violation> {
        let call = match &mut *self.lock() {
            Calls::Open { waiting, .. } => waiting.remove(&number).ok_or(Violation::UnknownNumber)?,
            Calls::Closed => return Ok(()),
        };
        // A caller that gave up does not wait for this.
        let _ = call.answer.send(answer);
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Calls> {
        self.calls.lock().expect("no holder panics")
    }
}

impl Receive for Asking {
    fn receive(&self, frame: Frame) -> Result<(), Violation> {
        match frame {
            Frame::Reply { number, message } => self.answer(number, Ok(message)),
            Frame::TooLarge { number, bytes } => {
                let limit = self.connection.lane.message_max_bytes();
                let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                self.answer(number, Err(LinkError::TooLarge { bytes, limit }))
            }
            Frame::Failed { number } => self.answer(number, Err(LinkError::Lost)),
            Frame::Request { .. } | Frame::Ping { .. } | Frame::Pong { .. } => Err(Violation::WrongDirection),
        }
    }
}
