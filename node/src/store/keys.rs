//! Access keys. Their secrets are encrypted at rest under a key that is derived from the cluster secret.

use blake2::Blake2bMac;
use blake2::digest::{KeyInit, Mac, consts::U32};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use trellis_s3api::bucket::{AccessKey, BucketCreation, Credential, Secret};
use trellis_s3api::error::StoreError;
use trellis_s3api::object::hex;
use trellis_spec::register::{Content, Fetch};
use trellis_spec::row::{self, Address, Blob, Guard, KeyRights, Row, Swap};

use super::buckets::control;
use super::cache::Remembered;
use super::{ClusterStore, read_failed, write_failed};
use crate::cluster::Swapped;
use crate::env::Env;

/// Encrypts and decrypts the secrets of access keys.
pub struct SecretWrapping(LessSafeKey);

/// An access key that was just created: the only moment at which its secret is shown.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// The public half.
    pub id: AccessKey,
    /// The secret half.
    pub secret: Secret,
}

/// What an import came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Imported {
    /// The key was created.
    Created,
    /// There is, or was, a key of that name; nothing was changed.
    Known,
}

/// An access key as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct KeySummary {
    /// The public half.
    pub id: String,
    /// For people.
    pub name: String,
    /// Milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Whether it may create buckets.
    pub creates_buckets: bool,
}

/// Why an access key could not be created or deleted.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is no such key.
    #[error("there is no access key {0}")]
    NoSuchKey(String),
    /// It owns buckets.
    #[error("the access key owns buckets ({0}); delete them first")]
    OwnsBuckets(String),
    /// The cluster could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SecretWrapping {
    /// The wrapping of a cluster.
    pub fn new(cluster_secret: &[u8; 32]) -> Self {
        let mut derive =
            <Blake2bMac<U32> as KeyInit>::new_from_slice(cluster_secret).expect("32 bytes are a valid key");
        derive.update(b"trellis access key secrets 1");
        let key = derive.finalize().into_bytes();
        let key = UnboundKey::new(&CHACHA20_POLY1305, &key).expect("32 bytes are a valid key");
        SecretWrapping(LessSafeKey::new(key))
    }

    fn wrap(&self, env: &Env, id: &str, secret: &str) -> Blob {
        let mut nonce = [0; NONCE_LEN];
        env.random.fill(&mut nonce);
        let mut sealed = secret.as_bytes().to_vec();
        let sealing = self.0.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(id.as_bytes()),
            &mut sealed,
        );
        sealing.expect("a secret is far below the limit of the cipher");
        Blob::from(&[&nonce[..], &sealed].concat()[..])
    }

    fn unwrap(&self, id: &str, wrapped: &[u8]) -> Option<String> {
        let (nonce, sealed) = wrapped.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let secret = self
            .0
            .open_in_place(nonce, Aad::from(id.as_bytes()), &mut sealed)
            .ok()?;
        String::from_utf8(secret.to_vec()).ok()
    }
}

impl ClusterStore {
    /// The key pair, remembered for a while.
    pub(super) async fn find_credential(&self, key: &AccessKey) -> Result<Option<Credential>, StoreError> {
        match self.credentials.get(key) {
            Remembered::Fresh(credential) => Ok(Some(credential)),
            Remembered::Aging(credential) => {
                let (store, key) = (self.clone(), key.clone());
                self.beside("key-renewal", async move { store.look_key_up(&key).await.map(drop) });
                Ok(Some(credential))
            }
            Remembered::Nothing => self.look_key_up(key).await,
        }
    }

    async fn look_key_up(&self, key: &AccessKey) -> Result<Option<Credential>, StoreError> {
        let since = self.credentials.now();
        let target = control(Address::access_key(key.as_str()));
        let found = self.coordinator.read(&target, Fetch::Head).await.map_err(read_failed)?;
        let Some(row) = found.into_live().and_then(key_row) else {
            self.credentials.remove(key);
            return Ok(None);
        };
        let Some(secret) = self.wrapping.unwrap(&row.id, &row.wrapped_secret) else {
            return Err(StoreError::Internal(format!(
                "the secret of access key {} cannot be decrypted",
                row.id
            )));
        };
        let bucket_creation = match row.rights {
            KeyRights::CreateBuckets => BucketCreation::Allowed,
            KeyRights::None => BucketCreation::Denied,
        };
        let credential = Credential {
            secret: Secret(secret),
            bucket_creation,
        };
        self.credentials.insert(key.clone(), credential.clone(), since);
        Ok(Some(credential))
    }

