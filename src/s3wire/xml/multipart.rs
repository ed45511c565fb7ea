//! Multipart uploads: their start, their parts, their end, and lists of them.

use types::{BucketName, Etag, ObjectKey, StorageClass, Timestamp};

use crate::attributes::{ChecksumWanted, storage_class_name};
use crate::checksum::{Checksum, ChecksumAlgorithm, ObjectChecksum};
use crate::condition::unquoted;
use crate::error::{ErrorCode, S3Error};
use crate::op::{ListMultipartUploads, ListParts};
use crate::xml::Owner;
use crate::xml::list::{Page, write_checksum, write_scope};
use crate::xml::read::Element;
use crate::xml::write::Document;

/// The largest part number, and the most parts of an upload.
const PARTS_MAX: u32 = 10_000;
/// Ten thousand parts with the longest checksum, and white space between, fit.
const BODY_MAX: usize = 8 << 20;

/// The answer to `CreateMultipartUpload`.
pub fn initiate_result(bucket: &BucketName, key: &ObjectKey, upload_id: &str) -> String {
    let mut document = Document::new("InitiateMultipartUploadResult");
    document.text("Bucket", bucket.as_str());
    document.text("Key", key.as_str());
    document.text("UploadId", upload_id);
    document.finish()
}

/// A part as the client names it when it completes an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedPart {
    /// 1 to 10,000.
    pub number: u32,
    /// The entity tag, without quotes; it may be anything.
    pub etag: String,
    /// The part's checksum, if it is given.
    pub checksum: Option<Checksum>,
}

/// Reads the body of `CompleteMultipartUpload`: 1 to 10,000 parts in rising order, else
/// `InvalidPartOrder`. A body of no parts is malformed, and no body is another matter to AWS.
pub fn parse_complete(body: &[u8]) -> Result<Vec<CompletedPart>, S3Error> {
    if body.trim_ascii().is_empty() {
        return Err(S3Error::request("You must specify at least one part"));
    }
    let root = Element::parse(body, "CompleteMultipartUpload", BODY_MAX)?;
    root.only(&["Part"])?;
    let count = u32::try_from(root.children.len()).unwrap_or(u32::MAX);
    if count == 0 || count > PARTS_MAX {
        return Err(ErrorCode::MalformedXML.into());
    }
    let mut parts = Vec::with_capacity(root.children.len());
    let mut last = 0;
    for element in &root.children {
        let part = completed_part(element)?;
        if part.number <= last {
            return Err(ErrorCode::InvalidPartOrder.into());
        }
        last = part.number;
        parts.push(part);
    }
    Ok(parts)
}

fn completed_part(element: &Element) -> Result<CompletedPart, S3Error> {
    let number = element.needed("PartNumber")?.trimmed()?;
    let legal = number.parse::<u32>().map_err(|_| ErrorCode::MalformedXML)?;
    if !(1..=PARTS_MAX).contains(&legal) {
        let message = "Part number must be an integer between 1 and 10000, inclusive";
        return Err(S3Error::argument("PartNumber", number, message));
    }
    let mut checksum = None;
    for algorithm in ChecksumAlgorithm::ALL {
        let Some(child) = element.child(algorithm.element())? else {
            continue;
        };
        let value = Checksum::parse(algorithm, child.trimmed()?).ok_or_else(|| {
            let name = algorithm.element();
            S3Error::request(format!("Value for {name} is invalid."))
        })?;
        if checksum.replace(value).is_some() {
            return Err(ErrorCode::MalformedXML.into());
        }
    }
    Ok(CompletedPart {
        number: legal,
        etag: unquoted(element.needed("ETag")?.trimmed()?).to_owned(),
        checksum,
    })
}

/// A completed upload.
#[derive(Debug, Clone, Copy)]
pub struct Completed<'a> {
    /// The object's URL.
    pub location: &'a str,
    /// The bucket.
    pub bucket: &'a BucketName,
    /// The key.
    pub key: &'a ObjectKey,
    /// The object's entity tag.
    pub etag: Etag,
    /// The object's checksum, if it has one.
    pub checksum: Option<&'a ObjectChecksum>,
}

