//! `credentials.env`: an access key as clients of S3 take it from the environment.

use std::path::Path;

use trellis_s3api::bucket::{AccessKey, Secret};

use crate::secret_file::{self, SecretFileError};
use crate::store::NewKey;

/// Writes what a client needs, for `set -a; . FILE`; only its owner can read the file.
pub fn write(path: &Path, key: &NewKey, endpoint: &str, region: &str) -> Result<(), SecretFileError> {
    let text = format!(
        "AWS_ACCESS_KEY_ID={}\nAWS_SECRET_ACCESS_KEY={}\nAWS_ENDPOINT_URL={endpoint}\nAWS_REGION={region}\n",
        key.id, key.secret.0
    );
    secret_file::write(path, text.as_bytes())
}

/// The access key in a file of credentials, if there is the file.
pub fn read(path: &Path) -> Result<Option<NewKey>, SecretFileError> {
    let Some(text) = secret_file::read_text(path)? else {
        return Ok(None);
    };
    let id = variable(&text, "AWS_ACCESS_KEY_ID").filter(|id| !id.is_empty());
    let secret = variable(&text, "AWS_SECRET_ACCESS_KEY").filter(|secret| !secret.is_empty());
    match id.zip(secret) {
        Some((id, secret)) => Ok(Some(NewKey {
            id: AccessKey(id),
            secret: Secret(secret),
        })),
        None => Err(secret_file::malformed(
            path,
            "lines AWS_ACCESS_KEY_ID=… and AWS_SECRET_ACCESS_KEY=…",
        )),
    }
}

/// One variable of an environment file, with or without `export` and quotes.
fn variable(text: &str, name: &str) -> Option<String> {
    let lines = text.lines().map(|line| line.trim().trim_start_matches("export "));
    let mut values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let value = values.next_back()?;
    Some(value.trim_matches(['"', '\'']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_as_written_or_as_people_write_them() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("credentials.env");
        assert!(read(&path).unwrap().is_none());
        let key = NewKey {
            id: AccessKey("TK1".to_owned()),
            secret: Secret("hidden".to_owned()),
        };
        write(&path, &key, "http://127.0.0.1:3900", "us-east-1").unwrap();
        let found = read(&path).unwrap().unwrap();
        assert_eq!((found.id, found.secret), (key.id, key.secret));
        let by_hand = "# mine\nexport AWS_ACCESS_KEY_ID=\"A\"\nAWS_SECRET_ACCESS_KEY='B'\n";
        secret_file::write(&path, by_hand.as_bytes()).unwrap();
        assert_eq!(read(&path).unwrap().unwrap().secret.0, "B");
        secret_file::write(&path, b"AWS_ACCESS_KEY_ID=A\n").unwrap();
        assert!(matches!(read(&path), Err(SecretFileError::Malformed { .. })));
    }
}
