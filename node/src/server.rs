//! `trellis server`: one node of a cluster, as its configuration file says.

use std::path::Path;
use std::time::Duration;

use crate::config::{Config, ConfigError};
use crate::env::{Boxed, Env};
use crate::folder::NodeFolder;
use crate::node::{Node, Setup, StartError, listen};
use crate::store::{ClusterStore, Imported, NewKey};

/// How often the creation of the first access key is tried while too few nodes are there.
const FIRST_KEY_RETRY: Duration = Duration::from_millis(200);

/// Why the node did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The node cannot be started.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Starts the node that `config`, read from `path`, describes. Clients are let in, in the words of `/health`, once the
/// first access key is there, if there is to be one.
pub async fn start(env: &Env, config: &Config, path: &Path) -> Result<Node, ServerError> {
    let cluster_secret = config.cluster_secret(path)?;
    let first_key = config.first_access_key(path)?;
    let layout = config.initial_layout.layout().map_err(|bad| bad.into_error(path))?;
    let folder = NodeFolder::open(&config.data_folder).map_err(StartError::from)?;
    let s3 = listen(config.s3.listen, "S3").await?;
    let link = listen(config.links.listen, "links between nodes").await?;
    let setup = Setup {
        folder,
        layout,
        addresses: config.initial_layout.addresses(),
        advertise: config.links.advertise.clone(),
        cluster_secret,
        link,
        s3,
        settings: config.settings(),
    };
    let node = Node::start(env, setup)?;
    tracing::info!(s3 = %config.s3.listen, links = %config.links.listen, "listening");
    match first_key {
        None => node.serving(),
        Some(key) => env.spawner.spawn("first-key", create_first_key(env, &node, key)),
    }
    Ok(node)
}

/// Tries until enough nodes are there. All nodes may try: one creates it.
fn create_first_key(env: &Env, node: &Node, key: NewKey) -> Boxed<'static, ()> {
    let (env, store, serving) = (env.clone(), node.store().clone(), node.observer().clone());
    Box::pin(async move {
        while !is_created(&store, &key).await {
            env.clock.sleep(FIRST_KEY_RETRY).await;
        }
        serving.enter_serving();
    })
}

async fn is_created(store: &ClusterStore, key: &NewKey) -> bool {
    match store.import_key("first", key).await {
        Ok(Imported::Created) => {
            tracing::info!(id = %key.id, "created the first access key");
            true
        }
        Ok(Imported::Known) => true,
        Err(error) => {
            tracing::debug!(%error, "the first access key cannot be looked up yet");
            false
        }
    }
}
