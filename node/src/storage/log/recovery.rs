//! Reading the chain of segments at start.
//!
//! A power cut may tear the last group and the header of a segment just made; both are cut off, for nobody was told
//! about them. Everything else that does not fit is damage, and the store refuses to open: a group that does not match
//! its checksum while a later one does, a segment missing in the middle, positions that do not continue.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::format::{
    self, BadHeader, GROUP_HEADER_BYTES, GROUP_MAGIC, GroupHeader, GroupKind, RowRecord, SEGMENT_FORMAT,
    SEGMENT_HEADER_BYTES, SegmentHeader,
};
use super::{Segment, segment_path};
use crate::storage::files::{FileHandle, Files, OpenFor};
use crate::storage::folder::OpenError;

/// How much is read at a time when looking for groups behind the end.
const SEARCH_BYTES: usize = 1 << 20;

/// Which segments are read through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scan {
    /// All, to rebuild the index.
    Everything,
    /// The last, to find the end; the index is known to be complete.
    LastSegment,
}

/// What the log says.
pub(crate) struct Recovered {
    pub(crate) segments: BTreeMap<u64, Arc<Segment>>,
    /// The newest position in it.
    pub(crate) last: u64,
    /// How often the store was opened.
    pub(crate) starts: u64,
}

/// Takes the rows of one group: the segment, where in it the payload begins, and the rows.
pub(crate) type Visit<'a> = dyn FnMut(u64, u64, Vec<RowRecord>) -> Result<(), OpenError> + 'a;

/// Reads the chain in `folder` and shows every row read to `visit`. What a power cut left behind the last group is still
/// there: see [`cut_torn_tail`].
pub(crate) fn recover(
    files: &dyn Files,
    folder: &Path,
    scan: Scan,
    visit: &mut Visit<'_>,
) -> Result<Recovered, OpenError> {
    let reader = Reader { files, folder };
    let mut recovered = Recovered {
        segments: BTreeMap::new(),
        last: 0,
        starts: 0,
    };
    let numbers = reader.chain()?;
    for (index, &number) in numbers.iter().enumerate() {
        let is_last = index + 1 == numbers.len();
        let may_be_torn = is_last && scan == Scan::Everything;
        let Some(mut segment) = reader.open(number, may_be_torn)? else {
            break;
        };
        let header = segment.header;
        if index > 0 && scan == Scan::Everything && header.first != recovered.last + 1 {
            let what = format!(
                "commits {} to {} are missing before it",
                recovered.last + 1,
                header.first - 1
            );
            return Err(reader.damaged(number, &what));
        }
        recovered.last = header.first - 1;
        recovered.starts = header.starts;
        if is_last || scan == Scan::Everything {
            let end = reader.scan(&segment, &mut recovered, visit)?;
            segment.end = AtomicU64::new(end);
        }
        recovered.segments.insert(number, Arc::new(segment));
    }
    Ok(recovered)
}

/// Cuts off what the last, unfinished append left behind, once it is known that the log is the right one.
pub(crate) fn cut_torn_tail(files: &dyn Files, folder: &Path, recovered: &Recovered) -> Result<(), OpenError> {
    let reader = Reader { files, folder };
    match recovered.segments.values().next_back() {
        Some(last) => reader.cut_torn_tail(last, last.used()),
        None => Ok(()),
    }
}

struct Reader<'a> {
    files: &'a dyn Files,
    folder: &'a Path,
}

