//! What a client says of an upload's parts when it completes it, against what is there: pure.

use s3wire::{
    Checksum, ChecksumType, CompleteMultipartUpload, CompletedPart, ErrorCode, ObjectChecksum,
    S3Error,
};
use store::{Part, Upload};
use types::Etag;

use crate::multipart::{part_checksum, wanted};

/// The least size of a part that is not the last one (S3 User Guide, "Multipart upload limits").
const PART_MIN: u64 = 5 << 20;

/// What the object is to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Its parts, in order.
    pub(crate) parts: Vec<Part>,
    /// Its entity tag.
    pub(crate) etag: Etag,
    /// Its checksum.
    pub(crate) checksum: Option<ObjectChecksum>,
}

/// Checks a completion against the parts that were found, which are in order.
pub(crate) fn judge(
    op: &CompleteMultipartUpload,
    named: &[CompletedPart],
    upload: &Upload,
    found: Vec<Part>,
) -> Result<Verdict, S3Error> {
    let mut found = found.into_iter();
    let mut parts = Vec::with_capacity(named.len());
    for part in named {
        let same = |found: &Part| u32::from(found.extent.number) == part.number;
        let found = found.by_ref().find(same).ok_or_else(|| invalid(part))?;
        check_part(upload, part, &found)?;
        parts.push(found);
    }
    let all_but_last = parts.split_last().map_or(&[][..], |(_, rest)| rest);
    if let Some(small) = all_but_last.iter().find(|part| part.extent.size < PART_MIN) {
        return Err(S3Error::from(ErrorCode::EntityTooSmall)
            .with("ProposedSize", small.extent.size.to_string())
            .with("MinSizeAllowed", PART_MIN.to_string())
            .with("PartNumber", small.extent.number.to_string())
            .with("ETag", small.etag().to_string()));
    }
    let size: u64 = parts.iter().map(|part| part.extent.size).sum();
    if let Some(said) = op.object_size.filter(|said| *said != size) {
        return Err(S3Error::request(format!(
            "The provided 'x-amz-mp-object-size' header value {said} does not match what was \
             computed: {size}"
        )));
    }
    let md5s: Vec<[u8; 16]> = parts.iter().map(|part| part.extent.md5).collect();
    Ok(Verdict {
        etag: s3wire::multipart_etag(&md5s),
        checksum: checksum(op, upload, &parts)?,
        parts,
    })
}

/// The entity tag of the object that these parts make, if they are named by MD5.
pub(crate) fn etag_of(named: &[CompletedPart]) -> Option<Etag> {
    let md5s: Option<Vec<[u8; 16]>> = named.iter().map(|part| md5(&part.etag)).collect();
    Some(s3wire::multipart_etag(&md5s?))
}

fn md5(hex: &str) -> Option<[u8; 16]> {
    let bytes = (hex.len() == 32).then(|| u128::from_str_radix(hex, 16).ok());
    bytes.flatten().map(u128::to_be_bytes)
}

fn invalid(part: &CompletedPart) -> S3Error {
    S3Error::from(ErrorCode::InvalidPart)
        .with("PartNumber", part.number.to_string())
        .with("ETag", part.etag.clone())
}

/// Whether a part is the one that the client means.
fn check_part(upload: &Upload, named: &CompletedPart, found: &Part) -> Result<(), S3Error> {
    if !named.etag.eq_ignore_ascii_case(&found.etag().to_string()) {
        return Err(invalid(named));
    }
    let known = part_checksum(found);
    match (named.checksum, wanted(upload)) {
        (Some(sum), _) if known != Some(sum) => Err(invalid(named)),
        (None, Some(wanted)) if wanted.kind == ChecksumType::Composite => {
            Err(S3Error::request(format!(
                "The upload was created using a {} checksum. The complete request must include \
                 the checksum for each part. It was missing for part {} in the request.",
                wanted.algorithm.as_str().to_lowercase(),
                named.number
            )))
        }
        _ => Ok(()),
    }
}

/// The object's checksum, checked against what the client says of it.
fn checksum(
    op: &CompleteMultipartUpload,
    upload: &Upload,
    parts: &[Part],
) -> Result<Option<ObjectChecksum>, S3Error> {
    let Some(wanted) = wanted(upload) else {
        if op.checksum.is_some() || op.checksum_type.is_some() {
            return Err(S3Error::request(
                "The upload was created without a checksum algorithm. The complete request must \
                 not include an object checksum.",
            ));
        }
        return Ok(None);
    };
    if op.checksum_type.is_some_and(|kind| kind != wanted.kind) {
        return Err(S3Error::request(format!(
            "The upload was created using the {} checksum mode. The complete request must use \
             the same checksum mode.",
            wanted.kind.as_str()
        )));
    }
    let sums: Option<Vec<Checksum>> = parts.iter().map(part_checksum).collect();
    let sums = sums.ok_or(ErrorCode::InternalError)?;
    let made = match wanted.kind {
        ChecksumType::Composite => s3wire::composite(&sums),
        ChecksumType::FullObject => {
            let sizes = parts.iter().map(|part| part.extent.size);
            s3wire::combine(&sums.into_iter().zip(sizes).collect::<Vec<_>>())
        }
    };
    let made = made.ok_or(ErrorCode::InternalError)?;
    if op.checksum.is_some_and(|said| said != made.checksum) {
        return Err(S3Error::new(
            ErrorCode::BadDigest,
            format!(
                "The {} you specified did not match the calculated checksum.",
                wanted.algorithm.as_str()
            ),
        ));
    }
    Ok(Some(made))
}
