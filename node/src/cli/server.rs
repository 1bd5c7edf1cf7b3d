//! `trellis server`.

use std::path::PathBuf;

use clap::Args;

use super::CliResult;
use super::running::{LogOptions, Signals, runtime};
use crate::config::Config;
use crate::env::Env;
use crate::server;

/// Runs one node of a cluster.
///
/// SIGTERM and SIGINT stop it in order; whatever ends it, all that was acknowledged is there at the next start.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trellis server --config /etc/trellis/trellis.toml
  trellis server --config node-1.toml --log debug --log-format json

deploy/trellis.example.toml explains every key; `trellis config generate` writes a cluster to try.")]
pub(super) struct Server {
    /// The node's configuration.
    #[arg(long, value_name = "FILE", env = "TRELLIS_CONFIG")]
    config: PathBuf,
    #[command(flatten)]
    log: LogOptions,
}

impl Server {
    pub(super) fn run(self) -> CliResult {
        let config = Config::load(&self.config)?;
        self.log.start(&config.log.filter, config.log.format)?;
        runtime()?.block_on(self.serve(config))
    }

    async fn serve(self, config: Config) -> CliResult {
        let mut signals = Signals::listen()?;
        let env = Env::real();
        let Some(started) = signals.or_start(server::start(&env, &config, &self.config)).await else {
            return Ok(());
        };
        let node = started?;
        signals.then_stop(node.stop()).await;
        Ok(())
    }
}
