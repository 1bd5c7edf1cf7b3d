//! The program `trellis`, for tests that start it: the one that the environment variable `TRELLIS` names, or else the one of
//! this workspace, which is built.

use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) fn trellis() -> PathBuf {
    if let Some(named) = std::env::var_os("TRELLIS") {
        return named.into();
    }
    let build = ["build", "--release", "--offline", "--workspace", "--bins"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(build).current_dir(root);
    // What cargo told this test about itself would make build scripts of dependencies run anew, and all after them.
    let told = std::env::vars().map(|(name, _)| name);
    for name in told.filter(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
        cargo.env_remove(name);
    }
    assert!(cargo.status().unwrap().success());
    let tests = std::env::current_exe().unwrap();
    tests.ancestors().nth(2).unwrap().join("trellis")
}
