//! The small grammars of values: addresses, durations, switches, secrets.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Text that must never be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: for computing with, never for logs.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// The 32 bytes from which a cluster's keys derive. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterSecret([u8; 32]);

impl ClusterSecret {
    /// The bytes: for deriving keys, never for logs.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads 64 hexadecimal digits or base64 of 32 bytes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let bytes = if text.len() == 64 {
            unhex(text)?
        } else {
            STANDARD.decode(text).ok()?
        };
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|c| c.to_digit(16).and_then(|digit| digit.try_into().ok()))
        .collect();
    let pairs = digits?;
    Some(
        pairs
            .chunks_exact(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
            .collect(),
    )
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// A name or address; empty for every interface.
    pub host: String,
    /// The port; 0 lets the system choose.
    pub port: u16,
}

impl Address {
    /// Reads `HOST:PORT`, `[V6]:PORT` or `:PORT`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let port = port.parse().ok()?;
        let bracketed = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let host = match bracketed {
            Some(inner) => inner.parse::<std::net::Ipv6Addr>().ok()?.to_string(),
            None => Some(host)
                .filter(|host| host.is_empty() || is_host(host))?
                .to_owned(),
        };
        Some(Self { host, port })
    }
}

/// Whether a text can be a host name or an IPv4 address (RFC 1123, section 2.1).
pub(crate) fn is_host(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(legal) && !label.starts_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// Reads a duration as Go writes it: `10s`, `1h30m`, `1.5s`, `250ms`, `0`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let letters = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(letters);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        total = total.checked_add(part)?;
        rest = next;
    }
    (!text.is_empty()).then_some(total)
}

/// Reads a switch: `on` or `off`, and what else people write.
pub(crate) fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "true" | "1" | "yes" | "enable" | "enabled" => Some(true),
        "off" | "false" | "0" | "no" | "disable" | "disabled" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_a_host_and_a_port() {
        for bad in [
            "",
            "9000",
            "a",
            ":",
            "a:",
            ":x",
            ":65536",
            ":+1",
            "::1:9000",
            "[x]:1",
            "a b:1",
            "http://a:1",
            "/d:1",
        ] {
            assert_eq!(Address::parse(bad), None, "{bad}");
        }
        let table = [
            (":9000", "", 9000),
            ("127.0.0.1:0", "127.0.0.1", 0),
            ("localhost:80", "localhost", 80),
            ("[::1]:9000", "::1", 9000),
        ];
        for (text, host, port) in table {
            assert_eq!(
                Address::parse(text),
                Some(Address {
                    host: host.to_owned(),
                    port
                }),
                "{text}"
            );
        }
    }

    #[test]
    fn durations_are_those_of_go() {
        for bad in [
            "",
            "10",
            "s",
            "1x",
            "-1s",
            "1s2",
            "1.2.3s",
            ".s",
            "1e3s",
            "99999999999999999999h",
        ] {
            assert_eq!(duration(bad), None, "{bad}");
        }
        let table = [
            ("10s", 10_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("1.5s", 1500),
            ("0", 0),
        ];
        for (text, millis) in table {
            assert_eq!(
                duration(text),
                Some(Duration::from_millis(millis)),
                "{text}"
            );
        }
    }

    #[test]
    fn a_cluster_secret_is_32_bytes() {
        let hex = "00".repeat(31) + "fF";
        let secret = ClusterSecret::parse(&hex).unwrap();
        assert_eq!(secret.expose()[31], 255);
        let base64 = STANDARD.encode(secret.expose());
        assert_eq!(ClusterSecret::parse(&format!("{base64}\n")), Some(secret));
        for bad in [
            "",
            "00",
            "zz",
            &"0g".repeat(32),
            &"é".repeat(32),
            &STANDARD.encode([0; 31]),
        ] {
            assert_eq!(ClusterSecret::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn secrets_do_not_print() {
        let cluster = ClusterSecret::parse(&"41".repeat(32));
        let shown = format!("{:?} {cluster:?}", Secret::new("AAAA"));
        assert_eq!(shown, "(secret) Some((secret))");
    }
}
