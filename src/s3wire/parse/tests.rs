use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use types::{RangeSpec, VersionId};

use crate::attributes::ChecksumWanted;
use crate::checksum::{ChecksumAlgorithm, ChecksumType};
use crate::condition::EtagMatch;
use crate::copy::Directive;
use crate::error::ErrorCode;
use crate::op::{Attribute, Encoding, Op};
use crate::parse::{Feature, Request, parse};
use crate::target::Domains;
use crate::token::continuation_token;

fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<Request, ErrorCode> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        })
        .collect();
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    parse(&method, path, query, &headers, &Domains::default()).map_err(|e| e.code)
}

fn op(method: &str, target: &str, headers: &[(&str, &str)]) -> Op {
    request(method, target, headers).unwrap().op
}

fn code(method: &str, target: &str, headers: &[(&str, &str)]) -> Option<ErrorCode> {
    request(method, target, headers).err()
}

#[test]
fn what_s3_does_not_know_is_refused() {
    let table = [
        ("GET", "/abc?acl&tagging", ErrorCode::InvalidArgument),
        ("GET", "/abc?list-type=3", ErrorCode::InvalidArgument),
        ("GET", "/abc?max-keys=-1", ErrorCode::InvalidArgument),
        (
            "GET",
            "/abc?encoding-type=base64",
            ErrorCode::InvalidArgument,
        ),
        (
            "GET",
            "/abc?list-type=2&continuation-token=",
            ErrorCode::InvalidArgument,
        ),
        (
            "GET",
            "/abc?list-type=2&continuation-token=%21",
            ErrorCode::InvalidArgument,
        ),
        (
            "GET",
            "/abc?versions&version-id-marker=null",
            ErrorCode::InvalidArgument,
        ),
        ("GET", "/abc?prefix=%ff", ErrorCode::InvalidURI),
        ("GET", "/?max-buckets=0", ErrorCode::InvalidArgument),
        ("HEAD", "/abc?acl", ErrorCode::MethodNotAllowed),
        ("PATCH", "/abc", ErrorCode::MethodNotAllowed),
        ("POST", "/abc/k", ErrorCode::MethodNotAllowed),
        ("PUT", "/abc?location", ErrorCode::MethodNotAllowed),
        ("GET", "/abc/k?versionId=", ErrorCode::InvalidArgument),
        ("GET", "/abc/k?partNumber=0", ErrorCode::InvalidArgument),
        ("GET", "/abc/k?partNumber=10001", ErrorCode::InvalidArgument),
        (
            "GET",
            "/abc/k?response-expires=a%0d%0ab",
            ErrorCode::InvalidArgument,
        ),
        ("GET", "/abc/k?attributes", ErrorCode::InvalidRequest),
        ("PUT", "/abc/k?partNumber=1", ErrorCode::InvalidArgument),
        ("PUT", "/abc/k?uploadId=x", ErrorCode::InvalidArgument),
        (
            "PUT",
            "/abc/k?uploadId=&partNumber=1",
            ErrorCode::NoSuchUpload,
        ),
        (
            "GET",
            "/abc/k?uploadId=x&max-parts=x",
            ErrorCode::InvalidArgument,
        ),
    ];
    for (method, target, expected) in table {
        assert_eq!(
            code(method, target, &[]),
            Some(expected),
            "{method} {target}"
        );
    }
    let both = [("range", "bytes=0-1")];
    assert_eq!(
        code("GET", "/abc/k?partNumber=1", &both),
        Some(ErrorCode::InvalidRequest)
    );
}

