//! Files of a trace: parts of bounded size in one folder, the oldest of which make room for new ones.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use trellis_spec::quorum::NodeId;

use super::recorder::{Handed, Recorder, count};

/// What all files of a node may take together unless something else is said.
pub const TRACE_MAX_BYTES: u64 = 1 << 30;
/// Of a hundred rows, so many are recorded unless something else is said: that keeps the cost below five percent.
pub const TRACE_PERCENT: u8 = 20;
/// They are removed one by one, so there must be some.
const PARTS: u64 = 8;
/// What is recorded comes to a file after so long at most.
const WRITE_INTERVAL_MS: u64 = 200;
/// What waits for the thread that writes it.
const WAITING_MAX_BYTES: usize = 1 << 20;
/// How the names of files end.
const ENDING: &str = "trace";

/// Where a node writes its trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceSettings {
    /// The folder; nodes may share it.
    pub folder: PathBuf,
    /// What all files of this node may take together.
    pub max_bytes: u64,
    /// How many of a hundred rows are recorded. A row is recorded by all nodes or none.
    pub percent: u8,
}

/// The thread that writes a trace. Dropping it writes what was recorded and ends it, as a crash would; it never says
/// that the node stopped in order.
pub struct TraceFiles {
    recorder: Arc<Recorder>,
    thread: Option<JoinHandle<()>>,
}

impl TraceFiles {
    /// Begins to write the trace of a node in this life, which no other life of it has.
    pub fn start(node: NodeId, life: u64, settings: &TraceSettings) -> io::Result<Self> {
        let recorder = Recorder::new(node, life, WAITING_MAX_BYTES, settings.percent);
        let mut parts = Parts::open(recorder.clone(), settings)?;
        let write = move || while parts.write_some() {};
        let thread = std::thread::Builder::new().name("trace".to_owned()).spawn(write)?;
        Ok(TraceFiles {
            recorder,
            thread: Some(thread),
        })
    }

    /// Who takes the records.
    pub fn recorder(&self) -> Arc<Recorder> {
        self.recorder.clone()
    }

    /// Writes the end of a trace from which nothing is missing.
    pub fn close(self) {
        self.recorder.close();
    }
}

impl Drop for TraceFiles {
    fn drop(&mut self) {
        self.recorder.end();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that writes the trace ended badly");
        }
    }
}

/// The parts of one node.
struct Parts {
    recorder: Arc<Recorder>,
    folder: PathBuf,
    max_bytes: u64,
    /// The number in the name of the next file; it goes on where the node's last life left off.
    next_number: u64,
    part: u32,
    /// The part that is being written, and what was written behind its opening.
    open: Option<(File, u64)>,
    /// Records that could not be written since the last that could.
    lost: u64,
    is_failing: bool,
    /// For what is recorded while something is written.
    spare: Vec<u8>,
}

impl Parts {
    fn open(recorder: Arc<Recorder>, settings: &TraceSettings) -> io::Result<Self> {
        std::fs::create_dir_all(&settings.folder)?;
        let mut parts = Parts {
            recorder,
            folder: settings.folder.clone(),
            max_bytes: settings.max_bytes,
            next_number: 0,
            part: 0,
            open: None,
            lost: 0,
            is_failing: false,
            spare: Vec::new(),
        };
        parts.next_number = parts.present()?.last().map_or(1, |(number, ..)| number + 1);
        parts.begin()?;
        Ok(parts)
    }

    /// Writes what there is; whether there will be more.
    fn write_some(&mut self) -> bool {
        let (most, spare) = (
            Duration::from_millis(WRITE_INTERVAL_MS),
            std::mem::take(&mut self.spare),
        );
        let Handed {
            mut frames,
            lost,
            is_last,
        } = self.recorder.take_after(most, spare);
        let recorded = frames.len();
        if lost > 0 {
            frames = self.recorder.going_on(frames, lost);
        }
        if let Err(error) = self.write(&frames) {
            self.lost += count(&frames[..recorded]) + lost;
            // What the file ends with is not known; the next part says where it goes on.
            self.open = None;
            if !self.is_failing {
                tracing::warn!(folder = %self.folder.display(), %error, "the trace cannot be written; it has a gap");
            }
            self.is_failing = true;
        }
        frames.clear();
        self.spare = frames;
        !is_last
    }

