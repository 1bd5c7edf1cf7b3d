//! `trellis bucket`.

use clap::{Args, Subcommand};
use serde_json::json;

use super::CliResult;
use super::asking::Asking;
use super::key::path_part;
use super::output::{moment, table};
use crate::admin::{BucketSummary, NewBucket};

/// Buckets, whoever owns them.
#[derive(Debug, Subcommand)]
pub(super) enum Bucket {
    List(List),
    Create(Create),
    Delete(Delete),
}

/// Lists all buckets.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  trellis bucket list --data /var/lib/trellis --json")]
pub(super) struct List {
    #[command(flatten)]
    asking: Asking,
}

/// Creates a bucket for an access key.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  trellis bucket create photos --owner TK0123456789ABCDEF01")]
pub(super) struct Create {
    /// Its name: 3 to 63 of a-z, 0-9, dot and hyphen.
    name: String,
    /// The access key that owns it.
    #[arg(long, value_name = "KEY")]
    owner: String,
    #[command(flatten)]
    asking: Asking,
}

/// Deletes an empty bucket.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  trellis bucket delete photos")]
pub(super) struct Delete {
    /// Its name.
    name: String,
    #[command(flatten)]
    asking: Asking,
}

impl Bucket {
    pub(super) fn run(self) -> CliResult {
        match self {
            Bucket::List(command) => command.run(),
            Bucket::Create(command) => command.run(),
            Bucket::Delete(command) => command.run(),
        }
    }
}

impl List {
    fn run(self) -> CliResult {
        let asking = self.asking;
        asking.ask(async |mut node| {
            let buckets: Vec<BucketSummary> = node.get("/v1/buckets").await?;
            asking.print(&buckets, |buckets| match buckets.as_slice() {
                [] => "There are no buckets.".to_owned(),
                buckets => {
                    let row =
                        |bucket: &BucketSummary| [bucket.name.clone(), bucket.owner.clone(), moment(bucket.created_ms)];
                    table(["BUCKET", "OWNER", "CREATED"], buckets.iter().map(row))
                }
            })
        })
    }
}

impl Create {
    fn run(self) -> CliResult {
        let Create { name, owner, asking } = self;
        asking.ask(async |mut node| {
            let bucket: BucketSummary = node.post("/v1/buckets", &NewBucket { name, owner }).await?;
            asking.print(&bucket, |bucket| {
                format!("created bucket {} for {}", bucket.name, bucket.owner)
            })
        })
    }
}

impl Delete {
    fn run(self) -> CliResult {
        let Delete { name, asking } = self;
        asking.ask(async |mut node| {
            node.delete(&format!("/v1/buckets/{}", path_part(&name)?)).await?;
            asking.print(&json!({ "deleted": name }), |_| format!("deleted bucket {name}"))
        })
    }
}