#[test]
fn every_route_has_its_operation() {
    let table = [
        ("GET", "/", "ListBuckets"),
        ("GET", "//", "ListBuckets"),
        ("PUT", "/abc", "CreateBucket"),
        ("HEAD", "/abc/", "HeadBucket"),
        ("DELETE", "/abc", "DeleteBucket"),
        ("GET", "/abc?location", "GetBucketLocation"),
        ("GET", "/abc?versioning=", "GetBucketVersioning"),
        ("PUT", "/abc?versioning", "PutBucketVersioning"),
        ("GET", "/abc?tagging", "GetBucketTagging"),
        ("PUT", "/abc?tagging", "PutBucketTagging"),
        ("DELETE", "/abc?tagging", "DeleteBucketTagging"),
        ("GET", "/abc?acl", "GetBucketAcl"),
        ("PUT", "/abc?acl", "PutBucketAcl"),
        ("GET", "/abc?website", "GetAbsentConfiguration"),
        ("DELETE", "/abc?website", "DeleteBucketWebsite"),
        ("GET", "/abc", "ListObjects"),
        (
            "GET",
            "/abc?list-type=2&x-id=ListObjectsV2",
            "ListObjectsV2",
        ),
        ("GET", "/abc?versions", "ListObjectVersions"),
        ("GET", "/abc?uploads", "ListMultipartUploads"),
        ("POST", "/abc?delete", "DeleteObjects"),
        ("GET", "/abc/k", "GetObject"),
        ("HEAD", "/abc/k", "HeadObject"),
        ("PUT", "/abc/k", "PutObject"),
        ("DELETE", "/abc/k", "DeleteObject"),
        ("GET", "/abc/k?tagging", "GetObjectTagging"),
        ("PUT", "/abc/k?tagging", "PutObjectTagging"),
        ("DELETE", "/abc/k?tagging", "DeleteObjectTagging"),
        ("GET", "/abc/k?acl", "GetObjectAcl"),
        ("PUT", "/abc/k?acl", "PutObjectAcl"),
        ("POST", "/abc/k?uploads", "CreateMultipartUpload"),
        ("PUT", "/abc/k?partNumber=1&uploadId=u", "UploadPart"),
        ("GET", "/abc/k?uploadId=u", "ListParts"),
        ("POST", "/abc/k?uploadId=u", "CompleteMultipartUpload"),
        ("DELETE", "/abc/k?uploadId=u", "AbortMultipartUpload"),
    ];
    for (method, target, name) in table {
        let op = op(method, target, &[]);
        assert_eq!(op.name(), name, "{method} {target}");
        assert_eq!(
            op.bucket().is_some(),
            target.contains("abc"),
            "{method} {target}"
        );
        assert_eq!(
            op.key().is_some(),
            target.contains("/k"),
            "{method} {target}"
        );
    }
    let source = [("x-amz-copy-source", "src-bucket/k")];
    assert_eq!(op("PUT", "/abc/k", &source).name(), "CopyObject");
    let part = "/abc/k?partNumber=1&uploadId=u";
    assert_eq!(op("PUT", part, &source).name(), "UploadPartCopy");
}

#[test]
fn what_is_not_there_is_named() {
    let table = [
        ("POST", "/", "AssumeRole"),
        ("POST", "/abc", "PostObject"),
        ("PUT", "/abc?policy", "PutBucketPolicy"),
        ("PUT", "/abc?lifecycle", "PutBucketLifecycleConfiguration"),
        ("DELETE", "/abc?cors", "DeleteBucketCors"),
        ("GET", "/abc?inventory", "GetBucketInventoryConfiguration"),
        (
            "GET",
            "/abc?events=s3:ObjectCreated:*",
            "ListenBucketNotification",
        ),
        ("PUT", "/abc/k?retention", "PutObjectRetention"),
        ("GET", "/abc/k?legal-hold", "GetObjectLegalHold"),
        ("POST", "/abc/k?select&select-type=2", "SelectObjectContent"),
        ("POST", "/abc/k?restore", "RestoreObject"),
        ("GET", "/abc/k?torrent", "GetObjectTorrent"),
        ("OPTIONS", "/abc/k", "Preflight"),
    ];
    for (method, target, name) in table {
        let op = op(method, target, &[]);
        assert!(matches!(op, Op::NotImplemented(_)), "{method} {target}");
        assert_eq!(op.name(), name, "{method} {target}");
    }
}

