//! Programs that start processes and are asked to end: they end what they started.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// A program was asked to end before its work was done.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; everything that was started is stopped")]
pub struct Interrupted;

/// Goes on with `work` until it is done or a SIGINT or SIGTERM comes. Then it is dropped, and its processes with it.
pub async fn until_interrupted<T, E>(work: impl Future<Output = Result<T, E>>) -> Result<T, E>
where
    E: From<io::Error> + From<Interrupted>,
{
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        done = work => done,
        _ = interrupt.recv() => Err(Interrupted.into()),
        _ = terminate.recv() => Err(Interrupted.into()),
    }
}
