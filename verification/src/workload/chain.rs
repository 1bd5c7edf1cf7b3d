//! Many clients change one object with `If-Match`: each reads it, adds a line with its own name and the next number, and
//! writes it back. In the end every line that was acknowledged is there once, and each client's lines are in order.
//!
//! A client whose outcome is unknown reads: if its line is there, it was written; if it is not and the object has changed,
//! the old attempt can never succeed; if nothing has changed, it writes the very same again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::{Outcome, PATIENCE_MS, WorkloadError, back_off, prepare, read_surely};
use crate::clock::Clock;
use crate::history::{Condition, Outcome as Told};
use crate::s3client::{Recorder, Session, Target};

/// The object they all change.
const KEY: &str = "chain";

/// How large the contest is.
#[derive(Clone, Copy, Debug)]
pub struct Chain {
    /// How many clients take part.
    pub clients: u32,
    /// For how long they begin new lines.
    pub duration: Duration,
}

/// Runs the contest.
pub async fn run(target: &Target, chain: Chain) -> Result<Outcome, WorkloadError> {
    let recorder = Arc::new(Recorder::start());
    let (mut inspector, target) = prepare(target, &recorder).await?;
    begin(&mut inspector).await?;
    let mut clients = JoinSet::new();
    for client in 1..=chain.clients {
        let session = Session::new(client, &target, &recorder);
        clients.spawn(add_lines(client, session, chain.duration));
    }
    let mut acknowledged = BTreeMap::new();
    for result in clients.join_all().await {
        let (client, lines) = result?;
        acknowledged.insert(client, lines);
    }
    let (_, body) = read_surely(&mut inspector, KEY).await?;
    let faults = judge(&body.unwrap_or_default(), &acknowledged);
    let lines: u64 = acknowledged.values().sum();
    Ok(Outcome::judge(
        &recorder,
        faults,
        format!("chain: {} clients wrote {lines} lines", chain.clients),
    ))
}

/// Writes the first line, with patience.
async fn begin(inspector: &mut Session) -> Result<(), WorkloadError> {
    let clock = Clock::start();
    loop {
        match inspector
            .put(KEY, Bytes::from_static(b"start\n"), Condition::Always)
            .await
        {
            Told::Done => return Ok(()),
            told if clock.elapsed() > Duration::from_millis(PATIENCE_MS) => {
                return Err(WorkloadError::NotServing {
                    what: "write an object",
                    last: format!("{told:?}"),
                });
            }
            Told::Found { .. }
            | Told::NotFound
            | Told::Page { .. }
            | Told::Refused
            | Told::Failed { .. }
            | Told::Unknown { .. } => back_off().await,
        }
    }
}

/// Adds lines until the time is over; each is certainly there when the next one begins. Returns how many.
async fn add_lines(client: u32, mut session: Session, duration: Duration) -> Result<(u32, u64), WorkloadError> {
    let (clock, mut lines) = (Clock::start(), 0);
    while clock.elapsed() < duration {
        add_line(&mut session, &format!("{client} {lines}\n")).await?;
        lines += 1;
    }
    Ok((client, lines))
}

async fn add_line(session: &mut Session, line: &str) -> Result<(), WorkloadError> {
    loop {
        let (found, body) = read_surely(session, KEY).await?;
        let (Told::Found { value }, Some(body)) = (found, body) else {
            back_off().await; // The object vanished: the history will tell.
            return Ok(());
        };
        if contains(&body, line) {
            return Ok(());
        }
        let longer = Bytes::from([&body[..], line.as_bytes()].concat());
        match session.put(KEY, longer, Condition::Is(value)).await {
            Told::Done => return Ok(()),
            Told::Refused => {}
            Told::Failed { .. } | Told::Unknown { .. } | Told::Found { .. } | Told::NotFound | Told::Page { .. } => {
                back_off().await
            }
        }
    }
}

fn contains(body: &[u8], line: &str) -> bool {
    body.split_inclusive(|byte| *byte == b'\n')
        .any(|there| there == line.as_bytes())
}

/// Each client's lines must be 0, 1, 2, … in this order, as many as it was told.
fn judge(body: &[u8], acknowledged: &BTreeMap<u32, u64>) -> Vec<String> {
    let mut found: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    let text = String::from_utf8_lossy(body);
    for (client, number) in text.lines().filter_map(|line| line.split_once(' ')) {
        if let (Ok(client), Ok(number)) = (client.parse(), number.parse()) {
            found.entry(client).or_default().push(number);
        }
    }
    let mut faults = Vec::new();
    for (client, &lines) in acknowledged {
        let there = found.remove(client).unwrap_or_default();
        let expected: Vec<u64> = (0..lines).collect();
        if there != expected {
            let (missing, twice) = (missing(&there, lines), twice(&there));
            faults.push(format!(
                "client {client}: of {lines} lines {missing:?} are missing and {twice:?} are there twice"
            ));
        }
    }
    faults
}

fn missing(there: &[u64], lines: u64) -> Vec<u64> {
    (0..lines).filter(|number| !there.contains(number)).collect()
}

fn twice(there: &[u64]) -> Vec<u64> {
    let mut sorted = there.to_vec();
    sorted.sort_unstable();
    sorted
        .windows(2)
        .filter(|pair| pair[0] == pair[1])
        .map(|pair| pair[0])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_doubled_and_swapped_lines_are_found() {
        let faults = |body: &str| judge(body.as_bytes(), &BTreeMap::from([(1, 2), (2, 1)])).len();
        assert_eq!(faults("start\n1 0\n2 0\n1 1\n"), 0);
        assert_eq!(faults("start\n1 0\n2 0\n"), 1);
        assert_eq!(faults("start\n1 0\n2 0\n1 1\n2 0\n"), 1);
        assert_eq!(faults("start\n1 1\n2 0\n1 0\n"), 1);
        assert_eq!(faults("start\n"), 2);
    }
}
