//! `trellis key`.

use clap::{Args, Subcommand};
use serde_json::json;

use super::CliResult;
use super::asking::Asking;
use super::output::{moment, table};
use crate::admin::{KeySecret, NewKeyName};
use crate::store::KeySummary;

/// Access keys: who may use the store.
#[derive(Debug, Subcommand)]
pub(super) enum Key {
    Create(Create),
    List(List),
    Delete(Delete),
}

/// Creates an access key and shows its secret, this once.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trellis key create backups
  trellis key create backups --data /var/lib/trellis --json")]
pub(super) struct Create {
    /// What the key is for; people read it in `trellis key list`.
    #[arg(default_value = "")]
    name: String,
    #[command(flatten)]
    asking: Asking,
}

/// Lists all access keys, without their secrets.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  trellis key list --data /var/lib/trellis")]
pub(super) struct List {
    #[command(flatten)]
    asking: Asking,
}

/// Deletes an access key that owns no bucket; it cannot be used from then on.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  trellis key delete TK0123456789ABCDEF01")]
pub(super) struct Delete {
    /// The key, as `trellis key list` shows it.
    id: String,
    #[command(flatten)]
    asking: Asking,
}

impl Key {
    pub(super) fn run(self) -> CliResult {
        match self {
            Key::Create(command) => command.run(),
            Key::List(command) => command.run(),
            Key::Delete(command) => command.run(),
        }
    }
}

impl Create {
    fn run(self) -> CliResult {
        let Create { name, asking } = self;
        asking.ask(async |mut node| {
            let key: KeySecret = node.post("/v1/keys", &NewKeyName { name }).await?;
            asking.print(&key, |key| {
                format!(
                    "access key  {}\nsecret      {}\n\nKeep the secret now: it is not shown again.",
                    key.id, key.secret
                )
            })
        })
    }
}

impl List {
    fn run(self) -> CliResult {
        let asking = self.asking;
        asking.ask(async |mut node| {
            let keys: Vec<KeySummary> = node.get("/v1/keys").await?;
            asking.print(&keys, |keys| match keys.as_slice() {
                [] => "There are no access keys; `trellis key create NAME` makes one.".to_owned(),
                keys => {
                    let row = |key: &KeySummary| [key.id.clone(), moment(key.created_ms), key.name.clone()];
                    table(["ACCESS KEY", "CREATED", "NAME"], keys.iter().map(row))
                }
            })
        })
    }
}

impl Delete {
    fn run(self) -> CliResult {
        let Delete { id, asking } = self;
        asking.ask(async |mut node| {
            node.delete(&format!("/v1/keys/{}", path_part(&id)?)).await?;
            asking.print(&json!({ "deleted": id }), |_| format!("deleted access key {id}"))
        })
    }
}

/// Nothing with a slash or a space can be the name of a key or a bucket.
pub(super) fn path_part(name: &str) -> Result<&str, BadName> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if !name.is_empty() && name.bytes().all(is_plain) {
        Ok(name)
    } else {
        Err(BadName(name.to_owned()))
    }
}

/// A name that nothing can have.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} cannot be the name of anything; names are made of letters, digits, dots and hyphens")]
pub(super) struct BadName(String);
