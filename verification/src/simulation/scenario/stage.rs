//! The stage: messages about the rows of a scenario wait until it is their turn.
//!
//! It stands between a node and the network. A request waits before it leaves, its answer before it arrives, each in a
//! task of its own that outlives its sender, as messages do. Everything else, about buckets' names say, passes at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use trellis_model::value::Key;
use trellis_model::world::{Ask, Asked, Held, Said};
use trellis_node::cluster::{decode, encode};
use trellis_node::env::Boxed;
use trellis_node::env::simulated::{SimulatedNode, Simulation};
use trellis_node::link::{Lane, LinkError, Message, Network, PeerId};
use trellis_s3api::bucket::BucketInfo;
use trellis_spec::layout::{Layout, Partition, Refusal, View};
use trellis_spec::peer::{Answer, Call, Envelope};
use trellis_spec::row::{Address, BucketId, Placement, RowKey};

/// How long a node may take to answer what is delivered to it.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Shards of a bucket's index.
const SHARDS: u16 = 1;

/// See the module. Clones are the same stage.
#[derive(Clone)]
pub(crate) struct Stage {
    hands: SimulatedNode,
    props: Arc<Mutex<Props>>,
}

#[derive(Default)]
struct Props {
    /// Nothing: everything passes.
    rows: Option<Rows>,
    last: u64,
    waiting: BTreeMap<u64, Waiting>,
    is_over: bool,
}

/// The rows that the scenario is about.
struct Rows {
    by_key: BTreeMap<RowKey, Key>,
    objects: u8,
    all_objects: RowKey,
    /// Where they are.
    partition: Partition,
}

/// A message that waits.
struct Waiting {
    path: Path,
    asked: Asked,
    /// Under which it was sent.
    view: View,
    /// Nobody waits for the answer any more.
    is_outdated: bool,
    /// How to answer whoever asked.
    tell: Tell,
    /// What was answered; nothing: it was not delivered yet.
    said: Option<Said>,
    /// How to let it go; nothing: it is on its way.
    go: Option<oneshot::Sender<()>>,
}

/// Taken by the first who answers.
type Tell = Arc<Mutex<Option<oneshot::Sender<Result<Message, LinkError>>>>>;

/// From which node to which.
pub(crate) type Path = (usize, usize);

/// Which of several messages that look alike.
#[derive(Clone, Copy)]
pub(crate) enum Which {
    /// The request of the present round.
    Newest,
    /// One of an earlier round.
    Oldest,
}

impl Stage {
    pub(crate) fn new(simulation: &Simulation) -> Self {
        Stage {
            hands: simulation.node("stage"),
            props: Arc::default(),
        }
    }

    /// From now on messages about these objects wait, those about the bucket's row and gate, and pulls of the partition
    /// where they are.
    pub(crate) fn begin(&self, bucket: &BucketInfo, keys: &[String], layout: &Layout) {
        let id = BucketId(bucket.id.0);
        let objects = keys.iter().map(|key| Address::object(id, SHARDS, key.as_bytes()).key);
        let rows = objects.chain([Address::gate(id, 0).key, Address::bucket(id).key]);
        self.props().rows = Some(Rows {
            by_key: rows.zip((0..).map(Key)).collect(),
            objects: u8::try_from(keys.len()).unwrap_or(u8::MAX),
            all_objects: id.objects_from(b""),
            partition: Placement::Index(id, 0).partition(layout),
        });
    }

    /// Lets everything go, now and later.
    pub(crate) fn end(&self) {
        let waiting = {
            let mut props = self.props();
            (props.rows, props.is_over) = (None, true);
            std::mem::take(&mut props.waiting)
        };
        for waiting in waiting.into_values() {
            // Who does not wait any more was let go before.
            let _ = waiting.go.map(|go| go.send(()));
        }
    }

    /// Does nothing wait any more?
    pub(crate) fn is_over(&self) -> bool {
        self.props().is_over
    }

    /// Requests of a sync under an older view than its node has: they stay under way, but the sync hears at once that
    /// nothing comes of them.
    pub(crate) fn outdate(&self, syncer: usize, view: View) {
        let mut props = self.props();
        let of_sync = props.waiting.values_mut().filter(|waiting| waiting.path.0 == syncer);
        for waiting in of_sync.filter(|waiting| !waiting.is_outdated && waiting.view.is_behind(view)) {
            waiting.is_outdated = true;
            answer(
                &waiting.tell,
                Ok(Message {
                    head: encode(&Answer::Failed),
                    body: Bytes::new(),
                }),
            );
        }
    }

    /// The network as the node `at` shall see it.
    pub(crate) fn before(&self, at: usize, network: Arc<dyn Network>) -> Arc<dyn Network> {
        Arc::new(Wings {
            stage: self.clone(),
            at,
            network,
        })
    }

