//! Reads of what cannot be set here: they say truthfully that there is none, as many clients ask before they start.

use super::super::Door;
use super::super::answer::Answer;
use super::super::call::Call;
use super::super::fault::{Code, Fault};
use super::super::operation::Operation;
use super::super::xml::escape;
use crate::bucket::Action;
use crate::store::ObjectStore;

const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// Answers for a bucket or object that exists.
pub(super) async fn answer<S: ObjectStore>(
    door: &Door<S>,
    operation: &'static Operation,
    call: Call,
) -> Result<Answer, Fault> {
    let bucket = call.bucket(door, Action::Read).await?;
    if let Some(key) = call.target.key() {
        door.store.head_object(&bucket, key).await?;
    }
    fixed(operation.name, bucket.owner.as_str()).map(Answer::xml)
}

/// The answer of each operation; `owner` is the key that owns the bucket.
fn fixed(operation: &str, owner: &str) -> Result<String, Fault> {
    let (root, content) = match operation {
        "GetBucketVersioning" => ("VersioningConfiguration", String::new()),
        "GetBucketAccelerateConfiguration" => ("AccelerateConfiguration", String::new()),
        "GetBucketLogging" => ("BucketLoggingStatus", String::new()),
        "GetBucketNotificationConfiguration" => ("NotificationConfiguration", String::new()),
        "GetBucketRequestPayment" => ("RequestPaymentConfiguration", "<Payer>BucketOwner</Payer>".to_owned()),
        "GetObjectTagging" => ("Tagging", "<TagSet></TagSet>".to_owned()),
        "GetBucketAcl" | "GetObjectAcl" => ("AccessControlPolicy", owner_controls(owner)),
        "GetBucketCors" => return Err(Code::NoSuchCORSConfiguration.into()),
        "GetBucketEncryption" => return Err(Code::ServerSideEncryptionConfigurationNotFoundError.into()),
        "GetBucketLifecycleConfiguration" => return Err(Code::NoSuchLifecycleConfiguration.into()),
        "GetBucketOwnershipControls" => return Err(Code::OwnershipControlsNotFoundError.into()),
        "GetBucketPolicy" | "GetBucketPolicyStatus" => return Err(Code::NoSuchBucketPolicy.into()),
        "GetBucketReplication" => return Err(Code::ReplicationConfigurationNotFoundError.into()),
        "GetBucketTagging" => return Err(Code::NoSuchTagSet.into()),
        "GetBucketWebsite" => return Err(Code::NoSuchWebsiteConfiguration.into()),
        "GetObjectLockConfiguration" => return Err(Code::ObjectLockConfigurationNotFoundError.into()),
        "GetPublicAccessBlock" => return Err(Code::NoSuchPublicAccessBlockConfiguration.into()),
        "GetObjectLegalHold" | "GetObjectRetention" => {
            return Err(Fault::with(
                Code::InvalidRequest,
                "Bucket is missing Object Lock Configuration",
            ));
        }
        other => return Err(Fault::not_implemented(other)),
    };
    Ok(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root} xmlns=\"{NAMESPACE}\">{content}</{root}>"
    ))
}

/// The list of an owner who has full control, and nobody else.
fn owner_controls(owner: &str) -> String {
    let owner = format!("<ID>{0}</ID><DisplayName>{0}</DisplayName>", escape(owner));
    format!(
        "<Owner>{owner}</Owner><AccessControlList><Grant>\
         <Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\">{owner}</Grantee>\
         <Permission>FULL_CONTROL</Permission></Grant></AccessControlList>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::operation::Support;
    use crate::front::table::TABLE;

    #[test]
    fn every_fixed_operation_has_its_answer() {
        for row in TABLE.iter().filter(|row| row.support == Support::Fixed) {
            let code = fixed(row.name, "owner").err().map(|fault| fault.code);
            assert_ne!(code, Some(Code::NotImplemented), "{}", row.name);
        }
    }
}
