//! Deleting many objects at once (S3 API Reference, `DeleteObjects`).

use types::{ObjectKey, VersionId};

use crate::condition::EtagMatch;
use crate::error::{ErrorCode, S3Error};
use crate::query::parse_version;
use crate::target::object_key;
use crate::xml::read::Element;
use crate::xml::write::Document;

/// The most objects of one request.
const OBJECTS_MAX: usize = 1000;
/// A thousand of the longest keys, every other byte escaped, fit.
const BODY_MAX: usize = 8 << 20;

/// The body of `DeleteObjects`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete {
    /// 1 to 1,000 entries, in the order of the client.
    pub entries: Vec<DeleteEntry>,
    /// Only failures are to be answered.
    pub quiet: bool,
}

/// One entry. What is wrong with it is answered for it alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteEntry {
    /// The key, as it was sent, for the answer.
    pub key: String,
    /// The version, as it was sent, for the answer.
    pub version: Option<String>,
    /// What to delete, or why not.
    pub object: Result<ObjectToDelete, S3Error>,
}

/// What one entry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectToDelete {
    /// The key.
    pub key: ObjectKey,
    /// Exactly this version, or the current one.
    pub version: Option<VersionId>,
    /// The current version must have this tag.
    pub if_match: Option<EtagMatch>,
}

/// Reads the body. A shape that S3 does not know refuses it whole.
pub fn parse_delete(body: &[u8]) -> Result<Delete, S3Error> {
    let root = Element::parse(body, "Delete", BODY_MAX)?;
    root.only(&["Object", "Quiet"])?;
    let quiet = match root.child("Quiet")?.map(Element::trimmed).transpose()? {
        None => false,
        Some(text) if text.eq_ignore_ascii_case("true") => true,
        Some(text) if text.eq_ignore_ascii_case("false") => false,
        Some(_) => return Err(ErrorCode::MalformedXML.into()),
    };
    let mut entries = Vec::new();
    for object in root.children.iter().filter(|child| child.name == "Object") {
        entries.push(entry(object)?);
    }
    if entries.is_empty() || entries.len() > OBJECTS_MAX {
        return Err(ErrorCode::MalformedXML.into());
    }
    Ok(Delete { entries, quiet })
}

fn entry(element: &Element) -> Result<DeleteEntry, S3Error> {
    element.only(&["Key", "VersionId", "ETag", "LastModifiedTime", "Size"])?;
    let text = |name| element.child(name)?.map(Element::trimmed).transpose();
    let key = element.needed("Key")?.exact()?;
    let version = text("VersionId")?.filter(|version| !version.is_empty());
    let etag = text("ETag")?;
    // Conditions of directory buckets: ignoring one would delete what must stay.
    let foreign = text("LastModifiedTime")?.is_some() || text("Size")?.is_some();
    let object = if foreign {
        let what = "A condition on time or size of a deletion";
        Err(S3Error::not_implemented(what))
    } else {
        object_key(key).and_then(|key| {
            Ok(ObjectToDelete {
                key,
                version: version.map(parse_version).transpose()?,
                if_match: etag.map(EtagMatch::parse),
            })
        })
    };
    Ok(DeleteEntry {
        key: key.to_owned(),
        version: version.map(str::to_owned),
        object,
    })
}

/// What became of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteOutcome<'a> {
    /// The entry's key.
    pub key: &'a str,
    /// The entry's version, as it was sent.
    pub version: Option<&'a str>,
    /// What was done, or why not.
    pub result: Result<Deleted, S3Error>,
}

/// What a deletion did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// The version is gone, or there was none.
    Gone,
    /// A delete marker was made, with this id.
    MarkerMade(VersionId),
    /// The version that is gone was a delete marker, with this id.
    MarkerGone(VersionId),
}