#[test]
fn wishes_that_cannot_be_fulfilled_are_seen() {
    let put = |headers: &[(&str, &str)]| request("PUT", "/abc/k", headers).unwrap().unsupported;
    let table = [
        (
            "x-amz-server-side-encryption",
            "AES256",
            Feature::Encryption,
        ),
        (
            "x-amz-server-side-encryption-customer-key",
            "k",
            Feature::Encryption,
        ),
        ("x-amz-object-lock-mode", "GOVERNANCE", Feature::ObjectLock),
        ("x-amz-acl", "public-read", Feature::Acl),
        ("x-amz-grant-read", "id=1", Feature::Acl),
        (
            "x-amz-website-redirect-location",
            "/x",
            Feature::WebsiteRedirect,
        ),
        ("x-amz-write-offset-bytes", "0", Feature::Append),
        ("x-amz-meta-snowball-auto-extract", "true", Feature::Extract),
    ];
    for (name, value, feature) in table {
        assert_eq!(put(&[(name, value)]), Some(feature), "{name}");
        assert_eq!(feature.refusal().code, ErrorCode::NotImplemented);
    }
    for acl in ["private", "bucket-owner-full-control"] {
        assert_eq!(put(&[("x-amz-acl", acl)]), None, "{acl}");
    }
    let odd = [("x-amz-acl", "everyone")];
    assert_eq!(
        code("PUT", "/abc/k", &odd),
        Some(ErrorCode::InvalidArgument)
    );
    let lock = [("x-amz-bucket-object-lock-enabled", "true")];
    assert_eq!(
        request("PUT", "/abc", &lock).unwrap().unsupported,
        Some(Feature::ObjectLock)
    );
    let force = [("x-minio-force-delete", "true")];
    assert_eq!(
        request("DELETE", "/abc", &force).unwrap().unsupported,
        Some(Feature::ForceDelete)
    );
}

#[test]
fn list_parameters_are_typed() {
    let token = continuation_token("a/");
    let target = format!(
        "/abc?list-type=2&prefix=a%2F&delimiter=/&max-keys=7&encoding-type=url&start-after=b\
         &continuation-token={token}&fetch-owner=true"
    );
    let Op::ListObjectsV2(list) = op("GET", &target, &[]) else {
        panic!("no list")
    };
    assert_eq!(
        (list.scope.prefix.as_str(), list.scope.delimiter.as_deref()),
        ("a/", Some("/"))
    );
    assert_eq!(
        (list.scope.keys_max, list.scope.encoding),
        (7, Encoding::Url)
    );
    assert_eq!(
        (list.after.as_deref(), list.start_after.as_deref()),
        (Some("a/"), Some("b"))
    );
    assert!(list.fetch_owner && list.continuation_token == Some(token));
    let Op::ListObjects(list) = op("GET", "/abc?delimiter=&marker=m", &[]) else {
        panic!("no list")
    };
    assert_eq!((list.scope.delimiter, list.marker.as_str()), (None, "m"));
    assert_eq!(list.scope.keys_max, 1000);
    let Op::ListParts(list) = op("GET", "/abc/k?uploadId=u", &[]) else {
        panic!("no list")
    };
    assert_eq!((list.part_number_marker, list.parts_max), (0, 1000));
    let marked = "/abc?versions&key-marker=k&version-id-marker=null";
    let Op::ListObjectVersions(list) = op("GET", marked, &[]) else {
        panic!("no list")
    };
    assert_eq!(list.version_marker, Some(VersionId::Null));
    let Op::ListMultipartUploads(list) = op("GET", "/abc?uploads&upload-id-marker=u", &[]) else {
        panic!("no list")
    };
    assert_eq!(
        list.upload_id_marker, None,
        "an upload marker needs a key marker"
    );
}

#[test]
fn reads_carry_range_conditions_and_overrides() {
    let headers = [
        ("range", "bytes=1-2"),
        ("if-match", "\"aa\""),
        ("if-modified-since", "never"),
        ("x-amz-checksum-mode", "ENABLED"),
    ];
    let target = "/abc/k?versionId=null&response-content-type=text/x%2Bplain";
    let Op::GetObject(get) = op("GET", target, &headers) else {
        panic!("no get")
    };
    assert_eq!(get.range, Some(RangeSpec::FromTo(1, 2)));
    assert_eq!(get.version, Some(VersionId::Null));
    assert_eq!(get.overrides.content_type.as_deref(), Some("text/x+plain"));
    assert_eq!(
        get.conditions.if_match,
        Some(EtagMatch::OneOf(vec!["aa".to_owned()]))
    );
    assert_eq!(get.conditions.if_modified_since, None);
    assert!(get.with_checksum);
    let wanted = [
        ("x-amz-object-attributes", "ETag, ObjectSize"),
        ("x-amz-max-parts", "5000"),
    ];
    let Op::GetObjectAttributes(get) = op("GET", "/abc/k?attributes", &wanted) else {
        panic!("no attributes")
    };
    assert_eq!(get.attributes, [Attribute::ETag, Attribute::ObjectSize]);
    assert_eq!(get.parts_max, 1000);
}

