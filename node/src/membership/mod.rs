//! Who belongs to the cluster, and where: what nodes tell each other of themselves, whether a layout names them or not.
//!
//! Whoever proves the cluster's secret is let in (`link`). From then on nodes ask their peers, now and again, whether they
//! know the same ([`Book`]), and those that know more tell. So one address of one node is enough to find all others, and
//! a node that moved is found again. The addresses of the configuration, and those that people name, are only where to
//! begin.

mod book;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

pub use book::{Book, CONTACTS_MAX, Contact, Hint, IntroduceError, Written, host, is_address};

use crate::cluster::{decode, encode};
use crate::env::{Boxed, Env};
use crate::folder::NodeName;
use crate::link::{Lane, Mesh, Message, Network, PeerId, Service};
use crate::secret_file;

/// The first byte of what nodes tell each other here; requests begin with the version of their encoding.
const CONTACTS: u8 = b'c';
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// A node says who it is and how much it knows.
#[derive(Debug, Serialize, Deserialize)]
struct Asked {
    mine: Contact,
    digest: [u8; 32],
}

/// What the other one knows, if it is not the same.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    /// Where it sees the one who asked.
    seen_at: Option<IpAddr>,
    contacts: Vec<Contact>,
}

/// What a node begins with.
#[derive(Debug, Clone)]
pub struct Start {
    /// Who it is.
    pub name: NodeName,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where others are to dial it, if the configuration says so.
    pub advertise: Option<String>,
    /// The addresses of the configuration, this node's own among them if a layout names it there.
    pub configured: Vec<Hint>,
    /// Where it is remembered.
    pub file: PathBuf,
}

/// Somebody who is known by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Who.
    pub name: NodeName,
    /// Where to look for it.
    pub addresses: Vec<String>,
    /// What its machine calls itself, if it was ever heard of.
    pub host: Option<String>,
}

/// What a node knows of the others, and how it comes to know it.
pub struct Membership {
    env: Env,
    port: u16,
    file: PathBuf,
    book: Mutex<Book>,
    mesh: OnceLock<Weak<Mesh>>,
    news: Notify,
}

impl Membership {
    /// Of a node that starts; what it knew before is in the file.
    pub fn open(env: Env, start: Start) -> Arc<Self> {
        let Start {
            name,
            listen,
            advertise,
            configured,
            file,
        } = start;
        let addresses = own_addresses(name, listen, advertise, &configured);
        let book = Book::open(read(&file), name, addresses, host(), configured);
        Arc::new(Membership {
            env,
            port: listen.port(),
            file,
            book: Mutex::new(book),
            mesh: OnceLock::new(),
            news: Notify::new(),
        })
    }

    /// Who is to be dialed, and where.
    pub fn peers(&self) -> Vec<(PeerId, Vec<String>)> {
        let known = self.book().known();
        known
            .into_iter()
            .map(|(peer, (_, addresses))| (peer, addresses))
            .collect()
    }

    /// Everybody else who is known by name.
    pub fn known(&self) -> Vec<Known> {
        let book = self.book();
        let known = book.known().into_iter().map(|(peer, (name, addresses))| Known {
            name,
            addresses,
            host: book.contact(peer).map(|contact| contact.host.clone()),
        });
        known.collect()
    }

    /// For how long nothing was heard of somebody, or this node has not listened; nothing if it never did.
    pub fn unheard(&self, peer: PeerId) -> Option<Duration> {
        self.book().unseen(peer, self.env.clock.monotonic())
    }

    /// What this node says of itself.
    pub fn mine(&self) -> Contact {
        self.book().mine().clone()
    }

    /// People say where somebody is. It is remembered, and tried at once.
    pub fn introduce(&self, hint: Hint) -> Result<(), IntroduceError> {
        self.book().introduce(hint)?;
        self.news.notify_one();
        Ok(())
    }

    /// A service that answers what nodes ask here, and leaves the rest to `rest`.
    pub fn reception(self: &Arc<Self>, rest: Arc<dyn Service>) -> Arc<dyn Service> {
        Arc::new(Reception {
            membership: self.clone(),
            rest,
        })
    }

    /// Asks all peers, now and again and at all news. Whenever it learns something, it says who all are. Who is not needed
    /// is forgotten, after long.
    pub async fn run(
        self: Arc<Self>,
        mesh: Arc<Mesh>,
        every: Duration,
        is_needed: impl Fn(PeerId) -> bool,
        say: impl Fn(&[NodeName]),
    ) {
        // There is one mesh in the life of a node.
        let _ = self.mesh.set(Arc::downgrade(&mesh));
        let mut applied = None;
        loop {
            let mut asking = self.ask_all(&mesh);
            while let Some((peer, told)) = asking.next().await {
                told.into_iter().for_each(|told| self.take(peer, told));
            }
            self.book().forget_unseen(&is_needed, self.env.clock.monotonic());
            let revision = self.book().revision();
            if applied != Some(revision) {
                mesh.set_peers(self.peers());
                let names: Vec<NodeName> = self.known().into_iter().map(|known| known.name).collect();
                say(&names);
                self.write_down().await;
                applied = Some(revision);
            }
            let pause = self.env.clock.sleep(every);
            tokio::select! {
                () = self.news.notified() => {}
                () = pause => {}
            }
        }
    }

