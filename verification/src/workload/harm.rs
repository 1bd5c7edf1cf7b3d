//! What each harm is in deeds. After each, every process serves again.

use std::time::Duration;

use fastrand::Rng;

use super::nemesis::{Done, Harm};
use super::operator::Operator;
use crate::clock::Clock;
use crate::cluster::{Cluster, ClusterError, Flow};

/// Links are bad for so many times as long as a process is gone: nodes notice only after two seconds.
const LINK_OUTAGES: u32 = 6;
/// How long nodes have to tell each other how far they are, before one comes back with less.
const TOLD_WITHIN: Duration = Duration::from_millis(2_500);
/// How long a node has to notice that something is wrong with its data or its clock.
const NOTICED_WITHIN: Duration = Duration::from_secs(30);
/// How long a node has to serve again by itself once its disk has room.
const HEALED_WITHIN: Duration = Duration::from_secs(10);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Clocks are wrong by up to so much, or by so little that nobody has to notice,
const SKEW_MS_MAX: i64 = 60_000;
const SLIGHT_SKEW_MS_MAX: i64 = 6_000;
/// and a node must notice if it is this much: by default 10 s are too many.
const SKEW_NOTICED_MS: i64 = 15_000;
/// How much room is left on a full disk.
const FREE_BYTES: [u64; 3] = [0, 100 << 20, 230 << 20];
const LATE_MS_MAX: u64 = 300;
/// How many layouts a node sleeps through, and for how long it does at most.
const LAYOUTS_OVERSLEPT: u32 = 2;
const OVERSLEEPS_FOR_MAX: Duration = Duration::from_secs(15);

/// One harm to one process.
pub(super) struct Strike<'a> {
    pub(super) cluster: &'a mut Cluster,
    pub(super) member: usize,
    /// How long a process is gone or silent.
    pub(super) outage: Duration,
    pub(super) operator: Option<&'a Operator>,
    pub(super) rng: &'a mut Rng,
    pub(super) done: &'a mut Done,
}