    fn write(&mut self, frames: &[u8]) -> io::Result<()> {
        if frames.is_empty() {
            return Ok(());
        }
        let length = frames.len() as u64;
        let has_room = |(_, written): &(File, u64)| written + length <= self.max_bytes / PARTS;
        if !self.open.as_ref().is_some_and(has_room) {
            self.begin()?;
        }
        let (file, written) = self.open.as_mut().ok_or(io::ErrorKind::NotFound)?;
        file.write_all(frames)?;
        *written += length;
        self.is_failing = false;
        Ok(())
    }

    /// Begins a part, and makes room for it.
    fn begin(&mut self) -> io::Result<()> {
        self.open = None;
        let opening = self.opening();
        let room = self.max_bytes / PARTS + opening.len() as u64;
        let mut present = self.present()?;
        let mut total: u64 = present.iter().map(|(_, _, length)| length).sum();
        present.reverse();
        while total + room > self.max_bytes
            && let Some((_, path, length)) = present.pop()
        {
            std::fs::remove_file(path)?;
            total -= length;
        }
        let path = self.folder.join(name(self.recorder.node(), self.next_number));
        // It holds names and metadata of objects.
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        if let Err(error) = file.write_all(&opening) {
            // The next try takes the same name.
            std::fs::remove_file(path)?;
            return Err(error);
        }
        // The opening takes no room from what follows: else one that is as long as a part would make a part of each write.
        self.open = Some((file, 0));
        self.lost = 0;
        self.next_number += 1;
        self.part += 1;
        Ok(())
    }

    /// How the next part begins.
    fn opening(&self) -> Vec<u8> {
        let opening = self.recorder.opening(self.part);
        match self.part {
            0 => opening,
            _ => self.recorder.going_on(opening, self.lost),
        }
    }

    /// The node's files with their numbers and lengths, oldest first.
    fn present(&self) -> io::Result<Vec<(u64, PathBuf, u64)>> {
        let mut present = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            if let Some(number) = number(&entry.path(), self.recorder.node()) {
                present.push((number, entry.path(), entry.metadata()?.len()));
            }
        }
        present.sort();
        Ok(present)
    }
}

fn name(node: NodeId, number: u64) -> String {
    format!("{:016x}-{number:010}.{ENDING}", node.0)
}

