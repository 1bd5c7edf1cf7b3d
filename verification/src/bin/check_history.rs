//! `trellis-check-history FILE...`: judges recorded histories and says what is wrong with them.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use trellis_verification::history::report::Report;
use trellis_verification::history::{self, file};

/// Checks histories of S3 operations, recorded as JSON lines.
///
/// Ends with 0 when all are good, 1 when one is violated, 2 when one could not be decided, 3 when one could not be read.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The histories.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Result {
    Good = 0,
    Undecided = 2,
    Violated = 1,
    Unreadable = 3,
}

fn main() -> ExitCode {
    let mut worst = Result::Good;
    for path in Arguments::parse().files {
        let (result, text) = judge(&path);
        worst = worst.max(result);
        if writeln!(io::stdout(), "{}: {text}", path.display()).is_err() {
            break;
        }
    }
    ExitCode::from(worst as u8)
}

fn judge(path: &std::path::Path) -> (Result, String) {
    let history = match file::read(path) {
        Ok(history) => history,
        Err(error) => return (Result::Unreadable, error.to_string()),
    };
    let verdict = history::check(&history);
    let text = Report {
        verdict: &verdict,
        history: &history,
    }
    .to_string();
    let result = match (verdict.findings.is_empty(), verdict.undecided.is_empty()) {
        (false, _) => Result::Violated,
        (true, false) => Result::Undecided,
        (true, true) => Result::Good,
    };
    (result, text)
}