    fn answer(&self, from: PeerId, asked: Asked) -> Told {
        let mut book = self.book();
        let before = book.revision();
        if asked.mine.name.key == from {
            book.see(from, self.env.clock.monotonic());
            book.hear(asked.mine);
        }
        if book.revision() != before {
            self.news.notify_one();
        }
        let is_same = book.digest() == asked.digest;
        let mesh = self.mesh.get().and_then(Weak::upgrade);
        Told {
            seen_at: mesh.and_then(|mesh| mesh.seen_at(from)),
            contacts: if is_same { Vec::new() } else { book.contacts() },
        }
    }

    fn take(&self, peer: PeerId, told: Told) {
        let mut book = self.book();
        book.see(peer, self.env.clock.monotonic());
        told.contacts.into_iter().for_each(|contact| book.hear(contact));
        if let Some(seen_at) = told.seen_at {
            book.seen_from(seen_at, self.port);
        }
    }

    /// The questions to all peers.
    fn ask_all(&self, mesh: &Mesh) -> FuturesUnordered<Boxed<'static, (PeerId, Option<Told>)>> {
        let book = self.book();
        let asked = Asked {
            mine: book.mine().clone(),
            digest: book.digest(),
        };
        let peers: Vec<PeerId> = book.known().into_keys().collect();
        drop(book);
        let mut head = BytesMut::from(&[CONTACTS][..]);
        head.put(encode(&asked));
        let message = Message {
            head: head.freeze(),
            body: Bytes::new(),
        };
        let ask = |peer| -> Boxed<'static, (PeerId, Option<Told>)> {
            let (calling, env) = (mesh.call(peer, Lane::Control, message.clone()), self.env.clone());
            Box::pin(async move {
                let answer = env.timeout(PATIENCE, calling).await.ok().and_then(Result::ok);
                (peer, answer.and_then(|answer| decode(&answer.head).ok()))
            })
        };
        peers.into_iter().map(ask).collect()
    }

    async fn write_down(&self) {
        let (file, written) = (self.file.clone(), self.book().written());
        let write = move || {
            let text = serde_json::to_string_pretty(&written).map_err(std::io::Error::from);
            text.map_err(secret_file::failed(&file))
                .and_then(|text| secret_file::write_public(&file, &text))
        };
        let saved = tokio::task::spawn_blocking(write).await;
        if !matches!(saved, Ok(Ok(()))) {
            tracing::warn!(?saved, "where other nodes are could not be written down");
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a node thinks that it can be dialed: where its configuration says so, or else where it listens.
fn own_addresses(name: NodeName, listen: SocketAddr, advertise: Option<String>, configured: &[Hint]) -> Vec<String> {
    if let Some(address) = advertise {
        return vec![address];
    }
    let own = configured.iter().filter(|hint| hint.name == name);
    let mut addresses: Vec<String> = own.map(|hint| hint.address.clone()).take(1).collect();
    let listen = Some(listen).filter(|listen| !listen.ip().is_unspecified());
    addresses.extend(
        listen
            .map(|listen| listen.to_string())
            .filter(|listen| !addresses.contains(listen)),
    );
    addresses
}

/// What was known before. It can be learned anew, so that a damaged file is no reason not to start.
fn read(file: &PathBuf) -> Written {
    let Ok(text) = std::fs::read_to_string(file) else {
        return Written::default();
    };
    serde_json::from_str(&text).unwrap_or_else(|error| {
        tracing::warn!(file = %file.display(), %error, "where other nodes are cannot be read; it is learned anew");
        Written::default()
    })
}

/// Answers what nodes ask about each other; the rest goes on.
struct Reception {
    membership: Arc<Membership>,
    rest: Arc<dyn Service>,
}

impl Service for Reception {
    fn serve(&self, from: PeerId, message: Message) -> Boxed<'static, Message> {
        let asked = message
            .head
            .strip_prefix(&[CONTACTS])
            .and_then(|head| decode(head).ok());
        match asked {
            Some(asked) => {
                let head = encode(&self.membership.answer(from, asked));
                Box::pin(std::future::ready(Message {
                    head,
                    body: Bytes::new(),
                }))
            }
            None => self.rest.serve(from, message),
        }
    }
}
