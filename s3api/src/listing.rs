//! Listings: delimiters, common prefixes and page sizes, folded over a store's ordered scan.
//!
//! [`Fold`] decides and does no IO: it says which scan it wants next and takes the page that came back. A folded prefix is
//! jumped over by scanning on from its successor, so that a listing of "directories" does not read their contents.

use std::ops::Bound;

use crate::bucket::BucketInfo;
use crate::error::StoreError;
use crate::scan::{ListedObject, Page, Scan, UploadBound, UploadId, UploadInfo, UploadScan};
use crate::store::ObjectStore;

/// The most entries on a page.
pub const PAGE_MAX_ENTRIES: usize = 1000;
/// The most entries that a listing asks of a scan: a full page, and one more that tells whether others follow. A store
/// that gives as many at once answers every page without prefixes with a single scan.
pub const SCAN_MAX_ENTRIES: usize = PAGE_MAX_ENTRIES + 1;

/// What a client wants listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Only keys that begin with this.
    pub prefix: String,
    /// Fold keys that have this text behind the prefix.
    pub delimiter: Option<String>,
    /// Where to begin.
    pub from: UploadBound,
    /// At most this many entries, keys and prefixes together.
    pub limit: usize,
}

/// A page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing<T> {
    /// Keys and prefixes in order.
    pub entries: Vec<Entry<T>>,
    /// Whether there is more; the next page begins behind the last entry.
    pub truncated: bool,
}

/// A line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry<T> {
    /// An object or upload of its own.
    Item(T),
    /// All keys that begin with this text, delimiter included.
    Prefix(String),
}

/// What can be listed.
pub trait Listed {
    /// The key it stands under.
    fn key(&self) -> &str;
}

/// A listing in the making.
#[derive(Debug)]
pub struct Fold<T> {
    query: Query,
    entries: Vec<Entry<T>>,
    state: Progress,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Progress {
    From(UploadBound),
    Full,
    End,
}

/// Lists objects.
pub async fn list_objects<S: ObjectStore>(
    store: &S,
    bucket: &BucketInfo,
    query: Query,
) -> Result<Listing<ListedObject>, StoreError> {
    let mut fold = Fold::new(query);
    while let Some((prefix, from, limit)) = fold.wants() {
        let from = match from {
            UploadBound::Key(bound) => bound,
            UploadBound::After(key, _) => Bound::Excluded(key),
        };
        let page = store.scan(bucket, Scan { prefix, from, limit }).await?;
        let resume = page.resume.map(|key| UploadBound::Key(Bound::Excluded(key)));
        fold.take(Page {
            entries: page.entries,
            resume,
        });
    }
    Ok(fold.finish())
}

/// Lists uploads.
pub async fn list_uploads<S: ObjectStore>(
    store: &S,
    bucket: &BucketInfo,
    query: Query,
) -> Result<Listing<UploadInfo>, StoreError> {
    let mut fold = Fold::new(query);
    while let Some((prefix, from, limit)) = fold.wants() {
        let page = store.scan_uploads(bucket, UploadScan { prefix, from, limit }).await?;
        let resume = page.resume.map(|(key, id)| UploadBound::After(key, id));
        fold.take(Page {
            entries: page.entries,
            resume,
        });
    }
    Ok(fold.finish())
}

impl<T: Listed> Fold<T> {
    /// Begins a listing.
    pub fn new(query: Query) -> Fold<T> {
        let state = if query.limit == 0 {
            Progress::End
        } else {
            Progress::From(query.skip_named_prefix())
        };
        Fold {
            query,
            entries: Vec::new(),
            state,
        }
    }

    /// The next scan: prefix, beginning and limit. `None` when the listing is complete.
    pub fn wants(&self) -> Option<(String, UploadBound, usize)> {
        match &self.state {
            // One more than there is room for tells whether the listing is truncated.
            Progress::From(from) => Some((
                self.query.prefix.clone(),
                from.clone(),
                self.query.limit - self.entries.len() + 1,
            )),
            Progress::Full | Progress::End => None,
        }
    }

    /// Takes the page that the wanted scan found.
    pub fn take(&mut self, page: Page<T, UploadBound>) {
        for item in page.entries {
            if !self.push(item) {
                self.state = Progress::Full;
                return;
            }
        }
        self.state = match (page.resume, self.entries.last()) {
            (None, _) => Progress::End,
            (Some(resume), Some(Entry::Prefix(prefix))) if resume.key().is_some_and(|key| key.starts_with(prefix)) => {
                successor(prefix).map_or(Progress::End, |next| {
                    Progress::From(UploadBound::Key(Bound::Included(next)))
                })
            }
            (Some(resume), _) => Progress::From(resume),
        };
    }

