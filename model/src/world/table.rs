//! A state as a table: nodes from top to bottom, rows from left to right; messages and operations below.

use super::show::{Names, show_cell, show_request, show_view};
use super::{State, World};

/// A state for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// What stands above the columns.
    pub head: Vec<String>,
    /// One for each node, in order of names, each as long as the head.
    pub rows: Vec<Vec<String>>,
    /// What is on its way, how far the operations are, and what came out.
    pub below: Vec<String>,
}

impl World {
    /// The state with these names of its columns.
    pub fn table(&self, state: &State, names: &Names) -> Table {
        let rows = state.columns.iter().map(|column| column.rows.len()).max();
        let mut head = vec!["node".to_owned()];
        head.extend((0..rows.unwrap_or(0)).map(|row| format!("row {row}")));
        let moves = self.has_transitions();
        if moves {
            head.push("knows".to_owned());
        }
        let by_name = names.by_name();
        let lines = by_name.iter().map(|index| {
            let column = &state.columns[usize::from(*index)];
            let is_dirty = !column.durable.is_empty() && column.durable != column.rows;
            let notes = [(column.dead, " (dead)"), (is_dirty, " (not durable)")];
            let notes: String = notes.iter().filter(|(so, _)| *so).map(|(_, note)| *note).collect();
            let mut line = vec![format!("{}{notes}", names.of(*index))];
            line.extend(column.rows.iter().map(show_cell));
            line.resize(head.len() - usize::from(moves), String::new());
            if moves {
                let synced = column.seat.synced.0;
                line.push(format!("{}, synced for {synced}", show_view(column.seat.view)));
            }
            line
        });
        Table {
            rows: lines.collect(),
            below: below(state, names, &by_name),
            head,
        }
    }
}

fn below(state: &State, names: &Names, by_name: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    for index in by_name {
        let late = state.columns[usize::from(*index)].late.iter();
        let name = names.of(*index);
        lines.extend(late.map(|(_, key, request)| format!("on its way to {name}: {}", show_request(*key, request))));
    }
    let ops = state.ops.iter().enumerate();
    lines.extend(ops.map(|(index, op)| format!("#{index}: {}", state.show_progress(index, op))));
    lines.push(format!("{:?}", state.verdict));
    lines
}
