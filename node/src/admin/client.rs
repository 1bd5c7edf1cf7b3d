//! Asks the admin API of a node on this machine.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::api::Refused;
use super::socket::{self, SOCKET_FILE};

/// How long a node may take to answer; longer than any operation of its store takes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing listens there.
    #[error(
        "no node is running in {folder}; start it with `trellis server --config FILE` or `trellis dev`, \
         or name the data folder of a running node with --data"
    )]
    NotRunning {
        /// The data folder.
        folder: PathBuf,
    },
    /// The caller is neither root nor the node's user.
    #[error("only root and the user that runs the node in {folder} may give it orders; try sudo")]
    NotAllowed {
        /// The data folder.
        folder: PathBuf,
    },
    /// The node answered that it will not, or cannot.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The connection failed, or the other side does not speak our language. A change may or may not have been made.
    #[error("the node in {folder} gave no answer that can be understood: {problem}")]
    NoAnswer {
        /// The data folder.
        folder: PathBuf,
        /// What happened.
        problem: String,
    },
}

/// A connection to the admin API of a node.
pub struct Client {
    folder: PathBuf,
    sender: SendRequest<Full<Bytes>>,
}

impl Client {
    /// Connects to the node whose data folder that is, or to the first running one of the cluster in that folder.
    pub async fn connect(folder: &Path) -> Result<Self, ClientError> {
        let mut failure = None;
        for candidate in candidates(folder) {
            match Self::connect_to(&candidate).await {
                Ok(client) => return Ok(client),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.unwrap_or(ClientError::NotRunning {
            folder: folder.to_owned(),
        }))
    }

    async fn connect_to(folder: &Path) -> Result<Self, ClientError> {
        let folder = folder.to_owned();
        let stream = match socket::connect(&folder).await {
            Ok(stream) => stream,
            Err(error) => return Err(not_connected(folder, &error)),
        };
        match http1::handshake(TokioIo::new(stream)).await {
            Ok((sender, connection)) => {
                drop(tokio::runtime::Handle::current().spawn(connection));
                Ok(Client { folder, sender })
            }
            Err(error) => Err(no_answer(folder, &error)),
        }
    }

    /// Asks for something.
    pub async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// Creates something.
    pub async fn post<T: DeserializeOwned>(&mut self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| no_answer(self.folder.clone(), &error))?;
        self.ask(Method::POST, path, body.into()).await
    }

    /// Deletes something.
    pub async fn delete(&mut self, path: &str) -> Result<(), ClientError> {
        self.delete_for(path).await
    }

    /// Deletes something, and is told what.
    pub async fn delete_for<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::DELETE, path, Bytes::new()).await
    }

    async fn ask<T: DeserializeOwned>(&mut self, method: Method, path: &str, body: Bytes) -> Result<T, ClientError> {
        let folder = self.folder.clone();
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.exchange(method, path, body)).await;
        let answer = answer.map_err(|_| no_answer(folder.clone(), &format!("none within {ANSWER_TIMEOUT:?}")))?;
        let (status, bytes) = answer.map_err(|error| no_answer(folder.clone(), &*error))?;
        let json = |error| no_answer(folder.clone(), &error);
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(json);
        }
        let mut refused: Refused = serde_json::from_slice(&bytes).map_err(json)?;
        refused.status = status.as_u16();
        Err(refused.into())
    }

    async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let request = Request::builder().method(method).uri(path).header(header::HOST, "node");
        let response = self.sender.send_request(request.body(Full::new(body))?).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}

/// The folder itself, or the folders of the nodes in it.
fn candidates(folder: &Path) -> Vec<PathBuf> {
    if folder.join(SOCKET_FILE).exists() {
        return vec![folder.to_owned()];
    }
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut nodes: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    nodes.retain(|path| path.join(SOCKET_FILE).exists());
    nodes.sort();
    nodes
}

fn not_connected(folder: PathBuf, error: &io::Error) -> ClientError {
    let is = |kinds: &[io::ErrorKind]| kinds.contains(&error.kind());
    if is(&[io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused]) {
        ClientError::NotRunning { folder }
    } else if is(&[io::ErrorKind::PermissionDenied]) {
        ClientError::NotAllowed { folder }
    } else {
        no_answer(folder, error)
    }
}

fn no_answer(folder: PathBuf, problem: &(impl ToString + ?Sized)) -> ClientError {
    let problem = problem.to_string();
    ClientError::NoAnswer { folder, problem }
}
