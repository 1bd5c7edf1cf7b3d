//! Real `trellis` processes in a folder of their own, to be killed, paused and started again.

mod launch;
mod member;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::Clock;
use crate::s3client::{Credentials, CredentialsError, Endpoint, Target, health};
pub use launch::{Launch, Shape, Traces};
use member::Member;

/// How long a started process may take until it serves.
pub const READY_TIMEOUT_MS: u64 = 30_000;
/// How often it is asked.
const READY_POLL_MS: u64 = 25;
/// How long one question may take.
const HEALTH_TIMEOUT_MS: u64 = 1_000;

/// What can go wrong with the processes themselves, apart from what they answer.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The folder or a process cannot be handled; the cluster is in an unknown state.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A process ended by itself; its log says why.
    #[error("{name} ended by itself ({status}); its last words:\n{log}")]
    Ended {
        /// Which one.
        name: String,
        /// How.
        status: String,
        /// The end of its log.
        log: String,
    },
    /// A process runs but does not serve; it goes on running.
    #[error("{name} does not serve {READY_TIMEOUT_MS} ms after its start; its last words:\n{log}")]
    NotReady {
        /// Which one.
        name: String,
        /// The end of its log.
        log: String,
    },
    /// The processes serve, but did not say with which keys.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The file of endpoints does not name one for every node.
    #[error("{0} does not name an endpoint for every node")]
    Endpoints(PathBuf),
}

/// A running cluster. Dropping it kills its processes; the folder is the caller's.
#[derive(Debug)]
pub struct Cluster {
    members: Vec<Member>,
    target: Target,
}

impl Cluster {
    /// Starts all processes and waits until they serve.
    pub async fn start(launch: &Launch) -> Result<Self, ClusterError> {
        let mut members = launch.members()?;
        for member in &mut members {
            member.start()?;
        }
        for member in &mut members {
            wait_until_ready(member).await?;
        }
        let target = target(launch, &members)?;
        Ok(Cluster { members, target })
    }

    /// Where clients go.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// How many processes there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The process ids of those that run.
    pub fn process_ids(&self) -> Vec<u32> {
        self.members.iter().filter_map(Member::process_id).collect()
    }

    /// `kill -9` of one process; returns when it is gone.
    pub async fn kill(&mut self, member: usize) -> Result<(), ClusterError> {
        self.members[member].kill().await
    }

    /// Starts a killed process again.
    pub fn start_again(&mut self, member: usize) -> Result<(), ClusterError> {
        self.members[member].start()
    }

    /// Waits until a process serves.
    pub async fn wait_until_ready(&mut self, member: usize) -> Result<(), ClusterError> {
        wait_until_ready(&mut self.members[member]).await
    }

    /// Stops a process in its tracks: it is alive, and silent.
    pub fn pause(&self, member: usize) -> Result<(), ClusterError> {
        self.members[member].signal(rustix::process::Signal::STOP)
    }

    /// Lets a paused process go on.
    pub fn resume(&self, member: usize) -> Result<(), ClusterError> {
        self.members[member].signal(rustix::process::Signal::CONT)
    }
}

/// Polls `/health` of every endpoint of a process, within a bound.
async fn wait_until_ready(member: &mut Member) -> Result<(), ClusterError> {
    let (clock, limit) = (Clock::start(), Duration::from_millis(READY_TIMEOUT_MS));
    for endpoint in member.endpoints().to_vec() {
        while !is_healthy(&endpoint).await {
            member.check_alive()?;
            if clock.elapsed() > limit {
                return Err(ClusterError::NotReady {
                    name: member.name().to_owned(),
                    log: member.last_words(),
                });
            }
            tokio::time::sleep(Duration::from_millis(READY_POLL_MS)).await;
        }
    }
    Ok(())
}

async fn is_healthy(endpoint: &Endpoint) -> bool {
    let limit = Duration::from_millis(HEALTH_TIMEOUT_MS);
    health(endpoint, limit).await.is_ok_and(|status| status.is_success())
}

fn target(launch: &Launch, members: &[Member]) -> Result<Target, ClusterError> {
    let file = launch.folder.join("endpoints.txt");
    let text = std::fs::read_to_string(&file).map_err(|source| ClusterError::Io {
        what: "reading endpoints",
        source,
    })?;
    let endpoints: Vec<Endpoint> = text.lines().filter_map(Endpoint::from_url).collect();
    if endpoints.len() != members.iter().map(|member| member.endpoints().len()).sum::<usize>() {
        return Err(ClusterError::Endpoints(file));
    }
    let credentials = Credentials::read(&launch.folder.join("credentials.env"))?;
    Ok(Target {
        endpoints,
        credentials,
        bucket: "nemesis".to_owned(),
    })
}

/// A target that is running already, described by an environment file.
pub fn attach(environment: &Path) -> Result<Target, ClusterError> {
    let endpoints = Credentials::endpoints(environment)?;
    Ok(Target {
        endpoints,
        credentials: Credentials::read(environment)?,
        bucket: "nemesis".to_owned(),
    })
}