/// The answer. Successes are left out for a quiet request.
pub fn delete_result(outcomes: &[DeleteOutcome<'_>], quiet: bool) -> String {
    let mut document = Document::new("DeleteResult");
    document.reserve(outcomes.len() * 160);
    for outcome in outcomes {
        match &outcome.result {
            Ok(_) if quiet => {}
            Ok(deleted) => document.within("Deleted", |d| {
                d.text("Key", outcome.key);
                d.optional("VersionId", outcome.version);
                if let Deleted::MarkerMade(id) | Deleted::MarkerGone(id) = deleted {
                    d.shown("DeleteMarker", true);
                    d.shown("DeleteMarkerVersionId", id);
                }
            }),
            Err(error) => document.within("Error", |d| {
                d.text("Key", outcome.key);
                d.optional("VersionId", outcome.version);
                d.text("Code", error.code.as_str());
                d.text("Message", &error.message);
            }),
        }
    }
    document.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(inner: &str) -> Result<Delete, ErrorCode> {
        parse_delete(format!("<Delete>{inner}</Delete>").as_bytes()).map_err(|e| e.code)
    }

    #[test]
    fn shapes_that_s3_does_not_know_are_refused() {
        let many = "<Object><Key>k</Key></Object>".repeat(1001);
        for inner in [
            "",
            "<Object/>",
            "<Object><Key>k</Key><X/></Object>",
            "<Object><Key>k</Key><Key>l</Key></Object>",
            "<Object><Key>k</Key></Object><Quiet>maybe</Quiet>",
            "<Key>k</Key>",
            &many,
        ] {
            assert_eq!(parse(inner), Err(ErrorCode::MalformedXML), "{inner:.60}");
        }
    }

    #[test]
    fn a_bad_entry_spoils_only_itself() {
        let long = "k".repeat(1025);
        let delete = parse(&format!(
            "<Quiet>true</Quiet><Object><Key>{long}</Key></Object>\
             <Object><Key>a</Key><VersionId>x</VersionId></Object>\
             <Object><Key>b</Key><Size>1</Size></Object>\
             <Object><Key>../ c</Key><VersionId>null</VersionId><ETag>\"aa\"</ETag></Object>"
        ))
        .unwrap();
        assert!(delete.quiet);
        let codes: Vec<Option<ErrorCode>> = delete
            .entries
            .iter()
            .map(|entry| entry.object.as_ref().err().map(|e| e.code))
            .collect();
        let expected = [
            Some(ErrorCode::KeyTooLongError),
            Some(ErrorCode::InvalidArgument),
            Some(ErrorCode::NotImplemented),
            None,
        ];
        assert_eq!(codes, expected);
        let last = delete.entries.last().unwrap().object.clone().unwrap();
        assert_eq!(
            (last.key.as_str(), last.version),
            ("../ c", Some(VersionId::Null))
        );
        assert!(last.if_match.unwrap().matches("aa"));
    }

    #[test]
    fn outcomes_are_written_as_aws_does() {
        let outcome = |key, version, result| DeleteOutcome {
            key,
            version,
            result,
        };
        let outcomes = [
            outcome("a", None, Ok(Deleted::Gone)),
            outcome("b", None, Ok(Deleted::MarkerMade(VersionId::Null))),
            outcome("c", Some("null"), Ok(Deleted::MarkerGone(VersionId::Null))),
            outcome("d<", None, Err(ErrorCode::AccessDenied.into())),
        ];
        let failure = "<Error><Key>d&lt;</Key><Code>AccessDenied</Code>\
            <Message>Access Denied</Message></Error></DeleteResult>";
        let marker = "<DeleteMarker>true</DeleteMarker>\
            <DeleteMarkerVersionId>null</DeleteMarkerVersionId></Deleted>";
        let expected = format!(
            "<Deleted><Key>a</Key></Deleted><Deleted><Key>b</Key>{marker}\
             <Deleted><Key>c</Key><VersionId>null</VersionId>{marker}{failure}"
        );
        let text = delete_result(&outcomes, false);
        assert!(text.ends_with(&expected), "{text}");
        let quiet = delete_result(&outcomes, true);
        assert!(
            quiet.ends_with(&format!("doc/2006-03-01/\">{failure}")),
            "{quiet}"
        );
    }
}
