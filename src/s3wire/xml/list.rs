//! Lists of objects (S3 API Reference, `ListObjects`, `ListObjectsV2`).

use types::{Etag, StorageClass, Timestamp};

use crate::attributes::storage_class_name;
use crate::checksum::{ChecksumAlgorithm, ChecksumType};
use crate::op::{Encoding, ListObjects, ListObjectsV2, ListScope};
use crate::token::continuation_token;
use crate::xml::Owner;
use crate::xml::write::Document;

/// A generous guess at the bytes of one entry besides its key.
const ENTRY_LEN: usize = 320;

/// An object in a list.
#[derive(Debug, Clone, Copy)]
pub struct ListedObject<'a> {
    /// The key.
    pub key: &'a str,
    /// When it was last written.
    pub modified: Timestamp,
    /// The entity tag.
    pub etag: Etag,
    /// Bytes.
    pub size: u64,
    /// The storage class.
    pub storage_class: StorageClass,
    /// Which checksum it has.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
}

/// A page of a list.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a, Entry, Position> {
    /// What was found, in order.
    pub entries: &'a [Entry],
    /// Common prefixes, in order.
    pub prefixes: &'a [String],
    /// Where the page ended, if there is more.
    pub next: Option<Position>,
}

impl<Entry, Position> Page<'_, Entry, Position> {
    /// A document with room for the page.
    pub(super) fn document(&self, root: &'static str) -> Document {
        let mut document = Document::new(root);
        document.reserve((self.entries.len() + self.prefixes.len()) * ENTRY_LEN);
        document
    }

    pub(super) fn write_prefixes(&self, document: &mut Document, encoding: Encoding) {
        for prefix in self.prefixes {
            document.within("CommonPrefixes", |d| d.key("Prefix", prefix, encoding));
        }
    }
}

/// The answer to `ListObjects`. A page ends with a key or common prefix; the client learns which
/// only if it gave a delimiter, as otherwise it is the last key.
pub fn object_list(
    request: &ListObjects,
    page: &Page<'_, ListedObject<'_>, &str>,
    owner: &Owner,
) -> String {
    let scope = &request.scope;
    let mut document = page.document("ListBucketResult");
    document.text("Name", request.bucket.as_str());
    document.key("Prefix", &scope.prefix, scope.encoding);
    document.key("Marker", &request.marker, scope.encoding);
    if let (Some(next), Some(_)) = (page.next, &scope.delimiter) {
        document.key("NextMarker", next, scope.encoding);
    }
    document.shown("MaxKeys", scope.keys_max);
    write_scope(&mut document, scope);
    document.shown("IsTruncated", page.next.is_some());
    write_objects(&mut document, page.entries, scope.encoding, Some(owner));
    page.write_prefixes(&mut document, scope.encoding);
    document.finish()
}

/// The answer to `ListObjectsV2`. A page ends with a key or common prefix.
pub fn object_list_v2(
    request: &ListObjectsV2,
    page: &Page<'_, ListedObject<'_>, &str>,
    owner: &Owner,
) -> String {
    let scope = &request.scope;
    let mut document = page.document("ListBucketResult");
    document.text("Name", request.bucket.as_str());
    document.key("Prefix", &scope.prefix, scope.encoding);
    if let Some(after) = &request.start_after {
        document.key("StartAfter", after, scope.encoding);
    }
    document.optional("ContinuationToken", request.continuation_token.as_deref());
    if let Some(next) = page.next {
        document.text("NextContinuationToken", &continuation_token(next));
    }
    document.shown("KeyCount", page.entries.len() + page.prefixes.len());
    document.shown("MaxKeys", scope.keys_max);
    write_scope(&mut document, scope);
    document.shown("IsTruncated", page.next.is_some());
    let owner = request.fetch_owner.then_some(owner);
    write_objects(&mut document, page.entries, scope.encoding, owner);
    page.write_prefixes(&mut document, scope.encoding);
    document.finish()
}

/// `Delimiter` and `EncodingType`.
pub(super) fn write_scope(document: &mut Document, scope: &ListScope) {
    if let Some(delimiter) = &scope.delimiter {
        document.key("Delimiter", delimiter, scope.encoding);
    }
    document.encoding(scope.encoding);
}

