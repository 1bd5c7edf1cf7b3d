//! What a person sees who waits: one line that changes where the standard error is a terminal, or else a line now and then.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use super::output::{bytes, span};
use crate::cluster::Amount;

/// How often what is waited for is asked.
pub(super) const POLL: Duration = Duration::from_millis(500);
/// One in so many answers is written where lines stay: every 10 s.
const LINE_EVERY_POLLS: u64 = 20;
/// Characters of a full bar.
const BAR: u64 = 24;

/// Where progress is shown. A line that changes is wiped at the end.
pub(super) struct Progress {
    place: Place,
    width: usize,
    shown: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Terminal,
    Log,
}

/// How far something is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Step<'a> {
    pub(super) done: u64,
    /// 0 if that is not known.
    pub(super) of: u64,
    /// What is counted.
    pub(super) what: &'a str,
    pub(super) copied: Amount,
    pub(super) bytes_per_s: u64,
    pub(super) seconds_left: Option<u64>,
}

impl Progress {
    pub(super) fn new() -> Self {
        let place = match io::stderr().is_terminal() {
            true => Place::Terminal,
            false => Place::Log,
        };
        Progress {
            place,
            width: 0,
            shown: 0,
        }
    }

    /// Nobody may look any more.
    pub(super) fn show(&mut self, step: &Step<'_>) {
        let line = line(step);
        let mut out = io::stderr().lock();
        let width = line.chars().count();
        let _ = match self.place {
            Place::Terminal => write!(out, "\r{line:0$}", self.width.max(width)).and_then(|()| out.flush()),
            Place::Log if self.shown.is_multiple_of(LINE_EVERY_POLLS) => writeln!(out, "{line}"),
            Place::Log => Ok(()),
        };
        self.width = width;
        self.shown += 1;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.place == Place::Terminal && self.width > 0 {
            let _ = write!(io::stderr(), "\r{:1$}\r", "", self.width);
        }
    }
}

fn line(step: &Step<'_>) -> String {
    let Step {
        done,
        of,
        what,
        copied,
        bytes_per_s,
        seconds_left,
    } = *step;
    let mut line = match of {
        0 => format!("{done} {what}"),
        of => {
            let full = usize::try_from(BAR * done.min(of) / of).unwrap_or(0);
            let empty = usize::try_from(BAR).unwrap_or(0) - full;
            format!("[{}{}] {done} of {of} {what}", "#".repeat(full), ".".repeat(empty))
        }
    };
    if copied.bytes > 0 {
        line += &format!(", {}", bytes(copied.bytes));
    }
    if bytes_per_s > 0 {
        line += &format!(", {}/s", bytes(bytes_per_s));
    }
    if let Some(left) = seconds_left.filter(|left| *left > 0) {
        line += &format!(", about {} to go", span(left));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_how_fast_and_how_long() {
        let step = Step {
            done: 3,
            of: 12,
            what: "partitions",
            copied: Amount::block(2048),
            bytes_per_s: 1024,
            seconds_left: Some(61),
        };
        let expected = "[######..................] 3 of 12 partitions, 2.0 KiB, 1.0 KiB/s, about 1 min 1 s to go";
        assert_eq!(line(&step), expected);
        let unknown = Step {
            done: 7,
            what: "blocks",
            ..Step::default()
        };
        assert_eq!(line(&unknown), "7 blocks");
        let over = Step { done: 9, of: 8, ..step };
        assert!(
            line(&over).starts_with("[########################] 9 of 8"),
            "what was counted may have changed"
        );
    }
}