    /// The page.
    pub fn finish(self) -> Listing<T> {
        Listing {
            entries: self.entries,
            truncated: self.state == Progress::Full,
        }
    }

    /// Adds one item unless it is folded away; `false` if there is no room for it.
    fn push(&mut self, item: T) -> bool {
        let entry = match self.query.common_prefix(item.key()) {
            Some(common) => {
                if self
                    .entries
                    .last()
                    .is_some_and(|last| matches!(last, Entry::Prefix(prefix) if prefix == common))
                {
                    return true;
                }
                Entry::Prefix(common.to_owned())
            }
            None => Entry::Item(item),
        };
        let room = self.entries.len() < self.query.limit;
        if room {
            self.entries.push(entry);
        }
        room
    }
}

impl Query {
    /// The prefix that `key` is folded into.
    pub fn common_prefix<'k>(&self, key: &'k str) -> Option<&'k str> {
        let delimiter = self.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty())?;
        let rest = key.strip_prefix(self.prefix.as_str())?;
        let end = self.prefix.len() + rest.find(delimiter)? + delimiter.len();
        key.get(..end)
    }

    /// A listing that goes on after a common prefix goes on after everything in it.
    fn skip_named_prefix(&self) -> UploadBound {
        match &self.from {
            UploadBound::Key(Bound::Excluded(mark)) if self.common_prefix(mark) == Some(mark) => {
                let next = successor(mark).unwrap_or_else(|| mark.clone());
                UploadBound::Key(Bound::Included(next))
            }
            from @ (UploadBound::Key(_) | UploadBound::After(..)) => from.clone(),
        }
    }
}

impl UploadBound {
    fn key(&self) -> Option<&str> {
        match self {
            UploadBound::Key(Bound::Included(key) | Bound::Excluded(key)) | UploadBound::After(key, _) => Some(key),
            UploadBound::Key(Bound::Unbounded) => None,
        }
    }
}

impl<T> Entry<T> {
    /// The item, if it is one.
    pub fn item(&self) -> Option<&T> {
        match self {
            Entry::Item(item) => Some(item),
            Entry::Prefix(_) => None,
        }
    }

    /// The common prefix, if it is one.
    pub fn prefix(&self) -> Option<&str> {
        match self {
            Entry::Item(_) => None,
            Entry::Prefix(prefix) => Some(prefix),
        }
    }
}

impl<T: Listed> Entry<T> {
    /// The key or common prefix.
    pub fn name(&self) -> &str {
        match self {
            Entry::Item(item) => item.key(),
            Entry::Prefix(prefix) => prefix,
        }
    }
}

impl Listed for ListedObject {
    fn key(&self) -> &str {
        self.key.as_str()
    }
}

impl Listed for UploadInfo {
    fn key(&self) -> &str {
        self.key.as_str()
    }
}

/// Where an upload stands in the order of a listing.
pub fn upload_position(upload: &UploadInfo) -> (String, UploadId) {
    (upload.key.as_str().to_owned(), upload.id.clone())
}

