//! What is looked at when clients, harm and operators are done: is everything at full redundancy again, was the signal
//! that says so telling the truth, and what becomes of nodes that left and come back?
//!
//! The signal is put to the test once more: a node that stores copies is stopped, objects are written meanwhile, and it
//! is started again. The moment in which any node first claims that everything written until then is everywhere, all
//! processes are stopped in their tracks and their disks are compared. A claim that comes too early is a fault.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use serde_json::Value;

use super::operator::Operator;
use super::scene::SceneError;
use super::{Outcome, prepare};
use crate::clock::{self, Clock};
use crate::cluster::{Cluster, ClusterError, Replaced};
use crate::history::{Condition, Outcome as Told};
use crate::s3client::Recorder;

/// How long it may take until everything is everywhere.
const FULL_WITHIN: Duration = Duration::from_secs(300);
/// How often nodes are told to compare their copies until then.
const COMPARE_EVERY: Duration = Duration::from_secs(20);
/// How long a node that comes back has to find out how it stands.
const STANDS_WITHIN: Duration = Duration::from_secs(30);
/// How often is asked.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What is written while a node is away.
const OBJECTS: usize = 40;
const OBJECT_BYTES: [usize; 2] = [1_000, 100_000];
/// Writes through the node that is away fail; so many are tried,
const TRIES_MAX: usize = 400;
/// and for so long: with two replicas each, a partition of that node takes no writes.
const TRIED_WITHIN: Duration = Duration::from_secs(60);
/// What a node with an older copy of its disk says, and what it tells to do.
const REFUSED: &str = "older copy";
const ADVICE: &str = "it can only come back as a new node with an empty folder";

/// See the module.
pub(super) struct Audit<'a> {
    pub(super) cluster: &'a mut Cluster,
    pub(super) operator: &'a Operator,
    pub(super) seed: u64,
}

/// Looks at everything; what is wrong goes into the outcome.
pub(super) async fn run(mut audit: Audit<'_>, replaced: &[Replaced], outcome: &mut Outcome) -> Result<(), SceneError> {
    let clock = Clock::start();
    if !audit.claim_is_true(now_ms(), "after the run", outcome).await? {
        return Ok(());
    }
    outcome.add(&format!("full again after {:.1} s", clock.elapsed().as_secs_f64()));
    audit.while_one_is_away(outcome).await?;
    if let Some(departed) = replaced.last() {
        audit.departed_returns(departed, outcome).await?;
    }
    Ok(())
}

