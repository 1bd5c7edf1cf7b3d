//! Listing objects and uploads: ranges of rows, as a majority holds them.

use std::ops::Bound;

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
        let listed = self.range(bucket, from, &prefix, scan.limit).await?;
        let key = |row: &[u8]| id.object_key(row).and_then(|key| String::from_utf8(key.to_vec()).ok());
        let entries = listed
            .page
            .live()
            .filter_map(|(row, value)| listed_object(key(row)?, value))
            .collect();
        Ok(ObjectPage {
            entries,
            resume: last_seen(&listed).and_then(|row| key(row)),
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
        let listed = self
            .range(
                bucket,
                uploads_start(id, &scan.from).max(prefix.clone()),
                &prefix,
                scan.limit,
            )
            .await?;
        let key = |row: &[u8]| {
            let (key, upload) = id.upload_key(row)?;
            Some((String::from_utf8(key).ok()?, upload_text(upload)))
        };
        let entry = |(row, value): (&RowKey, &Row)| {
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
        let entries = listed.page.live().filter_map(entry).collect();
        Ok(UploadPage {
            entries,
            resume: last_seen(&listed).and_then(|row| key(row)),
        })
    }

    async fn range(
        &self,
        bucket: &BucketInfo,
        from: RowKey,
        prefix: &RowKey,
        limit: usize,
    ) -> Result<Listed, StoreError> {
        let id = bucket_id(bucket);
        let to = successor(prefix).expect("a table's letter is below 0xff");
        let limit = limit.clamp(1, self.coordinator.limits.scan_max_rows);
        let gate = Some(Address::gate(id, 0).key);
        let span = Span {
            placement: Placement::Index(id, 0),
            from,
            to,
            limit,
            gate,
        };
        let listed = self.coordinator.list(&span, Counted::All).await.map_err(read_failed)?;
        self.believe(bucket, listed.gate).await?;
        Ok(listed)
    }
}

/// Everything up to this row was seen; nothing if the range was seen to its end.
fn last_seen(listed: &Listed) -> Option<&RowKey> {
    listed.page.bound.as_ref()?;
    listed.page.rows.keys().next_back()
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
