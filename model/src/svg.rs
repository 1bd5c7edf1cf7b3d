//! Sequence diagrams and tables as SVG, for whoever has a browser and nothing else.
//!
//! Lifelines stand side by side, time goes down; solid arrows ask, dashed ones answer, and one that ends in a cross is
//! lost. Below stands the state that it came to, if one is given.

use std::fmt::{self, Display, Formatter};

use crate::mermaid::Diagram;
use crate::transcript::Walk;
use crate::world::{Event, Line, Over, Party, Table};

const COLUMN_PX: usize = 230;
const MARGIN_PX: usize = 20;
const LINE_PX: usize = 16;
/// What a letter takes, on the safe side.
const LETTER_PX: usize = 7;
const STYLE: &str = "text{font:12px sans-serif;fill:#222}.title{font-weight:bold}.party,.note,td{stroke:#999}\
    .party{fill:#e8eef7}.note{fill:#fff6d5}.cell{fill:#fff;stroke:#ccc}.head{fill:#e8eef7;stroke:#ccc}\
    .life{stroke:#bbb;stroke-dasharray:2 4}.ask,.answer,.lost{stroke:#333;fill:none}.answer,.lost{stroke-dasharray:5 3}";
const MARKERS: &str = "<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" \
    markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\"/></marker><marker id=\"cross\" viewBox=\"0 0 8 8\" \
    refX=\"8\" refY=\"4\" markerWidth=\"9\" markerHeight=\"9\" orient=\"auto\"><path d=\"M0 0L8 8M8 0L0 8\" \
    stroke=\"#b00\" stroke-width=\"2\"/></marker></defs>";

/// A diagram, and the state below it; to be written with `to_string`.
#[derive(Clone, Debug)]
pub struct Picture<'a> {
    /// What happened.
    pub diagram: &'a Diagram,
    /// What is so afterwards.
    pub state: Option<&'a Table>,
}

impl<'a> Picture<'a> {
    /// Of a walk and where it ended.
    pub fn of(walk: &'a Walk) -> Self {
        Picture {
            diagram: &walk.diagram,
            state: Some(&walk.state),
        }
    }
}

impl Display for Picture<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut canvas = Canvas::of(self.diagram);
        canvas.heading(self.diagram.title());
        let (top, lifelines) = (canvas.y, canvas.parties());
        for event in self.diagram.events() {
            canvas.event(event);
        }
        let lines = lifelines.into_iter().map(|x| {
            let (from, to) = (top + 2 * LINE_PX, canvas.y);
            format!("<line class=\"life\" x1=\"{x}\" x2=\"{x}\" y1=\"{from}\" y2=\"{to}\"/>")
        });
        let lines: String = lines.collect();
        if let Some(state) = self.state {
            canvas.table(state);
        }
        let (width, height) = (canvas.width, canvas.y + MARGIN_PX);
        write!(
            f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} \
             {height}\"><style>{STYLE}</style>{MARKERS}{lines}{}</svg>",
            canvas.drawn
        )
    }
}

struct Canvas {
    parties: Vec<(Party, String)>,
    drawn: String,
    width: usize,
    /// Everything above is done.
    y: usize,
}

impl Canvas {
    fn of(diagram: &Diagram) -> Self {
        let parties: Vec<(Party, String)> = diagram.drawn().cloned().collect();
        Canvas {
            width: 2 * MARGIN_PX + parties.len() * COLUMN_PX,
            parties,
            drawn: String::new(),
            y: MARGIN_PX,
        }
    }

    fn heading(&mut self, title: &str) {
        self.y += LINE_PX;
        self.text("title", "start", MARGIN_PX, self.y, title);
        self.y += LINE_PX;
    }

