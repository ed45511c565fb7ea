//! Answers to copies (S3 API Reference, `CopyObject`, `UploadPartCopy`).

use types::{Etag, Timestamp};

use crate::checksum::{Checksum, ObjectChecksum};
use crate::xml::write::Document;

/// The answer to `CopyObject`.
pub fn copy_object_result(
    etag: Etag,
    modified: Timestamp,
    checksum: Option<&ObjectChecksum>,
) -> String {
    let mut document = Document::new("CopyObjectResult");
    document.etag(etag);
    document.time("LastModified", modified);
    if let Some(checksum) = checksum {
        document.text("ChecksumType", checksum.kind.as_str());
        document.text(checksum.checksum.algorithm().element(), &checksum.to_text());
    }
    document.finish()
}

/// The answer to `UploadPartCopy`.
pub fn copy_part_result(etag: Etag, modified: Timestamp, checksum: Option<&Checksum>) -> String {
    let mut document = Document::new("CopyPartResult");
    document.etag(etag);
    document.time("LastModified", modified);
    if let Some(checksum) = checksum {
        document.text(checksum.algorithm().element(), &checksum.to_base64());
    }
    document.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::ChecksumAlgorithm;

    #[test]
    fn copies_are_answered_as_aws_does() {
        let etag = Etag::Md5([0; 16]);
        let crc = Checksum::parse(ChecksumAlgorithm::Crc32, "AAAAAA==").unwrap();
        let fields = "<ETag>&quot;00000000000000000000000000000000&quot;</ETag>\
            <LastModified>1970-01-01T00:00:00.000Z</LastModified>";
        let value = "<ChecksumCRC32>AAAAAA==</ChecksumCRC32>";
        let whole = ObjectChecksum::whole(crc);
        let text = copy_object_result(etag, Timestamp::from_millis(0), Some(&whole));
        let kind = "<ChecksumType>FULL_OBJECT</ChecksumType>";
        let expected = format!("{fields}{kind}{value}</CopyObjectResult>");
        assert!(text.ends_with(&expected), "{text}");
        let text = copy_part_result(etag, Timestamp::from_millis(0), Some(&crc));
        assert!(
            text.ends_with(&format!("{fields}{value}</CopyPartResult>")),
            "{text}"
        );
    }
}