/// The first text behind all texts that begin with `prefix`; `None` if there is none.
pub fn successor(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // The order of UTF-8 is that of code points; a range of chars skips the surrogates.
        if let Some(next) = (last..=char::MAX).nth(1) {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Key(String);

    impl Listed for Key {
        fn key(&self) -> &str {
            &self.0
        }
    }

    /// Lists `keys` through scans of at most `scan_limit` rows; also counts the scans. A scan passes over rows of
    /// keys that are [`GONE`].
    fn list(keys: &[&str], query: Query, scan_limit: usize) -> (Vec<String>, bool, usize) {
        let mut fold = Fold::<Key>::new(query);
        let mut scans = 0;
        while let Some((prefix, from, limit)) = fold.wants() {
            scans += 1;
            let scan = UploadScan { prefix, from, limit };
            let id = UploadId(String::new());
            let mut found: Vec<Key> = keys
                .iter()
                .filter(|key| scan.wants(key, &id))
                .map(|key| Key((*key).to_owned()))
                .collect();
            let more = found.len() > limit.min(scan_limit);
            found.truncate(limit.min(scan_limit));
            let resume = found
                .last()
                .filter(|_| more)
                .map(|last| UploadBound::Key(Bound::Excluded(last.0.clone())));
            found.retain(|key| !GONE.contains(&key.0.as_str()));
            fold.take(Page { entries: found, resume });
        }
        let listing = fold.finish();
        let names = listing.entries.iter().map(|entry| entry.name().to_owned()).collect();
        (names, listing.truncated, scans)
    }

    fn query(prefix: &str, delimiter: &str, after: Option<&str>, limit: usize) -> Query {
        let delimiter = (!delimiter.is_empty()).then(|| delimiter.to_owned());
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.to_owned()));
        Query {
            prefix: prefix.to_owned(),
            delimiter,
            from: UploadBound::Key(from),
            limit,
        }
    }

    const GONE: [&str; 7] = ["a-1", "a-2", "a-3", "b/0", "b/2-", "x", "y"];
    const KEYS: [&str; 8] = ["a", "b/1", "b/2", "b/3", "b/c/4", "c", "d/", "e"];

    #[test]
    fn prefixes_are_folded_and_paged() {
        for scan_limit in 1..10 {
            let (all, truncated, _) = list(&KEYS, query("", "/", None, 1000), scan_limit);
            assert_eq!(
                (all, truncated),
                (
                    vec!["a", "b/", "c", "d/", "e"].into_iter().map(str::to_owned).collect(),
                    false
                )
            );
            let (inner, _, _) = list(&KEYS, query("b/", "/", None, 1000), scan_limit);
            assert_eq!(inner, ["b/1", "b/2", "b/3", "b/c/"]);
            let (plain, _, _) = list(&KEYS, query("b", "", None, 1000), scan_limit);
            assert_eq!(plain, ["b/1", "b/2", "b/3", "b/c/4"]);
            let (none, truncated, scans) = list(&KEYS, query("", "", None, 0), scan_limit);
            assert_eq!((none.len(), truncated, scans), (0, false, 0));
        }
    }

    #[test]
    fn pages_put_together_are_the_whole() {
        for limit in 1..6 {
            for delimiter in ["", "/"] {
                let (whole, _, _) = list(&KEYS, query("", delimiter, None, 1000), 1000);
                let (mut joined, mut mark) = (Vec::new(), None);
                loop {
                    let (page, truncated, _) = list(&KEYS, query("", delimiter, mark.as_deref(), limit), 3);
                    mark = page.last().cloned();
                    joined.extend(page);
                    if !truncated {
                        break;
                    }
                }
                assert_eq!(joined, whole, "pages of {limit} with delimiter {delimiter:?}");
            }
        }
    }

    #[test]
    fn rows_of_what_is_gone_do_not_show() {
        let mut rows = [KEYS.as_slice(), &GONE].concat();
        rows.sort_unstable();
        for delimiter in ["", "/"] {
            for limit in 1..10 {
                let (wanted, more, _) = list(&KEYS, query("", delimiter, None, limit), 1000);
                for scan_limit in 1..5 {
                    let (found, truncated, _) = list(&rows, query("", delimiter, None, limit), scan_limit);
                    assert_eq!(
                        (&found, truncated),
                        (&wanted, more),
                        "{delimiter:?} {limit} {scan_limit}"
                    );
                }
            }
        }
        assert_eq!(list(&GONE, query("", "", None, 5), 2), (Vec::new(), false, 4));
    }

    #[test]
    fn a_full_page_costs_one_scan() {
        let keys: Vec<String> = (0..PAGE_MAX_ENTRIES * 2).map(|n| format!("{n:05}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let (names, truncated, scans) = list(&keys, query("", "", None, PAGE_MAX_ENTRIES), SCAN_MAX_ENTRIES);
        assert_eq!((names.len(), truncated, scans), (PAGE_MAX_ENTRIES, true, 1));
    }

    #[test]
    fn a_full_page_at_the_very_end_is_not_truncated() {
        let (page, truncated, _) = list(&KEYS, query("", "/", None, 5), 1000);
        assert_eq!((page.len(), truncated), (5, false));
        let (page, truncated, _) = list(&["b/1", "b/2"], query("", "/", None, 1), 1);
        assert_eq!((page.len(), truncated), (1, false));
    }

    #[test]
    fn a_large_prefix_is_jumped_over() {
        let keys: Vec<String> = (0..5000)
            .map(|n| format!("big/{n:05}"))
            .chain(["z".to_owned()])
            .collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let (names, _, scans) = list(&keys, query("", "/", None, 10), 1000);
        assert_eq!((names, scans), (vec!["big/".to_owned(), "z".to_owned()], 2));
    }

    #[test]
    fn successors_are_the_next_text() {
        assert_eq!(successor("a/").as_deref(), Some("a0"));
        assert_eq!(successor("\u{d7ff}").as_deref(), Some("\u{e000}"));
        assert_eq!(successor("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(successor("\u{10ffff}"), None);
        assert_eq!(successor(""), None);
    }
}
