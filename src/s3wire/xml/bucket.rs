//! Documents about buckets.

use types::Timestamp;

use crate::error::{ErrorCode, S3Error};
use crate::op::ListBuckets;
use crate::token::continuation_token;
use crate::xml::Owner;
use crate::xml::read::Element;
use crate::xml::write::Document;

/// Configurations of buckets are short.
const BODY_MAX: usize = 64 << 10;

/// A bucket in a list.
#[derive(Debug, Clone, Copy)]
pub struct ListedBucket<'a> {
    /// The name.
    pub name: &'a str,
    /// When it was made.
    pub created: Timestamp,
}

/// The answer to `ListBuckets`. `next` is the last name of a page, if there are more.
pub fn bucket_list(
    request: &ListBuckets,
    buckets: &[ListedBucket<'_>],
    next: Option<&str>,
    owner: &Owner,
) -> String {
    let mut document = Document::new("ListAllMyBucketsResult");
    owner.write(&mut document, "Owner");
    document.within("Buckets", |d| {
        for bucket in buckets {
            d.within("Bucket", |d| {
                d.text("Name", bucket.name);
                d.time("CreationDate", bucket.created);
            });
        }
    });
    if let Some(next) = next {
        document.text("ContinuationToken", &continuation_token(next));
    }
    if !request.prefix.is_empty() {
        document.text("Prefix", &request.prefix);
    }
    document.finish()
}

/// The answer to `GetBucketLocation`. The oldest region has the empty name.
pub fn location_constraint(region: &str) -> String {
    let mut document = Document::new("LocationConstraint");
    document.body(if region == "us-east-1" { "" } else { region });
    document.finish()
}

/// Reads the body of `CreateBucket`: the region it asks for, if any. Whether that is this
/// server's is for the caller to say. An empty body is none.
pub fn parse_create_bucket(body: &[u8]) -> Result<Option<String>, S3Error> {
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    let root = Element::parse(body, "CreateBucketConfiguration", BODY_MAX)?;
    root.only(&["LocationConstraint", "Location", "Bucket", "Tags"])?;
    for (element, what) in [
        ("Location", "A bucket in a zone"),
        ("Bucket", "A directory bucket"),
        ("Tags", "Tagging of a bucket while it is made"),
    ] {
        if root.child(element)?.is_some() {
            return Err(S3Error::not_implemented(what));
        }
    }
    let constraint = root.child("LocationConstraint")?;
    let region = constraint.map(Element::trimmed).transpose()?;
    Ok(region.filter(|text| !text.is_empty()).map(str::to_owned))
}

/// Whether a bucket keeps versions, once that was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versioning {
    /// Each write makes a version.
    Enabled,
    /// Each write replaces the null version.
    Suspended,
}

/// The answer to `GetBucketVersioning`; `None` means that nobody ever said.
pub fn versioning_configuration(versioning: Option<Versioning>) -> String {
    let mut document = Document::new("VersioningConfiguration");
    match versioning {
        Some(Versioning::Enabled) => document.text("Status", "Enabled"),
        Some(Versioning::Suspended) => document.text("Status", "Suspended"),
        None => {}
    }
    document.finish()
}

/// Reads the body of `PutBucketVersioning`. MFA delete and MinIO's exclusions are refused as not
/// implemented, since ignoring them would keep or lose versions against the operator's will.
pub fn parse_versioning(body: &[u8]) -> Result<Versioning, S3Error> {
    let root = Element::parse(body, "VersioningConfiguration", BODY_MAX)?;
    root.only(&["Status", "MfaDelete", "ExcludedPrefixes", "ExcludeFolders"])?;
    let mfa = root.child("MfaDelete")?.map(Element::trimmed).transpose()?;
    match mfa {
        None | Some("Disabled") => {}
        Some("Enabled") => return Err(S3Error::not_implemented("MFA delete")),
        Some(_) => return Err(ErrorCode::MalformedXML.into()),
    }
    if root
        .children
        .iter()
        .any(|child| child.name.starts_with("Exclude"))
    {
        return Err(S3Error::not_implemented(
            "Excluding prefixes from versioning",
        ));
    }
    match root.child("Status")?.map(Element::trimmed).transpose()? {
        Some("Enabled") => Ok(Versioning::Enabled),
        Some("Suspended") => Ok(Versioning::Suspended),
        Some(_) => Err(ErrorCode::MalformedXML.into()),
        None => Err(ErrorCode::IllegalVersioningConfigurationException.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_configurations_are_refused() {
        let create = |body: &str| parse_create_bucket(body.as_bytes()).map_err(|e| e.code);
        assert_eq!(create("<X/>"), Err(ErrorCode::MalformedXML));
        let other = "<CreateBucketConfiguration><X/></CreateBucketConfiguration>";
        assert_eq!(create(other), Err(ErrorCode::MalformedXML));
        let tags = "<CreateBucketConfiguration><Tags/></CreateBucketConfiguration>";
        assert_eq!(create(tags), Err(ErrorCode::NotImplemented));
        let table = [
            ("", ErrorCode::IllegalVersioningConfigurationException),
            ("<Status>On</Status>", ErrorCode::MalformedXML),
            (
                "<Status>Enabled</Status><Status>Enabled</Status>",
                ErrorCode::MalformedXML,
            ),
            (
                "<Status>Enabled</Status><MfaDelete>Enabled</MfaDelete>",
                ErrorCode::NotImplemented,
            ),
            (
                "<Status>Enabled</Status><ExcludeFolders>true</ExcludeFolders>",
                ErrorCode::NotImplemented,
            ),
        ];
        for (inner, code) in table {
            let body = format!("<VersioningConfiguration>{inner}</VersioningConfiguration>");
            let read = parse_versioning(body.as_bytes()).map_err(|e| e.code);
            assert_eq!(read, Err(code), "{inner}");
        }
    }

    #[test]
    fn configurations_round_trip() {
        for versioning in [Versioning::Enabled, Versioning::Suspended] {
            let text = versioning_configuration(Some(versioning));
            assert_eq!(parse_versioning(text.as_bytes()), Ok(versioning));
        }
        let none = versioning_configuration(None);
        assert!(none.ends_with("doc/2006-03-01/\"></VersioningConfiguration>"));
        let body = "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                    <LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>";
        let region = parse_create_bucket(body.as_bytes());
        assert_eq!(region, Ok(Some("eu-west-1".to_owned())));
        assert_eq!(parse_create_bucket(b" "), Ok(None));
        assert!(location_constraint("eu-west-1").contains("\">eu-west-1</LocationConstraint>"));
        assert!(location_constraint("us-east-1").contains("\"></LocationConstraint>"));
    }

    #[test]
    fn buckets_are_listed_as_aws_does() {
        let request = ListBuckets {
            prefix: "a".to_owned(),
            after: None,
            buckets_max: Some(1),
        };
        let bucket = ListedBucket {
            name: "abc",
            created: Timestamp::from_millis(1_255_369_830_000),
        };
        let owner = Owner {
            id: "1".to_owned(),
            display_name: "root".to_owned(),
        };
        let expected = "<Owner><ID>1</ID><DisplayName>root</DisplayName></Owner><Buckets><Bucket>\
            <Name>abc</Name><CreationDate>2009-10-12T17:50:30.000Z</CreationDate></Bucket>\
            </Buckets><ContinuationToken>YWJj</ContinuationToken><Prefix>a</Prefix>\
            </ListAllMyBucketsResult>";
        let text = bucket_list(&request, &[bucket], Some("abc"), &owner);
        assert!(text.ends_with(expected), "{text}");
    }
}
