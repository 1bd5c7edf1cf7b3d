//! What nodes tell each other of layouts: which there are, and who is synced for which.
//!
//! Both are facts that stay true, so they may be told by anybody to anybody, late, twice, in any order. Every node asks
//! every node that some layout names or that it knows otherwise, when it learns something and ever again; whoever asks
//! says how much it knows, and is told what it lacks. Elections of the next layout travel the same way.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde::{Deserialize, Serialize};
use trellis_spec::layout::{Announcement, Decree, Layout, LayoutHash, LayoutMark, LayoutVersion};
use trellis_spec::quorum::NodeId;
use trellis_spec::register::{Reply, Request};

use super::calls::Calls;
use super::coordinator::Coordinator;
use super::epochs::Overruled;
use super::layouts::{Known, Layouts, LayoutsError};
use super::repair::Evidence;
use super::replica::Replica;
use super::wire::{decode, encode};
use crate::link::Message;

/// The first byte of a message about layouts; requests begin with the version of their encoding.
const TIDINGS: u8 = b'l';

/// Changes within this time are told of together.
const GATHER: Duration = Duration::from_millis(20);

/// What a node asks another about layouts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Question {
    /// Here is what I know; what do I lack?
    Tidings(Tidings),
    /// To an elector of this layout, which follows this one.
    Elect(LayoutVersion, LayoutMark, Request<Layout>),
    /// How whole are your copies?
    Evidence,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Told {
    /// What the other lacks.
    Tidings(Tidings),
    /// What the elector says.
    Elector(Reply<Layout>),
    /// What is known of the own copies.
    Evidence(Evidence),
    /// Nothing can be said now.
    Nothing,
}

/// How much a node knows, and what it thinks that the other lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tidings {
    /// The newest layout that it knows.
    newest: LayoutVersion,
    /// Its hash: where layouts were forced, a number may be that of two.
    hash: LayoutHash,
    /// The newest forced layout that it knows.
    decree: Decree,
    /// Over all that it heard of syncs: the same for those who heard the same.
    heard: u64,
    layouts: Vec<Layout>,
    /// When those were decided, where that is known.
    decided_ms: Vec<(LayoutVersion, u64)>,
    announcements: Vec<Announcement>,
}

impl Tidings {
    /// Only how much is known.
    fn ask(known: &Known) -> Self {
        Tidings {
            newest: known.newest(),
            hash: known.hash,
            decree: known.decree,
            heard: heard(known),
            layouts: Vec::new(),
            decided_ms: Vec::new(),
            announcements: Vec::new(),
        }
    }

    /// What somebody lacks who asked like this, as far as one message holds it. Each time is another `turn`.
    fn lacked_by(&self, known: &Known, turn: usize) -> Self {
        let layouts = first(known.peer.knowledge.since(self.newest.next()));
        let date = |layout: &Layout| Some((layout.version, known.dates(layout.version).decided_ms?));
        let mut tidings = Tidings {
            decided_ms: layouts.iter().filter_map(date).collect(),
            layouts,
            ..Tidings::ask(known)
        };
        if tidings.heard != self.heard {
            tidings.announcements = some(known.heard().announcements().collect(), turn);
        }
        tidings
    }

    /// Does who says this not know the newest layout?
    pub(super) fn is_behind(&self, known: &Known) -> bool {
        self.newest < known.newest()
    }

    /// Does who says this lack something?
    fn lacks(&self, known: &Known) -> bool {
        self.is_behind(known) || self.heard != heard(known)
    }
}

/// The first layouts of all, as many as a message holds, one at least.
fn first<'a>(all: impl Iterator<Item = &'a Layout>) -> Vec<Layout> {
    const LAYOUTS_MAX_BYTES: usize = 256 << 10;
    let mut bytes = 0;
    let fits = |layout: &&Layout| {
        let is_first = bytes == 0;
        bytes += encode(*layout).len();
        is_first || bytes <= LAYOUTS_MAX_BYTES
    };
    all.take_while(fits).cloned().collect()
}

/// As many announcements as a message holds, from another place at every turn.
fn some(all: Vec<Announcement>, turn: usize) -> Vec<Announcement> {
    const ANNOUNCEMENTS_MAX: usize = 30_000;
    let count = all.len();
    let start = turn.wrapping_mul(ANNOUNCEMENTS_MAX) % count.max(1);
    all.into_iter()
        .cycle()
        .skip(start)
        .take(count.min(ANNOUNCEMENTS_MAX))
        .collect()
}

