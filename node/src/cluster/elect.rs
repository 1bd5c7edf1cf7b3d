//! Elections of the next layout, as their candidate's node drives them.

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use trellis_spec::layout::{Forced, Layout, Unfit, electors, fit};
use trellis_spec::quorum::NodeId;
use trellis_spec::register::{Ask, Audience, ConditionalOutcome, Content, Step};
use trellis_spec::stamp::Stamp;

use super::coordinator::Coordinator;
use super::epochs::Out;
use super::layouts::LayoutsError;
use super::tidings::{Question, Told};
use super::tries::Tries;
use super::watched::WatchedElection;
use crate::env::Boxed;
use crate::seeded::NodeRules;

/// How long the exchange before an election may take.
const EXCHANGE_PATIENCE: Duration = Duration::from_secs(1);
/// And that before a force: who is left may be slow, and must not be passed over with what it knows.
const FORCE_PATIENCE: Duration = Duration::from_secs(10);

/// How an election ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Elected {
    /// The candidate is the next layout.
    Won,
    /// Another one is: this.
    Lost(Box<Layout>),
}

/// Why nobody was elected.
#[derive(Debug, thiserror::Error)]
pub enum ElectError {
    /// The candidate may not follow the newest layout. Nothing was asked of anybody.
    #[error("this layout may not follow the newest one: {0:?}")]
    Unfit(Unfit),
    /// Too few electors answered in time. Nothing was proposed.
    #[error("too few nodes of the newest layout can be reached to decide on the next one")]
    Unreached,
    /// The candidate may be elected, now or later; the next election tells.
    #[error("whether the layout was elected is not known: too few nodes answered")]
    Unknown,
    /// This node must not decide anything. Nothing was asked of anybody.
    #[error("{0}")]
    Out(Out),
    /// What the force would cost is not what it was said to cost. Nothing was changed.
    #[error("what is known of layouts has changed meanwhile")]
    Changed,
    /// What is known of layouts cannot be read or written.
    #[error(transparent)]
    Layouts(#[from] LayoutsError),
}

type Heard = (u32, NodeId, Option<Told>);

impl Coordinator {
    /// Puts `next` up for election among the nodes of the newest layout.
    pub async fn elect(&self, next: Layout) -> Result<Elected, ElectError> {
        // Whatever is known elsewhere is better known now than found out by losing.
        // Those who are gone are not waited for long.
        let _ = self
            .env
            .timeout(EXCHANGE_PATIENCE, self.calls.exchange_with_all())
            .await;
        let known = self.layouts().now();
        if let Some(out) = known.out() {
            return Err(ElectError::Out(out));
        }
        let knowledge = &known.peer.knowledge;
        fit::<NodeRules>(knowledge, &next, |partition| knowledge.view(partition).lo).map_err(ElectError::Unfit)?;
        let Some(newest) = knowledge.newest() else {
            return Err(ElectError::Unreached);
        };
        let mut candidacy = WatchedElection::new(self.replica.recorder(), newest, &next);
        let elected = match self.campaign(&mut candidacy, newest, &next).await? {
            Some(elected) => elected,
            None => return self.told(&next),
        };
        let decided_ms = Some(self.env.clock.wall_us() / 1000);
        self.layouts().learn(std::slice::from_ref(&elected), |_| decided_ms)?;
        self.layouts().durable().await?;
        self.told(&next)
    }

    /// Makes `next` the layout that follows by decree, for its electors are lost, or other nodes without which it would
    /// never be the only one. Others are told of it.
    pub async fn force(&self, next: &Layout) -> Result<(), ElectError> {
        let Some(forced) = &next.forced else {
            return Err(ElectError::Changed);
        };
        let left = next.members.iter().map(|member| member.id);
        let left = left.filter(|node| *node != self.me());
        let exchanges: FuturesUnordered<_> = left.map(|node| self.calls.exchange(node)).collect();
        let heard = exchanges.for_each(|_| std::future::ready(()));
        let _ = self.env.timeout(FORCE_PATIENCE, heard).await;
        let known = self.layouts().now();
        if let Some(out) = known.out() {
            return Err(ElectError::Out(out));
        }
        let knowledge = &known.peer.knowledge;
        fit::<NodeRules>(knowledge, next, |partition| knowledge.view(partition).lo).map_err(ElectError::Unfit)?;
        if Forced::judge(knowledge, forced.epoch, forced.lost.clone()) != *forced {
            return Err(ElectError::Changed);
        }
        let decided_ms = Some(self.env.clock.wall_us() / 1000);
        self.layouts().learn(std::slice::from_ref(next), |_| decided_ms)?;
        self.layouts().durable().await?;
        Ok(())
    }