impl Audit<'_> {
    /// Waits until a node says that everything written before `since_ms` is everywhere, and looks whether it is.
    async fn claim_is_true(&self, since_ms: u64, when: &str, outcome: &mut Outcome) -> Result<bool, ClusterError> {
        let (clock, mut compared) = (Clock::start(), None);
        let node = loop {
            if let Some(node) = self.claims_full(since_ms).await {
                break node;
            }
            if compared.is_none_or(|compared| clock.elapsed() > compared + COMPARE_EVERY) {
                self.compare().await;
                compared = Some(clock.elapsed());
            }
            if clock.elapsed() > FULL_WITHIN {
                let copies = self.status(1).await["copies"]["lacks"].to_string();
                outcome
                    .faults
                    .push(format!("{when}, no node says that all copies are there: {copies}"));
                return Ok(false);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        let truth = self.cluster.compare_copies().await?;
        outcome.add(&format!(
            "{when}: {} rows and {} blocks compared",
            truth.rows, truth.blocks
        ));
        for missing in &truth.missing {
            outcome.faults.push(format!(
                "{when}, node {node} says that all copies are there, and this is not: {missing}"
            ));
        }
        Ok(truth.missing.is_empty())
    }

    /// Has every node compare its copies now: by themselves they do so every ten minutes.
    async fn compare(&self) {
        for node in 1..=self.operator.nodes {
            // Who does not answer is asked again later.
            let _ = self.operator.run(node, &["repair", "compare"]).await;
        }
    }

    /// The first node that says so.
    async fn claims_full(&self, since_ms: u64) -> Option<u16> {
        for node in 1..=self.operator.nodes {
            let copies = &self.status(node).await["copies"];
            let until_ms = copies["full_until_ms"].as_u64();
            if copies["state"] == "full" && until_ms.is_some_and(|until_ms| until_ms >= since_ms) {
                return Some(node);
            }
        }
        None
    }

    async fn status(&self, node: u16) -> Value {
        self.operator.status(node).await.unwrap_or_default()
    }

    /// See the module.
    async fn while_one_is_away(&mut self, outcome: &mut Outcome) -> Result<(), SceneError> {
        let Some(member) = self.holder().await else {
            outcome.faults.push("no node has a role".to_owned());
            return Ok(());
        };
        let recorder = Arc::new(Recorder::start());
        let (mut session, _) = prepare(self.cluster.target(), &recorder).await?;
        self.cluster.kill(member).await?;
        let (mut written, mut tries) = (0, 0);
        let clock = Clock::start();
        while written < OBJECTS && tries < TRIES_MAX && clock.elapsed() < TRIED_WITHIN {
            let body = Bytes::from(vec![
                u8::try_from(tries % 251).unwrap_or(0);
                OBJECT_BYTES[tries % 2] + tries
            ]);
            let told = session.put(&format!("audit-{tries:04}"), body, Condition::Always).await;
            written += usize::from(told == Told::Done);
            tries += 1;
        }
        outcome.add(&format!("{written} objects written while node {} was away", member + 1));
        let since_ms = now_ms();
        // Of whatever time: who does not answer is not known to hold what it held then.
        if let Some(node) = self.claims_full(0).await {
            let fault = format!(
                "node {node} says that all copies are there while node {} is away",
                member + 1
            );
            outcome.faults.push(fault);
        }
        self.cluster.start_again(member)?;
        self.cluster.wait_until_ready(member).await?;
        self.claim_is_true(since_ms, "after it came back", outcome).await?;
        Ok(())
    }

    /// Somebody who stores something.
    async fn holder(&self) -> Option<usize> {
        let mut members: Vec<usize> = (0..self.cluster.len()).collect();
        Rng::with_seed(self.seed).shuffle(&mut members);
        for member in members {
            let status = self.status(u16::try_from(member + 1).ok()?).await;
            let nodes = status["nodes"].as_array().into_iter().flatten();
            if nodes
                .into_iter()
                .any(|node| node["id"] == status["id"] && node["role"] == "storage")
            {
                return Some(member);
            }
        }
        None
    }

    /// A node that was replaced comes back twice: with an older copy of its disk, which must be refused and told what to
    /// do, and with its last one, with which it must learn that it has no place any more, and be believed nothing.
    async fn departed_returns(&mut self, departed: &Replaced, outcome: &mut Outcome) -> Result<(), SceneError> {
        self.older_copy_returns(departed, outcome).await?;
        self.last_disk_returns(departed, outcome).await
    }

    async fn older_copy_returns(&self, departed: &Replaced, outcome: &mut Outcome) -> Result<(), SceneError> {
        let mut visitor = self.cluster.visit(departed, true)?;
        let clock = Clock::start();
        let refused = loop {
            let says = visitor.health().await;
            if says.is_some_and(|(serves, why)| !serves && why.contains(REFUSED)) {
                break true;
            }
            if clock.elapsed() > STANDS_WITHIN {
                break false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        let is_advised = visitor.log().to_lowercase().contains(ADVICE);
        let fault = match (refused, is_advised) {
            (true, true) => None,
            (true, false) => Some("refused without advice"),
            (false, _) => Some("not refused"),
        };
        match fault {
            None => outcome.add("the old disk of a departed node was refused, with advice"),
            Some(fault) => outcome.faults.push(format!(
                "{}: the old disk of a departed node was {fault}",
                departed.old_id
            )),
        }
        Ok(visitor.kill().await?)
    }

    async fn last_disk_returns(&mut self, departed: &Replaced, outcome: &mut Outcome) -> Result<(), SceneError> {
        let mut visitor = self.cluster.visit(departed, false)?;
        let newest = self.status(1).await["layout"]["version"].clone();
        let clock = Clock::start();
        let learned = loop {
            let status = self.operator.ask(visitor.config(), &["status", "--json"]).await;
            let status: Value = status
                .and_then(|text| serde_json::from_str(&text).ok())
                .unwrap_or_default();
            let nodes = status["nodes"].as_array().into_iter().flatten();
            let has_role = nodes
                .into_iter()
                .any(|node| node["id"] == status["id"] && node["role"] != "none");
            if !newest.is_null() && status["layout"]["version"] == newest {
                break !has_role;
            }
            if clock.elapsed() > STANDS_WITHIN {
                break false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        match learned {
            true => outcome.add("with its last disk it learned that it has no role"),
            false => outcome.faults.push(format!(
                "{}: a departed node does not learn of its departure",
                departed.old_id
            )),
        }
        self.claim_is_true(now_ms(), "beside a departed node", outcome).await?;
        Ok(visitor.kill().await?)
    }
}

fn now_ms() -> u64 {
    let since_epoch = clock::date() - time::OffsetDateTime::UNIX_EPOCH;
    u64::try_from(since_epoch.whole_milliseconds()).unwrap_or_default()
}
