//! Prints `docs/s3-compatibility.md`.

use std::io::Write as _;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(trellis_s3api::front::surface().as_bytes())
}
