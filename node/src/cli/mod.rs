//! The command line: one file per command, each of which parses, calls and prints.
//!
//! Results go to the standard output, what went wrong and the log to the standard error. Exit codes: 0 done, 1 it did
//! not work, 2 the command line cannot be understood.

mod dev;
mod output;
mod running;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use output::say_error;

/// A self-hosted, geo-distributed, S3-compatible object store.
#[derive(Debug, Parser)]
#[command(name = "trellis", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Dev(dev::Dev),
}

/// What a command ends with: anything that says in a paragraph what is wrong and what to do next.
type CliResult = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Dev(dev) => dev.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say_error(&*error);
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