/// The answer to `CompleteMultipartUpload`.
pub fn complete_result(done: &Completed<'_>) -> String {
    let mut document = Document::new("CompleteMultipartUploadResult");
    document.text("Location", done.location);
    document.text("Bucket", done.bucket.as_str());
    document.text("Key", done.key.as_str());
    document.etag(done.etag);
    if let Some(checksum) = done.checksum {
        document.text(checksum.checksum.algorithm().element(), &checksum.to_text());
        document.text("ChecksumType", checksum.kind.as_str());
    }
    document.finish()
}

/// An upload in a list.
#[derive(Debug, Clone, Copy)]
pub struct ListedUpload<'a> {
    /// The key.
    pub key: &'a str,
    /// The upload's id.
    pub upload_id: &'a str,
    /// When it began.
    pub initiated: Timestamp,
    /// The storage class.
    pub storage_class: StorageClass,
    /// The checksum that its parts bring.
    pub checksum: Option<ChecksumWanted>,
}

/// The answer to `ListMultipartUploads`. A page ends with an upload of a key, or with a common
/// prefix, which has no upload.
pub fn upload_list(
    request: &ListMultipartUploads,
    page: &Page<'_, ListedUpload<'_>, (&str, Option<&str>)>,
    owner: &Owner,
) -> String {
    let scope = &request.scope;
    let mut document = page.document("ListMultipartUploadsResult");
    document.text("Bucket", request.bucket.as_str());
    document.key("KeyMarker", &request.key_marker, scope.encoding);
    let marker = request.upload_id_marker.as_deref().unwrap_or_default();
    document.text("UploadIdMarker", marker);
    if let Some((key, upload)) = page.next {
        document.key("NextKeyMarker", key, scope.encoding);
        document.optional("NextUploadIdMarker", upload);
    }
    document.key("Prefix", &scope.prefix, scope.encoding);
    write_scope(&mut document, scope);
    document.shown("MaxUploads", scope.keys_max);
    document.shown("IsTruncated", page.next.is_some());
    for upload in page.entries {
        document.within("Upload", |d| {
            d.key("Key", upload.key, scope.encoding);
            d.text("UploadId", upload.upload_id);
            owner.write(d, "Initiator");
            owner.write(d, "Owner");
            d.text("StorageClass", storage_class_name(upload.storage_class));
            d.time("Initiated", upload.initiated);
            write_checksum(d, upload.checksum.map(|c| (c.algorithm, c.kind)));
        });
    }
    page.write_prefixes(&mut document, scope.encoding);
    document.finish()
}

/// A part in a list.
#[derive(Debug, Clone, Copy)]
pub struct ListedPart {
    /// 1 to 10,000.
    pub number: u32,
    /// When it was uploaded.
    pub modified: Timestamp,
    /// The entity tag.
    pub etag: Etag,
    /// Bytes.
    pub size: u64,
    /// The checksum, if it has one.
    pub checksum: Option<Checksum>,
}

/// What a list of parts says of the upload.
#[derive(Debug, Clone, Copy)]
pub struct UploadDescription {
    /// The storage class.
    pub storage_class: StorageClass,
    /// The checksum that its parts bring.
    pub checksum: Option<ChecksumWanted>,
    /// Whether there are parts after those given.
    pub truncated: bool,
}

/// The answer to `ListParts`, with one page of parts in order.
pub fn part_list(
    request: &ListParts,
    upload: UploadDescription,
    parts: &[ListedPart],
    owner: &Owner,
) -> String {
    let mut document = Document::new("ListPartsResult");
    document.reserve(parts.len() * 256);
    document.text("Bucket", request.bucket.as_str());
    document.key("Key", request.key.as_str(), request.encoding);
    document.text("UploadId", &request.upload_id);
    owner.write(&mut document, "Initiator");
    owner.write(&mut document, "Owner");
    document.text("StorageClass", storage_class_name(upload.storage_class));
    document.shown("PartNumberMarker", request.part_number_marker);
    let last = parts.last().map_or(0, |part| part.number);
    document.shown("NextPartNumberMarker", last);
    document.shown("MaxParts", request.parts_max);
    document.encoding(request.encoding);
    document.shown("IsTruncated", upload.truncated);
    write_checksum(
        &mut document,
        upload.checksum.map(|c| (c.algorithm, c.kind)),
    );
    for part in parts {
        document.within("Part", |d| {
            d.shown("PartNumber", part.number);
            d.time("LastModified", part.modified);
            d.etag(part.etag);
            d.shown("Size", part.size);
            write_part_checksum(d, part);
        });
    }
    document.finish()
}

