//! Uploads in parts, as a client makes them.

use std::ops::Bound;

use md5::{Digest, Md5};
use trellis_s3api::body::Body;
use trellis_s3api::bucket::BucketInfo;
use trellis_s3api::multipart::{Completion, NamedPart};
use trellis_s3api::object::Etag;
use trellis_s3api::scan::{UploadBound, UploadId, UploadScan};
use trellis_s3api::store::{NewUpload, ObjectStore, PartTarget};

use super::cluster::Told;
use super::session::{Session, Size, Spot, key, write_condition};
use crate::history::{Action, Condition, Outcome};

/// How often a client tries a step whose answer did not come.
const TRIES: usize = 3;

impl Session {
    /// Uploads an object in parts: the last of which may be small, and here there is only a last one.
    pub(crate) async fn upload(&self, at: usize, spot: &Spot, condition: Condition) {
        let Some(upload) = self.begin_upload(at, spot).await else {
            return;
        };
        // The second one takes the place of the first.
        let (Some(_), Some((md5, used))) = (
            self.put_part(at, spot, &upload, Size::Small).await,
            self.put_part(at, spot, &upload, Size::Large).await,
        ) else {
            return;
        };
        let value = Etag::of_parts(Md5::digest(md5).into(), 1).as_str().to_owned();
        if let Some(body) = self.world.journal.body(used.etag.as_str()) {
            self.world.journal.wrote(&value, &body);
        }
        if self.world.dice.percent(10) {
            return self.give_up(at, spot, &upload, value).await;
        }
        self.complete(at, spot, &upload, used, condition).await;
    }

    /// Aborts every upload that is open in a bucket.
    pub(crate) async fn abort_uploads(&self, at: usize, bucket: &BucketInfo) {
        let mut next = Some(UploadBound::Key(Bound::Unbounded));
        while let Some(from) = next.take() {
            let (listed, scan) = (bucket.clone(), all_uploads(from));
            let told = self
                .ask(at, |store| async move { store.scan_uploads(&listed, scan).await })
                .await;
            let Told::Answer(Ok(page)) = told else { return };
            for open in page.entries {
                let (bucket, origin) = (bucket.clone(), self.origin(None));
                self.ask(at, |store| async move {
                    store.abort_upload(&origin, &bucket, &open.key, &open.id).await
                })
                .await;
            }
            next = page.resume.map(|(key, upload)| UploadBound::After(key, upload));
        }
    }

    async fn begin_upload(&self, at: usize, spot: &Spot) -> Option<UploadId> {
        let (bucket, key, origin) = (spot.bucket.clone(), key(spot), self.origin(None));
        let begun = self
            .ask(at, |store| async move {
                store.create_upload(&origin, &bucket, &key, NewUpload::default()).await
            })
            .await;
        match begun {
            Told::Answer(Ok(upload)) => Some(upload),
            Told::Answer(Err(_)) | Told::NotSent | Told::Crashed | Told::HungUp => None,
        }
    }

    /// Stores a part, with patience.
    async fn put_part(&self, at: usize, spot: &Spot, upload: &UploadId, size: Size) -> Option<([u8; 16], NamedPart)> {
        let (body, tag) = self.body(size);
        let mut at = at;
        for _ in 0..TRIES {
            let (bucket, origin, body) = (spot.bucket.clone(), self.origin(None), body.clone());
            let target = PartTarget {
                key: key(spot),
                upload: upload.clone(),
                number: 1,
            };
            let stored = self
                .ask(at, |store| async move {
                    store.put_part(&origin, &bucket, &target, Body::from_bytes(body)).await
                })
                .await;
            if let Told::Answer(Ok(part)) = stored {
                let etag = Etag::parse(&tag);
                if part.etag != etag {
                    self.world
                        .journal
                        .complain(format!("{}: a part has a wrong entity tag", spot.name()));
                }
                return Some((
                    etag.md5()?,
                    NamedPart {
                        number: 1,
                        etag,
                        checksum: None,
                    },
                ));
            }
            at = self.world.dice.below(self.world.cluster.len());
        }
        None
    }

    /// Completes, and repeats it where the outcome is unknown. A conditional completion is not repeated: it would be
    /// another one once the object was deleted in between.
    async fn complete(&self, at: usize, spot: &Spot, upload: &UploadId, part: NamedPart, condition: Condition) {
        let (tries, mut at) = (if condition.is_always() { TRIES } else { 1 }, at);
        let part_md5 = part.etag.md5().unwrap_or_default();
        let value = Etag::of_parts(Md5::digest(part_md5).into(), 1).as_str().to_owned();
        if let Some(body) = self.world.journal.body(part.etag.as_str()) {
            self.world.journal.wrote(&value, &body);
        }
        let call = self.world.journal.now();
        let mut outcome = Outcome::Unknown { why: String::new() };
        for _ in 0..tries {
            let (bucket, key, origin) = (spot.bucket.clone(), key(spot), self.origin(None));
            let (upload, wanted) = (upload.clone(), write_condition(&condition));
            let completion = Completion {
                parts: vec![part.clone()],
                ..Completion::default()
            };
            let told = self
                .ask(at, |store| async move {
                    store
                        .complete_upload(&origin, &bucket, &key, &upload, completion, wanted)
                        .await
                })
                .await;
            outcome = self.write_outcome(told, &condition);
            if !matches!(outcome, Outcome::Unknown { .. } | Outcome::Failed { .. }) {
                break;
            }
            outcome = Outcome::Unknown {
                why: "no clear answer".to_owned(),
            };
            at = self.world.dice.below(self.world.cluster.len());
        }
        self.world.tally.count("an upload in parts was to be completed");
        self.record(
            call,
            Action::Put {
                key: spot.name(),
                value,
                condition,
            },
            outcome,
        );
    }

    /// Aborts an upload that nobody completes: its object is never there.
    async fn give_up(&self, at: usize, spot: &Spot, upload: &UploadId, value: String) {
        let call = self.world.journal.now();
        let (bucket, key, origin, upload) = (spot.bucket.clone(), key(spot), self.origin(None), upload.clone());
        self.ask(at, |store| async move {
            store.abort_upload(&origin, &bucket, &key, &upload).await
        })
        .await;
        let action = Action::Put {
            key: spot.name(),
            value,
            condition: Condition::Always,
        };
        self.record(
            call,
            action,
            Outcome::Failed {
                why: "the upload was given up".to_owned(),
            },
        );
    }
}

fn all_uploads(from: UploadBound) -> UploadScan {
    UploadScan {
        prefix: String::new(),
        from,
        limit: 100,
    }
}
