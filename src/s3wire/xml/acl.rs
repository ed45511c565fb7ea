//! The one ACL that exists: everything belongs to its owner.

use crate::error::{ErrorCode, S3Error};
use crate::xml::Owner;
use crate::xml::read::Element;
use crate::xml::write::Document;

/// An ACL has at most 100 grants.
const BODY_MAX: usize = 64 << 10;

/// The answer to `GetBucketAcl` and `GetObjectAcl`.
pub fn access_control_policy(owner: &Owner) -> String {
    let mut document = Document::new("AccessControlPolicy");
    owner.write(&mut document, "Owner");
    document.within("AccessControlList", |d| {
        d.within("Grant", |d| {
            let attributes = "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
                              xsi:type=\"CanonicalUser\"";
            d.within_attributed("Grantee", attributes, |d| owner.write_fields(d));
            d.text("Permission", "FULL_CONTROL");
        });
    });
    document.finish()
}

/// Reads the body of `PutBucketAcl` and `PutObjectAcl`. Only the ACL that is there already
/// passes: full control for one user. An empty body means that the header says it.
pub fn parse_acl(body: &[u8]) -> Result<(), S3Error> {
    if body.trim_ascii().is_empty() {
        return Ok(());
    }
    let malformed = |error: S3Error| match error.code {
        ErrorCode::MalformedXML => S3Error::from(ErrorCode::MalformedACLError),
        _ => error,
    };
    let root = Element::parse(body, "AccessControlPolicy", BODY_MAX).map_err(malformed)?;
    let list = root.needed("AccessControlList").map_err(malformed)?;
    let private = match list.children.as_slice() {
        [grant] => {
            let permission = grant.needed("Permission").map_err(malformed)?;
            let grantee = grant.needed("Grantee").map_err(malformed)?;
            permission.trimmed()? == "FULL_CONTROL" && grantee.child("ID")?.is_some()
        }
        _ => false,
    };
    if private {
        Ok(())
    } else {
        Err(S3Error::not_implemented("An ACL other than private"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owners_acl_passes() {
        let owner = Owner {
            id: "1".to_owned(),
            display_name: "root".to_owned(),
        };
        let text = access_control_policy(&owner);
        assert!(text.contains(
            "<Grant><Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
             xsi:type=\"CanonicalUser\"><ID>1</ID><DisplayName>root</DisplayName></Grantee>\
             <Permission>FULL_CONTROL</Permission></Grant>"
        ));
        assert_eq!(parse_acl(text.as_bytes()), Ok(()));
        assert_eq!(parse_acl(b""), Ok(()));
        let code = |text: &str| parse_acl(text.as_bytes()).map_err(|e| e.code);
        let read = text.replace("FULL_CONTROL", "READ");
        assert_eq!(code(&read), Err(ErrorCode::NotImplemented));
        let group = text.replace(
            "<ID>1</ID><DisplayName>root</DisplayName></Grantee>",
            "<URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee>",
        );
        assert_eq!(code(&group), Err(ErrorCode::NotImplemented));
        assert_eq!(code("<X/>"), Err(ErrorCode::MalformedACLError));
    }
}
