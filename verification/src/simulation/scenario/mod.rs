//! Scenarios of the model, followed by whole nodes.
//!
//! A counterexample that the model saved is a list of steps: which replica handles which request, which answer is heard,
//! which client gives up. [`play`] lets whole nodes take the same steps in the same order. Each operation of the script
//! is asked of a node of its own that holds nothing, whose clock stands where the model has it; all messages about the
//! scenario's rows wait on a [`Stage`] until a step calls for them.
//!
//! After each step the nodes are compared with the model: what was asked, what was answered, who was told what. Where
//! they differ, they have *parted*, which is what sound nodes must do at some step of a mutant's counterexample. Then
//! everything that waits is let go, and what clients were told in all goes to the checkers of histories.

mod actors;
mod layouts;
mod stage;

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use trellis_model::transcript::{ReplayError, Scenario};
use trellis_model::value::OpIndex;
use trellis_model::world::{Action, Ask, Asked, Beat, Cue, Heard, Plot, Said, Verdict};
use trellis_node::env::simulated::Simulation;

use crate::history::report::Report;
use crate::history::{self, Operation};
use actors::Actors;
use layouts::Succession;
pub(crate) use stage::Stage;
use stage::{Which, name, show};

/// Nodes have so long for what follows a step by itself: pauses between tries, requests that are sent again.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(3);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// After this long, whatever a step brings about by itself has come about.
const AFTER_A_STEP: Duration = Duration::from_millis(40);
/// A sync that did not come to its end is begun anew after this long.
const BETWEEN_SYNCS: Duration = Duration::from_millis(1);
/// With nothing held back any more, transitions have so long to end; some cannot, for nodes are dead.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

/// What came of a scenario.
#[derive(Debug)]
pub struct Played {
    /// Its claim and its world.
    pub title: String,
    /// How many steps it has.
    pub steps: usize,
    /// What the model said of them.
    pub verdict: Verdict,
    /// Where and why the nodes did not follow any more, if they did not.
    pub parted: Option<Parted>,
    /// What clients asked and were told.
    pub history: Vec<Operation>,
    /// What is wrong with that, in words; empty when all is well.
    pub faults: Vec<String>,
}

/// Where nodes did something else than the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parted {
    /// The step that they did not follow, counted from one.
    pub step: usize,
    /// The step as the model tells it.
    pub line: String,
    /// What was different.
    pub why: String,
}

/// Lets whole nodes follow a scenario.
pub fn play(scenario: &Scenario, seed: u64) -> Result<Played, ReplayError> {
    let (plot, is_forced) = (scenario.plot()?, scenario.world()?.force.is_some());
    let title = format!("{} {}", scenario.claim, scenario.world);
    Ok(Simulation::run(seed, move |simulation| {
        perform(title, plot, is_forced, simulation)
    }))
}

async fn perform(title: String, plot: Plot, is_forced: bool, simulation: Simulation) -> Played {
    let (steps, verdict) = (plot.beats.len(), plot.verdict);
    let begun = match is_forced {
        true => Err(beyond("forced layouts are not staged")),
        false => Play::begin(&plot, &simulation).await,
    };
    let parted = match begun {
        Ok(mut play) => {
            let parted = play.follow().await;
            let (history, mut faults) = play.actors.finish().await;
            let judged = history::check(&history);
            if !judged.is_good() {
                let report = Report {
                    verdict: &judged,
                    history: &history,
                };
                faults.push(report.to_string());
            }
            return Played {
                title,
                steps,
                verdict,
                parted,
                history,
                faults,
            };
        }
        Err(parted) => Some(parted),
    };
    Played {
        title,
        steps,
        verdict,
        parted,
        history: Vec::new(),
        faults: Vec::new(),
    }
}

/// Why nobody takes a single step.
fn beyond(why: &str) -> Parted {
    Parted {
        step: 0,
        line: "before the first step".to_owned(),
        why: why.to_owned(),
    }
}

/// A scenario that is being followed.
struct Play<'a> {
    plot: &'a Plot,
    simulation: Simulation,
    actors: Actors,
}

