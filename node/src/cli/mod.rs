//! The command line: one file per command, each of which parses, calls and prints.
//!
//! Results go to the standard output, what went wrong and the log to the standard error. Exit codes: 0 done, 1 it did
//! not work, 2 the command line cannot be understood.

mod asking;
mod bucket;
mod config;
mod dev;
mod key;
mod layout;
mod node;
mod output;
mod progress;
mod repair;
mod running;
mod server;
mod status;
mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use output::say_error;

/// A self-hosted, geo-distributed object store that speaks S3.
#[derive(Debug, Parser)]
#[command(name = "trellis", version, arg_required_else_help = true)]
#[command(after_help = "\
Examples:
  trellis dev                                     a cluster to try, at http://127.0.0.1:3900
  trellis server --config /etc/trellis/trellis.toml  one node of a production cluster
  trellis status --data /var/lib/trellis          how the node and its peers are

`trellis COMMAND --help` shows more of each.")]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Dev(dev::Dev),
    Server(server::Server),
    #[command(subcommand)]
    Config(config::Config),
    #[command(subcommand)]
    Node(node::Node),
    #[command(subcommand)]
    Layout(layout::Layout),
    #[command(subcommand)]
    Key(key::Key),
    #[command(subcommand)]
    Bucket(bucket::Bucket),
    #[command(subcommand)]
    Repair(repair::Repair),
    #[command(subcommand)]
    Worker(worker::Worker),
    Status(status::Status),
}

/// What a command ends with: anything that says in a paragraph what is wrong and what to do next.
type CliResult = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Dev(dev) => dev.run(),
        Command::Server(server) => server.run(),
        Command::Config(config) => config.run(),
        Command::Node(node) => node.run(),
        Command::Layout(layout) => layout.run(),
        Command::Key(key) => key.run(),
        Command::Bucket(bucket) => bucket.run(),
        Command::Repair(repair) => repair.run(),
        Command::Worker(worker) => worker.run(),
        Command::Status(status) => status.run(),
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

    #[test]
    fn every_command_has_examples() {
        fn check(command: &clap::Command) {
            let has_examples = command
                .get_after_help()
                .is_some_and(|help| help.to_string().contains("Example"));
            assert!(
                has_examples || command.has_subcommands(),
                "{} has no examples",
                command.get_name()
            );
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
