//! One process of a cluster.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::ClusterError;
use crate::s3client::Endpoint;

/// How many lines of a log are shown when its process is in trouble.
const LAST_WORDS_LINES: usize = 20;

/// A process that can be started any number of times, always with the same arguments.
#[derive(Debug)]
pub(super) struct Member {
    name: String,
    binary: PathBuf,
    arguments: Vec<OsString>,
    log: PathBuf,
    endpoints: Vec<Endpoint>,
    environment: Vec<(String, String)>,
    child: Option<Child>,
}

impl Member {
    pub(super) fn new(
        name: &str,
        binary: PathBuf,
        arguments: Vec<OsString>,
        log: PathBuf,
        endpoints: Vec<Endpoint>,
    ) -> Self {
        Member {
            name: name.to_owned(),
            binary,
            arguments,
            log,
            endpoints,
            environment: Vec::new(),
            child: None,
        }
    }

    /// From the next start on, these variables are in its environment.
    pub(super) fn set_environment(&mut self, environment: Vec<(String, String)>) {
        self.environment = environment;
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    pub(super) fn process_id(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Starts the process; its output goes to the end of its log.
    pub(super) fn start(&mut self) -> Result<(), ClusterError> {
        let log = self.open_log().map_err(|source| ClusterError::Io {
            what: "opening a log",
            source,
        })?;
        let copy = log.try_clone().map_err(|source| ClusterError::Io {
            what: "opening a log",
            source,
        })?;
        let mut command = Command::new(&self.binary);
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(copy)
            .kill_on_drop(true);
        let child = command.spawn().map_err(|source| ClusterError::Io {
            what: "starting trellis",
            source,
        })?;
        self.child = Some(child);
        Ok(())
    }

    fn open_log(&self) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).open(&self.log)
    }

    /// `kill -9`, and waits until it is gone.
    pub(super) async fn kill(&mut self) -> Result<(), ClusterError> {
        match self.child.take() {
            Some(mut child) => child.kill().await.map_err(|source| ClusterError::Io {
                what: "killing trellis",
                source,
            }),
            None => Ok(()),
        }
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<(), ClusterError> {
        let id = self
            .child
            .as_ref()
            .and_then(Child::id)
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let Some(id) = id else { return Ok(()) };
        kill_process(id, signal).map_err(|error| ClusterError::Io {
            what: "signalling trellis",
            source: error.into(),
        })
    }

    /// An error when the process ended although nobody killed it.
    pub(super) fn check_alive(&mut self) -> Result<(), ClusterError> {
        let Some(child) = &mut self.child else { return Ok(()) };
        match child.try_wait().map_err(|source| ClusterError::Io {
            what: "looking after trellis",
            source,
        })? {
            None => Ok(()),
            Some(status) => Err(ClusterError::Ended {
                name: self.name.clone(),
                status: status.to_string(),
                log: self.last_words(),
            }),
        }
    }

    /// All that it logged.
    pub(super) fn words(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(super) fn last_words(&self) -> String {
        let text = self.words();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LAST_WORDS_LINES)..].join("\n")
    }
}
