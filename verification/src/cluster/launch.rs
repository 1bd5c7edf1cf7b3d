//! How `trellis` is started: the only place that knows its command line.

use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use super::disks::{SmallDisk, copy_folder};
use super::links::Links;
use super::member::Member;
use super::{ClusterError, configuration, io_error};
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
    /// What is around the processes so that harm can be done to them.
    pub fittings: Fittings,
}

/// What is around processes so that harm can be done to them.
#[derive(Clone, Debug, Default)]
pub struct Fittings {
    /// How nodes reach each other.
    pub links: Wiring,
    /// Where their data are.
    pub disks: Disks,
    /// Variables of their environment.
    pub environment: Vec<(String, String)>,
    /// Tables that each configuration gets besides those that the program writes.
    pub settings: String,
}

/// How nodes reach each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wiring {
    /// By themselves.
    #[default]
    Direct,
    /// Through a proxy before each node.
    Proxied,
}

/// Where the data of nodes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Disks {
    /// In the folder of the cluster.
    #[default]
    Shared,
    /// Each on a small disk of its own; in a mount namespace that [`super::namespace`] made.
    Small,
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
        let mut members: Vec<Member> = match self.shape {
            Shape::Dev => vec![self.dev(free_ports(self.nodes)?)],
            Shape::Servers => (1..=self.nodes)
                .zip(self.server_endpoints()?)
                .map(|(n, e)| self.server(n, e))
                .collect(),
        };
        let environment = &self.fittings.environment;
        members
            .iter_mut()
            .for_each(|member| member.set_environment(environment.clone()));
        Ok(members)
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

    /// The configuration of a server.
    pub(super) fn config(&self, node: usize) -> PathBuf {
        self.folder.join(format!("node-{}.toml", node + 1))
    }

    /// A server that is none of the cluster's, listening for clients at a port of this machine.
    pub(super) fn visitor(&self, config: &Path, port: u16) -> Member {
        let arguments: Vec<OsString> = vec!["server".into(), "--config".into(), config.into()];
        let (log, endpoint) = (self.folder.join("visitor.log"), Endpoint(format!("127.0.0.1:{port}")));
        Member::new("visitor", self.binary.clone(), arguments, log, vec![endpoint])
    }

    fn server(&self, node: u16, endpoint: Endpoint) -> Member {
        let (name, config) = (format!("node-{node}"), self.config(usize::from(node) - 1));
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
        Ok(std::fs::read_to_string(file)
            .map_err(io_error("reading endpoints"))?
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
        let io = io_error("generating configurations");
        let output = generate.output().map_err(io)?;
        match output.status.success() {
            true => self.write_traces().and_then(|()| self.write_settings()).map_err(io),
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
        let settings = format!("trace = {folder:?}\ntrace_percent = {percent}\n");
        self.configure(|_, config| Ok(format!("{settings}{config}")))
    }

    fn write_settings(&self) -> io::Result<()> {
        let settings = &self.fittings.settings;
        self.configure(|_, config| Ok(format!("{config}{settings}")))
    }

    /// Changes the configuration of every server.
    fn configure(&self, mut change: impl FnMut(usize, &str) -> io::Result<String>) -> io::Result<()> {
        for node in 0..usize::from(self.nodes) {
            let path = self.config(node);
            let config = std::fs::read_to_string(&path)?;
            std::fs::write(&path, change(node, &config)?)?;
        }
        Ok(())
    }

    /// The proxies before the nodes, if there are to be any; the nodes do not run yet.
    pub(super) fn wire(&self) -> Result<Option<Links>, ClusterError> {
        match self.fittings.links {
            Wiring::Direct => Ok(None),
            Wiring::Proxied => self
                .proxies()
                .map(Some)
                .map_err(io_error("leading links through proxies")),
        }
    }

    fn proxies(&self) -> io::Result<Links> {
        let (mut links, mut nodes) = (Links::bind(self.nodes.into())?, Vec::new());
        let addresses = links.addresses().to_vec();
        self.configure(|node, config| {
            let behind = configuration::behind_proxies(config, addresses[node], &addresses);
            let (config, listens) = behind.ok_or_else(|| io::Error::other("a configuration names no links"))?;
            nodes.push(listens);
            Ok(config)
        })?;
        links.lead(&nodes);
        Ok(links)
    }

    /// The small disks of the nodes, if they are to have any; their data folders are moved there.
    pub(super) fn disks(&self) -> Result<Vec<SmallDisk>, ClusterError> {
        match self.fittings.disks {
            Disks::Shared => Ok(Vec::new()),
            Disks::Small => self.small_disks().map_err(io_error("making small disks")),
        }
    }

    fn small_disks(&self) -> io::Result<Vec<SmallDisk>> {
        let mut disks = Vec::new();
        self.configure(|node, config| {
            let data = configuration::data_folder(config).ok_or(io::ErrorKind::NotFound)?;
            let (from, disk) = (self.folder.join(data), format!("disk-{}", node + 1));
            disks.push(SmallDisk::mount(&self.folder.join(&disk))?);
            let name = from.file_name().map(Path::new).ok_or(io::ErrorKind::NotFound)?;
            let to = Path::new(&disk).join(name);
            copy_folder(&from, &self.folder.join(&to))?;
            Ok(configuration::with_data_folder(config, &to.to_string_lossy()))
        })?;
        Ok(disks)
    }
}

/// The first of as many neighbouring ports that are free just now.
pub(super) fn free_ports(count: u16) -> Result<u16, ClusterError> {
    let are_free =
        |first: &u16| (*first..*first + count).all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    let mut tries = (0..PORT_TRIES_MAX).map(|_| fastrand::u16(PORTS));
    let source = || io::Error::from(io::ErrorKind::AddrInUse);
    tries.find(are_free).ok_or_else(|| ClusterError::Io {
        what: "looking for free ports",
        source: source(),
    })
}
