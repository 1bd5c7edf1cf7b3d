//! What the program says while it runs: lines for people, or JSON for machines, on the standard error.

use std::io::{self, IsTerminal};

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

/// What a filter that nobody chose lets through.
pub const DEFAULT_FILTER: &str = "info";

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object in each line.
    Json,
}

/// A filter that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("{filter:?} is no log filter: {problem}; examples: info, warn, info,trellis_node::link=debug")]
pub struct BadFilter {
    filter: String,
    problem: String,
}

/// Whether a filter can be understood.
pub fn check(filter: &str) -> Result<(), BadFilter> {
    parse(filter).map(|_| ())
}

/// Starts logging for the whole process; a second call changes nothing.
pub fn start(filter: &str, format: LogFormat) -> Result<(), BadFilter> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(parse(filter)?)
        .with_writer(io::stderr);
    // Only tests start logging twice in one process; whoever was first stays.
    let _ = match format {
        LogFormat::Human => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    Ok(())
}

fn parse(filter: &str) -> Result<EnvFilter, BadFilter> {
    let parsed = EnvFilter::builder().parse(filter);
    parsed.map_err(|error| BadFilter {
        filter: filter.to_owned(),
        problem: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_checked() {
        check("info,trellis_node::link=debug").unwrap();
        let refused = check("trellis=loud").unwrap_err();
        assert!(refused.to_string().contains("trellis=loud"), "{refused}");
    }
}
