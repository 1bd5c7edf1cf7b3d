//! Real `trellis` processes in a folder of their own, to be killed, paused, cut off and started again.

mod configuration;
mod copies;
mod disks;
mod faults;
mod launch;
mod links;
mod member;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::Clock;
use crate::s3client::{Credentials, CredentialsError, Endpoint, Target, health};
pub use copies::Truth;
use disks::SmallDisk;
pub use disks::namespace;
pub use faults::{CLOCK_SKEW_VARIABLE, Replaced, Visitor, knows};
pub use launch::{Disks, Fittings, Launch, Shape, Traces, Wiring};
use links::Links;
pub use links::{Flow, Passed};
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
    /// Something else failed while a node was harmed. What runs still, runs on.
    #[error("after {done}, of which the last ({harm}) was to node {node}: {source}")]
    Harmed {
        /// The last harm.
        harm: String,
        /// Whom it befell.
        node: usize,
        /// All harms so far.
        done: String,
        /// What failed.
        source: Box<ClusterError>,
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
    launch: Launch,
    members: Vec<Member>,
    target: Target,
    /// The proxies between them, if there are any.
    links: Option<Links>,
    /// The small disks that they are on, if they are; after the members, which use them.
    disks: Vec<SmallDisk>,
    /// How many identities each server had before this one.
    replaced: Vec<usize>,
}

impl Cluster {
    /// Starts all processes and waits until they serve.
    pub async fn start(launch: &Launch) -> Result<Self, ClusterError> {
        let mut members = launch.members()?;
        let (links, disks) = (launch.wire()?, launch.disks()?);
        for (number, member) in members.iter_mut().enumerate() {
            member.start()?;
            if let Some(links) = &links {
                links.is_process(number, member.process_id());
            }
        }
        for member in &mut members {
            wait_until_ready(member).await?;
        }
        Ok(Cluster {
            launch: launch.clone(),
            target: target(launch, &members)?,
            replaced: vec![0; members.len()],
            members,
            links,
            disks,
        })
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
        self.note_process(member, None);
        self.members[member].kill().await
    }

    /// Starts a killed process again.
    pub fn start_again(&mut self, member: usize) -> Result<(), ClusterError> {
        self.members[member].start()?;
        self.note_process(member, self.members[member].process_id());
        Ok(())
    }

    fn note_process(&self, member: usize, process: Option<u32>) {
        if let Some(links) = &self.links {
            links.is_process(member, process);
        }
    }

    /// What a process says of its health: whether it serves, and why not.
    pub async fn health(&self, member: usize) -> Option<(bool, String)> {
        health_of(&self.members[member]).await
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
    health(endpoint, limit)
        .await
        .is_ok_and(|(status, _)| status.is_success())
}

async fn health_of(member: &Member) -> Option<(bool, String)> {
    let limit = Duration::from_millis(HEALTH_TIMEOUT_MS);
    let (status, text) = health(member.endpoints().first()?, limit).await.ok()?;
    Some((status.is_success(), text))
}

/// An error of the operating system, with what was being done.
fn io_error(what: &'static str) -> impl Fn(io::Error) -> ClusterError + Copy {
    move |source| ClusterError::Io { what, source }
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