impl Strike<'_> {
    pub(super) async fn carry_out(&mut self, harm: Harm) -> Result<(), ClusterError> {
        match harm {
            Harm::Kill => self.kill().await?,
            Harm::Pause => self.pause().await?,
            Harm::Oversleep => self.oversleep().await?,
            Harm::Cut => self.cut(Ways::Both).await,
            Harm::CutOneWay => self.cut(Ways::One).await,
            Harm::Delay => self.delay().await,
            Harm::Reset => self.reset().await,
            Harm::Skew => self.skew().await?,
            Harm::FullDisk => self.fill_disk().await?,
            Harm::OldCopy => self.bring_old_copy().await?,
            Harm::Replace => self.replace().await?,
            Harm::All => {}
        }
        self.cluster.wait_until_ready(self.member).await
    }

    async fn kill(&mut self) -> Result<(), ClusterError> {
        self.cluster.kill(self.member).await?;
        tokio::time::sleep(self.outage).await;
        self.cluster.start_again(self.member)
    }

    async fn restart(&mut self) -> Result<(), ClusterError> {
        self.cluster.kill(self.member).await?;
        self.cluster.start_again(self.member)
    }

    async fn pause(&mut self) -> Result<(), ClusterError> {
        self.cluster.pause(self.member)?;
        tokio::time::sleep(self.outage).await;
        self.cluster.resume(self.member)
    }

    /// Stopped while layouts come, and woken as soon as they are there, when it acts on what it knew.
    async fn oversleep(&mut self) -> Result<(), ClusterError> {
        let Some(operator) = self.operator else { return Ok(()) };
        let (clock, before) = (Clock::start(), operator.applied());
        self.cluster.pause(self.member)?;
        while operator.applied() < before + LAYOUTS_OVERSLEPT && clock.elapsed() < OVERSLEEPS_FOR_MAX {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        tokio::time::sleep(self.outage * LINK_OUTAGES).await;
        let missed = operator.applied() - before;
        self.cluster.resume(self.member)?;
        self.done.note("layouts overslept", missed.into());
        Ok(())
    }

    fn others(&self) -> Vec<usize> {
        (0..self.cluster.len()).filter(|other| *other != self.member).collect()
    }

    /// From one other or from all.
    async fn cut(&mut self, ways: Ways) {
        let mut others = self.others();
        if self.rng.bool() {
            self.rng.shuffle(&mut others);
            others.truncate(1);
        }
        let is_heard = self.rng.bool();
        for other in others {
            if ways == Ways::Both || !is_heard {
                self.cluster.set_flow(self.member, other, Flow::Stalled);
            }
            if ways == Ways::Both || is_heard {
                self.cluster.set_flow(other, self.member, Flow::Stalled);
            }
        }
        tokio::time::sleep(self.outage * LINK_OUTAGES).await;
        self.cluster.open_links();
    }

    async fn delay(&mut self) {
        for other in self.others() {
            for (from, to) in [(self.member, other), (other, self.member)] {
                let late = Duration::from_millis(self.rng.u64(0..=LATE_MS_MAX));
                self.cluster.set_flow(from, to, Flow::Late(late));
            }
        }
        tokio::time::sleep(self.outage * LINK_OUTAGES).await;
        self.cluster.open_links();
    }

    async fn reset(&mut self) {
        for _ in 0..self.rng.u8(1..=4) {
            self.cluster.reset_links(self.member);
            tokio::time::sleep(self.outage / 4).await;
        }
    }

    async fn skew(&mut self) -> Result<(), ClusterError> {
        let most = match self.rng.bool() {
            true => SLIGHT_SKEW_MS_MAX,
            false => SKEW_MS_MAX,
        };
        let ahead_ms = self.rng.i64(-most..=most);
        self.cluster.set_clock(self.member, ahead_ms);
        self.restart().await?;
        if ahead_ms.abs() < SKEW_NOTICED_MS {
            tokio::time::sleep(self.outage * LINK_OUTAGES).await;
        } else if self.says_within(NOTICED_WITHIN, "clock").await {
            self.done.note("wrong clocks noticed", 1);
        } else {
            let fault = format!(
                "node {}: nobody noticed a clock wrong by {ahead_ms} ms",
                self.member + 1
            );
            self.done.faults.push(fault);
        }
        self.cluster.set_clock(self.member, 0);
        self.restart().await
    }

    async fn fill_disk(&mut self) -> Result<(), ClusterError> {
        let free_bytes = FREE_BYTES[self.rng.usize(0..FREE_BYTES.len())];
        self.cluster.fill_disk(self.member, free_bytes)?;
        tokio::time::sleep(self.outage * LINK_OUTAGES).await;
        self.cluster.empty_disk(self.member)?;
        if !self.serves_within(HEALED_WITHIN).await {
            // A store that could not write its index is closed until a restart, and says so.
            self.done.note("nodes restarted after their disk was full", 1);
            self.restart().await?;
        }
        Ok(())
    }

    async fn bring_old_copy(&mut self) -> Result<(), ClusterError> {
        if !self.grow_old().await? {
            return Ok(());
        }
        self.cluster.kill(self.member).await?;
        self.cluster.bring_copy(self.member)?;
        self.cluster.start_again(self.member)?;
        if self.says_within(NOTICED_WITHIN, "older copy").await {
            self.done.note("old copies refused", 1);
        } else {
            let fault = format!("node {}: an older copy of its data was not refused", self.member + 1);
            self.done.faults.push(fault);
        }
        self.cluster.kill(self.member).await?;
        self.cluster.bring_back(self.member)?;
        self.cluster.start_again(self.member)
    }

    /// Keeps a copy of the data, which is an old one when this returns, and others know it. Says whether there was room.
    async fn grow_old(&mut self) -> Result<bool, ClusterError> {
        self.cluster.kill(self.member).await?;
        let kept = self.cluster.keep_copy(self.member)?;
        self.live_on().await?;
        if kept {
            // A life without a role may write nothing but that it began, as the copy will; two lives are more than that.
            self.cluster.kill(self.member).await?;
            self.live_on().await?;
        } else {
            self.done.note("copies put off for want of room", 1);
        }
        Ok(kept)
    }

    /// Starts the node, and lets it write and tell.
    async fn live_on(&mut self) -> Result<(), ClusterError> {
        self.cluster.start_again(self.member)?;
        self.cluster.wait_until_ready(self.member).await?;
        tokio::time::sleep(TOLD_WITHIN).await;
        Ok(())
    }

    /// Only while nothing moves: a second loss before the first is made good may be one too many.
    async fn replace(&mut self) -> Result<(), ClusterError> {
        let Some(operator) = self.operator else { return Ok(()) };
        if operator.moving().await.is_some() {
            self.done.note("replacements put off", 1);
            return Ok(());
        }
        if !self.grow_old().await? {
            return Ok(());
        }
        let replaced = self.cluster.replace(self.member).await?;
        operator.introduce(&replaced, self.member).await;
        self.cluster.wait_until_ready(self.member).await?;
        if operator.replace(&replaced, self.member, self.rng).await {
            self.done.note("nodes replaced by new ones", 1);
        } else {
            let fault = format!("node {} cannot be replaced by {}", replaced.old_id, replaced.new_id);
            self.done.faults.push(fault);
        }
        self.done.replaced.push(replaced);
        Ok(())
    }

    async fn serves_within(&self, limit: Duration) -> bool {
        self.shows_within(limit, |(serves, _)| *serves).await
    }

    /// Does the node say that it does not serve, with this word in the reason?
    async fn says_within(&self, limit: Duration, word: &str) -> bool {
        self.shows_within(limit, |(serves, why)| !serves && why.contains(word))
            .await
    }

    async fn shows_within(&self, limit: Duration, is_it: impl Fn(&(bool, String)) -> bool) -> bool {
        let clock = Clock::start();
        while clock.elapsed() < limit {
            if self
                .cluster
                .health(self.member)
                .await
                .is_some_and(|health| is_it(&health))
            {
                return true;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        false
    }
}

/// In how many directions a link is cut.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ways {
    Both,
    One,
}