impl<'a> Play<'a> {
    /// Everybody takes their places; or why they cannot.
    async fn begin(plot: &'a Plot, simulation: &Simulation) -> Result<Self, Parted> {
        let actors = Actors::begin(plot, simulation).await.map_err(beyond)?;
        Ok(Play {
            plot,
            simulation: simulation.clone(),
            actors,
        })
    }

    /// Step by step, until nodes do something else.
    async fn follow(&mut self) -> Option<Parted> {
        for (index, beat) in self.plot.beats.iter().enumerate() {
            let taken = match self.take(beat).await {
                Ok(()) => self.compare(beat).await,
                Err(why) => Err(why),
            };
            if let Err(why) = taken {
                return Some(Parted {
                    step: index + 1,
                    line: beat.line.clone(),
                    why,
                });
            }
        }
        None
    }

    async fn take(&mut self, beat: &Beat) -> Result<(), String> {
        match &beat.cue {
            Cue::Message {
                op,
                node,
                asked,
                said,
                heard,
            } => self.message(*op, *node, (*asked, *said), *heard).await,
            Cue::Hear { op, node } => {
                let path = (self.asker(*op), usize::from(*node));
                let answer = self.actors.stage.answer(path);
                let answer = answer.ok_or_else(|| format!("#{} has no answer on its way", op.0))?;
                self.actors.stage.let_go(answer);
                Ok(())
            }
            Cue::Late { op, node, asked } => {
                let op = op.ok_or("whose message that is cannot be told")?;
                self.deliver(op, *node, *asked, Which::Oldest).await.map(|_| ())
            }
            // Time passes until the operation is tired of waiting, which its node's limits decide.
            Cue::Patience(_) => {
                self.simulation.sleep(actors::PATIENCE).await;
                Ok(())
            }
            // A coordinator that gives up is one that died: its client hears nothing, its messages are under way.
            Cue::GiveUp(op) => {
                self.actors.crash(*op);
                Ok(())
            }
            // What exists, and nobody knows of; and what a node does at once.
            Cue::Decide | Cue::GoOn(_) => Ok(()),
            Cue::Learn { node } => self.succession()?.learn(usize::from(*node)),
            Cue::Retire { node, to } => self.succession()?.retire(usize::from(*node), *to),
            Cue::Drop { node } => self.succession()?.drop_rows(usize::from(*node)).await,
            Cue::Inform { op, node } => self.succession()?.inform(self.asker(*op), usize::from(*node)),
            Cue::Other(action) => Err(unstaged(*action).to_owned()),
        }
    }

    fn succession(&self) -> Result<&Succession, String> {
        self.actors
            .succession
            .as_ref()
            .ok_or_else(|| "there is one layout".to_owned())
    }

    /// The node where an operation or a sync runs.
    fn asker(&self, op: OpIndex) -> usize {
        self.plot.syncer(op).map_or_else(|| self.actors.home(op), usize::from)
    }

    async fn message(
        &mut self,
        op: OpIndex,
        node: u8,
        (asked, expected): (Asked, Said),
        heard: Heard,
    ) -> Result<(), String> {
        if self.asker(op) == usize::from(node) {
            return self.ask_itself(asked).await;
        }
        self.actors.start(op);
        let (id, said) = self.deliver(op, node, asked, Which::Newest).await?;
        let expected = if asked.row.is_some_and(|row| row.0 >= self.plot.keys) {
            stage::without_content(expected)
        } else {
            expected
        };
        if said != expected {
            return Err(format!("the model's replica says {expected:?}, the node {said:?}"));
        }
        match heard {
            Heard::AtOnce => self.actors.stage.let_go(id),
            Heard::NotYet => {}
        }
        Ok(())
    }

    /// A node that syncs asks itself for rows when others had time to tell theirs, and for anything else at once.
    async fn ask_itself(&self, asked: Asked) -> Result<(), String> {
        if asked.deed == Ask::Pull {
            self.simulation.sleep(actors::PATIENCE).await;
        }
        Ok(())
    }

