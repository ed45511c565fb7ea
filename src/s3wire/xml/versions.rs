//! Lists of versions (S3 API Reference, `ListObjectVersions`).

use types::VersionId;

use crate::attributes::storage_class_name;
use crate::op::ListObjectVersions;
use crate::xml::Owner;
use crate::xml::list::{ListedObject, Page, write_checksum, write_scope};

/// What a version is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionKind {
    /// An object.
    Version,
    /// A delete marker: of the object, only key and time count.
    DeleteMarker,
}

/// A version in a list.
#[derive(Debug, Clone, Copy)]
pub struct ListedVersion<'a> {
    /// What it is.
    pub kind: VersionKind,
    /// What a list of objects would show.
    pub object: ListedObject<'a>,
    /// Its id.
    pub version: VersionId,
    /// Whether it is the current one.
    pub is_latest: bool,
}

/// The answer to `ListObjectVersions`. A page ends with a version of a key, or with a common
/// prefix, which has no version.
pub fn version_list(
    request: &ListObjectVersions,
    page: &Page<'_, ListedVersion<'_>, (&str, Option<VersionId>)>,
    owner: &Owner,
) -> String {
    let scope = &request.scope;
    let mut document = page.document("ListVersionsResult");
    document.text("Name", request.bucket.as_str());
    document.key("Prefix", &scope.prefix, scope.encoding);
    document.key("KeyMarker", &request.key_marker, scope.encoding);
    match request.version_marker {
        Some(version) => document.shown("VersionIdMarker", version),
        None => document.text("VersionIdMarker", ""),
    }
    if let Some((key, version)) = page.next {
        document.key("NextKeyMarker", key, scope.encoding);
        if let Some(version) = version {
            document.shown("NextVersionIdMarker", version);
        }
    }
    document.shown("MaxKeys", scope.keys_max);
    write_scope(&mut document, scope);
    document.shown("IsTruncated", page.next.is_some());
    for entry in page.entries {
        let (object, is_object) = (&entry.object, entry.kind == VersionKind::Version);
        let element = if is_object { "Version" } else { "DeleteMarker" };
        document.within(element, |d| {
            d.key("Key", object.key, scope.encoding);
            d.shown("VersionId", entry.version);
            d.shown("IsLatest", entry.is_latest);
            d.time("LastModified", object.modified);
            if is_object {
                d.etag(object.etag);
                write_checksum(d, object.checksum);
                d.shown("Size", object.size);
            }
            owner.write(d, "Owner");
            if is_object {
                d.text("StorageClass", storage_class_name(object.storage_class));
            }
        });
    }
    page.write_prefixes(&mut document, scope.encoding);
    document.finish()
}

#[cfg(test)]
mod tests {
    use types::{BucketName, Epoch, Etag, Order, StorageClass, Timestamp};

    use super::*;
    use crate::op::{Encoding, ListScope};

    #[test]
    fn versions_and_markers_are_written_as_aws_does() {
        let request = ListObjectVersions {
            bucket: BucketName::parse("bucket").unwrap(),
            scope: ListScope {
                prefix: String::new(),
                delimiter: None,
                keys_max: 2,
                encoding: Encoding::Plain,
            },
            key_marker: "a".to_owned(),
            version_marker: Some(VersionId::Null),
        };
        let object = ListedObject {
            key: "k",
            modified: Timestamp::from_millis(0),
            etag: Etag::Parts([0; 16], 2),
            size: 7,
            storage_class: StorageClass::Reduced,
            checksum: None,
        };
        let born = VersionId::Born(Order::new(Epoch::new(0, 1), 2));
        let marker = ListedVersion {
            kind: VersionKind::DeleteMarker,
            object,
            version: born,
            is_latest: true,
        };
        let version = ListedVersion {
            kind: VersionKind::Version,
            version: VersionId::Null,
            is_latest: false,
            ..marker
        };
        let page = Page {
            entries: &[marker, version],
            prefixes: &[],
            next: Some(("k", Some(VersionId::Null))),
        };
        let owner = Owner {
            id: "1".to_owned(),
            display_name: "root".to_owned(),
        };
        let time = "<LastModified>1970-01-01T00:00:00.000Z</LastModified>";
        let who = "<Owner><ID>1</ID><DisplayName>root</DisplayName></Owner>";
        let expected = format!(
            "<Name>bucket</Name><Prefix></Prefix><KeyMarker>a</KeyMarker>\
             <VersionIdMarker>null</VersionIdMarker><NextKeyMarker>k</NextKeyMarker>\
             <NextVersionIdMarker>null</NextVersionIdMarker><MaxKeys>2</MaxKeys>\
             <IsTruncated>true</IsTruncated>\
             <DeleteMarker><Key>k</Key>\
             <VersionId>00000000-0000-0001-0000-000000000002</VersionId>\
             <IsLatest>true</IsLatest>{time}{who}</DeleteMarker>\
             <Version><Key>k</Key><VersionId>null</VersionId><IsLatest>false</IsLatest>{time}\
             <ETag>&quot;00000000000000000000000000000000-2&quot;</ETag><Size>7</Size>{who}\
             <StorageClass>REDUCED_REDUNDANCY</StorageClass></Version></ListVersionsResult>"
        );
        let text = version_list(&request, &page, &owner);
        assert!(text.ends_with(&expected), "{text}");
    }
}