/// The part's checksum, if it has one.
pub(super) fn write_part_checksum(document: &mut Document, part: &ListedPart) {
    if let Some(checksum) = &part.checksum {
        document.text(checksum.algorithm().element(), &checksum.to_base64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::ChecksumType;
    use crate::op::{Encoding, ListScope};

    fn parse(inner: &str) -> Result<Vec<CompletedPart>, ErrorCode> {
        let body = format!("<CompleteMultipartUpload>{inner}</CompleteMultipartUpload>");
        parse_complete(body.as_bytes()).map_err(|e| e.code)
    }

    fn part(number: u32) -> String {
        format!("<Part><PartNumber>{number}</PartNumber><ETag>\"aa\"</ETag></Part>")
    }

    fn owner() -> Owner {
        Owner {
            id: "1".to_owned(),
            display_name: "root".to_owned(),
        }
    }

    #[test]
    fn odd_lists_of_parts_are_refused() {
        let many: String = (1..=10_001).map(part).collect();
        let two_sums = "<Part><PartNumber>1</PartNumber><ETag>a</ETag>\
            <ChecksumCRC32>AAAAAA==</ChecksumCRC32><ChecksumCRC32C>AAAAAA==</ChecksumCRC32C></Part>";
        let bad_sum = "<Part><PartNumber>1</PartNumber><ETag>a</ETag>\
            <ChecksumCRC32>AAAA</ChecksumCRC32></Part>";
        let table = [
            ("", ErrorCode::MalformedXML),
            ("<X/>", ErrorCode::MalformedXML),
            (
                "<Part><PartNumber>1</PartNumber></Part>",
                ErrorCode::MalformedXML,
            ),
            (
                "<Part><PartNumber>x</PartNumber><ETag>a</ETag></Part>",
                ErrorCode::MalformedXML,
            ),
            (&many, ErrorCode::MalformedXML),
            (&part(0), ErrorCode::InvalidArgument),
            (&part(10_001), ErrorCode::InvalidArgument),
            (&[part(2), part(1)].concat(), ErrorCode::InvalidPartOrder),
            (&[part(1), part(1)].concat(), ErrorCode::InvalidPartOrder),
            (two_sums, ErrorCode::MalformedXML),
            (bad_sum, ErrorCode::InvalidRequest),
        ];
        for (inner, code) in table {
            assert_eq!(parse(inner), Err(code), "{inner:.80}");
        }
        let nothing = parse_complete(b"").map_err(|error| error.code);
        assert_eq!(nothing, Err(ErrorCode::InvalidRequest));
    }

    #[test]
    fn parts_are_read_with_their_checksums() {
        let more = "<Part><ETag>bb</ETag><PartNumber>10000</PartNumber>\
            <ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part>";
        let parts = parse(&format!("\n{}\n{more}\n", part(1))).unwrap();
        let read: Vec<(u32, &str, bool)> = parts
            .iter()
            .map(|p| (p.number, p.etag.as_str(), p.checksum.is_some()))
            .collect();
        assert_eq!(read, [(1, "aa", false), (10_000, "bb", true)]);
        assert_eq!(
            parse(&(1..=10_000).map(part).collect::<String>()).map(|p| p.len()),
            Ok(10_000)
        );
    }

    #[test]
    fn uploads_are_begun_and_completed_as_aws_does() {
        let bucket = BucketName::parse("abc").unwrap();
        let key = ObjectKey::parse("a&b").unwrap();
        let text = initiate_result(&bucket, &key, "id");
        assert!(text.ends_with("<Bucket>abc</Bucket><Key>a&amp;b</Key><UploadId>id</UploadId></InitiateMultipartUploadResult>"));
        let crc = Checksum::parse(ChecksumAlgorithm::Crc32, "AAAAAA==").unwrap();
        let done = Completed {
            location: "http://h/abc/a&b",
            bucket: &bucket,
            key: &key,
            etag: Etag::Parts([0; 16], 3),
            checksum: Some(&ObjectChecksum::whole(crc)),
        };
        let expected = "<Location>http://h/abc/a&amp;b</Location><Bucket>abc</Bucket>\
            <Key>a&amp;b</Key><ETag>&quot;00000000000000000000000000000000-3&quot;</ETag>\
            <ChecksumCRC32>AAAAAA==</ChecksumCRC32><ChecksumType>FULL_OBJECT</ChecksumType>\
            </CompleteMultipartUploadResult>";
        let text = complete_result(&done);
        assert!(text.ends_with(expected), "{text}");
    }

    const WANTED: ChecksumWanted = ChecksumWanted {
        algorithm: ChecksumAlgorithm::Crc32,
        kind: ChecksumType::Composite,
    };
    const WHO: &str = "<ID>1</ID><DisplayName>root</DisplayName>";
    const SUMS: &str = "<ChecksumAlgorithm>CRC32</ChecksumAlgorithm>\
        <ChecksumType>COMPOSITE</ChecksumType>";

    #[test]
    fn uploads_are_listed_as_aws_does() {
        let request = ListMultipartUploads {
            bucket: BucketName::parse("abc").unwrap(),
            scope: ListScope {
                prefix: "p ".to_owned(),
                delimiter: Some("/".to_owned()),
                keys_max: 1,
                encoding: Encoding::Url,
            },
            key_marker: String::new(),
            upload_id_marker: None,
        };
        let upload = ListedUpload {
            key: "p k",
            upload_id: "id",
            initiated: Timestamp::from_millis(0),
            storage_class: StorageClass::Standard,
            checksum: Some(WANTED),
        };
        let page = Page {
            entries: &[upload],
            prefixes: &["p a/".to_owned()],
            next: Some(("p k", Some("id"))),
        };
        let expected = format!(
            "<Bucket>abc</Bucket><KeyMarker></KeyMarker><UploadIdMarker></UploadIdMarker>\
             <NextKeyMarker>p+k</NextKeyMarker><NextUploadIdMarker>id</NextUploadIdMarker>\
             <Prefix>p+</Prefix><Delimiter>/</Delimiter><EncodingType>url</EncodingType>\
             <MaxUploads>1</MaxUploads><IsTruncated>true</IsTruncated><Upload><Key>p+k</Key>\
             <UploadId>id</UploadId><Initiator>{WHO}</Initiator><Owner>{WHO}</Owner>\
             <StorageClass>STANDARD</StorageClass>\
             <Initiated>1970-01-01T00:00:00.000Z</Initiated>{SUMS}</Upload>\
             <CommonPrefixes><Prefix>p+a/</Prefix></CommonPrefixes></ListMultipartUploadsResult>"
        );
        let text = upload_list(&request, &page, &owner());
        assert!(text.ends_with(&expected), "{text}");
    }

    #[test]
    fn parts_are_listed_as_aws_does() {
        let request = ListParts {
            bucket: BucketName::parse("abc").unwrap(),
            key: ObjectKey::parse("k").unwrap(),
            upload_id: "id".to_owned(),
            part_number_marker: 1,
            parts_max: 1,
            encoding: Encoding::Plain,
        };
        let description = UploadDescription {
            storage_class: StorageClass::Standard,
            checksum: Some(WANTED),
            truncated: true,
        };
        let part = ListedPart {
            number: 2,
            modified: Timestamp::from_millis(0),
            etag: Etag::Md5([0; 16]),
            size: 5,
            checksum: Checksum::parse(ChecksumAlgorithm::Crc32, "AAAAAA=="),
        };
        let expected = format!(
            "<Bucket>abc</Bucket><Key>k</Key><UploadId>id</UploadId>\
             <Initiator>{WHO}</Initiator><Owner>{WHO}</Owner>\
             <StorageClass>STANDARD</StorageClass><PartNumberMarker>1</PartNumberMarker>\
             <NextPartNumberMarker>2</NextPartNumberMarker><MaxParts>1</MaxParts>\
             <IsTruncated>true</IsTruncated>{SUMS}<Part><PartNumber>2</PartNumber>\
             <LastModified>1970-01-01T00:00:00.000Z</LastModified>\
             <ETag>&quot;00000000000000000000000000000000&quot;</ETag><Size>5</Size>\
             <ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part></ListPartsResult>"
        );
        let text = part_list(&request, description, &[part], &owner());
        assert!(text.ends_with(&expected), "{text}");
    }
}
