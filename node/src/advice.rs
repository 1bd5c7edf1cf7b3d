//! What to do about an error of the operating system.

use std::io;

use rustix::io::Errno;

/// The end of a sentence that names a file or folder and the error; empty where the error says enough.
pub(crate) fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::ACCESS | Errno::PERM) => {
            "; the user that runs trellis must own the folder and everything in it: `chown -R USER FOLDER`, `chmod 700 FOLDER`"
        }
        Some(Errno::ROFS) => {
            "; the file system is mounted read-only, most often after an error of the disk: look at the kernel's log first"
        }
        Some(Errno::NOSPC | Errno::DQUOT) => "; a start needs a few MiB of free space",
        Some(Errno::NOTDIR) => "; there is a file where a folder should be: name another, or move it away",
        Some(Errno::ISDIR) => "; there is a folder where a file should be: name another, or move it away",
        Some(Errno::IO) => "; the disk cannot be read or written: look at the kernel's log, and do not wait",
        Some(_) | None => "",
    }
}