    /// A request that was not delivered yet.
    pub(crate) fn request(&self, path: Path, asked: Asked, which: Which) -> Option<u64> {
        let is_it = |waiting: &Waiting| waiting.path == path && waiting.asked == asked && waiting.said.is_none();
        let is_current = |waiting: &Waiting| match which {
            Which::Newest => !waiting.is_outdated,
            Which::Oldest => true,
        };
        self.find(which, |waiting| {
            is_it(waiting) && is_current(waiting) && waiting.go.is_some()
        })
    }

    /// An answer that was not heard yet.
    pub(crate) fn answer(&self, path: Path) -> Option<u64> {
        self.find(Which::Newest, |waiting| {
            waiting.path == path && waiting.said.is_some() && waiting.go.is_some()
        })
    }

    fn find(&self, which: Which, is_it: impl Fn(&Waiting) -> bool) -> Option<u64> {
        let props = self.props();
        let mut found = props
            .waiting
            .iter()
            .filter(|(_, waiting)| is_it(waiting))
            .map(|(id, _)| *id);
        match which {
            Which::Newest => found.next_back(),
            Which::Oldest => found.next(),
        }
    }

    /// The requests of a node that are on their way, in words.
    pub(crate) fn requests_of(&self, from: usize) -> String {
        let props = self.props();
        let waits = |waiting: &&Waiting| waiting.path.0 == from && waiting.said.is_none() && waiting.go.is_some();
        let own = props.waiting.values().filter(waits);
        let shown: Vec<String> = own
            .map(|waiting| format!("{} to {}", show(waiting.asked), name(waiting.path.1)))
            .collect();
        match shown.is_empty() {
            true => "nothing is on its way".to_owned(),
            false => format!("on their way are {}", shown.join(", ")),
        }
    }

    /// Delivers a request and gives the answer, which waits, with its number; nothing if none comes. A replica that does
    /// not know the request's layout is told by whoever asked, and asked again.
    pub(crate) async fn deliver(&self, mut id: u64) -> Option<(u64, Said)> {
        let (path, asked) = self
            .props()
            .waiting
            .get(&id)
            .map(|waiting| (waiting.path, waiting.asked))?;
        self.let_go(id);
        let mut waited = Duration::ZERO;
        while waited < ANSWERED_WITHIN {
            let said = self.props().waiting.get(&id).map(|waiting| waiting.said);
            // One of an earlier round may still be on its way.
            let again = self.request(path, asked, Which::Newest).filter(|again| *again > id);
            match (said, again) {
                (Some(Some(said)), _) => return Some((id, said)),
                (None, Some(again)) => {
                    id = again;
                    self.let_go(id);
                }
                (Some(None) | None, _) => {}
            }
            self.hands.simulation().sleep(LOOK_EVERY).await;
            waited += LOOK_EVERY;
        }
        None
    }

    /// Lets a message go on.
    pub(crate) fn let_go(&self, id: u64) {
        let go = self.props().waiting.get_mut(&id).and_then(|waiting| waiting.go.take());
        // Who is not there any more crashed.
        let _ = go.map(|go| go.send(()));
    }

    /// Takes a message; tells when it may go on. Nothing: it is none of this stage's.
    fn take(&self, path: Path, message: &Message, tell: &Tell) -> Option<(u64, oneshot::Receiver<()>)> {
        let mut props = self.props();
        let (asked, view) = props.rows.as_ref()?.asked(message)?;
        let (go, may_go) = oneshot::channel();
        props.last += 1;
        let id = props.last;
        let waiting = Waiting {
            path,
            asked,
            view,
            is_outdated: false,
            tell: tell.clone(),
            said: None,
            go: Some(go),
        };
        props.waiting.insert(id, waiting);
        Some((id, may_go))
    }

    /// The answer to a message came; tells when it may arrive.
    fn take_answer(&self, id: u64, answer: &Result<Message, LinkError>) -> Option<oneshot::Receiver<()>> {
        let mut props = self.props();
        let objects = props.rows.as_ref().map(|rows| rows.objects);
        let waiting = props.waiting.get_mut(&id)?;
        // What nobody took is sent again by whoever asked, and so is what the replica does not understand yet.
        let told = answer
            .as_ref()
            .ok()
            .and_then(|answer| decode::<Answer>(&answer.head).ok())
            .filter(|told| !matches!(told, Answer::Refused(Refusal::NeedLayout(_))));
        let Some(told) = told else {
            props.waiting.remove(&id);
            return None;
        };
        let is_object = objects.is_some_and(|objects| waiting.asked.row.is_some_and(|row| row.0 < objects));
        let (go, may_go) = oneshot::channel();
        (waiting.said, waiting.go) = (Some(said(&told, is_object)), Some(go));
        Some(may_go)
    }

