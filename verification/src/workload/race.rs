//! Many clients create one object with `If-None-Match: *`, at the same moment and through different endpoints: exactly
//! one may be told that it did.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::{Outcome, WorkloadError, prepare, read_surely};
use crate::history::{Condition, Outcome as Told};
use crate::s3client::{Recorder, Session, Target};

/// How large the race is.
#[derive(Clone, Copy, Debug)]
pub struct Race {
    /// How many clients want each object.
    pub clients: u32,
    /// How many objects there are.
    pub keys: u32,
}

/// Runs the race.
pub async fn run(target: &Target, race: Race) -> Result<Outcome, WorkloadError> {
    let recorder = Arc::new(Recorder::start());
    let (mut inspector, target) = prepare(target, &recorder).await?;
    let told = run_clients(&target, race, &recorder).await;
    let mut faults = Vec::new();
    for key in 0..race.keys {
        let (told, name) = (&told[key as usize], name(key));
        let (found, _) = read_surely(&mut inspector, &name).await?;
        faults.extend(judge(told, &found).map(|fault| format!("{name}: {fault}")));
    }
    let summary = format!("race: {} keys, {} creators each", race.keys, race.clients);
    Ok(Outcome::judge(&recorder, faults, summary))
}

/// What each client was told about each key.
async fn run_clients(target: &Target, race: Race, recorder: &Arc<Recorder>) -> Vec<Vec<(u32, Told)>> {
    let start = Arc::new(Barrier::new(race.clients as usize));
    let mut clients = JoinSet::new();
    for client in 1..=race.clients {
        let (mut session, start) = (Session::new(client, target, recorder), Arc::clone(&start));
        clients.spawn(async move {
            let mut told = Vec::new();
            for key in 0..race.keys {
                start.wait().await;
                told.push(session.put(&name(key), body(client, key), Condition::Absent).await);
            }
            (client, told)
        });
    }
    let mut by_key = vec![Vec::new(); race.keys as usize];
    for (client, told) in clients.join_all().await {
        for (key, told) in told.into_iter().enumerate() {
            by_key[key].push((client, told));
        }
    }
    by_key
}

fn name(key: u32) -> String {
    format!("race-{key:05}")
}

fn body(client: u32, key: u32) -> Bytes {
    format!("client {client} for key {key}").into()
}

/// One winner, and the object is the winner's; none only if somebody's outcome is unknown, and then the object is theirs.
fn judge(told: &[(u32, Told)], found: &Told) -> Option<String> {
    let those = |wanted: fn(&Told) -> bool| -> Vec<u32> {
        told.iter()
            .filter(|(_, told)| wanted(told))
            .map(|(client, _)| *client)
            .collect()
    };
    let winners = those(|told| *told == Told::Done);
    let unknown = those(|told| matches!(told, Told::Unknown { .. }));
    let refused = those(|told| *told == Told::Refused);
    match winners.len() {
        0 if unknown.is_empty() && !refused.is_empty() => Some("all were refused".to_owned()),
        0 | 1 if *found == Told::NotFound && !(winners.is_empty() && refused.is_empty()) => {
            Some("it is not there".to_owned())
        }
        0 | 1 => None,
        _ => Some(format!("clients {winners:?} were all told that they created it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_winner_or_an_unknown_one() {
        let (done, refused, lost) = (Told::Done, Told::Refused, Told::Unknown { why: String::new() });
        let there = Told::Found { value: "x".to_owned() };
        let judge = |told: &[&Told], found: &Told| {
            let told: Vec<(u32, Told)> = (1..).zip(told.iter().map(|told| (*told).clone())).collect();
            judge(&told, found).is_none()
        };
        assert!(judge(&[&done, &refused, &lost], &there));
        assert!(judge(&[&refused, &lost], &there));
        assert!(judge(&[&lost, &lost], &Told::NotFound));
        assert!(!judge(&[&done, &done], &there));
        assert!(!judge(&[&refused, &refused], &there));
        assert!(!judge(&[&done, &refused], &Told::NotFound));
        assert!(!judge(&[&refused, &lost], &Told::NotFound));
    }
}
