//! What can be done to a running cluster besides killing and pausing its processes.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::copies::{Truth, compare};
use super::disks::{beside, copy_folder};
use super::links::{Flow, Passed};
use super::member::Member;
use super::{Cluster, ClusterError, configuration, health_of, io_error};

/// The variable by which a build for tests is told how wrong its clock is.
pub const CLOCK_SKEW_VARIABLE: &str = "TRELLIS_CLOCK_SKEW_MS";
/// Ends of the names of copies of data folders: one made earlier, and the one that is not in use meanwhile.
const EARLIER: &str = ".earlier";
const SET_ASIDE: &str = ".set-aside";

/// Whether a program has this in it: the name of a variable that only builds for tests know.
pub fn knows(binary: &Path, variable: &str) -> io::Result<bool> {
    let program = std::fs::read(binary)?;
    Ok(program
        .windows(variable.len())
        .any(|window| window == variable.as_bytes()))
}

impl Cluster {
    /// From now on bytes get from one node to another in this way; nothing happens where nodes reach each other directly.
    pub fn set_flow(&self, from: usize, to: usize, flow: Flow) {
        if let Some(links) = &self.links {
            links.set(from, to, flow);
        }
    }

    /// Lets everything through again.
    pub fn open_links(&self) {
        let all = || 0..self.len();
        all().for_each(|from| all().for_each(|to| self.set_flow(from, to, Flow::Open)));
    }

    /// Tears every connection between a node and others.
    pub fn reset_links(&self, member: usize) {
        if let Some(links) = &self.links {
            links.reset(member);
        }
    }

    /// What was done to links so far.
    pub fn passed(&self) -> Passed {
        self.links.as_ref().map(super::Links::passed).unwrap_or_default()
    }

    /// Leaves no more than so much room on a node's small disk.
    pub fn fill_disk(&self, member: usize, free_bytes: u64) -> Result<(), ClusterError> {
        let fill = |disk: &super::SmallDisk| disk.fill(free_bytes);
        self.disks
            .get(member)
            .map_or(Ok(()), fill)
            .map_err(io_error("filling a disk"))
    }

    /// Gives the room back.
    pub fn empty_disk(&self, member: usize) -> Result<(), ClusterError> {
        let disk = self.disks.get(member);
        disk.map_or(Ok(()), super::SmallDisk::empty)
            .map_err(io_error("emptying a disk"))
    }

    /// From the next start on, a process of a build for tests has a clock that is ahead by so much; negative is behind.
    pub fn set_clock(&mut self, member: usize, ahead_ms: i64) {
        let mut environment = self.launch.fittings.environment.clone();
        environment.push((CLOCK_SKEW_VARIABLE.to_owned(), ahead_ms.to_string()));
        self.members[member].set_environment(environment);
    }

    /// Where a server keeps its data.
    pub fn data_folder(&self, member: usize) -> Result<PathBuf, ClusterError> {
        let io = io_error("reading a configuration");
        let config = std::fs::read_to_string(self.launch.config(member)).map_err(io)?;
        let folder = configuration::data_folder(&config).ok_or_else(|| io(io::ErrorKind::NotFound.into()))?;
        Ok(self.launch.folder.join(folder))
    }

    /// Keeps a copy of the data of a server, which must not run. Says whether there was room for it.
    pub fn keep_copy(&self, member: usize) -> Result<bool, ClusterError> {
        let folder = self.data_folder(member)?;
        let copy = beside(&folder, EARLIER);
        let copied = remove(&copy).and_then(|()| copy_folder(&folder, &copy));
        let kept = match copied {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => remove(&copy).map(|()| false),
            copied => copied.map(|()| true),
        };
        kept.map_err(io_error("copying a data folder"))
    }

    /// Puts the copy that was kept in the place of the data; the server must not run.
    pub fn bring_copy(&self, member: usize) -> Result<(), ClusterError> {
        let folder = self.data_folder(member)?;
        let moved = std::fs::rename(&folder, beside(&folder, SET_ASIDE));
        moved
            .and_then(|()| std::fs::rename(beside(&folder, EARLIER), &folder))
            .map_err(io_error("swapping a data folder"))
    }

    /// Puts the data back, and throws the copy away; the server must not run.
    pub fn bring_back(&self, member: usize) -> Result<(), ClusterError> {
        let folder = self.data_folder(member)?;
        let back = remove(&folder).and_then(|()| std::fs::rename(beside(&folder, SET_ASIDE), &folder));
        back.map_err(io_error("swapping a data folder back"))
    }

