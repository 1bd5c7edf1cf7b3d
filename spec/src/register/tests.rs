//! Scenarios of one register with real attempts and real cells, played by hand.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::flaw::Sound;
use crate::quorum::{NodeId, ReplicaSets};
use crate::stamp::Stamp;

/// A value for tests, without a body.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Text(pub(crate) &'static str);

impl Value for Text {
    fn head(&self) -> Self {
        self.clone()
    }
    fn is_whole(&self) -> bool {
        true
    }
    fn keeps_stamp(&self) -> bool {
        self.0 == "gate"
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct IfAbsent(Text);

impl Change<Text> for IfAbsent {
    fn decide(&self, current: Option<&Accepted<Text>>) -> Decision<Text> {
        match current.and_then(|held| held.content.live()) {
            None => Decision::Write(Content::Value(self.0.clone())),
            Some(_) => Decision::Refuse,
        }
    }
}

fn stamp(time: u64) -> Stamp {
    Stamp::new(time, 1)
}

fn op(id: u8) -> OpId {
    OpId([id; 16])
}

/// Three replicas; `up` of them can be reached.
struct Replicas(BTreeMap<NodeId, Cell<Text>>);

impl Replicas {
    fn new() -> Self {
        Replicas((1..=3).map(|id| (NodeId(id), Cell::default())).collect())
    }

    fn sets() -> ReplicaSets {
        ReplicaSets::new(vec![vec![NodeId(1), NodeId(2), NodeId(3)]])
    }

    fn serve(&mut self, node: NodeId, request: &Request<Text>) -> Reply<Text> {
        let cell = self.0.get_mut(&node).unwrap();
        let served = cell.serve::<Sound>(Stamp::ZERO, request);
        if let Some(changed) = served.changed {
            *cell = changed;
        }
        served.reply
    }

    /// Runs an attempt to its end while only `up` answer; fresh stamps come from `times`.
    fn run<A: Attempt<Text>>(&mut self, attempt: &mut A, up: &[u64], times: &[u64]) -> A::Outcome {
        let mut times = times.iter().copied();
        let mut fresh = move || stamp(times.next().expect("the scenario names enough stamps"));
        let mut step = attempt.start(fresh());
        loop {
            step = match step {
                Step::Done(outcome) => return outcome,
                Step::Again { .. } => attempt.again(fresh()),
                Step::Wait => return attempt.on_deadline(),
                Step::Ask(ask) => {
                    let mut next = Step::Wait;
                    for node in up.iter().map(|id| NodeId(*id)) {
                        if matches!(next, Step::Wait) && matches!(ask.audience, Audience::All) {
                            let reply = self.serve(node, &ask.request);
                            next = attempt.on_reply(ask.round, node, reply);
                        }
                    }
                    if matches!(next, Step::Wait) {
                        attempt.on_patience()
                    } else {
                        next
                    }
                }
            };
        }
    }

    fn write(&mut self, id: u8, value: &'static str, up: &[u64], times: &[u64]) -> WriteOutcome {
        let content = Content::Value(Text(value));
        self.run(
            &mut Write::<_, Sound>::new(WriteMode::Available, Self::sets(), op(id), content, u64::MAX),
            up,
            times,
        )
    }

    fn read(&mut self, up: &[u64], times: &[u64]) -> Option<&'static str> {
        match self.run(&mut Read::<_, Sound>::new(Self::sets(), Fetch::Full), up, times) {
            ReadOutcome::Found(found) => found.and_then(|held| held.content.live().map(|text| text.0)),
            outcome @ (ReadOutcome::Gated | ReadOutcome::Unreached) => panic!("{outcome:?}"),
        }
    }

    fn create(&mut self, id: u8, value: &'static str, up: &[u64], times: &[u64]) -> ConditionalOutcome<Text> {
        let change = IfAbsent(Text(value));
        self.run(
            &mut Conditional::<_, _, Sound>::new(Self::sets(), op(id), change, u64::MAX),
            up,
            times,
        )
    }
}

#[test]
fn a_write_that_reached_two_of_three_is_read_by_any_two() {
    let mut replicas = Replicas::new();
    assert_eq!(replicas.write(1, "a", &[1, 2], &[10]), WriteOutcome::Written(stamp(10)));
    for pair in [[1, 2], [2, 3], [1, 3]] {
        assert_eq!(replicas.read(&pair, &[0]), Some("a"));
    }
}

#[test]
fn a_read_that_met_a_minority_value_leaves_it_on_a_majority() {
    let mut replicas = Replicas::new();
    assert_eq!(replicas.write(1, "a", &[1], &[10]), WriteOutcome::Unknown);
    assert_eq!(replicas.read(&[2, 3], &[0]), None);
    assert_eq!(replicas.read(&[1, 2], &[0]), Some("a"));
    assert_eq!(replicas.read(&[2, 3], &[0]), Some("a"));
}

#[test]
fn a_late_clock_is_overcome_in_available_mode() {
    let mut replicas = Replicas::new();
    replicas.write(1, "a", &[1, 2, 3], &[50]);
    assert_eq!(
        replicas.write(2, "b", &[1, 2, 3], &[20, 60]),
        WriteOutcome::Written(stamp(60))
    );
    assert_eq!(replicas.read(&[1, 3], &[0]), Some("b"));
}

#[test]
fn of_two_creators_one_wins_and_the_other_is_refused() {
    let mut replicas = Replicas::new();
    assert!(matches!(
        replicas.create(1, "a", &[1, 2], &[10]),
        ConditionalOutcome::Written(_)
    ));
    let refused = replicas.create(2, "b", &[2, 3], &[20]);
    assert!(matches!(refused, ConditionalOutcome::Refused(Some(held)) if held.op == op(1) && held.ballot == stamp(20)));
    assert_eq!(replicas.read(&[1, 3], &[30]), Some("a"));
}

#[test]
fn a_promise_left_by_a_dead_coordinator_does_not_stop_a_read() {
    let mut replicas = Replicas::new();
    replicas.write(1, "a", &[1], &[10]);
    let prepare = Request::Prepare {
        ballot: stamp(40),
        purpose: Purpose::Propose,
    };
    replicas.serve(NodeId(2), &prepare);
    replicas.serve(NodeId(3), &prepare);
    assert_eq!(replicas.read(&[1, 2], &[0, 50]), Some("a"));
    assert_eq!(replicas.read(&[2, 3], &[0]), None.or(Some("a")));
}

#[test]
fn an_own_proposal_is_found_again_and_not_judged_twice() {
    let mut replicas = Replicas::new();
    let mut attempt = Conditional::<_, _, Sound>::new(Replicas::sets(), op(1), IfAbsent(Text("a")), u64::MAX);
    let Step::Ask(prepare) = attempt.start(stamp(10)) else {
        panic!()
    };
    let mut step = Step::Wait;
    for node in [NodeId(1), NodeId(2)] {
        let reply = replicas.serve(node, &prepare.request);
        step = attempt.on_reply(prepare.round, node, reply);
    }
    let Step::Ask(propose) = step else { panic!("{step:?}") };
    let accepted = replicas.serve(NodeId(1), &propose.request);
    assert_eq!(attempt.on_reply(propose.round, NodeId(1), accepted), Step::Wait);
    // A reader carries the proposal to replica 2 under a higher ballot; now the proposer is refused there.
    assert_eq!(replicas.read(&[1, 2], &[0, 20]), Some("a"));
    let again = attempt.again(stamp(30));
    let outcome = replicas.go_on(&mut attempt, again, &[1, 2, 3]);
    assert!(
        matches!(outcome, Some(ConditionalOutcome::Written(held)) if held.op == op(1)),
        "not judged on itself"
    );
}

impl Replicas {
    fn go_on<A: Attempt<Text>>(
        &mut self,
        attempt: &mut A,
        mut step: Step<Text, A::Outcome>,
        up: &[u64],
    ) -> Option<A::Outcome> {
        let mut asks: Vec<Ask<Text>> = Vec::new();
        loop {
            match step {
                Step::Done(outcome) => return Some(outcome),
                Step::Wait | Step::Again { .. } => return None,
                Step::Ask(ask) => asks.push(ask),
            }
            let ask = asks.pop()?;
            step = Step::Wait;
            for node in up.iter().map(|id| NodeId(*id)) {
                if matches!(step, Step::Wait) {
                    let reply = self.serve(node, &ask.request);
                    step = attempt.on_reply(ask.round, node, reply);
                }
            }
        }
    }
}

fn other_sets() -> ReplicaSets {
    ReplicaSets::new(vec![
        vec![NodeId(1), NodeId(2), NodeId(3)],
        vec![NodeId(3), NodeId(4), NodeId(5)],
    ])
}

#[test]
fn a_write_whose_view_rises_asks_again_under_its_stamp_and_counts_nothing_from_before() {
    let content = Content::Value(Text("a"));
    let mut write = Write::<_, Sound>::new(WriteMode::Strict, Replicas::sets(), op(1), content, u64::MAX);
    let Step::Ask(first) = write.start(stamp(10)) else {
        panic!()
    };
    assert_eq!(write.on_reply(first.round, NodeId(1), Reply::Accept), Step::Wait);
    let Step::Ask(second) = write.on_view(other_sets()) else {
        panic!()
    };
    assert_eq!(second.request, first.request);
    assert_eq!(write.on_reply(first.round, NodeId(2), Reply::Accept), Step::Wait);
    for node in [2, 3] {
        assert_eq!(write.on_reply(second.round, NodeId(node), Reply::Accept), Step::Wait);
    }
    let done = write.on_reply(second.round, NodeId(4), Reply::Accept);
    assert_eq!(done, Step::Done(WriteOutcome::Written(stamp(10))));
}

#[test]
fn a_ballot_is_void_when_the_view_rises() {
    let change = IfAbsent(Text("a"));
    let mut attempt = Conditional::<_, _, Sound>::new(Replicas::sets(), op(1), change, u64::MAX);
    attempt.start(stamp(10));
    assert_eq!(attempt.on_view(other_sets()), Step::Again { above: stamp(10) });
}