    /// Draws who takes part, and tells where their lifelines are.
    fn parties(&mut self) -> Vec<usize> {
        let names: Vec<String> = self.parties.iter().map(|(_, name)| name.clone()).collect();
        let middles: Vec<usize> = (0..names.len()).map(middle).collect();
        let lines = names.iter().map(|name| wrapped(name, COLUMN_PX - 30).len()).max();
        let height = lines.unwrap_or(1) * LINE_PX + 8;
        for (name, x) in names.iter().zip(&middles) {
            self.boxed("party", (x - COLUMN_PX / 2 + 8, COLUMN_PX - 16, height), name);
        }
        self.y += height + 8;
        middles
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::Message { from, to, line, text } => {
                let (from, to) = (self.place(*from), self.place(*to));
                self.message(from, to, *line, text);
            }
            Event::Note(Over::One(party), text) => {
                let x = self.place(*party) - COLUMN_PX / 2 + 8;
                self.note(x, COLUMN_PX - 16, text);
            }
            Event::Note(Over::All, text) => self.note(MARGIN_PX, self.width - 2 * MARGIN_PX, text),
        }
    }

    fn message(&mut self, from: usize, to: usize, line: Line, text: &str) {
        let (class, marker) = match line {
            Line::Request => ("ask", "tip"),
            Line::Answer => ("answer", "tip"),
            Line::LostAnswer => ("lost", "cross"),
        };
        let room = from.abs_diff(to).max(COLUMN_PX) - 10;
        for piece in wrapped(text, room) {
            self.y += LINE_PX;
            self.text("label", "middle", from.midpoint(to), self.y, &piece);
        }
        self.y += 5;
        let y = self.y;
        let way = if from == to {
            // To itself, as a new owner pulls its own rows.
            self.y += 10;
            format!("M{from} {y}h36v10h-36")
        } else {
            format!("M{from} {y}H{to}")
        };
        self.drawn += &format!("<path class=\"{class}\" d=\"{way}\" marker-end=\"url(#{marker})\"/>");
        self.y += 5;
    }

    fn note(&mut self, x: usize, width: usize, text: &str) {
        self.y += 4;
        let height = wrapped(text, width - 14).len() * LINE_PX + 8;
        self.boxed("note", (x, width, height), text);
        self.y += height + 4;
    }

    fn table(&mut self, table: &Table) {
        let columns = table.head.len().max(1);
        let width = (self.width - 2 * MARGIN_PX) / columns;
        self.y += LINE_PX;
        for (class, row) in std::iter::once(("head", &table.head)).chain(table.rows.iter().map(|row| ("cell", row))) {
            let lines = row.iter().map(|cell| wrapped(cell, width - 14).len()).max();
            let height = lines.unwrap_or(1) * LINE_PX + 8;
            for (index, cell) in row.iter().enumerate() {
                self.boxed(class, (MARGIN_PX + index * width, width, height), cell);
            }
            self.y += height;
        }
        for line in &table.below {
            for piece in wrapped(line, self.width - 2 * MARGIN_PX) {
                self.y += LINE_PX;
                self.text("label", "start", MARGIN_PX, self.y, &piece);
            }
        }
    }

    /// A box from here downwards, at this x and of this width and height.
    fn boxed(&mut self, class: &str, (x, width, height): (usize, usize, usize), text: &str) {
        let top = self.y;
        self.drawn +=
            &format!("<rect class=\"{class}\" x=\"{x}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" rx=\"2\"/>");
        for (index, piece) in wrapped(text, width - 14).into_iter().enumerate() {
            self.text("label", "middle", x + width / 2, top + (index + 1) * LINE_PX, &piece);
        }
    }

    fn text(&mut self, class: &str, anchor: &str, x: usize, y: usize, text: &str) {
        let text = escaped(text);
        self.drawn += &format!("<text class=\"{class}\" text-anchor=\"{anchor}\" x=\"{x}\" y=\"{y}\">{text}</text>");
    }

    /// Where a party's lifeline is.
    fn place(&self, party: Party) -> usize {
        let index = self.parties.iter().position(|(found, _)| *found == party);
        middle(index.unwrap_or_default())
    }
}

fn middle(index: usize) -> usize {
    MARGIN_PX + index * COLUMN_PX + COLUMN_PX / 2
}

/// Lines that fit into this width; a word that is longer stands alone.
fn wrapped(text: &str, width_px: usize) -> Vec<String> {
    let letters = (width_px / LETTER_PX).max(8);
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= letters => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

fn escaped(text: &str) -> String {
    let plain = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter });
    let plain: String = plain.collect();
    plain
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::{escaped, wrapped};

    #[test]
    fn texts_fit_and_end_nothing() {
        assert_eq!(wrapped("one two three", 8 * 7), ["one two", "three"]);
        assert_eq!(wrapped("", 100), Vec::<String>::new());
        assert_eq!(wrapped("averyverylongword x", 56), ["averyverylongword", "x"]);
        assert_eq!(escaped("<a & \"b\">\n"), "&lt;a &amp; &quot;b&quot;&gt; ");
    }
}
