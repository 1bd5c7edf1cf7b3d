//! When clients and harm are over: whichever process is away, the others know everything.
//!
//! What was acknowledged, and what was read, is on a majority of replicas with its blocks. So every key must be read
//! clearly without any one of the processes, and the answers must fit into the history.

use std::collections::BTreeSet;
use std::time::Duration;

use super::scene::SceneError;
use super::{INSPECTOR, Outcome, back_off};
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::history::{Action, Condition, Operation, Outcome as Told};
use crate::s3client::{Endpoint, Session, Target};

/// How long a key may take to be read, while nodes notice who is away.
const READ_WITHIN: Duration = Duration::from_secs(20);
/// Fewer processes are no majority without one of them.
const PROCESSES_MIN: usize = 3;

/// Reads everything while one process after the other is away; judges the history anew.
pub(super) async fn read_without_each(cluster: &mut Cluster, outcome: Outcome) -> Result<Outcome, SceneError> {
    let Some((target, recorder)) = outcome.asked.clone().filter(|_| cluster.len() >= PROCESSES_MIN) else {
        return Ok(outcome);
    };
    let Outcome {
        history,
        mut faults,
        summary,
        ..
    } = outcome;
    let keys = keys(&history);
    recorder.resume(history);
    for away in 0..cluster.len() {
        let mut session = Session::new(INSPECTOR, &without(&target, away), &recorder);
        cluster.kill(away).await?;
        for key in &keys {
            if let Err(last) = read(&mut session, key).await {
                faults.push(format!("{key} cannot be read without node {}: {last:?}", away + 1));
                break;
            }
        }
        cluster.start_again(away)?;
        cluster.wait_until_ready(away).await?;
    }
    let mut judged = Outcome::judge(&recorder, faults, String::new());
    judged.summary = format!("{summary}; {} keys read without each node", keys.len());
    Ok(judged)
}

/// The same store without one of its endpoints; each process has one.
fn without(target: &Target, away: usize) -> Target {
    let others = target.endpoints.iter().enumerate().filter(|(at, _)| *at != away);
    let endpoints: Vec<Endpoint> = others.map(|(_, endpoint)| endpoint.clone()).collect();
    Target {
        endpoints,
        ..target.clone()
    }
}

async fn read(session: &mut Session, key: &str) -> Result<(), Told> {
    let clock = Clock::start();
    loop {
        match session.get(key, Condition::Always).await.0 {
            Told::Found { .. } | Told::NotFound => return Ok(()),
            last if clock.elapsed() > READ_WITHIN => return Err(last),
            Told::Done | Told::Page { .. } | Told::Refused | Told::Failed { .. } | Told::Unknown { .. } => {
                back_off().await;
            }
        }
    }
}

fn keys(history: &[Operation]) -> Vec<String> {
    let named = history.iter().filter_map(|operation| match &operation.action {
        Action::Get { key, .. } | Action::Put { key, .. } | Action::Delete { key, .. } => Some(key.clone()),
        Action::List { .. } => None,
    });
    named.collect::<BTreeSet<String>>().into_iter().collect()
}