    /// Who is known to be elected in place of the candidate, or is it?
    fn told(&self, next: &Layout) -> Result<Elected, ElectError> {
        match self.layouts().now().peer.knowledge.layout(next.version) {
            Some(elected) if elected == next => Ok(Elected::Won),
            Some(other) => Ok(Elected::Lost(Box::new(other.clone()))),
            None => Err(ElectError::Unknown),
        }
    }

    /// The layout that is elected; nothing if it was heard of in another way.
    async fn campaign(
        &self,
        candidacy: &mut WatchedElection<'_>,
        newest: &Layout,
        next: &Layout,
    ) -> Result<Option<Layout>, ElectError> {
        let voters = electors(newest).members();
        let mut deadline = self
            .env
            .clock
            .sleep(Duration::from_millis(self.limits.request_deadline_ms));
        let patience = || self.env.clock.sleep(Duration::from_millis(self.limits.patience_ms) * 2);
        let mut patient = patience();
        let mut calls: FuturesUnordered<Boxed<'_, Heard>> = FuturesUnordered::new();
        let mut tries = Tries::new(self.env.clock.monotonic());
        let mut stamp = self.stamp(Stamp::ZERO);
        let mut step = candidacy.start(stamp);
        let outcome = loop {
            match step {
                Step::Done(outcome) => break outcome,
                Step::Ask(ask) => calls.extend(self.ask_electors(candidacy, &voters, next, &ask)),
                Step::Again { above } => {
                    self.pause(&mut tries, super::coordinator::Contention::Expected).await;
                    stamp = self.stamp(above.max(stamp));
                    step = candidacy.again(stamp);
                    continue;
                }
                Step::Wait => {}
            }
            step = tokio::select! {
                biased;
                Some((round, node, told)) = calls.next() => match told {
                    Some(Told::Elector(reply)) => candidacy.on_reply(round, node, reply),
                    Some(Told::Tidings(tidings)) => {
                        self.calls.take_in(&tidings);
                        if self.layouts().now().newest() >= next.version {
                            return Ok(None);
                        }
                        Step::Wait
                    }
                    Some(Told::Evidence(_) | Told::Nothing) | None => Step::Wait,
                },
                () = &mut patient => {
                    patient = patience();
                    candidacy.on_patience()
                }
                () = &mut deadline => break candidacy.on_deadline(),
            };
        };
        match outcome {
            ConditionalOutcome::Written(held) => Ok(live(held.content)),
            ConditionalOutcome::Refused(held) => Ok(held.and_then(|held| live(held.content))),
            ConditionalOutcome::Unknown => Err(ElectError::Unknown),
            ConditionalOutcome::Unreached | ConditionalOutcome::Gated => Err(ElectError::Unreached),
        }
    }

    fn ask_electors<'a>(
        &'a self,
        candidacy: &mut WatchedElection<'_>,
        voters: &[NodeId],
        next: &Layout,
        ask: &Ask<Layout>,
    ) -> Vec<Boxed<'a, Heard>> {
        let asked = |node: &&NodeId| match ask.audience {
            Audience::All => true,
            Audience::One(one) => one == **node,
        };
        let after = self.layouts().now().mark();
        let call = |node: &NodeId| -> Boxed<'a, Heard> {
            let (node, round) = (*node, ask.round);
            candidacy.sent(node, &ask.request);
            let question = Question::Elect(next.version, after, ask.request.clone());
            Box::pin(async move { (round, node, self.ask_elector(node, &question).await) })
        };
        voters.iter().filter(asked).map(call).collect()
    }

    /// An elector that does not know the newest layout yet says so with what it knows; it is told, and asked again.
    async fn ask_elector(&self, node: NodeId, question: &Question) -> Option<Told> {
        let told = self.calls.ask_about_layouts(node, question).await;
        match &told {
            Some(Told::Tidings(tidings)) if tidings.is_behind(&self.layouts().now()) => {
                self.calls.exchange(node).await;
                self.calls.ask_about_layouts(node, question).await
            }
            Some(Told::Tidings(_) | Told::Elector(_) | Told::Evidence(_) | Told::Nothing) | None => told,
        }
    }
}

fn live(content: Content<Layout>) -> Option<Layout> {
    match content {
        Content::Value(layout) => Some(layout),
        Content::Tombstone => None,
    }
}
