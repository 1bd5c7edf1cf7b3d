//! The surface as a document, made from the table that requests are routed by, so that it cannot say anything else.

use std::fmt::Write as _;

use super::operation::{Operation, Scope, Support};
use super::table::TABLE;

const INTRODUCTION: &str = "\
# S3 compatibility

What each operation of the S3 API does here. The table is made from the one that requests are routed by
(`cargo run -p trellis-s3api --example surface > docs/s3-compatibility.md`); a test compares the two.

- **yes**: works as AWS documents it.
- **fixed**: cannot be set yet, so the read truthfully answers that there is none.
- **no**: answers `501 NotImplemented`.

A header (`x-amz-…`) or query parameter that is not listed here and could change what a request means is refused with
`501 NotImplemented`. It is never ignored.
";

const CLOSING: &str = "\
## Across operations

- Signature Version 4 in the header and in presigned URLs (up to 7 days); every payload mode: signed, unsigned, signed and
  unsigned chunks, with and without trailers. Version 2, version 4A and session tokens are refused. `aws s3 presign` and
  other tools that still presign with version 2 by default must be told `signature_version = s3v4`.
- The `host` header and every `x-amz-` header must be signed.
- Path-style addresses; virtual-host style when a domain is configured.
- Checksums CRC32, CRC32C, CRC64NVME, SHA1 and SHA256, in headers and trailers, `COMPOSITE` and `FULL_OBJECT`. An object
  without one gets CRC64NVME. A wrong one is `BadDigest`, and nothing is stored.
- `x-amz-acl` may be `private` or `bucket-owner-full-control`, `x-amz-storage-class` may be `STANDARD`,
  `x-amz-object-ownership` may be `BucketOwnerEnforced`; other values are refused.
- Keys are kept byte for byte. A listing that contains control characters needs `encoding-type=url` to be XML that every
  parser reads, as on AWS; the SDKs ask for it by themselves.
- Objects are not versioned: the version id of each is `null`.
";

/// What is worth knowing about single operations.
const NOTES: &[(&str, &str)] = &[
    (
        "CreateBucket",
        "creating one's own bucket again succeeds in `us-east-1` and is `BucketAlreadyOwnedByYou` elsewhere",
    ),
    (
        "GetObject",
        "single, open and suffix ranges, `If-Range`, `partNumber`, conditions in the order of RFC 9110",
    ),
    ("HeadObject", "as GetObject"),
    ("PutObject", "`If-Match` and `If-None-Match` with `*` or entity tags"),
    (
        "CopyObject",
        "conditions on source and destination; sources up to 5 GiB",
    ),
    (
        "DeleteObject",
        "`If-Match` with `*` or an entity tag; where there is no object it matches nothing and the answer is `NoSuchKey`",
    ),
    ("PostObject", "browser forms, signed or anonymous"),
    (
        "DeleteObjects",
        "up to 1000 keys, in parallel; quiet mode; an entity tag for each key",
    ),
    (
        "CompleteMultipartUpload",
        "conditions, checksum, size; a repeat is answered like the first time",
    ),
    ("UploadPartCopy", "whole objects and ranges"),
    (
        "ListObjectsV2",
        "`max-keys` 0 to 1000, `start-after`, `delimiter`, `encoding-type=url`, `fetch-owner`",
    ),
    ("GetBucketAcl", "the owner has full control"),
    ("GetObjectAcl", "the owner has full control"),
];

/// `docs/s3-compatibility.md`.
pub fn surface() -> String {
    let mut text = INTRODUCTION.to_owned();
    for (scope, title) in [
        (Scope::Service, "Service"),
        (Scope::Bucket, "Buckets"),
        (Scope::Object, "Objects"),
    ] {
        text.push_str(&section(scope, title));
    }
    text.push('\n');
    text.push_str(CLOSING);
    text
}

fn section(scope: Scope, title: &str) -> String {
    let mut rows: Vec<&Operation> = TABLE.iter().filter(|row| row.scope == scope).collect();
    rows.sort_by_key(|row| (rank(row.support), row.name));
    let mut text = format!("\n## {title}\n\n| operation | supported | parameters | notes |\n|---|---|---|---|\n");
    for row in rows {
        let supported = ["yes", "fixed", "no"][rank(row.support)];
        let parameters: Vec<String> = row.parameters.iter().map(|name| format!("`{name}`")).collect();
        let note = NOTES
            .iter()
            .find(|(name, _)| *name == row.name)
            .map_or("", |(_, note)| note);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {supported} | {} | {note} |",
            row.name,
            parameters.join(", ")
        );
    }
    text
}

fn rank(support: Support) -> usize {
    match support {
        Support::Full(_) => 0,
        Support::Fixed => 1,
        Support::Refused => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_about_operations() {
        for (name, _) in NOTES {
            assert!(TABLE.iter().any(|row| row.name == *name), "{name}");
        }
    }
}
