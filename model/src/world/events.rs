//! Steps as messages between parties, and notes at them, for whoever draws them.

use super::show::{moved, show_answer, show_late, told};
use super::{Action, Fusion, Names, Slot, State, World};

/// Who sends and receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// A client, with the coordinator of its operations.
    Client(u8),
    /// Where messages are that nobody waits for: who sent one is forgotten by then.
    UnderWay,
    /// A replica, with the coordinator of its sync.
    Node(char),
}

/// How a message is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// It asks.
    Request,
    /// It answers.
    Answer,
    /// It answers, and is lost.
    LostAnswer,
}

/// Whom a note is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// One party.
    One(Party),
    /// All of them.
    All,
}

/// What is seen of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message that arrives, or is lost.
    Message {
        /// From whom.
        from: Party,
        /// To whom.
        to: Party,
        /// Which.
        line: Line,
        /// In words.
        text: String,
    },
    /// Something that happens to somebody.
    Note(Over, String),
}

impl World {
    /// All who take part, and what they are called.
    pub fn parties(&self, first: &State) -> Vec<(Party, String)> {
        let deeds = || self.script.deeds.iter().enumerate();
        let clients = deeds().next_back().map_or(0, |(_, deed)| deed.client + 1);
        let client = |client: u8| {
            let own = deeds().filter(|(_, deed)| deed.client == client);
            let own: Vec<String> = own.map(|(op, deed)| format!("#{op} {}", deed.kind)).collect();
            (Party::Client(client), format!("client {client} ({})", own.join(", ")))
        };
        let mut parties: Vec<(Party, String)> = (0..clients).map(client).collect();
        parties.push((Party::UnderWay, "sent before, not waited for".to_owned()));
        let names = Names::plain(self.replicas);
        for (index, column) in first.columns.iter().enumerate() {
            let name = names.of(index as u8);
            let sync = (0..first.ops.len()).find(|op| self.home(*op) == Some(index));
            let sync = sync.map_or_else(String::new, |op| format!(" (#{op} sync)"));
            let dead = if column.dead { " (dead)" } else { "" };
            parties.push((Party::Node(name), format!("replica {name}{sync}{dead}")));
        }
        parties
    }

    /// What is seen of a step.
    pub fn events(&self, last: &State, action: Action, names: &Names) -> Vec<Event> {
        let mut events = self.messages(last, action, names);
        let mut next = last.clone();
        self.apply(&mut next, action);
        for (index, (before, after)) in last.columns.iter().zip(&next.columns).enumerate() {
            let name = names.of(index as u8);
            let changes = moved(name, before.seat, after.seat).into_iter();
            events.extend(changes.map(|text| Event::Note(Over::One(Party::Node(name)), text)));
        }
        for (op, (before, after)) in last.ops.iter().zip(&next.ops).enumerate() {
            let told = told(op, before, after);
            events.extend(told.map(|text| Event::Note(Over::One(self.party(op, names)), text)));
        }
        events
    }

    /// Who carries an operation out.
    fn party(&self, op: usize, names: &Names) -> Party {
        match self.home(op) {
            Some(column) => Party::Node(names.of(column as u8)),
            None => Party::Client(self.script.deeds[op].client),
        }
    }

    fn messages(&self, last: &State, action: Action, names: &Names) -> Vec<Event> {
        let node = |column: u8| Party::Node(names.of(column));
        let message = |from, to, line, text| Event::Message { from, to, line, text };
        let asks = |op: u8, column| {
            let from = self.party(op.into(), names);
            message(from, node(column), Line::Request, self.asked(last, op))
        };
        let answers = |op: u8, column, line, text: String| {
            message(
                node(column),
                self.party(op.into(), names),
                line,
                format!("to #{op}: {text}"),
            )
        };
        let note = |over| vec![Event::Note(over, self.happening(last, action, names))];
        match action {
            Action::Deliver { op, column } => {
                let answer = self.answer(last, op, column);
                vec![asks(op, column), answers(op, column, Line::Answer, answer)]
            }
            Action::Serve { op, column } if self.fusion == Fusion::Apart => vec![asks(op, column)],
            Action::Serve { op, column } => {
                let answer = self.answer(last, op, column);
                vec![asks(op, column), answers(op, column, Line::LostAnswer, answer)]
            }
            Action::Hear { op, column } => match &last.columns[usize::from(column)].slots[usize::from(op)] {
                Slot::Replying(answer) => vec![answers(op, column, Line::Answer, show_answer(answer))],
                Slot::Open | Slot::Served | Slot::Answered(_) => Vec::new(),
            },
            Action::Late { column, index } => {
                let text = show_late(last, column, index);
                vec![message(Party::UnderWay, node(column), Line::Request, text)]
            }
            Action::Repair { from, to, row } => {
                let text = format!("repairs row {row}");
                vec![message(node(from), node(to), Line::Request, text)]
            }
            Action::Patience { op }
            | Action::Restamp { op, .. }
            | Action::GoOn { op }
            | Action::GiveUp { op }
            | Action::Inform { op, .. } => note(Over::One(self.party(op.into(), names))),
            Action::Flush { column } | Action::Crash { column } | Action::Learn { column } => {
                note(Over::One(node(column)))
            }
            Action::Retire { column, .. } | Action::Drop { column } => note(Over::One(node(column))),
            Action::Snapshot { column } | Action::LoseDisk { column } => note(Over::One(node(column))),
            Action::Report { column, .. } | Action::Forget { column, .. } | Action::ForgetOther { column } => {
                note(Over::One(node(column)))
            }
            Action::Decide => note(Over::All),
        }
    }
}
