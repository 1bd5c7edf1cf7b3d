//! What the store in memory keeps, and its changes as plain functions.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::Arc;

use bytes::Bytes;

use crate::bucket::{Access, AccessKey, BucketId, BucketInfo, BucketName, Caller, Credential, access};
use crate::condition::WriteCondition;
use crate::error::StoreError;
use crate::multipart::{Completion, PartInfo, assemble};
use crate::object::{Metadata, ObjectInfo, ObjectKey, Timestamp};
use crate::scan::{ListedObject, ObjectPage, Page, Scan, UploadBound, UploadId, UploadInfo, UploadPage, UploadScan};
use crate::store::{NewUpload, Origin, PartPage, Rest};

#[derive(Default)]
pub(super) struct State {
    pub(super) keys: BTreeMap<AccessKey, Credential>,
    pub(super) buckets: BTreeMap<BucketName, Bucket>,
    next_id: u64,
}

pub(super) struct Bucket {
    pub(super) info: BucketInfo,
    pub(super) objects: BTreeMap<ObjectKey, Arc<Object>>,
    pub(super) uploads: BTreeMap<(ObjectKey, UploadId), Upload>,
    completed: BTreeMap<(ObjectKey, UploadId), (Completion, ObjectInfo)>,
}

#[derive(Debug)]
pub(super) struct Object {
    pub(super) info: ObjectInfo,
    pub(super) segments: Vec<Bytes>,
}

pub(super) struct Upload {
    pub(super) info: UploadInfo,
    pub(super) parts: BTreeMap<u16, (PartInfo, Bytes)>,
    metadata: Metadata,
}

impl State {
    pub(super) fn buckets_of(&self, caller: &AccessKey) -> Vec<BucketInfo> {
        let caller = Caller::Key(caller.clone());
        let visible = self
            .buckets
            .values()
            .filter(|bucket| access(&caller, &bucket.info) != Access::None);
        visible.map(|bucket| bucket.info.clone()).collect()
    }

    pub(super) fn create_bucket(
        &mut self,
        origin: &Origin,
        name: &BucketName,
        now: Timestamp,
    ) -> Result<BucketInfo, StoreError> {
        match self.buckets.get(name) {
            Some(bucket) if bucket.info.owner == origin.caller => return Err(StoreError::BucketAlreadyOwnedByYou),
            Some(_) => return Err(StoreError::BucketAlreadyExists),
            None => {}
        }
        let mut id = [0; 16];
        id[8..].copy_from_slice(&self.fresh().to_be_bytes());
        let info = BucketInfo {
            id: BucketId(id),
            name: name.clone(),
            created: now,
            owner: origin.caller.clone(),
            grants: Vec::new(),
        };
        let bucket = Bucket {
            info: info.clone(),
            objects: BTreeMap::new(),
            uploads: BTreeMap::new(),
            completed: BTreeMap::new(),
        };
        self.buckets.insert(name.clone(), bucket);
        Ok(info)
    }

    pub(super) fn delete_bucket(&mut self, bucket: &BucketInfo) -> Result<(), StoreError> {
        let found = self.bucket(bucket)?;
        if !found.objects.is_empty() || !found.uploads.is_empty() {
            return Err(StoreError::BucketNotEmpty);
        }
        self.buckets.remove(&bucket.name);
        Ok(())
    }

    pub(super) fn bucket(&self, bucket: &BucketInfo) -> Result<&Bucket, StoreError> {
        self.buckets
            .get(&bucket.name)
            .filter(|found| found.info.id == bucket.id)
            .ok_or(StoreError::NoSuchBucket)
    }

    pub(super) fn bucket_mut(&mut self, bucket: &BucketInfo) -> Result<&mut Bucket, StoreError> {
        self.buckets
            .get_mut(&bucket.name)
            .filter(|found| found.info.id == bucket.id)
            .ok_or(StoreError::NoSuchBucket)
    }

    pub(super) fn write(
        &mut self,
        bucket: &BucketInfo,
        key: &ObjectKey,
        condition: &WriteCondition,
        object: Object,
    ) -> Result<ObjectInfo, StoreError> {
        let objects = &mut self.bucket_mut(bucket)?.objects;
        condition.holds(objects.get(key).map(|object| &object.info.etag))?;
        let info = object.info.clone();
        objects.insert(key.clone(), Arc::new(object));
        Ok(info)
    }

    pub(super) fn create_upload(
        &mut self,
        bucket: &BucketInfo,
        key: &ObjectKey,
        new: NewUpload,
        now: Timestamp,
    ) -> Result<UploadId, StoreError> {
        let id = UploadId(format!("{:016x}", self.fresh()));
        let info = UploadInfo {
            key: key.clone(),
            id: id.clone(),
            initiated: now,
            checksum: new.checksum,
        };
        let upload = Upload {
            info,
            parts: BTreeMap::new(),
            metadata: new.metadata,
        };
        self.bucket_mut(bucket)?
            .uploads
            .insert((key.clone(), id.clone()), upload);
        Ok(id)
    }

    pub(super) fn upload(&self, bucket: &BucketInfo, key: &ObjectKey, id: &UploadId) -> Result<&Upload, StoreError> {
        self.bucket(bucket)?
            .uploads
            .get(&(key.clone(), id.clone()))
            .ok_or(StoreError::NoSuchUpload)
    }

