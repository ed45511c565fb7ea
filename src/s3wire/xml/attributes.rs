//! `GetObjectAttributes`.

use types::{Etag, StorageClass};

use crate::attributes::storage_class_name;
use crate::checksum::ObjectChecksum;
use crate::op::{Attribute, GetObjectAttributes};
use crate::xml::multipart::{ListedPart, write_part_checksum};
use crate::xml::write::Document;

/// What can be told of an object. Only what the request names is written.
#[derive(Debug, Clone, Copy)]
pub struct ObjectAttributes<'a> {
    /// The entity tag.
    pub etag: Etag,
    /// The checksum, if it has one.
    pub checksum: Option<&'a ObjectChecksum>,
    /// All parts of a multipart object, in order; empty for others.
    pub parts: &'a [ListedPart],
    /// The storage class.
    pub storage_class: StorageClass,
    /// Bytes.
    pub size: u64,
}

/// The answer. Parts are told one by one only if they have checksums, as AWS does.
pub fn object_attributes(request: &GetObjectAttributes, object: &ObjectAttributes<'_>) -> String {
    let wants = |attribute| request.attributes.contains(&attribute);
    let mut document = Document::new("GetObjectAttributesResponse");
    if wants(Attribute::ETag) {
        document.shown("ETag", object.etag);
    }
    if let (true, Some(checksum)) = (wants(Attribute::Checksum), object.checksum) {
        document.within("Checksum", |d| {
            d.text(checksum.checksum.algorithm().element(), &checksum.to_text());
            d.text("ChecksumType", checksum.kind.as_str());
        });
    }
    if wants(Attribute::ObjectParts) && !object.parts.is_empty() {
        write_parts(&mut document, request, object.parts);
    }
    if wants(Attribute::StorageClass) {
        document.text("StorageClass", storage_class_name(object.storage_class));
    }
    if wants(Attribute::ObjectSize) {
        document.shown("ObjectSize", object.size);
    }
    document.finish()
}

fn write_parts(document: &mut Document, request: &GetObjectAttributes, parts: &[ListedPart]) {
    let page_max = usize::try_from(request.parts_max).unwrap_or(usize::MAX);
    let after = |part: &&ListedPart| part.number > request.part_number_marker;
    let page: Vec<&ListedPart> = parts.iter().filter(after).take(page_max).collect();
    let last = page.last().map_or(request.part_number_marker, |p| p.number);
    let truncated = parts.iter().any(|part| part.number > last);
    document.within("ObjectParts", |d| {
        d.shown("PartsCount", parts.len());
        d.shown("PartNumberMarker", request.part_number_marker);
        d.shown("NextPartNumberMarker", last);
        d.shown("MaxParts", request.parts_max);
        d.shown("IsTruncated", truncated);
        for part in page.iter().filter(|part| part.checksum.is_some()) {
            d.within("Part", |d| {
                write_part_checksum(d, part);
                d.shown("PartNumber", part.number);
                d.shown("Size", part.size);
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use types::{BucketName, ObjectKey, Timestamp};

    use super::*;
    use crate::checksum::{Checksum, ChecksumAlgorithm, composite};

    #[test]
    fn only_what_was_asked_for_is_told() {
        let crc = Checksum::parse(ChecksumAlgorithm::Crc32, "AAAAAA==").unwrap();
        let part = |number| ListedPart {
            number,
            modified: Timestamp::from_millis(0),
            etag: Etag::Md5([0; 16]),
            size: 5,
            checksum: Some(crc),
        };
        let sum = composite(&[crc, crc]).unwrap();
        let object = ObjectAttributes {
            etag: Etag::Parts([0; 16], 2),
            checksum: Some(&sum),
            parts: &[part(1), part(3)],
            storage_class: StorageClass::Standard,
            size: 10,
        };
        let mut request = GetObjectAttributes {
            bucket: BucketName::parse("abc").unwrap(),
            key: ObjectKey::parse("k").unwrap(),
            version: None,
            attributes: vec![Attribute::ETag, Attribute::ObjectSize],
            parts_max: 1,
            part_number_marker: 0,
        };
        let text = object_attributes(&request, &object);
        let expected = "<ETag>00000000000000000000000000000000-2</ETag>\
            <ObjectSize>10</ObjectSize></GetObjectAttributesResponse>";
        assert!(text.ends_with(expected), "{text}");
        request.attributes = vec![
            Attribute::Checksum,
            Attribute::ObjectParts,
            Attribute::StorageClass,
        ];
        let text = object_attributes(&request, &object);
        let expected = format!(
            "<Checksum><ChecksumCRC32>{}</ChecksumCRC32><ChecksumType>COMPOSITE</ChecksumType>\
             </Checksum><ObjectParts><PartsCount>2</PartsCount>\
             <PartNumberMarker>0</PartNumberMarker><NextPartNumberMarker>1</NextPartNumberMarker>\
             <MaxParts>1</MaxParts><IsTruncated>true</IsTruncated><Part>\
             <ChecksumCRC32>AAAAAA==</ChecksumCRC32><PartNumber>1</PartNumber><Size>5</Size>\
             </Part></ObjectParts><StorageClass>STANDARD</StorageClass>\
             </GetObjectAttributesResponse>",
            sum.to_text()
        );
        assert!(text.ends_with(&expected), "{text}");
        request.part_number_marker = 1;
        let text = object_attributes(&request, &object);
        assert!(text.contains("<IsTruncated>false</IsTruncated>"), "{text}");
    }
}
