//! The suite that the crate `object_store` holds every S3 store against, against three nodes of ours: a client in the
//! language of this project, beside those of `verification/clients`. It retries and hides, so it writes no histories.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod program;

use std::sync::Arc;

use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum, S3ConditionalPut};
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt, PutPayload, integration};
use program::trellis;
use trellis_verification::cluster::{Cluster, Fittings, Launch, Shape};
use trellis_verification::s3client::{Recorder, Session};

struct Scene {
    cluster: Cluster,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn start() -> Self {
        // The HTTP client wants to know whose cryptography it would use for TLS; another test may have said so.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let launch = Launch {
            binary: trellis(),
            folder: folder.path().to_owned(),
            nodes: 3,
            shape: Shape::Dev,
            trace: None,
            fittings: Fittings::default(),
        };
        let cluster = Cluster::start(&launch).await.unwrap();
        let mut session = Session::new(0, cluster.target(), &Arc::new(Recorder::start()));
        session.create_bucket().await.unwrap();
        Scene {
            cluster,
            _folder: folder,
        }
    }

    fn client(&self) -> AmazonS3Builder {
        let target = self.cluster.target();
        AmazonS3Builder::new()
            .with_endpoint(format!("http://{}", target.endpoints[0].0))
            .with_allow_http(true)
            .with_access_key_id(&target.credentials.access_key_id)
            .with_secret_access_key(&target.credentials.secret_access_key)
            .with_region(&target.credentials.region)
            .with_bucket_name(&target.bucket)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_of_another_client_passes() {
    let scene = Scene::start().await;
    let store: AmazonS3 = scene.client().build().unwrap();
    integration::put_get_delete_list(&store).await;
    integration::list_with_offset_exclusivity(&store).await;
    integration::get_opts(&store).await;
    integration::list_uses_directories_correctly(&store).await;
    integration::list_with_delimiter(&store).await;
    integration::rename_and_copy(&store).await;
    integration::stream_get(&store).await;
    integration::multipart(&store, &store).await;
    integration::multipart_with_opts(&store, &store).await;
    integration::multipart_put_part_out_of_order(&store, &store).await;
    integration::multipart_race_condition(&store, true).await;
    integration::multipart_out_of_order(&store).await;
    integration::put_get_attributes(&store).await;
    integration::list_paginated(&store, &store).await;
    integration::put_opts(&store, true).await;
    for checksum in [Checksum::SHA256, Checksum::CRC64NVME] {
        let store = scene.client().with_checksum_algorithm(checksum).build().unwrap();
        integration::put_get_delete_list(&store).await;
    }
    let store = scene.client().with_unsigned_payload(true).build().unwrap();
    integration::put_get_delete_list(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_called_so() {
    let scene = Scene::start().await;
    let (store, nowhere) = (scene.client().build().unwrap(), Path::from("not/there"));
    assert!(matches!(store.get(&nowhere).await, Err(Error::NotFound { .. })));
    store.delete(&nowhere).await.unwrap();
    let store = scene.client().with_bucket_name("not-there").build().unwrap();
    assert!(matches!(store.get(&nowhere).await, Err(Error::NotFound { .. })));
    let put = store.put(&nowhere, PutPayload::from("body")).await;
    assert!(matches!(put, Err(Error::NotFound { .. })), "{put:?}");
}
