//! The examples that AWS publishes (S3 API Reference, "Authenticating requests"), and what must
//! not pass.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::{any, prop_assert_eq, proptest};
use sha2::{Digest, Sha256};
use types::Timestamp;

use crate::error::Error;
use crate::key::{AccessKey, SecretKey};
use crate::permit::Identity;
use crate::sigv4::{
    Claim, PayloadHash, RequestView, Scope, SignedClaim, Signer, SigningKey, Verified, hex,
};

const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// 2013-05-24T00:00:00Z.
const NOW: u64 = 1_369_353_600_000;

#[derive(Clone)]
struct Sent {
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
}

fn sent(method: &str, target: &str, pairs: &[(&str, &str)]) -> Sent {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    Sent {
        method: Method::from_bytes(method.as_bytes()).unwrap(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
    }
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn root() -> AccessKey {
    AccessKey::parse(ACCESS_KEY).unwrap()
}

fn signer() -> Signer {
    Signer::new(root(), SecretKey::new(SECRET), "us-east-1")
}

impl Sent {
    fn view(&self) -> RequestView<'_> {
        RequestView {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: &self.headers,
        }
    }

    fn claim(&self) -> Result<SignedClaim, Error> {
        match Claim::read(&self.view())? {
            Claim::Signed(claim) => Ok(*claim),
            Claim::Anonymous => panic!("no claim"),
        }
    }

    fn verify_with(&self, secret: &str, region: &str, now: u64) -> Result<Verified, Error> {
        let claim = self.claim()?;
        let key = SigningKey::derive(&SecretKey::new(secret), claim.scope().clone());
        claim.verify(&self.view(), &key, Some(region), at(now))
    }

    fn verify(&self) -> Result<Verified, Error> {
        self.verify_with(SECRET, "us-east-1", NOW)
    }

    fn signed(mut self, payload: PayloadHash) -> Self {
        let target = (self.path.as_str(), self.query.as_str());
        signer().sign(&self.method, target, &mut self.headers, payload, at(NOW));
        self
    }

    fn authorization(&self) -> &str {
        self.headers.get("authorization").unwrap().to_str().unwrap()
    }
}

fn empty() -> PayloadHash {
    PayloadHash::parse(EMPTY).unwrap()
}

#[test]
fn the_header_examples_of_aws_come_out() {
    let host = ("host", "examplebucket.s3.amazonaws.com");
    let put_hash = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
    let table = [
        (
            sent("GET", "/test.txt", &[host, ("range", "bytes=0-9")]),
            EMPTY,
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            sent(
                "PUT",
                "/test$file.text",
                &[
                    host,
                    ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                    ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
                ],
            ),
            put_hash,
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            sent("GET", "/?lifecycle", &[host]),
            EMPTY,
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            sent("GET", "/?max-keys=2&prefix=J", &[host]),
            EMPTY,
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ];
    for (request, hash, signature) in table {
        let request = request.signed(PayloadHash::parse(hash).unwrap());
        assert!(
            request
                .authorization()
                .ends_with(&format!("Signature={signature}")),
            "{}",
            request.authorization()
        );
        let verified = request.verify().unwrap();
        assert_eq!(verified.payload(), PayloadHash::parse(hash).unwrap());
        assert!(Identity::of(&verified, &root()).is_some());
        let other = AccessKey::parse("other").unwrap();
        assert_eq!(Identity::of(&verified, &other), None);
    }
}

#[test]
fn the_presigned_example_of_aws_comes_out() {
    let host = "examplebucket.s3.amazonaws.com";
    let query = signer().presign(&Method::GET, ("/test.txt", ""), host, 86_400, at(NOW));
    assert_eq!(
        query,
        "X-Amz-Algorithm=AWS4-HMAC-SHA256\
         &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
         &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
         &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    );
    let request = sent("GET", &format!("/test.txt?{query}"), &[("host", host)]);
    assert_eq!(request.verify().unwrap().payload(), PayloadHash::Unsigned);
    let verify = |now| request.verify_with(SECRET, "us-east-1", now).map(|_| ());
    assert_eq!(verify(NOW + 86_400_000), Ok(()));
    assert_eq!(verify(NOW + 86_400_001), Err(Error::Expired));
    assert_eq!(verify(NOW - 900_000), Ok(()));
    assert_eq!(verify(NOW - 900_001), Err(Error::NotValidYet));
}

/// The chunked uploads of the same chapter: 66,560 bytes of `a` in chunks of 64 KiB.
fn chunked(payload: &str, more: &[(&str, &str)], signed: &str, signature: &str) -> Sent {
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20130524/us-east-1/s3/aws4_request,\
         SignedHeaders={signed},Signature={signature}"
    );
    let mut pairs = vec![
        ("host", "s3.amazonaws.com"),
        ("x-amz-date", "20130524T000000Z"),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ("authorization", &authorization),
        ("x-amz-content-sha256", payload),
        ("content-encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "66560"),
    ];
    pairs.extend(more);
    sent("PUT", "/examplebucket/chunkObject.txt", &pairs)
}

fn hash(text: &str) -> [u8; 32] {
    hex::decode32(text).unwrap()
}

fn sha(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[test]
fn the_chunked_example_of_aws_comes_out() {
    let request = chunked(
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        &[("content-length", "66824")],
        "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;\
         x-amz-decoded-content-length;x-amz-storage-class",
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
    );
    let mut verified = request.verify().unwrap();
    let mut chunks = verified.take_chunk_signer().unwrap();
    assert!(verified.take_chunk_signer().is_none());
    let first = hash("ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648");
    let second = hash("0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497");
    let last = hash("b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9");
    assert_eq!(chunks.verify_chunk(&sha(&[b'a'; 65_536]), &first), Ok(()));
    assert_eq!(chunks.verify_chunk(&sha(&[b'a'; 1024]), &second), Ok(()));
    assert_eq!(chunks.verify_chunk(&sha(b""), &last), Ok(()));
    let mut again = request.verify().unwrap().take_chunk_signer().unwrap();
    let swapped = again.verify_chunk(&sha(&[b'a'; 1024]), &second);
    assert_eq!(
        swapped,
        Err(Error::SignatureMismatch),
        "chunks have an order"
    );
    let mut again = request.verify().unwrap().take_chunk_signer().unwrap();
    let edited = again.verify_chunk(&sha(&[b'b'; 65_536]), &first);
    assert_eq!(edited, Err(Error::SignatureMismatch));
}

#[test]
fn the_trailer_example_of_aws_comes_out() {
    let request = chunked(
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        &[("x-amz-trailer", "x-amz-checksum-crc32c")],
        "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;\
         x-amz-storage-class;x-amz-trailer",
        "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
    );
    let mut chunks = request.verify().unwrap().take_chunk_signer().unwrap();
    let first = hash("b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2");
    let second = hash("1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7");
    let last = hash("2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992");
    let trailer = hash("d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435");
    assert_eq!(chunks.verify_chunk(&sha(&[b'a'; 65_536]), &first), Ok(()));
    assert_eq!(chunks.verify_chunk(&sha(&[b'a'; 1024]), &second), Ok(()));
    assert_eq!(chunks.verify_chunk(&sha(b""), &last), Ok(()));
    let lines = sha(b"x-amz-checksum-crc32c:sOO8/Q==\n");
    assert_eq!(chunks.verify_trailer(&lines, &trailer), Ok(()));
    assert_eq!(
        chunks.verify_trailer(&lines, &trailer),
        Err(Error::SignatureMismatch)
    );
}

#[test]
fn a_wrong_secret_fails_with_every_kind_of_payload() {
    let kinds = [
        PayloadHash::Unsigned,
        empty(),
        PayloadHash::StreamingSigned,
        PayloadHash::StreamingSignedTrailer,
        PayloadHash::StreamingUnsignedTrailer,
    ];
    for payload in kinds {
        let request = sent("PUT", "/abc/k", &[("host", "h")]).signed(payload);
        assert_eq!(request.verify().unwrap().payload(), payload);
        let code = request.verify_with("other", "us-east-1", NOW).map(|_| ());
        assert_eq!(code, Err(Error::SignatureMismatch), "{payload:?}");
    }
    let mut link = sent("PUT", "/abc/k", &[("host", "h")]);
    link.query = signer().presign(&link.method, ("/abc/k", ""), "h", 60, at(NOW));
    for word in ["STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "x"] {
        let mut link = link.clone();
        link.headers
            .insert("x-amz-content-sha256", HeaderValue::from_str(word).unwrap());
        assert_eq!(
            link.verify().map(|_| ()),
            Err(Error::InvalidContentSha256),
            "{word}"
        );
    }
    for word in ["STREAMING-UNSIGNED-PAYLOAD-TRAILER", EMPTY] {
        let mut link = link.clone();
        link.headers
            .insert("x-amz-content-sha256", HeaderValue::from_str(word).unwrap());
        assert_eq!(
            link.verify().map(|_| ()),
            Err(Error::SignatureMismatch),
            "{word}"
        );
    }
    let code = link.verify_with("other", "us-east-1", NOW).map(|_| ());
    assert_eq!(code, Err(Error::SignatureMismatch));
}

#[test]
fn headers_that_were_added_on_the_way_are_refused() {
    let good = sent("GET", "/abc/k", &[("host", "h")]).signed(empty());
    let mut link = sent("GET", "/abc/k", &[("host", "h")]);
    link.query = signer().presign(&link.method, ("/abc/k", ""), "h", 60, at(NOW));
    for request in [good, link] {
        let mut added = request.clone();
        added
            .headers
            .insert("x-amz-copy-source", HeaderValue::from_static("b/k"));
        let expected = Err(Error::HeadersNotSigned("x-amz-copy-source".to_owned()));
        assert_eq!(added.verify().map(|_| ()), expected);
        let mut plain = request.clone();
        plain
            .headers
            .insert("content-md5", HeaderValue::from_static("x"));
        assert!(plain.verify().is_ok(), "others may be added by proxies");
    }
    let mut hostless = sent("GET", "/abc/k", &[]).signed(empty());
    hostless
        .headers
        .insert("host", HeaderValue::from_static("h"));
    let expected = Err(Error::HeadersNotSigned("host".to_owned()));
    assert_eq!(hostless.verify().map(|_| ()), expected);
}

#[test]
fn claims_that_are_not_one_of_version_4_are_refused() {
    let good = sent("GET", "/abc/k", &[("host", "h")]).signed(empty());
    let with = |value: &str| {
        let mut request = good.clone();
        request
            .headers
            .insert("authorization", HeaderValue::from_str(value).unwrap());
        request.claim().map(|_| ())
    };
    assert_eq!(with("AWS AKIA:sig"), Err(Error::UnsupportedMechanism));
    assert_eq!(with("Bearer x"), Err(Error::UnsupportedMechanism));
    assert_eq!(
        with("AWS4-ECDSA-P256-SHA256 x"),
        Err(Error::UnsupportedMechanism)
    );
    let text = good.authorization().to_owned();
    for bad in [
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 ,",
        &text.replace("Signature=", "Signature=0"),
        &text.replace("aws4_request", "aws4"),
        &text.replace("Credential=", "Credential=x=,Credential="),
        &text.replace("SignedHeaders=host", "SignedHeaders=Host"),
        &text.replace("SignedHeaders=host", "SignedHeaders=;host"),
        &text.replace("SignedHeaders", "Headers"),
        &text.replace("20130524", "2013"),
    ] {
        assert!(matches!(with(bad), Err(Error::HeaderMalformed(_))), "{bad}");
    }
    let mut two = good.clone();
    two.headers
        .append("authorization", HeaderValue::from_str(&text).unwrap());
    assert_eq!(two.claim().map(|_| ()), Err(Error::SeveralCredentials));
    let mut both = good.clone();
    both.query = "X-Amz-Signature=00".to_owned();
    assert_eq!(both.claim().map(|_| ()), Err(Error::SeveralCredentials));
    let mut dateless = good.clone();
    dateless.headers.remove("x-amz-date");
    assert_eq!(dateless.claim().map(|_| ()), Err(Error::MissingDate));
    let mut hashless = good.clone();
    hashless.headers.remove("x-amz-content-sha256");
    assert_eq!(
        hashless.claim().map(|_| ()),
        Err(Error::MissingContentSha256)
    );
    let v2 = sent(
        "GET",
        "/abc/k?AWSAccessKeyId=a&Signature=b&Expires=1",
        &[("host", "h")],
    );
    assert_eq!(v2.claim().map(|_| ()), Err(Error::UnsupportedMechanism));
    let nobody = sent("GET", "/abc/k", &[("host", "h")]);
    assert_eq!(Claim::read(&nobody.view()), Ok(Claim::Anonymous));
}

#[test]
fn links_with_odd_parameters_are_refused() {
    let query = signer().presign(&Method::GET, ("/abc/k", ""), "h", 60, at(NOW));
    for (from, to) in [
        ("X-Amz-Expires=60", "X-Amz-Expires=0"),
        ("X-Amz-Expires=60", "X-Amz-Expires=-1"),
        ("X-Amz-Expires=60", "X-Amz-Expires=604801"),
        ("X-Amz-Expires=60", "X-Amz-Expires=x"),
        ("X-Amz-Expires=60", "X-Amz-Expires=60&X-Amz-Expires=60"),
        ("X-Amz-Expires=60&", ""),
        ("X-Amz-Date=2013", "X-Amz-Date=x"),
        ("X-Amz-Signature=", "X-Amz-Signature=0"),
        ("%2Fs3%2F", "%2F"),
    ] {
        let target = format!("/abc/k?{}", query.replace(from, to));
        let claim = sent("GET", &target, &[("host", "h")]).claim().map(|_| ());
        assert!(
            matches!(claim, Err(Error::QueryMalformed(_))),
            "{from} -> {to}: {claim:?}"
        );
    }
    let longer = query.replace("X-Amz-Expires=60", "X-Amz-Expires=604800");
    let request = sent("GET", &format!("/abc/k?{longer}"), &[("host", "h")]);
    assert_eq!(request.verify().map(|_| ()), Err(Error::SignatureMismatch));
    let token = sent(
        "GET",
        &format!("/abc/k?{query}&X-Amz-Security-Token=t"),
        &[("host", "h")],
    );
    assert_eq!(token.verify().map(|_| ()), Err(Error::InvalidToken));
}

#[test]
fn place_and_time_must_be_right() {
    let good = sent("GET", "/abc/k", &[("host", "h")]).signed(empty());
    let region = good.verify_with(SECRET, "eu-west-1", NOW).map(|_| ());
    let expected = "eu-west-1".to_owned();
    assert_eq!(
        region,
        Err(Error::RegionMismatch {
            expected,
            presigned: false
        })
    );
    for now in [NOW + 900_001, NOW - 900_001] {
        let late = good.verify_with(SECRET, "us-east-1", now).map(|_| ());
        assert_eq!(late, Err(Error::Skewed));
    }
    let replace = |from: &str, to: &str| {
        let mut request = good.clone();
        let text = request.authorization().replace(from, to);
        request
            .headers
            .insert("authorization", HeaderValue::from_str(&text).unwrap());
        request.verify().map(|_| ())
    };
    assert!(matches!(
        replace("/s3/", "/sts/"),
        Err(Error::HeaderMalformed(_))
    ));
    assert!(matches!(
        replace("20130524", "20130523"),
        Err(Error::HeaderMalformed(_))
    ));
    let claim = good.claim().unwrap();
    let scope = Scope {
        region: "eu-west-1".to_owned(),
        ..claim.scope().clone()
    };
    let foreign = SigningKey::derive(&SecretKey::new(SECRET), scope);
    let foreign = claim
        .verify(&good.view(), &foreign, None, at(NOW))
        .map(|_| ());
    assert_eq!(
        foreign,
        Err(Error::SignatureMismatch),
        "a key of another scope"
    );
}

#[test]
fn clients_may_sign_the_path_as_they_send_it() {
    for path in [
        "/abc/a%2Fb",
        "/abc/a(b)",
        "/abc/%41",
        "/abc//a/../b",
        "/abc/a+b%20c",
    ] {
        let request = sent("GET", path, &[("host", "h")]).signed(empty());
        assert!(request.verify().is_ok(), "{path}");
    }
    let mut moved = sent("GET", "/abc/a%2Fb", &[("host", "h")]).signed(empty());
    moved.path = "/abc/a%252Fb".to_owned();
    assert_eq!(moved.verify().map(|_| ()), Err(Error::SignatureMismatch));
}

proptest! {
    #[test]
    fn any_changed_part_breaks_the_signature(
        path in "/[a-z0-9/]{1,20}", query in "[a-z]{1,5}=[a-z0-9]{0,5}", value in "[a-z0-9]{1,9}",
        at_byte in any::<usize>(), part in 0..5u8,
    ) {
        let mut request = sent("PUT", &format!("{path}?{query}"), &[("host", "h"), ("x-amz-meta-a", &value)])
            .signed(PayloadHash::Sha256(Sha256::digest(value.as_bytes()).into()));
        prop_assert_eq!(request.verify().map(|_| ()), Ok(()));
        let change = |text: &str| {
            let at = at_byte % text.len();
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
            String::from_utf8(bytes).unwrap()
        };
        match part {
            0 => request.method = Method::DELETE,
            1 => request.path = format!("/{}", change(&request.path[1..])),
            2 => request.query = change(&request.query),
            3 => {
                let value = HeaderValue::from_str(&change(&value)).unwrap();
                request.headers.insert("x-amz-meta-a", value);
            }
            _ => {
                let other = hex::encode(&Sha256::digest(b"other"));
                request.headers.insert("x-amz-content-sha256", HeaderValue::from_str(&other).unwrap());
            }
        }
        prop_assert_eq!(request.verify().map(|_| ()), Err(Error::SignatureMismatch));
    }

    #[test]
    fn no_claim_panics(
        path in any::<String>(), query in any::<String>(), text in "[ -~]{0,60}",
        bytes in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let texts = [text.clone(), format!("AWS4-HMAC-SHA256 {text}"), format!("AWS4-HMAC-SHA256 Credential={text},SignedHeaders={text},Signature={text}")];
        for text in texts {
            let mut request = sent("GET", "/", &[("host", "h"), ("authorization", &text)]);
            request.path = path.clone();
            request.query = format!("X-Amz-{query}");
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                request.headers.insert("x-amz-date", value);
            }
            if let Ok(Claim::Signed(claim)) = Claim::read(&request.view()) {
                let _ = claim.check(&request.view(), None, at(NOW));
            }
            request.headers.remove("authorization");
            request.query = format!("X-Amz-Credential={query}&X-Amz-Expires={text}&X-Amz-Date={text}");
            let _ = Claim::read(&request.view());
        }
    }
}