fn write_objects(
    document: &mut Document,
    objects: &[ListedObject<'_>],
    encoding: Encoding,
    owner: Option<&Owner>,
) {
    for object in objects {
        document.within("Contents", |d| {
            d.key("Key", object.key, encoding);
            d.time("LastModified", object.modified);
            d.etag(object.etag);
            write_checksum(d, object.checksum);
            d.shown("Size", object.size);
            if let Some(owner) = owner {
                owner.write(d, "Owner");
            }
            d.text("StorageClass", storage_class_name(object.storage_class));
        });
    }
}

/// `ChecksumAlgorithm` and `ChecksumType`.
pub(super) fn write_checksum(
    document: &mut Document,
    checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
) {
    if let Some((algorithm, kind)) = checksum {
        document.text("ChecksumAlgorithm", algorithm.as_str());
        document.text("ChecksumType", kind.as_str());
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};

    use super::*;
    use crate::op::Op;
    use crate::parse::parse;
    use crate::target::Domains;

    const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
    const NAMESPACE: &str = "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";

    fn op(query: &str) -> Op {
        let domains = Domains::default();
        parse(&Method::GET, "/bucket", query, &HeaderMap::new(), &domains)
            .unwrap()
            .op
    }

    fn object(key: &str) -> ListedObject<'_> {
        ListedObject {
            key,
            modified: Timestamp::from_millis(1_255_369_830_000),
            etag: Etag::Md5([0xfb; 16]),
            size: 434_234,
            storage_class: StorageClass::Standard,
            checksum: Some((ChecksumAlgorithm::Crc32, ChecksumType::FullObject)),
        }
    }

    fn owner() -> Owner {
        Owner {
            id: "75aa57f0".to_owned(),
            display_name: "root".to_owned(),
        }
    }

    const CONTENTS: &str = "<LastModified>2009-10-12T17:50:30.000Z</LastModified>\
        <ETag>&quot;fbfbfbfbfbfbfbfbfbfbfbfbfbfbfbfb&quot;</ETag>\
        <ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>\
        <Size>434234</Size>";
    const OWNER: &str = "<Owner><ID>75aa57f0</ID><DisplayName>root</DisplayName></Owner>";
    const STANDARD: &str = "<StorageClass>STANDARD</StorageClass>";

    #[test]
    fn version_1_is_written_as_aws_does() {
        let Op::ListObjects(request) = op("prefix=a%20&delimiter=/&marker=a&max-keys=2") else {
            panic!("no list")
        };
        let page = Page {
            entries: &[object("a &b")],
            prefixes: &["a c/".to_owned()],
            next: Some("a c/"),
        };
        let expected = format!(
            "{DECLARATION}<ListBucketResult {NAMESPACE}><Name>bucket</Name><Prefix>a </Prefix>\
             <Marker>a</Marker><NextMarker>a c/</NextMarker><MaxKeys>2</MaxKeys>\
             <Delimiter>/</Delimiter><IsTruncated>true</IsTruncated>\
             <Contents><Key>a &amp;b</Key>{CONTENTS}{OWNER}{STANDARD}</Contents>\
             <CommonPrefixes><Prefix>a c/</Prefix></CommonPrefixes></ListBucketResult>"
        );
        assert_eq!(object_list(&request, &page, &owner()), expected);
    }

    #[test]
    fn version_2_is_written_as_aws_does() {
        let Op::ListObjectsV2(request) =
            op("list-type=2&prefix=a%2B&encoding-type=url&start-after=a%2Ba&delimiter=%20")
        else {
            panic!("no list")
        };
        let page = Page {
            entries: &[object("a+&ü")],
            prefixes: &[],
            next: Some("a+&ü"),
        };
        let expected = format!(
            "{DECLARATION}<ListBucketResult {NAMESPACE}><Name>bucket</Name><Prefix>a%2B</Prefix>\
             <StartAfter>a%2Ba</StartAfter>\
             <NextContinuationToken>YSsmw7w</NextContinuationToken><KeyCount>1</KeyCount>\
             <MaxKeys>1000</MaxKeys><Delimiter>+</Delimiter><EncodingType>url</EncodingType>\
             <IsTruncated>true</IsTruncated>\
             <Contents><Key>a%2B%26%C3%BC</Key>{CONTENTS}{STANDARD}</Contents></ListBucketResult>"
        );
        assert_eq!(object_list_v2(&request, &page, &owner()), expected);
        let Op::ListObjectsV2(request) = op("list-type=2&fetch-owner=true") else {
            panic!("no list")
        };
        let page = Page {
            entries: &[object("k")],
            prefixes: &[],
            next: None,
        };
        let text = object_list_v2(&request, &page, &owner());
        assert!(text.contains(OWNER) && text.contains("<IsTruncated>false</IsTruncated>"));
        assert!(!text.contains("Token>"), "the last page names no next one");
    }
}