impl Reader<'_> {
    fn io<T>(&self, result: io::Result<T>) -> Result<T, OpenError> {
        result.map_err(OpenError::io(self.folder))
    }

    fn damaged(&self, segment: u64, what: &str) -> OpenError {
        let file = segment_path(self.folder, segment);
        let file = file.file_name().unwrap_or_default().to_string_lossy();
        OpenError::Damaged {
            folder: self.folder.to_owned(),
            what: format!("{file}: {what}"),
        }
    }

    /// The numbers of the segments, which follow one another.
    fn chain(&self) -> Result<Vec<u64>, OpenError> {
        let names = self.io(self.files.list(self.folder))?;
        let mut numbers: Vec<u64> = names
            .iter()
            .filter_map(|name| name.strip_suffix(".log")?.parse().ok())
            .collect();
        numbers.sort_unstable();
        match numbers.windows(2).find(|pair| pair[0] + 1 != pair[1]) {
            Some(pair) => Err(self.damaged(pair[0] + 1, "the file is missing")),
            None => Ok(numbers),
        }
    }

    /// Opens a segment, or removes it and answers nothing when it was still being made as the power went.
    fn open(&self, number: u64, may_be_torn: bool) -> Result<Option<Segment>, OpenError> {
        let path = segment_path(self.folder, number);
        let file = self.io(self.files.open(&path, OpenFor::Write))?;
        let head = self.io(file.read_at(0, SEGMENT_HEADER_BYTES))?;
        match SegmentHeader::decode(&head) {
            Ok(header) if header.segment == number && header.first > 0 => {
                let end = AtomicU64::new(self.io(file.size())?);
                Ok(Some(Segment {
                    header,
                    file,
                    end,
                    live: AtomicU64::new(0),
                }))
            }
            Ok(_) => Err(self.damaged(number, "the file belongs elsewhere")),
            Err(BadHeader::Newer(found)) => Err(OpenError::Newer {
                folder: self.folder.to_owned(),
                found,
                known: SEGMENT_FORMAT,
            }),
            // Groups are only written behind a header that is on disk.
            Err(BadHeader::Torn) if may_be_torn && self.is_zero(file.as_ref(), SEGMENT_HEADER_BYTES as u64)? => {
                self.io(self.files.remove(&path))?;
                self.io(self.files.sync_folder(self.folder))?;
                Ok(None)
            }
            Err(BadHeader::Torn) => Err(self.damaged(number, "the header is not what was written")),
        }
    }

    /// Shows the segment's rows to `visit`; returns where its last whole group ends.
    fn scan(&self, segment: &Segment, recovered: &mut Recovered, visit: &mut Visit<'_>) -> Result<u64, OpenError> {
        let number = segment.header.segment;
        let mut offset = SEGMENT_HEADER_BYTES as u64;
        while let Some((header, payload)) = self.io(segment.group(offset))? {
            if header.first != recovered.last + 1 {
                let what = format!("commit {} at byte {offset} follows {}", header.first, recovered.last);
                return Err(self.damaged(number, &what));
            }
            let start = offset + GROUP_HEADER_BYTES as u64;
            match header.kind {
                GroupKind::Seal => break,
                GroupKind::Start { starts } => recovered.starts = u64::from(starts),
                GroupKind::Rows { batches } => {
                    let rows = format::decode_payload(&payload, batches)
                        .ok_or_else(|| self.damaged(number, &format!("the rows at byte {start} cannot be read")))?;
                    visit(number, start, rows)?;
                }
            }
            recovered.last = header.last();
            offset = start + payload.len() as u64;
        }
        Ok(offset)
    }

    /// Cuts off what the last, unfinished append left behind `end`, after making sure that it is nothing more.
    fn cut_torn_tail(&self, segment: &Segment, end: u64) -> Result<(), OpenError> {
        if self.is_zero(segment.file.as_ref(), end)? {
            return Ok(());
        }
        if let Some(later) = self.later_group(segment, end)? {
            let what = format!(
                "the commit at byte {end} is not what was written, but the one at byte {later} is, \
                 which was written after it was on disk"
            );
            return Err(self.damaged(segment.header.segment, &what));
        }
        self.io(segment.file.truncate(end))?;
        self.io(segment.file.sync_data())
    }

    /// Where behind the torn group at `torn` another group begins.
    fn later_group(&self, segment: &Segment, torn: u64) -> Result<Option<u64>, OpenError> {
        let mut offset = torn + 1;
        loop {
            // Windows overlap by a header, so that none is cut in two.
            let window = self.io(segment.file.read_at(offset, SEARCH_BYTES + GROUP_HEADER_BYTES))?;
            let starts = (0..window.len()).filter(|&at| window[at..].starts_with(&GROUP_MAGIC));
            for at in starts {
                if GroupHeader::decode(&window[at..], &segment.header.salt).is_some() {
                    return Ok(Some(offset + at as u64));
                }
            }
            if window.len() < SEARCH_BYTES + GROUP_HEADER_BYTES {
                return Ok(None);
            }
            offset += SEARCH_BYTES as u64;
        }
    }

    fn is_zero(&self, file: &dyn FileHandle, from: u64) -> Result<bool, OpenError> {
        let mut offset = from;
        loop {
            let data = self.io(file.read_at(offset, SEARCH_BYTES))?;
            if data.iter().any(|&byte| byte != 0) {
                return Ok(false);
            }
            if data.len() < SEARCH_BYTES {
                return Ok(true);
            }
            offset += SEARCH_BYTES as u64;
        }
    }
}