    /// Creates an access key that may create buckets.
    pub async fn create_key(&self, name: &str) -> Result<NewKey, KeyError> {
        let mut random = [0; 30];
        self.coordinator.env.random.fill(&mut random);
        let id = format!("TK{}", hex(&random[..9]).to_uppercase());
        let secret = hex(&random[10..]);
        let new = NewKey {
            id: AccessKey(id),
            secret: Secret(secret),
        };
        let target = control(Address::access_key(new.id.as_str()));
        let content = self.key_content(name, &new);
        let written = self
            .coordinator
            .write(&target, self.fresh_op(), content, u64::MAX)
            .await;
        written.map_err(write_failed)?;
        Ok(new)
    }

    /// Creates an access key whose halves are given, unless there is or ever was one of its name: a key that was
    /// deleted stays deleted, however often a configuration is read again.
    pub async fn import_key(&self, name: &str, new: &NewKey) -> Result<Imported, KeyError> {
        let target = control(Address::access_key(new.id.as_str()));
        let found = self.coordinator.read(&target, Fetch::Head).await.map_err(read_failed)?;
        if found.accepted.is_some() {
            return Ok(Imported::Known);
        }
        let swap = Swap {
            guard: Guard::Absent,
            content: self.key_content(name, new),
        };
        let swapped = self.coordinator.swap(&target, self.fresh_op(), swap, u64::MAX).await;
        match swapped.map_err(write_failed)? {
            Swapped::Written(_) => Ok(Imported::Created),
            Swapped::Refused(_) => Ok(Imported::Known),
        }
    }

    fn key_content(&self, name: &str, new: &NewKey) -> Content<Row> {
        let env = &self.coordinator.env;
        Content::Value(Row::AccessKey(row::AccessKey {
            id: new.id.as_str().to_owned(),
            name: name.to_owned(),
            created_ms: self.now_ms(),
            wrapped_secret: self.wrapping.wrap(env, new.id.as_str(), &new.secret.0),
            rights: KeyRights::CreateBuckets,
        }))
    }

    /// All access keys.
    pub async fn list_keys(&self) -> Result<Vec<KeySummary>, KeyError> {
        let rows = self.table(b"k").await?;
        Ok(rows
            .into_iter()
            .filter_map(|(_, row)| key_row(row))
            .map(summary)
            .collect())
    }

    /// Deletes an access key that owns no bucket.
    pub async fn delete_key(&self, id: &str) -> Result<(), KeyError> {
        let target = control(Address::access_key(id));
        let found = self.coordinator.read(&target, Fetch::Head).await.map_err(read_failed)?;
        let no_such_key = || KeyError::NoSuchKey(id.to_owned());
        found.live().ok_or_else(no_such_key)?;
        let op = found.accepted.map(|accepted| accepted.op).ok_or_else(no_such_key)?;
        let owned: Vec<String> = self
            .buckets_of(&AccessKey(id.to_owned()))
            .await?
            .into_iter()
            .filter(|bucket| bucket.owner.as_str() == id)
            .map(|bucket| bucket.name.to_string())
            .collect();
        if !owned.is_empty() {
            return Err(KeyError::OwnsBuckets(owned.join(", ")));
        }
        let swap = Swap {
            guard: Guard::MadeBy(op),
            content: Content::Tombstone,
        };
        let swapped = self
            .coordinator
            .swap(&target, self.fresh_op(), swap, u64::MAX)
            .await
            .map_err(write_failed)?;
        self.credentials.remove(&AccessKey(id.to_owned()));
        match swapped {
            Swapped::Written(_) => Ok(()),
            Swapped::Refused(_) => Err(no_such_key()),
        }
    }
}

fn key_row(row: Row) -> Option<row::AccessKey> {
    match row {
        Row::AccessKey(key) => Some(key),
        Row::Object(_) | Row::Upload(_) | Row::Part(_) | Row::Manifest(_) => None,
        Row::Gate(_) | Row::Bucket(_) | Row::Name(_) => None,
    }
}

fn summary(row: row::AccessKey) -> KeySummary {
    KeySummary {
        id: row.id,
        name: row.name,
        created_ms: row.created_ms,
        creates_buckets: row.rights == KeyRights::CreateBuckets,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wrapped_secret_opens_for_its_own_key_and_cluster_only() {
        let (env, wrapping) = (Env::real(), SecretWrapping::new(&[1; 32]));
        let wrapped = wrapping.wrap(&env, "TKA", "secret");
        assert_eq!(wrapping.unwrap("TKA", &wrapped).as_deref(), Some("secret"));
        assert_eq!(wrapping.unwrap("TKB", &wrapped), None);
        assert_eq!(SecretWrapping::new(&[2; 32]).unwrap("TKA", &wrapped), None);
        assert_eq!(wrapping.unwrap("TKA", &wrapped[..5]), None);
    }
}