fn heard(known: &Known) -> u64 {
    // Only compared between nodes of one version: whoever hashes in another way is told everything, every time.
    let mut hasher = DefaultHasher::new();
    for said in known.heard().announcements() {
        said.hash(&mut hasher);
    }
    hasher.finish()
}

/// Are there layouts that only the other knows?
fn known_lacks(known: &Known, told: &Tidings) -> bool {
    known.newest() < told.newest
}

impl Layouts {
    /// Layouts with one number and two contents mean that one was forced.
    fn compare(&self, tidings: &Tidings) -> Result<(), LayoutsError> {
        match self.now().differs(tidings.newest, &tidings.hash) {
            true => Err(LayoutsError::Conflict(tidings.newest)),
            false => Ok(()),
        }
    }

    fn take_in(&self, tidings: &Tidings) -> Result<(), LayoutsError> {
        let taken = self.take_in_all(tidings);
        if let Err(LayoutsError::Conflict(version)) = &taken {
            self.disagree(*version, tidings.decree);
        }
        taken
    }

    /// Who has followed the lower decree gives way; the other one takes nothing from it.
    fn disagree(&self, version: LayoutVersion, theirs: Decree) {
        let known = self.now();
        if theirs <= known.decree || known.overruled.is_some_and(|overruled| theirs <= overruled.theirs) {
            return;
        }
        let ours = known.decree.epoch;
        self.give_way(Overruled { version, ours, theirs });
        if let Some(out) = self.now().out() {
            tracing::error!("{out}");
        }
    }

    fn take_in_all(&self, tidings: &Tidings) -> Result<(), LayoutsError> {
        let decided_ms = |version| {
            let dated = tidings.decided_ms.iter().find(|(dated, _)| *dated == version);
            dated.map(|(_, decided_ms)| *decided_ms)
        };
        let learned = self.learn(&tidings.layouts, decided_ms).map(|_| ());
        learned.and_then(|()| self.compare(tidings))?;
        // Those for layouts that are not known here yet will be told again.
        self.announce(&tidings.announcements)
    }
}

impl Replica {
    /// Answers a message about layouts; nothing if it is not one.
    pub(super) async fn answer_tidings(&self, message: &Message) -> Option<Message> {
        let question = message.head.strip_prefix(&[TIDINGS])?;
        let told = match decode::<Question>(question) {
            Ok(question) => self.tell(question).await.unwrap_or_else(|error| {
                tracing::error!(%error, "what a peer says about layouts cannot be used");
                Told::Nothing
            }),
            Err(error) => {
                tracing::warn!(%error, "a peer's question about layouts cannot be read");
                Told::Nothing
            }
        };
        Some(Message {
            head: encode(&told),
            body: Bytes::new(),
        })
    }

    pub(super) async fn tell(&self, question: Question) -> Result<Told, LayoutsError> {
        let layouts = self.layouts();
        let told = match question {
            Question::Tidings(asked) => {
                match layouts.take_in(&asked) {
                    Ok(()) => {}
                    // It has to find out as well, and will by what follows.
                    Err(error @ LayoutsError::Conflict(_)) => {
                        tracing::warn!(%error, "a peer follows other layouts, and is refused");
                    }
                    Err(error) => return Err(error),
                }
                Told::Tidings(asked.lacked_by(&layouts.now(), layouts.next_turn()))
            }
            Question::Elect(version, after, request) => self.serve_election(version, after, &request).await?,
            Question::Evidence => {
                self.glance().await;
                Told::Evidence(self.repairs().evidence(&self.env, &layouts.now()))
            }
        };
        layouts.durable().await?;
        Ok(told)
    }

