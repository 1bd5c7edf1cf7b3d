//! A mount namespace of its own for a test, which goes with it.

use std::path::Path;
use std::process::Command;

use trellis_verification::cluster::namespace;

use crate::program::trellis;

/// Says to a test that it runs in a namespace of its own, and which folder is for it.
const INSIDE: &str = "TRELLIS_NAMESPACE_FOLDER";

/// Runs the test `name` in a namespace, and there `inside` with an empty folder. Where nobody may make one, the test says
/// that it was skipped.
#[expect(clippy::print_stderr, reason = "a test that was skipped has to say so")]
pub(crate) fn in_a_namespace(name: &str, inside: impl FnOnce(&Path)) {
    if let Some(folder) = std::env::var_os(INSIDE) {
        return inside(Path::new(&folder));
    }
    let Some(way) = namespace() else {
        eprintln!("SKIPPED: neither root nor a user namespace can mount anything here, so there is no disk to try");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut again = Command::new("unshare");
    again.args(way).arg(std::env::current_exe().unwrap());
    again.args(["--exact", name, "--nocapture"]);
    again.env(INSIDE, folder.path()).env("TRELLIS", trellis());
    assert!(again.status().unwrap().success());
}

/// Runs a command of the system that must work.
pub(crate) fn must(command: &str, arguments: &[&str], path: &Path) {
    let status = Command::new(command).args(arguments).arg(path).status();
    assert!(status.unwrap().success(), "{command} {arguments:?} {}", path.display());
}
