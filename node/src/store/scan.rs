//! Listing objects and uploads: ranges of rows, as a majority holds them.

use std::ops::Bound;
use std::time::Duration;

use trellis_s3api::bucket::BucketInfo;
use trellis_s3api::error::StoreError;
use trellis_s3api::object::{Etag, ObjectKey, Timestamp};
use trellis_s3api::scan::{ListedObject, ObjectPage, Scan, UploadBound, UploadInfo, UploadPage, UploadScan};
use trellis_spec::listing::Counted;
use trellis_spec::row::{Address, BucketId, Placement, Row, RowKey, Upload, UploadState, successor};

use super::commit::bucket_id;
use super::ids::{upload_id, upload_text};
use super::{ClusterStore, attributes, read_failed};
use crate::cluster::{Listed, Span};

impl ClusterStore {
    /// Objects in key order.
    pub(super) async fn scan_objects(&self, bucket: &BucketInfo, scan: &Scan) -> Result<ObjectPage, StoreError> {
        let id = bucket_id(bucket);
        let prefix = id.objects_from(scan.prefix.as_bytes());
        let from = match &scan.from {
            Bound::Unbounded => prefix.clone(),
            Bound::Included(from) => id.objects_from(from.as_bytes()).max(prefix.clone()),
            Bound::Excluded(from) => just_after(id.objects_from(from.as_bytes())).max(prefix.clone()),
        };
        let found = self.range(bucket, from, &prefix, scan.limit).await?;
        let key = |row: &[u8]| id.object_key(row).and_then(|key| String::from_utf8(key.to_vec()).ok());
        let entries = found
            .rows
            .iter()
            .filter_map(|(row, value)| listed_object(key(row)?, value))
            .collect();
        Ok(ObjectPage {
            entries,
            resume: found.resume.and_then(|row| key(&row)),
        })
    }

    /// Unfinished uploads in the order of key and upload id.
    pub(super) async fn scan_open_uploads(
        &self,
        bucket: &BucketInfo,
        scan: &UploadScan,
    ) -> Result<UploadPage, StoreError> {
        let id = bucket_id(bucket);
        let prefix = id.uploads_from(scan.prefix.as_bytes(), None);
        let start = uploads_start(id, &scan.from).max(prefix.clone());
        let found = self.range(bucket, start, &prefix, scan.limit).await?;
        let key = |row: &[u8]| {
            let (key, upload) = id.upload_key(row)?;
            Some((String::from_utf8(key).ok()?, upload_text(upload)))
        };
        let entry = |(row, value): &(RowKey, Row)| {
            let (key, id) = key(row)?;
            let upload = open_upload(value)?;
            let initiated = Timestamp::from_ms(upload.initiated_ms);
            let checksum = attributes::agreement(&upload.headers);
            Some(UploadInfo {
                key: ObjectKey::parse(key).ok()?,
                id,
                initiated,
                checksum,
            })
        };
        let entries = found.rows.iter().filter_map(entry).collect();
        Ok(UploadPage {
            entries,
            resume: found.resume.and_then(|row| key(&row)),
        })
    }

    /// The first live rows from `from` on: scans on over what was deleted until there is one, or nothing more.
    async fn range(
        &self,
        bucket: &BucketInfo,
        from: RowKey,
        prefix: &RowKey,
        limit: usize,
    ) -> Result<Live, StoreError> {
        let limits = &self.coordinator.limits;
        let scanning = self.scan_on(bucket, from, prefix, limit.clamp(1, limits.scan_max_rows));
        let deadline = Duration::from_millis(limits.scan_deadline_ms);
        let scanned = self.coordinator.env.timeout(deadline, scanning).await;
        scanned.map_err(|_| StoreError::Unavailable("the listing took too long".to_owned()))?
    }

    async fn scan_on(
        &self,
        bucket: &BucketInfo,
        mut from: RowKey,
        prefix: &RowKey,
        limit: usize,
    ) -> Result<Live, StoreError> {
        /// Where much was deleted, a page costs as much as many rows.
        const SCAN_LEAST_ROWS: usize = 128;
        let id = bucket_id(bucket);
        let to = successor(prefix).expect("a table's letter is below 0xff");
        let most = self.coordinator.limits.scan_max_rows;
        let mut rows = limit.max(SCAN_LEAST_ROWS).min(most);
        loop {
            let gate = Some(Address::gate(id, 0).key);
            let span = Span {
                placement: Placement::Index(id, 0),
                from,
                to: to.clone(),
                limit: rows,
                gate,
            };
            let listed = self.coordinator.list(&span, Counted::All).await.map_err(read_failed)?;
            self.believe(bucket, listed.gate).await?;
            match listed.page.bound.clone() {
                Some(bound) if listed.page.live().next().is_none() => from = bound,
                Some(_) | None => return Ok(Live::first(&listed, limit)),
            }
            rows = (rows * 2).min(most);
        }
    }
}

/// Live rows, and the last one up to which everything was seen if there may be more.
struct Live {
    rows: Vec<(RowKey, Row)>,
    resume: Option<RowKey>,
}

impl Live {
    fn first(listed: &Listed, limit: usize) -> Self {
        let mut live = listed.page.live();
        let rows: Vec<(RowKey, Row)> = live
            .by_ref()
            .take(limit)
            .map(|(key, row)| (key.clone(), row.clone()))
            .collect();
        let last_taken = rows.last().map(|(key, _)| key.clone());
        let resume = match (live.next(), &listed.page.bound) {
            (Some(_), _) => last_taken,
            (None, Some(_)) => listed.page.rows.keys().next_back().cloned(),
            (None, None) => None,
        };
        Live { rows, resume }
    }
}

fn uploads_start(id: BucketId, from: &UploadBound) -> RowKey {
    match from {
        UploadBound::Key(Bound::Unbounded) => id.uploads_from(b"", None),
        UploadBound::Key(Bound::Included(key)) => id.uploads_from(key.as_bytes(), None),
        UploadBound::Key(Bound::Excluded(key)) => id.uploads_after(key.as_bytes()),
        UploadBound::After(key, upload) => match upload_id(upload) {
            Some(upload) => just_after(id.uploads_from(key.as_bytes(), Some(upload))),
            // Clients may name anything as a marker: what no upload can have comes before all of the key's.
            None => id.uploads_from(key.as_bytes(), None),
        },
    }
}

fn just_after(mut key: RowKey) -> RowKey {
    key.push(0);
    key
}

fn listed_object(key: String, row: &Row) -> Option<ListedObject> {
    match row {
        Row::Object(object) => Some(ListedObject {
            key: ObjectKey::parse(key).ok()?,
            size: object.size,
            etag: Etag::parse(&object.etag),
            modified: Timestamp::from_ms(object.modified_ms),
            checksum: attributes::checksum(&object.headers).map(|sum| (sum.value.algorithm(), sum.kind)),
        }),
        Row::Upload(_) | Row::Part(_) | Row::Manifest(_) | Row::Gate(_) => None,
        Row::Bucket(_) | Row::Name(_) | Row::AccessKey(_) => None,
    }
}

fn open_upload(row: &Row) -> Option<&Upload> {
    match row {
        Row::Upload(upload) => match upload.state {
            UploadState::Open | UploadState::Completing(_) => Some(upload),
            UploadState::Completed(_) | UploadState::Aborted => None,
        },
        Row::Object(_) | Row::Part(_) | Row::Manifest(_) | Row::Gate(_) => None,
        Row::Bucket(_) | Row::Name(_) | Row::AccessKey(_) => None,
    }
}
