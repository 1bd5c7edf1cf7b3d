//! Sequence diagrams in the notation of Mermaid, which many viewers of Markdown draw.
//!
//! One arrow for each message, one note for what happens to somebody, and the numbers of the steps as the transcript has
//! them. A solid line asks, a dotted one answers; an answer that ends in a cross is lost.

use std::fmt;

use crate::world::{Event, Line, Over, Party};

/// A diagram, to be written with `to_string`.
#[derive(Clone, Debug)]
pub struct Diagram {
    title: String,
    parties: Vec<(Party, String)>,
    events: Vec<Event>,
}

impl Diagram {
    /// Of these parties, in this order; nothing happened yet.
    pub fn new(title: String, parties: Vec<(Party, String)>) -> Self {
        Diagram {
            title,
            parties,
            events: Vec::new(),
        }
    }

    /// What is seen of the step of this number, which stands at the first event.
    pub fn step(&mut self, number: usize, events: Vec<Event>) {
        let numbered = events.into_iter().enumerate().map(|(index, mut event)| {
            if index == 0 {
                let (Event::Message { text, .. } | Event::Note(_, text)) = &mut event;
                *text = format!("{number}. {text}");
            }
            event
        });
        self.events.extend(numbered);
    }

    /// What came out, below everything.
    pub fn conclude(&mut self, text: String) {
        self.events.push(Event::Note(Over::All, text));
    }

    /// What it is about.
    pub(crate) fn title(&self) -> &str {
        &self.title
    }

    /// What happened, from the beginning.
    pub(crate) fn events(&self) -> &[Event] {
        &self.events
    }

    /// All that are drawn: nobody looks for late messages where there are none.
    pub(crate) fn drawn(&self) -> impl Iterator<Item = &(Party, String)> {
        let is_late = |event: &Event| {
            matches!(
                event,
                Event::Message {
                    from: Party::UnderWay,
                    ..
                }
            )
        };
        let any_late = self.events.iter().any(is_late);
        let drawn = move |(party, _): &&(Party, String)| any_late || *party != Party::UnderWay;
        self.parties.iter().filter(drawn)
    }

    fn over(&self, over: Over) -> String {
        let ends = (self.drawn().next(), self.drawn().last());
        match (over, ends) {
            (Over::One(party), _) => id(party),
            (Over::All, (Some((first, _)), Some((last, _)))) => format!("{},{}", id(*first), id(*last)),
            (Over::All, (None, _) | (_, None)) => String::new(),
        }
    }
}

impl fmt::Display for Diagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "sequenceDiagram\n    title {}", escaped(&self.title))?;
        for (party, name) in self.drawn() {
            writeln!(f, "    participant {} as {}", id(*party), escaped(name))?;
        }
        for event in &self.events {
            match event {
                Event::Message { from, to, line, text } => {
                    writeln!(f, "    {}{}{}: {}", id(*from), arrow(*line), id(*to), escaped(text))?;
                }
                Event::Note(over, text) => writeln!(f, "    Note over {}: {}", self.over(*over), escaped(text))?,
            }
        }
        Ok(())
    }
}

fn id(party: Party) -> String {
    match party {
        Party::Client(client) => format!("client{client}"),
        Party::UnderWay => "underway".to_owned(),
        Party::Node(name) => name.to_string(),
    }
}

fn arrow(line: Line) -> &'static str {
    match line {
        Line::Request => "->>",
        Line::Answer => "-->>",
        Line::LostAnswer => "--x",
    }
}

/// Without what Mermaid takes for the end of a statement, for a comment, an entity, a formula or a tag.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '#' | ';' | '%' | '$' | '&' | '<' | '>' | '"' | '\\' => {
                escaped += &format!("#{};", u32::from(character));
            }
            control if control.is_control() => escaped.push(' '),
            plain => escaped.push(plain),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn nothing_in_a_text_ends_it() {
        assert_eq!(
            escaped("#0; %%{x}\nA --> \"B\" & $$"),
            "#35;0#59; #37;#37;{x} A --#62; #34;B#34; #38; #36;#36;"
        );
    }
}
