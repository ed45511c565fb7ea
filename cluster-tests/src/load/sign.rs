//! AWS Signature Version 4 in a header, for requests whose path and query are already
//! encoded. The signing key is derived once per day, so a request costs two hashes and
//! one HMAC.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// The payload hash of a request whose body is not signed.
pub const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// The SHA-256 of nothing.
pub const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Who signs, for which region, and the key of the day.
#[derive(Debug, Clone)]
pub struct Signer {
    access: String,
    secret: String,
    region: String,
    day: u64,
    key: [u8; 32],
    second: u64,
    stamp: String,
    canonical: String,
}

/// The parts of a request that a signature covers.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Upper case.
    pub method: &'a str,
    /// `host:port` as in the Host header.
    pub host: &'a str,
    /// Percent-encoded, starts with `/`.
    pub path: &'a str,
    /// Percent-encoded, sorted by name, every name with `=`.
    pub query: &'a str,
    /// What `x-amz-copy-source` says, if anything.
    pub copy_source: Option<&'a str>,
    /// Hex SHA-256 of the body, or [`UNSIGNED`].
    pub payload: &'a str,
}

impl Signer {
    /// A signer for the service `s3`.
    pub fn new(access: &str, secret: &str, region: &str) -> Self {
        Self {
            access: access.into(),
            secret: secret.into(),
            region: region.into(),
            day: u64::MAX,
            key: [0; 32],
            second: u64::MAX,
            stamp: String::new(),
            canonical: String::new(),
        }
    }

    /// Appends the three header lines that authenticate `target` now.
    pub fn write_headers(&mut self, target: &Target<'_>, out: &mut String) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a clock after 1970");
        self.write_headers_at(target, now.as_secs(), out);
    }

    fn write_headers_at(&mut self, target: &Target<'_>, second: u64, out: &mut String) {
        self.turn(second);
        let Self {
            stamp,
            region,
            canonical,
            ..
        } = self;
        let date = stamp.split('T').next().unwrap_or_default();
        canonical.clear();
        let Target {
            method,
            host,
            path,
            query,
            copy_source,
            payload,
        } = target;
        let (copied, copy_name) = match copy_source {
            Some(source) => (
                format!("x-amz-copy-source:{source}\n"),
                "x-amz-copy-source;",
            ),
            None => (String::new(), ""),
        };
        let written = write!(
            canonical,
            "{method}\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:{payload}\n{copied}\
             x-amz-date:{stamp}\n\nhost;x-amz-content-sha256;{copy_name}x-amz-date\n{payload}"
        );
        debug_assert!(written.is_ok());
        let hash = hex(&Sha256::digest(canonical.as_bytes()));
        canonical.clear();
        let written = write!(
            canonical,
            "AWS4-HMAC-SHA256\n{stamp}\n{date}/{region}/s3/aws4_request\n{hash}"
        );
        debug_assert!(written.is_ok());
        let signature = hex(&mac(&self.key, canonical.as_bytes()));
        if let Some(source) = copy_source {
            out.push_str("x-amz-copy-source: ");
            out.push_str(source);
            out.push_str("\r\n");
        }
        let written = write!(
            out,
            "x-amz-content-sha256: {payload}\r\nx-amz-date: {stamp}\r\nauthorization: \
             AWS4-HMAC-SHA256 Credential={}/{date}/{region}/s3/aws4_request,SignedHeaders=host;\
             x-amz-content-sha256;{copy_name}x-amz-date,Signature={signature}\r\n",
            self.access
        );
        debug_assert!(written.is_ok());
    }

    /// Makes the stamp of this second and, on a new day, its key.
    fn turn(&mut self, second: u64) {
        if second == self.second {
            return;
        }
        self.second = second;
        self.stamp = stamp(second);
        if self.day != second / 86_400 {
            self.day = second / 86_400;
            let date = self.stamp.split('T').next().unwrap_or_default();
            let start = format!("AWS4{}", self.secret);
            let key = mac(start.as_bytes(), date.as_bytes());
            let key = mac(&key, self.region.as_bytes());
            self.key = mac(&mac(&key, b"s3"), b"aws4_request");
        }
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let pairs = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    pairs
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

fn mac(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(data);
    mac.finalize().into_bytes().into()
}

/// `20261123T104500Z` for seconds since 1970 (Hinnant's civil_from_days).
fn stamp(second: u64) -> String {
    let (days, rest) = (second / 86_400 + 719_468, second % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (rest / 3600, rest / 60 % 60);
    format!(
        "{year:04}{month:02}{day:02}T{hour:02}{minute:02}{:02}Z",
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use super::{EMPTY, Signer, Target, stamp};

    #[test]
    fn the_stamp_knows_leap_years() {
        assert_eq!(stamp(0), "19700101T000000Z");
        assert_eq!(stamp(951_827_696), "20000229T123456Z");
        assert_eq!(stamp(1_369_353_600), "20130524T000000Z");
    }

    /// The GET bucket lifecycle example of the S3 reference, "Examples: Signature Calculations".
    #[test]
    fn the_published_example_has_its_signature() {
        let mut signer = Signer::new(
            "AKIAIOSFODNN7EXAMPLE",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "us-east-1",
        );
        let target = Target {
            method: "GET",
            host: "examplebucket.s3.amazonaws.com",
            path: "/",
            query: "lifecycle=",
            copy_source: None,
            payload: EMPTY,
        };
        let mut headers = String::new();
        signer.write_headers_at(&target, 1_369_353_600, &mut headers);
        let wanted = "Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543";
        assert!(headers.contains(wanted), "{headers}");
    }
}