    /// Only who knows the layout before is an elector, and whoever knows the layout itself tells it instead.
    async fn serve_election(
        &self,
        version: LayoutVersion,
        after: LayoutMark,
        request: &Request<Layout>,
    ) -> Result<Told, LayoutsError> {
        let (layouts, known) = (self.layouts(), self.layouts().now());
        if version == known.newest().next() && after != known.mark() {
            return Ok(Told::Tidings(Tidings::ask(&known)));
        }
        if version != known.newest().next() {
            let asked = Tidings {
                newest: LayoutVersion(version.0.saturating_sub(1)),
                ..Tidings::ask(&known)
            };
            return Ok(Told::Tidings(asked.lacked_by(&known, layouts.next_turn())));
        }
        let is_trusted = match self.standing() {
            Some(standing) => standing.is_welcome().await && !standing.is_refused(),
            None => true,
        };
        let is_elector = known
            .peer
            .knowledge
            .newest()
            .is_some_and(|newest| newest.member(known.peer.me).is_some());
        if !is_trusted || !is_elector || known.out().is_some() {
            return Ok(Told::Nothing);
        }
        let (reply, position) = layouts.serve_election(version, request)?;
        self.cells().durable(position).await.map_err(|_| closed())?;
        if let Some(recorder) = self.recorder() {
            recorder.durable(position);
        }
        Ok(Told::Elector(reply))
    }
}

fn closed() -> LayoutsError {
    LayoutsError::Rows(crate::storage::RowsError::Closed("the row store failed".to_owned()))
}

impl Coordinator {
    /// Tells and asks every node that some layout names: at every change, and ever again.
    pub async fn spread_tidings(self: Arc<Self>) {
        let interval = Duration::from_millis(self.limits.tidings_interval_ms);
        self.calls.spread_tidings(interval).await;
    }
}

impl Calls {
    async fn spread_tidings(&self, interval: Duration) {
        let mut changes = self.layouts().changes();
        loop {
            changes.mark_unchanged();
            self.exchange_with_all().await;
            // Who is gone ends with its node.
            if self.env.timeout(interval, changes.changed()).await.is_ok() {
                // A transition has many changes: some of them travel together.
                self.env.clock.sleep(GATHER).await;
            }
        }
    }

    /// One exchange with everybody; returns when all answered or had time to.
    pub(crate) async fn exchange_with_all(&self) {
        let known = self.layouts().now();
        let mut nodes: Vec<NodeId> = known
            .peer
            .knowledge
            .since(LayoutVersion::default())
            .flat_map(|layout| layout.members.iter().map(|member| member.id))
            .chain(self.met())
            .filter(|node| *node != known.peer.me)
            .collect();
        nodes.sort();
        nodes.dedup();
        let exchanges: FuturesUnordered<_> = nodes.into_iter().map(|node| self.exchange(node)).collect();
        exchanges.for_each(|_| std::future::ready(())).await;
    }

    /// Tells one node what it lacks, and learns what this one does: message after message, as long as one of the two
    /// comes to know newer layouts. Returns the newest that the other knows, if it answers.
    pub(crate) async fn exchange(&self, node: NodeId) -> Option<LayoutVersion> {
        let mut tidings = Tidings::ask(&self.layouts().now());
        let mut before = None;
        loop {
            let asked = self.ask_about_layouts(node, &Question::Tidings(tidings)).await;
            let Some(Told::Tidings(told)) = asked else {
                return None;
            };
            if !self.take_in(&told) {
                return None;
            }
            let known = self.layouts().now();
            let now = Some((known.newest(), told.newest));
            let is_first = before.is_none();
            if !told.lacks(&known) && !known_lacks(&known, &told) || now == before && !is_first {
                return Some(told.newest);
            }
            before = now;
            tidings = told.lacked_by(&known, self.layouts().next_turn());
        }
    }

    pub(crate) fn take_in(&self, told: &Tidings) -> bool {
        match self.layouts().take_in(told) {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, "what a peer says about layouts cannot be used");
                false
            }
        }
    }

    /// Asks once; nothing if there is no answer in time.
    pub(crate) async fn ask_about_layouts(&self, node: NodeId, question: &Question) -> Option<Told> {
        if node == self.me {
            return self.replica.tell(question.clone()).await.ok();
        }
        // What is told must not be taken back by a crash.
        self.layouts().durable().await.ok()?;
        let mut head = BytesMut::from(&[TIDINGS][..]);
        head.put(encode(question));
        let message = Message {
            head: head.freeze(),
            body: Bytes::new(),
        };
        let answer = self.send_once(node, message).await?;
        decode(&answer.head).ok()
    }
}
