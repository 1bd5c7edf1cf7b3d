//! What the commands that ask a running node have in common.

use std::error::Error;
use std::future::Future;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::CliResult;
use super::dev::default_data;
use super::output::{quoted, say};
use crate::admin::Client;
use crate::config::Config;

/// What names the data folder when no option does. An option of the command line goes before it.
const DATA_VARIABLE: &str = "TRELLIS_DATA";

/// Which node to ask, and how to print what it says.
#[derive(Debug, Args)]
pub(super) struct Asking {
    /// The data folder of a running node on this machine, or the folder of a cluster that `trellis dev` or `trellis
    /// config generate` made; by default what TRELLIS_DATA names, or else that of `trellis dev`.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The configuration of a running node on this machine, in place of its data folder.
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    config: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

impl Asking {
    /// Connects to the node and runs `work` with it.
    pub(super) fn ask<F: Future<Output = CliResult>>(&self, work: impl FnOnce(Client) -> F) -> CliResult {
        let folder = self.folder()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { work(Client::connect(&folder).await?).await })
    }

    /// The data folder that the options name.
    pub(super) fn folder(&self) -> Result<PathBuf, Box<dyn Error + Send + Sync>> {
        Ok(match (&self.data, &self.config) {
            (Some(data), _) => data.clone(),
            (None, Some(config)) => Config::load(config)?.data_folder,
            (None, None) => match std::env::var_os(DATA_VARIABLE) {
                Some(data) if !data.is_empty() => PathBuf::from(data),
                Some(_) | None => default_data()?,
            },
        })
    }

    /// The options that name the node to ask, for the next command.
    pub(super) fn options(&self) -> String {
        match (&self.data, &self.config) {
            (Some(data), _) => format!(" --data {}", quoted(data)),
            (None, Some(config)) => format!(" --config {}", quoted(config)),
            (None, None) => String::new(),
        }
    }

    /// Prints what a node said: as JSON if asked to, or else for people.
    pub(super) fn print<T: Serialize>(&self, value: &T, for_people: impl FnOnce(&T) -> String) -> CliResult {
        if self.json {
            say(serde_json::to_string_pretty(value)?);
        } else {
            say(for_people(value));
        }
        Ok(())
    }
}
