//! The admin socket: a file that only the node's user can use.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// The socket's name in the data folder.
pub const SOCKET_FILE: &str = "admin.sock";
const NEW_SOCKET_FILE: &str = "admin.sock.new";
const SOCKET_MODE: u32 = 0o600;
/// What the kernel has room for in the address of a Unix socket.
const ADDRESS_MAX_BYTES: usize = 107;
const ROOT: u32 = 0;

/// The admin socket cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the admin socket in {folder}: {source}")]
pub struct SocketError {
    /// The data folder.
    pub folder: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

/// A folder by a name that is short enough for the address of a socket in it, for as long as this lives.
struct ShortFolder {
    path: PathBuf,
    _open: Option<File>,
}

impl ShortFolder {
    fn of(folder: &Path) -> io::Result<Self> {
        if folder.as_os_str().as_bytes().len() + 1 + NEW_SOCKET_FILE.len() <= ADDRESS_MAX_BYTES {
            let path = folder.to_owned();
            return Ok(ShortFolder { path, _open: None });
        }
        let open = File::open(folder)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
        Ok(ShortFolder {
            path,
            _open: Some(open),
        })
    }
}

/// Listens in a data folder whose lock the caller holds; replaces the socket that a killed process left.
pub(super) fn listen(folder: &Path) -> Result<UnixListener, SocketError> {
    let bind = || {
        let short = ShortFolder::of(folder)?;
        let made = short.path.join(NEW_SOCKET_FILE);
        remove(&made)?;
        let listener = UnixListener::bind(&made)?;
        // It gets its name once nobody else can use it.
        fs::set_permissions(&made, Permissions::from_mode(SOCKET_MODE))?;
        fs::rename(&made, short.path.join(SOCKET_FILE))?;
        Ok(listener)
    };
    bind().map_err(|source| SocketError {
        folder: folder.to_owned(),
        source,
    })
}

/// Removes a socket file, if it is there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Connects to the node that has a data folder.
pub(super) async fn connect(folder: &Path) -> io::Result<UnixStream> {
    let short = ShortFolder::of(folder)?;
    UnixStream::connect(short.path.join(SOCKET_FILE)).await
}

/// Whether the process at the other end may give orders: that of this process's user, or root's.
pub(super) fn is_operator(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == own || peer.uid() == ROOT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_private_and_replaces_a_stale_one_however_long_its_path_is() {
        let home = tempfile::tempdir().unwrap();
        for name in ["short".to_owned(), "long".repeat(40)] {
            let folder = home.path().join(name);
            fs::create_dir(&folder).unwrap();
            drop(listen(&folder).unwrap());
            assert!(connect(&folder).await.is_err(), "nobody listens on a stale socket");
            let listener = listen(&folder).unwrap();
            let mode = fs::metadata(folder.join(SOCKET_FILE)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, SOCKET_MODE);
            let (asking, accepted) = tokio::join!(connect(&folder), listener.accept());
            asking.unwrap();
            assert!(is_operator(&accepted.unwrap().0));
            assert!(!folder.join(NEW_SOCKET_FILE).exists());
        }
    }
}
