//! A store to be measured, and what its processes have used.

use std::io;
use std::path::Path;
use std::time::Duration;

use hyper::{Method, StatusCode};

use crate::cluster::{self, Cluster, ClusterError};
use crate::s3client::{Connection, Credentials, Request, Target};

/// How long one answer may take: 64 clients with 64 MiB each have to wait for each other.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);
const BUCKET: &str = "bench";

/// A store, who asks it, and its processes.
#[derive(Clone, Debug)]
pub struct System {
    /// What the table calls it.
    pub name: String,
    pub(super) target: Target,
    processes: Vec<u32>,
}

/// Why a store cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// Its processes or its environment file are not as they should be.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// It was not described as NAME=FILE.
    #[error(
        "{0}: say NAME=FILE, with the file's AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL"
    )]
    Described(String),
    /// It has no bucket to measure in, and makes none.
    #[error("{name}: no bucket {BUCKET}: {why}")]
    Bucket {
        /// The system.
        name: String,
        /// What it answered.
        why: String,
    },
    /// The kernel does not tell about its processes.
    #[error("cannot read what a process used: {0}")]
    Process(#[from] io::Error),
}

impl System {
    /// A cluster that was started for this.
    pub fn started(name: &str, cluster: &Cluster) -> Self {
        System {
            name: name.to_owned(),
            target: in_bucket(cluster.target().clone()),
            processes: cluster.process_ids(),
        }
    }

    /// Any store that runs already, from `NAME=FILE`. The file sets the variables that SDKs know, and may set
    /// `SERVER_PIDS` (with commas between them) to have their processor time told.
    pub fn described(text: &str) -> Result<Self, SystemError> {
        let wrong = || SystemError::Described(text.to_owned());
        let (name, file) = text.split_once('=').ok_or_else(wrong)?;
        let target = in_bucket(cluster::attach(Path::new(file))?);
        let text = std::fs::read_to_string(file)?;
        let ids = text.lines().filter_map(|line| line.split_once("SERVER_PIDS="));
        let processes = ids.flat_map(|(_, ids)| ids.split(',').filter_map(|id| id.parse().ok()));
        Ok(System {
            name: name.to_owned(),
            target,
            processes: processes.collect(),
        })
    }

    /// Makes the bucket; it may be there already.
    pub async fn create_bucket(&self) -> Result<(), SystemError> {
        let request = Request::new(Method::PUT, BUCKET, "");
        let mut connection = Connection::new(self.target.endpoints[0].clone());
        let answer = connection.exchange(&request, self.credentials(), ANSWER_TIMEOUT).await;
        let why = match answer {
            Ok(reply) if matches!(reply.status, StatusCode::OK | StatusCode::CONFLICT) => return Ok(()),
            Ok(reply) => reply.describe(),
            Err(failure) => failure.to_string(),
        };
        let name = self.name.clone();
        Err(SystemError::Bucket { name, why })
    }

    /// Processor time that its processes have used, all threads, in seconds.
    pub fn processor_seconds(&self) -> io::Result<f64> {
        let ticks = self.processes.iter().map(|id| ticks(*id)).sum::<io::Result<u64>>()?;
        Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    pub(super) fn credentials(&self) -> &Credentials {
        &self.target.credentials
    }
}

fn in_bucket(mut target: Target) -> Target {
    BUCKET.clone_into(&mut target.bucket);
    target
}

/// User and system time of a process, from `/proc/ID/stat` (proc(5), fields 14 and 15).
fn ticks(id: u32) -> io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The second field is the command in brackets, and may contain anything.
    let fields = text.rsplit(") ").next().unwrap_or_default();
    Ok(fields
        .split(' ')
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum())
}
