//! What the commands that run nodes have in common: the log, the runtime, the signals.

use std::future::Future;
use std::io;

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::logging::{self, BadFilter, LogFormat};

/// Options of the log.
#[derive(Debug, Args)]
pub(super) struct LogOptions {
    /// What to log, such as `info`, `warn` or `info,trellis_node::link=debug`.
    #[arg(long, value_name = "FILTER", env = "RUST_LOG")]
    log: Option<String>,
    /// How log lines look.
    #[arg(long, value_enum)]
    log_format: Option<LogFormat>,
}

impl LogOptions {
    /// Starts logging as the command line says, or else as given.
    pub(super) fn start(&self, filter: &str, format: LogFormat) -> Result<(), BadFilter> {
        let filter = self.log.as_deref().unwrap_or(filter);
        logging::start(filter, self.log_format.unwrap_or(format))
    }
}

/// The signals that ask a process to end.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From now on these signals end nothing by themselves.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for one of them.
    async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Runs `start`, unless a signal comes first.
    pub(super) async fn or_start<T>(&mut self, start: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.received() => None,
            started = start => Some(started),
        }
    }

    /// Waits for a signal, then runs `stop` to its end, unless a second signal comes.
    pub(super) async fn then_stop(mut self, stop: impl Future<Output = ()>) {
        self.received().await;
        tracing::info!("stopping; a second signal stops at once");
        tokio::select! {
            () = stop => {}
            () = self.received() => tracing::warn!("stopped at once; the next start recovers"),
        }
    }
}

/// A runtime for nodes, which may open as many files as the system lets them: each connection of a client is one.
pub(super) fn runtime() -> io::Result<Runtime> {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.maximum;
    // With fewer, the log tells what could not be opened.
    let _ = setrlimit(Resource::Nofile, Rlimit { current, ..limit });
    Builder::new_multi_thread().enable_all().build()
}
