//! Files of a trace.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use trellis_spec::trace::{Aftermath, MAGIC, Record, RowStep};

use super::Wrong;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// The number in its name; those of one node follow each other.
    pub number: u64,
    /// What is in it.
    pub bytes: Vec<u8>,
}

impl Part {
    /// A part with its number as its name has it: `NODE-NUMBER.trace`.
    pub fn named(name: String, bytes: Vec<u8>) -> Self {
        let stem = name.strip_suffix(".trace").unwrap_or(&name);
        let number = stem.rsplit('-').next().and_then(|number| number.parse().ok());
        Part {
            number: number.unwrap_or(0),
            name,
            bytes,
        }
    }
}

/// The parts in a folder, in the order of their names; each is read when it is its turn.
pub fn read_folder(folder: &Path) -> io::Result<impl Iterator<Item = io::Result<Part>>> {
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut paths: Vec<PathBuf> = entries.collect::<io::Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "trace"));
    paths.sort();
    Ok(paths.into_iter().map(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Part::named(name, fs::read(&path)?))
    }))
}

/// What comes next in a part.
pub(super) enum Contents {
    Record(Box<Record>),
    Step(Box<RowStep>, Aftermath),
    /// Nothing.
    End,
    /// The beginning of a record.
    CutOff,
}

/// The records of a part.
pub(super) struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Result<Self, Wrong> {
        let rest = bytes.strip_prefix(&MAGIC);
        // Whoever made it did not come to write its beginning.
        let rest = rest.or_else(|| MAGIC.starts_with(bytes).then_some(&[]));
        let rest = rest.ok_or_else(|| Wrong::form("the file must begin as traces of this version do"))?;
        Ok(Frames { rest })
    }

    pub(super) fn next(&mut self) -> Result<Contents, Wrong> {
        let Some((length, rest)) = self.rest.split_first_chunk() else {
            return Ok(if self.rest.is_empty() {
                Contents::End
            } else {
                Contents::CutOff
            });
        };
        let length = u32::from_le_bytes(*length) as usize;
        let Some((record, rest)) = rest.split_at_checked(length) else {
            return Ok(Contents::CutOff);
        };
        self.rest = rest;
        let (contents, rest) = match read(record)? {
            (Record::Row(step), rest) => {
                let (aftermath, rest) = read(rest)?;
                (Contents::Step(Box::new(step), aftermath), rest)
            }
            (record, rest) => (Contents::Record(Box::new(record)), rest),
        };
        match rest.len() {
            0 => Ok(contents),
            left => Err(Wrong::form(&format!(
                "a record must fill its frame, and {left} bytes are left over"
            ))),
        }
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), Wrong> {
    let read = postcard::take_from_bytes(bytes);
    read.map_err(|error| Wrong::form(&format!("a record that can be read ({error})")))
}