    /// Kills a server for good and starts a new node in its place: another identity in an empty folder. Says who was there
    /// and who is there now. The data of the old one stay where they are.
    pub async fn replace(&mut self, member: usize) -> Result<Replaced, ClusterError> {
        self.kill(member).await?;
        let (old, config) = (self.data_folder(member)?, self.launch.config(member));
        self.replaced[member] += 1;
        let new = beside(
            &self.launch.folder.join(self.members[member].name()),
            &format!("-{}", self.replaced[member]),
        );
        let io = io_error("changing a configuration");
        let text = std::fs::read_to_string(&config).map_err(io)?;
        let address = configuration::dialed_at(&text).ok_or_else(|| io(io::ErrorKind::NotFound.into()))?;
        let replaced = Replaced {
            address: address.to_owned(),
            old_id: self.id(&old)?,
            new_id: self.trellis(&["node", "init", "--data"], &new)?,
            old,
        };
        let text = configuration::with_data_folder(&text, &new.to_string_lossy());
        std::fs::write(&config, text).map_err(io)?;
        self.start_again(member)?;
        Ok(replaced)
    }

    fn id(&self, folder: &Path) -> Result<String, ClusterError> {
        self.trellis(&["node", "id", "--data"], folder)
    }

    /// What `trellis` prints about a folder.
    fn trellis(&self, arguments: &[&str], folder: &Path) -> Result<String, ClusterError> {
        let io = io_error("asking trellis about a data folder");
        let output = Command::new(&self.launch.binary)
            .args(arguments)
            .arg(folder)
            .output()
            .map_err(io)?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Err(io(io::Error::other(
                String::from_utf8_lossy(&output.stderr).into_owned(),
            ))),
        }
    }
}

/// A node that has left for good, and the one in its place.
#[derive(Clone, Debug)]
pub struct Replaced {
    /// Who left.
    pub old_id: String,
    /// Its data.
    pub old: PathBuf,
    /// Who came.
    pub new_id: String,
    /// Where it is dialed, as the old one was.
    pub address: String,
}

fn remove(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A node that was replaced and comes back, beside the cluster. Dropping it kills its process.
#[derive(Debug)]
pub struct Visitor {
    member: Member,
    config: PathBuf,
}

impl Visitor {
    /// How to ask it.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// What it says of its health.
    pub async fn health(&self) -> Option<(bool, String)> {
        health_of(&self.member).await
    }

    /// What it logged.
    pub fn log(&self) -> String {
        self.member.words()
    }

    /// `kill -9`; returns when it is gone.
    pub async fn kill(&mut self) -> Result<(), ClusterError> {
        self.member.kill().await
    }
}

impl Cluster {
    /// Starts a node that was replaced, with the data that it had at last, or with an older copy of them.
    pub fn visit(&self, departed: &Replaced, with_older_copy: bool) -> Result<Visitor, ClusterError> {
        let io = io_error("starting a departed node");
        let folder = match with_older_copy {
            true => beside(&departed.old, EARLIER),
            false => departed.old.clone(),
        };
        let text = std::fs::read_to_string(self.launch.config(0)).map_err(io)?;
        let port = super::launch::free_ports(2)?;
        let text = configuration::with_data_folder(&text, &folder.to_string_lossy());
        let text = configuration::listening_at(&text, port);
        let config = self.launch.folder.join("visitor.toml");
        std::fs::write(&config, text).map_err(io)?;
        let mut member = self.launch.visitor(&config, port);
        member.start()?;
        if let Some(links) = &self.links {
            links.is_guest(member.process_id());
        }
        Ok(Visitor { member, config })
    }

    /// Compares what all nodes have on their disks at this moment, in which none of them moves.
    pub async fn compare_copies(&self) -> Result<Truth, ClusterError> {
        let io = io_error("comparing data folders");
        let home = tempfile::tempdir_in(&self.launch.folder).map_err(io)?;
        for member in 0..self.len() {
            self.pause(member)?;
        }
        let copies = self.copy_all(home.path());
        for member in 0..self.len() {
            self.resume(member)?;
        }
        let copies = copies?;
        let copies: Vec<&Path> = copies.iter().map(PathBuf::as_path).collect();
        compare(&copies).await.map_err(io)
    }

    fn copy_all(&self, home: &Path) -> Result<Vec<PathBuf>, ClusterError> {
        let copy = |member| {
            let to = home.join(format!("copy-{member}"));
            copy_folder(&self.data_folder(member)?, &to).map_err(io_error("copying a data folder"))?;
            Ok(to)
        };
        (0..self.len()).map(copy).collect()
    }
}
