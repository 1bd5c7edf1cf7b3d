//! How `trellis` is started: the only place that knows its command line.

use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

use super::ClusterError;
use super::member::Member;
use crate::s3client::Endpoint;

/// Ports are taken below the range from which the system hands out its own.
const PORTS: std::ops::Range<u16> = 20_000..30_000;
/// How many ranges of ports are tried.
const PORT_TRIES_MAX: u32 = 100;

/// Which processes make the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Shape {
    /// All nodes in one `trellis dev` process: a kill takes down everything at once.
    Dev,
    /// One `trellis server` process per node, each with its `node-N.toml` in the folder.
    Servers,
}

/// A cluster to be.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program `trellis`.
    pub binary: PathBuf,
    /// Where everything is kept; a cluster started again in the same folder has everything it had.
    pub folder: PathBuf,
    /// How many nodes.
    pub nodes: u16,
    /// In which processes.
    pub shape: Shape,
    /// What traces the nodes write, if they do.
    pub trace: Option<Traces>,
}

/// Traces of nodes.
#[derive(Clone, Debug)]
pub struct Traces {
    /// Where they go.
    pub folder: PathBuf,
    /// How many of a hundred rows they are about.
    pub percent: u8,
}

impl Launch {
    pub(super) fn members(&self) -> Result<Vec<Member>, ClusterError> {
        match self.shape {
            Shape::Dev => Ok(vec![self.dev(free_ports(self.nodes)?)]),
            Shape::Servers => Ok((1..=self.nodes)
                .zip(self.server_endpoints()?)
                .map(|(n, e)| self.server(n, e))
                .collect()),
        }
    }

    fn dev(&self, port: u16) -> Member {
        let endpoints = (0..self.nodes)
            .map(|node| Endpoint(format!("127.0.0.1:{}", port + node)))
            .collect();
        let mut arguments: Vec<OsString> = vec!["dev".into()];
        arguments.extend(["--nodes".into(), self.nodes.to_string().into()]);
        arguments.extend(["--data".into(), self.folder.clone().into()]);
        arguments.extend(["--s3".into(), format!("127.0.0.1:{port}").into()]);
        if let Some(trace) = &self.trace {
            arguments.extend(["--trace".into(), trace.folder.clone().into()]);
            arguments.extend(["--trace-percent".into(), trace.percent.to_string().into()]);
        }
        Member::new(
            "dev",
            self.binary.clone(),
            arguments,
            self.folder.join("dev.log"),
            endpoints,
        )
    }

    fn server(&self, node: u16, endpoint: Endpoint) -> Member {
        let (name, config) = (format!("node-{node}"), self.folder.join(format!("node-{node}.toml")));
        let arguments: Vec<OsString> = vec!["server".into(), "--config".into(), config.into()];
        let log = self.folder.join(format!("{name}.log"));
        Member::new(&name, self.binary.clone(), arguments, log, vec![endpoint])
    }

    /// Server processes are described by their configuration; who wrote it listed their endpoints beside it. In a new
    /// folder `trellis` itself writes both.
    fn server_endpoints(&self) -> Result<Vec<Endpoint>, ClusterError> {
        let file = self.folder.join("endpoints.txt");
        if !file.exists() {
            self.generate()?;
        }
        let io = |source| ClusterError::Io {
            what: "reading endpoints",
            source,
        };
        Ok(std::fs::read_to_string(file)
            .map_err(io)?
            .lines()
            .filter_map(Endpoint::from_url)
            .collect())
    }
}

impl Launch {
    fn generate(&self) -> Result<(), ClusterError> {
        // Each node listens for clients and for its peers.
        let port = free_ports(self.nodes.saturating_mul(2))?;
        let mut generate = std::process::Command::new(&self.binary);
        generate.args(["config", "generate", "--nodes", &self.nodes.to_string()]);
        generate.arg("--folder").arg(&self.folder);
        generate.args(["--s3", &format!("127.0.0.1:{port}")]);
        let io = |source| ClusterError::Io {
            what: "generating configurations",
            source,
        };
        let output = generate.output().map_err(io)?;
        match output.status.success() {
            true => self.write_traces().map_err(io),
            false => Err(io(io::Error::other(
                String::from_utf8_lossy(&output.stderr).into_owned(),
            ))),
        }
    }
}

impl Launch {
    /// Says so in every configuration; keys of no table come first.
    fn write_traces(&self) -> io::Result<()> {
        let Some(Traces { folder, percent }) = &self.trace else {
            return Ok(());
        };
        for node in 1..=self.nodes {
            let path = self.folder.join(format!("node-{node}.toml"));
            let config = std::fs::read_to_string(&path)?;
            std::fs::write(
                &path,
                format!("trace = {folder:?}\ntrace_percent = {percent}\n{config}"),
            )?;
        }
        Ok(())
    }
}

/// The first of as many neighbouring ports that are free just now.
fn free_ports(count: u16) -> Result<u16, ClusterError> {
    let are_free =
        |first: &u16| (*first..*first + count).all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    let mut tries = (0..PORT_TRIES_MAX).map(|_| fastrand::u16(PORTS));
    let source = || io::Error::from(io::ErrorKind::AddrInUse);
    tries.find(are_free).ok_or_else(|| ClusterError::Io {
        what: "looking for free ports",
        source: source(),
    })
}
