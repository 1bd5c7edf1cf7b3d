//! One cell of the table: so many clients write or read objects of one size for so long.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use tokio::task::JoinSet;

use super::system::{ANSWER_TIMEOUT, System, SystemError};
use crate::clock::Clock;
use crate::s3client::{Connection, Request};

/// Objects of each client that are read again and again.
const KEYS_PER_CLIENT: u64 = 8;
/// No two pieces of this length that are written are alike, and none can be compressed: a store that does gains nothing.
const PIECE_BYTES: usize = 4096;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// New bytes under a key.
    Put,
    /// The bytes that were written last.
    Get,
}

/// How it is measured.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// What every client does.
    pub operation: Operation,
    /// Bytes of an object.
    pub size: usize,
    /// Clients, each with one request at a time.
    pub clients: u32,
    /// For how long new requests are begun.
    pub duration: Duration,
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Measured {
    size: usize,
    /// How long each request took, ascending.
    times: Vec<Duration>,
    elapsed: Duration,
    failed: u64,
    processor_seconds: f64,
}

impl Cell {
    /// Measures one system.
    pub async fn measure(self, system: &System) -> Result<Measured, SystemError> {
        let (clock, used) = (Clock::start(), system.processor_seconds()?);
        let mut clients = JoinSet::new();
        for client in 0..self.clients {
            clients.spawn(work(system.clone(), client, self));
        }
        let (mut times, mut failed) = (Vec::new(), 0);
        for (done, errors) in clients.join_all().await {
            times.extend(done);
            failed += errors;
        }
        times.sort_unstable();
        Ok(Measured {
            size: self.size,
            times,
            elapsed: clock.elapsed(),
            failed,
            processor_seconds: system.processor_seconds()? - used,
        })
    }
}

async fn work(system: System, client: u32, cell: Cell) -> (Vec<Duration>, u64) {
    let endpoints = &system.target.endpoints;
    let mut connection = Connection::new(endpoints[client as usize % endpoints.len()].clone());
    let (mut times, mut failed, clock, mut number) = (Vec::new(), 0, Clock::start(), 0);
    let mut body = vec![0; cell.size];
    fastrand::fill(&mut body);
    while clock.elapsed() < cell.duration {
        let key = format!("{}/{client}/{}", cell.size, number % KEYS_PER_CLIENT);
        number += 1;
        let request = match cell.operation {
            Operation::Put => {
                make_new(&mut body);
                let request = Request::new(Method::PUT, &system.target.bucket, &key);
                request.with_unsigned_body(Bytes::copy_from_slice(&body))
            }
            Operation::Get => Request::new(Method::GET, &system.target.bucket, &key),
        };
        let before = clock.elapsed();
        let answer = connection
            .exchange(&request, system.credentials(), ANSWER_TIMEOUT)
            .await;
        match answer {
            Ok(reply) if reply.status == StatusCode::OK => times.push(clock.elapsed() - before),
            // A client that wrote fewer objects reads those.
            Ok(reply) if reply.status == StatusCode::NOT_FOUND && number > 1 => number = 0,
            Ok(_) | Err(_) => failed += 1,
        }
    }
    (times, failed)
}

/// Fills a body with bytes that were not written before, at the cost of a few bytes in each piece.
fn make_new(body: &mut [u8]) {
    for piece in body.chunks_mut(PIECE_BYTES) {
        let stamp = fastrand::u128(..).to_le_bytes();
        let length = piece.len().min(stamp.len());
        piece[..length].copy_from_slice(&stamp[..length]);
    }
}

impl fmt::Display for Measured {
    /// Columns: operations a second, MB a second, median and 99th percentile in milliseconds, milliseconds of processor
    /// time an operation, failures.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(last) = self.times.len().checked_sub(1) else {
            return write!(f, "- | - | - | - | - | {}", self.failed);
        };
        let at = |share: usize| self.times[last * share / 100].as_secs_f64() * 1e3;
        let rate = self.times.len() as f64 / self.elapsed.as_secs_f64();
        let (megabytes, median, late) = (rate * self.size as f64 / 1e6, at(50), at(99));
        let processor = self.processor_seconds * 1e3 / self.times.len() as f64;
        write!(
            f,
            "{rate:.*} | {megabytes:.1} | {median:.2} | {late:.2} | {processor:.3} | {}",
            if rate < 10.0 { 1 } else { 0 },
            self.failed
        )
    }
}