/// The number in the name of a node's file.
fn number(path: &Path, of: NodeId) -> Option<u64> {
    let is_ours = path.extension() == Some(OsStr::new(ENDING));
    let (node, number) = path.file_stem().filter(|_| is_ours)?.to_str()?.split_once('-')?;
    (u64::from_str_radix(node, 16) == Ok(of.0)).then(|| number.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use trellis_spec::layout::{LayoutVersion, Partition};
    use trellis_spec::trace::Record;

    fn settings(folder: &Path, max_bytes: u64) -> TraceSettings {
        TraceSettings {
            folder: folder.to_owned(),
            max_bytes,
            percent: 100,
        }
    }

    fn sizes(folder: &Path) -> Vec<(String, u64)> {
        let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
        let size = |entry: std::fs::DirEntry| {
            let name = entry.file_name().into_string().unwrap();
            (name, entry.metadata().unwrap().len())
        };
        let mut sizes: Vec<(String, u64)> = entries.map(size).collect();
        sizes.sort();
        sizes
    }

    #[test]
    fn the_oldest_parts_make_room_and_lives_are_numbered_on() {
        let home = tempfile::tempdir().unwrap();
        let settings = settings(home.path(), 4096);
        for life in 0..2 {
            let recorder = Recorder::new(NodeId(0xabc), life, WAITING_MAX_BYTES, 100);
            let mut parts = Parts::open(recorder.clone(), &settings).unwrap();
            for _ in 0..60 {
                (0..10).for_each(|_| recorder.record(&Record::Lost(300)));
                parts.write(&recorder.take()).unwrap();
            }
            let files = sizes(home.path());
            assert!(files.iter().map(|(_, length)| length).sum::<u64>() <= 4096, "{files:?}");
            assert!(files.len() > 4 && files[0].0 > name(NodeId(0xabc), 1), "{files:?}");
        }
    }

    fn framed(record: &Record) -> Vec<u8> {
        let recorder = Recorder::new(NodeId(1), 0, WAITING_MAX_BYTES, 100);
        recorder.record(record);
        recorder.take()
    }

    /// A record that takes this much.
    fn copied(length: usize) -> Record {
        Record::Copied {
            partition: Partition(1),
            entered: LayoutVersion(1),
            key: vec![0; length],
        }
    }

    #[test]
    fn behind_what_could_not_be_written_the_next_part_says_what_is_known() {
        let home = tempfile::tempdir().unwrap();
        let recorder = Recorder::new(NodeId(1), 9, WAITING_MAX_BYTES, 100);
        recorder.go_on_with(|| Some(copied(9)));
        let mut parts = Parts::open(recorder.clone(), &settings(home.path(), 1 << 20)).unwrap();
        for lost in 1..=2 {
            let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
            parts.open = Some((full, 0));
            recorder.record(&Record::Closed);
            assert!(parts.write_some());
            assert!(parts.open.is_none() && parts.lost == lost);
        }
        recorder.record(&Record::Closed);
        parts.write_some();
        let written = std::fs::read(home.path().join(name(NodeId(1), 2))).unwrap();
        let behind = [Record::Lost(2), copied(9), Record::Closed].map(|record| framed(&record));
        assert_eq!(written, [recorder.opening(1), behind.concat()].concat());
        assert_eq!(parts.lost, 0);
    }

    #[test]
    fn behind_what_found_no_room_the_same_part_says_what_is_known() {
        let home = tempfile::tempdir().unwrap();
        let recorder = Recorder::new(NodeId(1), 9, 0, 100);
        recorder.go_on_with(|| Some(copied(9)));
        let mut parts = Parts::open(recorder.clone(), &settings(home.path(), 1 << 20)).unwrap();
        (0..3).for_each(|_| recorder.record(&Record::Closed));
        parts.write_some();
        let written = std::fs::read(home.path().join(name(NodeId(1), 1))).unwrap();
        let behind = [Record::Closed, Record::Lost(2), copied(9)].map(|record| framed(&record));
        assert_eq!(written, [recorder.opening(0), behind.concat()].concat());
    }

    #[test]
    fn a_part_whose_opening_is_longer_than_parts_are_holds_as_much_as_others() {
        let home = tempfile::tempdir().unwrap();
        let recorder = Recorder::new(NodeId(1), 9, WAITING_MAX_BYTES, 100);
        recorder.go_on_with(|| Some(copied(1024)));
        let mut parts = Parts::open(recorder, &settings(home.path(), 4096)).unwrap();
        parts.begin().unwrap();
        (0..10).for_each(|_| parts.write(&framed(&copied(9))).unwrap());
        assert_eq!(parts.part, 2, "{:?}", sizes(home.path()));
    }

    #[test]
    fn what_was_recorded_is_in_the_file_when_the_trace_is_closed() {
        let home = tempfile::tempdir().unwrap();
        let files = TraceFiles::start(NodeId(1), 9, &settings(home.path(), 1 << 20)).unwrap();
        let recorder = files.recorder();
        recorder.record(&Record::Lost(3));
        files.close();
        let written = std::fs::read(home.path().join(name(NodeId(1), 1))).unwrap();
        assert!(written.starts_with(&recorder.opening(0)));
        assert_eq!(written.len(), recorder.opening(0).len() + 2 * 4 + 2 + 1);
        // Without its end if the node did not stop in order.
        drop(TraceFiles::start(NodeId(1), 9, &settings(home.path(), 1 << 20)).unwrap());
        let written = std::fs::read(home.path().join(name(NodeId(1), 2))).unwrap();
        assert_eq!(written, recorder.opening(0));
    }
}