#[test]
fn copies_and_uploads_carry_their_headers() {
    let headers = [
        ("x-amz-copy-source", "/src-bucket/a%20b?versionId=null"),
        ("x-amz-metadata-directive", "REPLACE"),
        ("x-amz-copy-source-if-match", "aa"),
        ("if-none-match", "*"),
        ("content-type", "text/plain"),
    ];
    let Op::CopyObject(copy) = op("PUT", "/abc/k", &headers) else {
        panic!("no copy")
    };
    assert_eq!(
        (copy.source.bucket.as_str(), copy.source.key.as_str()),
        ("src-bucket", "a b")
    );
    assert_eq!(
        (copy.metadata, copy.tagging),
        (Directive::Replace, Directive::Copy)
    );
    assert_eq!(copy.conditions.if_none_match, Some(EtagMatch::Any));
    assert!(copy.source.conditions.if_match.is_some());
    let wanted = [("x-amz-checksum-algorithm", "CRC64NVME")];
    let Op::CreateMultipartUpload(create) = op("POST", "/abc/k?uploads", &wanted) else {
        panic!("no upload")
    };
    let expected = ChecksumWanted {
        algorithm: ChecksumAlgorithm::Crc64Nvme,
        kind: ChecksumType::FullObject,
    };
    assert_eq!(create.checksum, Some(expected));
    let headers = [
        ("x-amz-checksum-crc32", "AAAAAA==-3"),
        ("x-amz-checksum-type", "COMPOSITE"),
        ("x-amz-mp-object-size", "99"),
    ];
    let complete = request("POST", "/abc/k?uploadId=u", &headers).unwrap();
    assert_eq!(
        complete.body.checksum, None,
        "it is the object's, not the body's"
    );
    let Op::CompleteMultipartUpload(complete) = complete.op else {
        panic!("no complete")
    };
    assert!(complete.checksum.is_some());
    assert_eq!(complete.object_size, Some(99));
    assert_eq!(complete.checksum_type, Some(ChecksumType::Composite));
}

#[test]
fn presigned_requests_carry_headers_in_the_query() {
    let query = "x-amz-tagging=a%3D1&X-Amz-Meta-B=2&x-amz-sdk-checksum-algorithm=CRC32";
    let signed = format!("/abc/k?{query}&X-Amz-Signature=00");
    let Op::PutObject(put) = op("PUT", &signed, &[("x-amz-meta-b", "3")]) else {
        panic!("no put")
    };
    assert_eq!(put.new.tags.len(), 1);
    let kept = [("b".to_owned(), "3".to_owned())];
    assert_eq!(put.new.headers.user_metadata, kept, "a header goes first");
    let Op::PutObject(put) = op("PUT", &format!("/abc/k?{query}"), &[]) else {
        panic!("no put")
    };
    assert!(
        put.new.tags.is_empty(),
        "only a presigned query stands in for headers"
    );
}

fn names() -> impl Strategy<Value = String> {
    let words = [
        "range",
        "if-match",
        "if-modified-since",
        "x-amz-copy-source",
        "x-amz-tagging",
        "x-amz-copy-source-range",
        "content-md5",
        "x-amz-checksum-crc32",
        "x-amz-trailer",
        "x-amz-meta-a",
        "host",
        "x-amz-acl",
        "x-amz-object-attributes",
        "content-encoding",
    ];
    prop_oneof![
        (0..words.len()).prop_map(move |n| words[n].to_owned()),
        "[a-z-]{1,9}"
    ]
}

proptest! {
    #[test]
    fn no_request_panics(
        method in prop_oneof![Just("GET"), Just("PUT"), Just("POST"), Just("DELETE"), Just("HEAD")],
        path in prop_oneof![any::<String>(), "/[a-z]{3}/[ -~]{0,20}"],
        query in prop_oneof![any::<String>(), "(uploads|acl|uploadId=x|partNumber=[0-9]+|versionId=[a-f0-9-]*|attributes|list-type=2|&){0,4}"],
        pairs in vec((names(), vec(any::<u8>(), 0..40)), 0..6),
    ) {
        let headers: HeaderMap = pairs
            .iter()
            .filter_map(|(name, value)| Some((
                HeaderName::from_bytes(name.as_bytes()).ok()?,
                HeaderValue::from_bytes(value).ok()?,
            )))
            .collect();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let _ = parse(&method, &path, &query, &headers, &Domains::new(["example.com"]));
    }
}