    pub(super) fn upload_mut(
        &mut self,
        bucket: &BucketInfo,
        key: &ObjectKey,
        id: &UploadId,
    ) -> Result<&mut Upload, StoreError> {
        self.bucket_mut(bucket)?
            .uploads
            .get_mut(&(key.clone(), id.clone()))
            .ok_or(StoreError::NoSuchUpload)
    }

    pub(super) fn complete_upload(
        &mut self,
        bucket: &BucketInfo,
        key: &ObjectKey,
        id: &UploadId,
        completion: Completion,
        condition: &WriteCondition,
        now: Timestamp,
    ) -> Result<ObjectInfo, StoreError> {
        let name = (key.clone(), id.clone());
        if let Some(info) = self.bucket(bucket)?.repeated(&name, &completion) {
            return Ok(info);
        }
        let object = self.upload(bucket, key, id)?.assemble(&completion, now)?;
        let info = self.write(bucket, key, condition, object)?;
        let bucket = self.bucket_mut(bucket)?;
        bucket.uploads.remove(&name);
        bucket.completed.insert(name, (completion, info.clone()));
        Ok(info)
    }

    fn fresh(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

impl Bucket {
    /// The answer to a completion that has happened before, if its object is still there.
    fn repeated(&self, name: &(ObjectKey, UploadId), completion: &Completion) -> Option<ObjectInfo> {
        let (before, info) = self.completed.get(name)?;
        let current = self.objects.get(&name.0)?;
        (before == completion && current.info == *info).then(|| info.clone())
    }

    pub(super) fn scan(&self, scan: &Scan) -> ObjectPage {
        let from = match &scan.from {
            Bound::Unbounded => "",
            Bound::Included(key) | Bound::Excluded(key) => key,
        };
        let start = from.max(scan.prefix.as_str());
        let behind = self.objects.range::<str, _>((Bound::Included(start), Bound::Unbounded));
        let prefixed = behind.take_while(|(key, _)| key.as_str().starts_with(&scan.prefix));
        let wanted = prefixed.filter(|(key, _)| scan.wants(key.as_str()));
        let mut entries: Vec<ListedObject> = wanted
            .take(scan.limit.saturating_add(1))
            .map(|(key, object)| object.listed(key))
            .collect();
        let more = entries.len() > scan.limit;
        entries.truncate(scan.limit);
        let resume = match entries.last() {
            Some(last) if more => Some(last.key.as_str().to_owned()),
            Some(_) | None => None,
        };
        Page { entries, resume }
    }

    pub(super) fn scan_uploads(&self, scan: &UploadScan) -> UploadPage {
        let from = match &scan.from {
            UploadBound::Key(Bound::Unbounded) => "",
            UploadBound::Key(Bound::Included(key) | Bound::Excluded(key)) | UploadBound::After(key, _) => key,
        };
        let behind = self.uploads.iter().skip_while(|((key, _), _)| key.as_str() < from);
        let wanted = behind.filter(|((key, id), _)| scan.wants(key.as_str(), id));
        let mut entries: Vec<UploadInfo> = wanted
            .take(scan.limit.saturating_add(1))
            .map(|(_, upload)| upload.info.clone())
            .collect();
        let more = entries.len() > scan.limit;
        entries.truncate(scan.limit);
        let resume = match entries.last() {
            Some(last) if more => Some((last.key.as_str().to_owned(), last.id.clone())),
            Some(_) | None => None,
        };
        Page { entries, resume }
    }
}

impl Object {
    fn listed(&self, key: &ObjectKey) -> ListedObject {
        ListedObject {
            key: key.clone(),
            size: self.info.size,
            etag: self.info.etag.clone(),
            modified: self.info.modified,
            checksum: self
                .info
                .checksum
                .map(|checksum| (checksum.value.algorithm(), checksum.kind)),
        }
    }

    /// The pieces of the segments that lie in `range`.
    pub(super) fn slice(&self, range: Range<u64>) -> Vec<Bytes> {
        let mut pieces = Vec::new();
        let mut start = 0_u64;
        for segment in &self.segments {
            let end = start + segment.len() as u64;
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from < to {
                let index = |position: u64| usize::try_from(position - start).unwrap_or(segment.len());
                pieces.push(segment.slice(index(from)..index(to)));
            }
            start = end;
        }
        pieces
    }
}

impl Upload {
    fn assemble(&self, completion: &Completion, now: Timestamp) -> Result<Object, StoreError> {
        let made = assemble(&self.info, completion, |number| {
            self.parts.get(&number).map(|(part, _)| part)
        })?;
        let stored = made.parts.iter().filter_map(|part| self.parts.get(&part.number));
        let segments = stored.map(|(_, bytes)| bytes.clone()).collect();
        let info = ObjectInfo {
            size: made.size,
            etag: made.etag,
            modified: now,
            metadata: self.metadata.clone(),
            checksum: made.checksum,
            parts: made.parts,
        };
        Ok(Object { info, segments })
    }

    pub(super) fn list(&self, after: u16, limit: usize) -> PartPage {
        let behind = self.parts.range((Bound::Excluded(after), Bound::Unbounded));
        let mut parts: Vec<PartInfo> = behind
            .take(limit.saturating_add(1))
            .map(|(_, (part, _))| part.clone())
            .collect();
        let rest = if parts.len() > limit { Rest::More } else { Rest::End };
        parts.truncate(limit);
        PartPage {
            upload: self.info.clone(),
            parts,
            rest,
        }
    }
}