    fn props(&self) -> MutexGuard<'_, Props> {
        self.props.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rows {
    /// What is asked under which view, if the scenario is about that.
    fn asked(&self, message: &Message) -> Option<(Asked, View)> {
        let Envelope {
            call, partition, view, ..
        } = decode::<Envelope>(&message.head).ok()?;
        self.about(call, partition).map(|asked| (asked, view))
    }

    fn about(&self, call: Call, partition: Partition) -> Option<Asked> {
        match call {
            Call::Row { key, request, .. } => {
                let row = *self.by_key.get(&key)?;
                let asked = Asked {
                    row: Some(row),
                    deed: Ask::of(&request),
                };
                // A node looks at the bucket before it claims it or decides about it; the model knows it.
                let looks = row.0 >= self.objects && matches!(asked.deed, Ask::Read | Ask::WriteBack | Ask::Settle);
                (!looks).then_some(asked)
            }
            Call::Scan { from, .. } if from.starts_with(&self.all_objects) => Some(Asked {
                row: None,
                deed: Ask::Scan,
            }),
            Call::Pull { .. } if partition == self.partition => Some(Asked {
                row: None,
                deed: Ask::Pull,
            }),
            Call::Scan { .. } | Call::StoreBlock(_) | Call::ReferBlock(_) | Call::FetchBlock(_) => None,
            Call::Pull { .. } | Call::PullReferences { .. } | Call::Digest { .. } | Call::Leaves(_) => None,
            Call::Report(_) | Call::Forget(_) => None,
        }
    }
}

/// What the rows of a bucket hold is not compared: the model's bucket is there without ever having been created.
pub(super) fn without_content(said: Said) -> Said {
    match said {
        Said::Row(_) => Said::Row(Held::Nothing),
        Said::Promise(_) => Said::Promise(Held::Nothing),
        Said::Accept | Said::Nack | Said::Gated | Said::TooFarAhead | Said::Rows | Said::Refused => said,
    }
}

fn said(told: &Answer, is_object: bool) -> Said {
    match told {
        Answer::Row { reply, .. } if is_object => Said::of(reply),
        Answer::Row { reply, .. } => without_content(Said::of(reply)),
        Answer::Scanned(_) | Answer::Pulled(_) | Answer::References { .. } => Said::Rows,
        Answer::Digest(_) | Answer::Leaves(_) => Said::Rows,
        Answer::Stored | Answer::NeedData | Answer::Block | Answer::NoBlock => Said::Rows,
        Answer::Reported(_) | Answer::Forgotten(_) => Said::Rows,
        Answer::Refused(_) | Answer::Full | Answer::Failed => Said::Refused,
    }
}

/// What the model calls a node that holds rows.
pub(super) fn name(node: usize) -> char {
    ('A'..='Z').nth(node).unwrap_or('?')
}

/// Answers whoever asked, unless somebody did before.
fn answer(tell: &Tell, answered: Result<Message, LinkError>) {
    let tell = tell.lock().unwrap_or_else(PoisonError::into_inner).take();
    // Who asked may have crashed.
    let _ = tell.map(|tell| tell.send(answered));
}

/// A request in words.
pub(crate) fn show(asked: Asked) -> String {
    let row = asked.row.map_or_else(String::new, |row| format!(" of row {}", row.0));
    format!("{:?}{row}", asked.deed).to_lowercase()
}

/// Where a node's messages come to the stage.
struct Wings {
    stage: Stage,
    at: usize,
    network: Arc<dyn Network>,
}

impl Network for Wings {
    fn call(&self, to: PeerId, lane: Lane, message: Message) -> Boxed<'static, Result<Message, LinkError>> {
        let (stage, at, calling) = (self.stage.clone(), self.at, Arc::clone(&self.network));
        // The keys of simulated nodes are their numbers, counted from one.
        let path = (at, usize::from(to.0[0]).saturating_sub(1));
        Box::pin(async move {
            let (tell, told) = oneshot::channel();
            let tell: Tell = Arc::new(Mutex::new(Some(tell)));
            let Some((id, may_leave)) = stage.take(path, &message, &tell) else {
                return calling.call(to, lane, message).await;
            };
            let (spawner, stage) = (stage.hands.env().spawner, stage);
            let carried = async move {
                // It leaves at the end of the scenario at the latest.
                let _ = may_leave.await;
                let answered = calling.call(to, lane, message).await;
                if let Some(may_arrive) = stage.take_answer(id, &answered) {
                    let _ = may_arrive.await;
                }
                answer(&tell, answered);
            };
            spawner.spawn("message", Box::pin(carried));
            told.await.unwrap_or(Err(LinkError::Lost))
        })
    }

    fn round_trip(&self, to: PeerId) -> Option<Duration> {
        self.network.round_trip(to)
    }
}