    /// Has a node handle what an operation asks it.
    async fn deliver(&self, op: OpIndex, node: u8, asked: Asked, which: Which) -> Result<(u64, Said), String> {
        let (stage, home) = (&self.actors.stage, self.asker(op));
        let mut waited = Duration::ZERO;
        let id = loop {
            match stage.request((home, usize::from(node)), asked, which) {
                Some(id) => break id,
                None if waited >= FOLLOWED_WITHIN => {
                    let (asked, name) = (show(asked), name(usize::from(node)));
                    return Err(format!(
                        "#{} sends no {asked} to {name}: {}",
                        op.0,
                        stage.requests_of(home)
                    ));
                }
                None => self.simulation.sleep(LOOK_EVERY).await,
            }
            waited += LOOK_EVERY;
        };
        match stage.deliver(id).await {
            Some(delivered) => Ok(delivered),
            None => Err(format!("{} does not answer #{}", name(usize::from(node)), op.0)),
        }
    }

    /// A node must come to say that it is synced.
    async fn expect_synced(&self, node: usize, version: u8) -> Result<(), String> {
        let mut waited = Duration::ZERO;
        while !self.succession()?.is_synced(node, version) {
            if waited >= FOLLOWED_WITHIN {
                return Err(format!("{} is not synced for layout {version}", name(node)));
            }
            self.simulation.sleep(LOOK_EVERY).await;
            waited += LOOK_EVERY;
        }
        Ok(())
    }

    /// Those who are told something now are told the same, and nobody else is told anything.
    async fn compare(&mut self, beat: &Beat) -> Result<(), String> {
        for (op, outcome) in &beat.told {
            let mut waited = Duration::ZERO;
            while self.actors.told(*op).is_none() && waited < FOLLOWED_WITHIN {
                self.simulation.sleep(LOOK_EVERY).await;
                waited += LOOK_EVERY;
            }
            self.actors.expect(*op, outcome).await?;
        }
        for (node, version) in &beat.synced {
            self.expect_synced((*node).into(), *version).await?;
        }
        self.simulation.sleep(AFTER_A_STEP).await;
        if let Some(succession) = &mut self.actors.succession {
            succession.after_a_step();
            self.simulation.sleep(AFTER_A_STEP).await;
        }
        match self.actors.told_unexpectedly() {
            Some((op, outcome)) => Err(format!("#{} is told here: {outcome:?}", op.0)),
            None => Ok(()),
        }
    }
}

/// Why nodes cannot be told to do this.
fn unstaged(action: Action) -> &'static str {
    match action {
        Action::Restamp { .. } => "when a node takes its next stamp is its own affair",
        Action::Flush { .. } => "when a disk flushes is not staged",
        Action::Crash { .. } => "what a crash loses is not staged",
        Action::Repair { .. } => "nodes do not repair each other so",
        Action::Report { .. } | Action::Forget { .. } | Action::ForgetOther { .. } => {
            "nodes forget no tombstone on demand"
        }
        Action::Snapshot { .. } => "when a node reads what it tells is its own affair",
        Action::LoseDisk { .. } => "disks that lose everything are not staged",
        Action::Deliver { .. } | Action::Serve { .. } | Action::Hear { .. } => "it is staged",
        Action::Late { .. } | Action::Patience { .. } | Action::GiveUp { .. } => "it is staged",
        Action::Learn { .. } | Action::Retire { .. } | Action::Drop { .. } => "it is staged",
        Action::Inform { .. } | Action::Decide | Action::GoOn { .. } => "it is staged",
    }
}

impl Played {
    /// Whether clients were told nothing wrong.
    pub fn is_good(&self) -> bool {
        self.faults.is_empty()
    }

    /// How many steps the nodes took as the model does.
    pub fn followed(&self) -> usize {
        self.parted
            .as_ref()
            .map_or(self.steps, |parted| parted.step.saturating_sub(1))
    }
}

impl Display for Played {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: the model says {:?}", self.title, self.verdict)?;
        writeln!(f, "followed to step {} of {}", self.followed(), self.steps)?;
        if let Some(Parted { step, line, why }) = &self.parted {
            writeln!(f, "parted at step {step}: {line}\n    but {why}")?;
        }
        for fault in &self.faults {
            writeln!(f, "FAULT {fault}")?;
        }
        let word = if self.is_good() { "nothing wrong" } else { "BAD" };
        write!(f, "{} operations: {word}", self.history.len())
    }
}
