//! What a person reads when the server has started, and what to do next.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::config::{Banner, Secret};

/// What the banner tells about a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Start {
    /// Where the server listens.
    pub(crate) listening: Vec<SocketAddr>,
    /// The addresses of this machine, for a listener on every interface.
    pub(crate) interfaces: Vec<IpAddr>,
    /// How clients connect.
    pub(crate) access: Access,
    /// The name of the root user.
    pub(crate) root_user: String,
    /// The root password, only if it was made just now: it is shown this once.
    pub(crate) new_password: Option<Secret>,
    /// Drives that answer, of how many.
    pub(crate) drives: (usize, usize),
    /// How many sets these drives form.
    pub(crate) sets: usize,
    /// How many drives of each set may be lost.
    pub(crate) parity: usize,
}

/// How clients connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Access {
    /// Plain HTTP.
    Http,
    /// HTTPS with the operator's certificates.
    Https,
    /// HTTPS with certificates of our own; clients need to trust this file.
    OwnAuthority(PathBuf),
}

/// Writes the banner; empty if nothing is to be said.
pub(crate) fn render(banner: Banner, start: &Start) -> String {
    let mut text = String::new();
    if banner == Banner::Quiet && start.new_password.is_none() {
        return text;
    }
    if banner == Banner::Full {
        describe(&mut text, start);
    }
    if let Some(password) = &start.new_password {
        line(&mut text, "Root user", &start.root_user);
        line(&mut text, "Root password", password.expose());
        text.push_str("This password was made just now and is shown only this once: keep it.\n");
    }
    if banner == Banner::Full {
        next_steps(&mut text, start);
    }
    text
}

/// What is wrong with the way clients connect, if anything.
pub(crate) fn access_warning(access: &Access) -> Option<&'static str> {
    match access {
        Access::Http => Some(
            "plain HTTP: whoever sees the traffic reads the objects. Put public.crt and \
             private.key into the certificate directory, or start with --tls auto",
        ),
        Access::Https | Access::OwnAuthority(_) => None,
    }
}

fn describe(text: &mut String, start: &Start) {
    let (online, all) = start.drives;
    line(text, "Sarsen", env!("CARGO_PKG_VERSION"));
    line(text, "S3 API", &endpoints(start).join("  "));
    if let Access::OwnAuthority(path) = &start.access {
        line(text, "Trust", &path.display().to_string());
    }
    let sets = if start.sets == 1 {
        "1 set".to_owned()
    } else {
        format!("{} sets", start.sets)
    };
    let loss = match start.parity {
        0 => "no drive may be lost".to_owned(),
        1 => "1 drive of each may be lost".to_owned(),
        parity => format!("{parity} drives of each may be lost"),
    };
    line(
        text,
        "Drives",
        &format!("{online} of {all} online, {sets}, {loss}"),
    );
    if start.new_password.is_none() {
        line(text, "Root user", &start.root_user);
    }
}

fn next_steps(text: &mut String, start: &Start) {
    let endpoint = endpoints(start).into_iter().next().unwrap_or_default();
    let trust = match &start.access {
        Access::OwnAuthority(path) => format!(" --ca-bundle {}", path.display()),
        Access::Http | Access::Https => String::new(),
    };
    let user = &start.root_user;
    let aws = format!("aws --endpoint-url {endpoint}{trust}");
    write!(
        text,
        "\nTry it:\n  export AWS_ACCESS_KEY_ID={user} AWS_SECRET_ACCESS_KEY=<the root password>\n  \
         {aws} s3 mb s3://first-bucket\n  {aws} s3 cp <some file> s3://first-bucket/\n"
    )
    .expect("a string takes all that is written to it");
}

fn line(text: &mut String, name: &str, value: &str) {
    writeln!(text, "{name:<13} {value}").expect("a string takes all that is written to it");
}

/// The addresses under which clients reach the server, the easiest first.
fn endpoints(start: &Start) -> Vec<String> {
    let scheme = if start.access == Access::Http {
        "http"
    } else {
        "https"
    };
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for listening in &start.listening {
        if listening.ip().is_unspecified() {
            let of_machine = |ip: &IpAddr| SocketAddr::new(*ip, listening.port());
            addresses.extend(start.interfaces.iter().map(of_machine));
        } else {
            addresses.push(*listening);
        }
    }
    addresses.sort_unstable_by_key(|address| (address.is_ipv6(), !address.ip().is_loopback()));
    addresses.dedup();
    addresses
        .iter()
        .map(|address| format!("{scheme}://{address}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Start {
        Start {
            listening: vec!["[::]:9000".parse().unwrap()],
            interfaces: ["10.0.0.5", "::1", "127.0.0.1"]
                .map(|ip| ip.parse().unwrap())
                .to_vec(),
            access: Access::Http,
            root_user: "ann".to_owned(),
            new_password: None,
            drives: (4, 4),
            sets: 1,
            parity: 2,
        }
    }

    #[test]
    fn a_person_reads_where_to_go_next() {
        let expected = "\
Sarsen        0.1.0
S3 API        http://127.0.0.1:9000  http://10.0.0.5:9000  http://[::1]:9000
Drives        4 of 4 online, 1 set, 2 drives of each may be lost
Root user     ann

Try it:
  export AWS_ACCESS_KEY_ID=ann AWS_SECRET_ACCESS_KEY=<the root password>
  aws --endpoint-url http://127.0.0.1:9000 s3 mb s3://first-bucket
  aws --endpoint-url http://127.0.0.1:9000 s3 cp <some file> s3://first-bucket/
";
        assert_eq!(render(Banner::Full, &start()), expected);
        assert!(access_warning(&Access::Http).is_some());
        assert!(access_warning(&Access::Https).is_none());
    }

    #[test]
    fn a_new_password_is_shown_even_if_all_else_is_silent() {
        let mut start = start();
        assert_eq!(render(Banner::Quiet, &start), "");
        start.new_password = Some(Secret::new("made-just-now"));
        for banner in [Banner::Quiet, Banner::Anonymous, Banner::Full] {
            let text = render(banner, &start);
            assert_eq!(text.matches("made-just-now").count(), 1, "{banner:?}");
            assert_eq!(text.matches("Root user").count(), 1, "{banner:?}");
        }
        assert!(!render(Banner::Anonymous, &start).contains("10.0.0.5"));
    }

    #[test]
    fn a_listener_of_one_address_tells_that_one_and_what_to_trust() {
        let mut start = start();
        start.listening = vec!["127.0.0.1:7000".parse().unwrap()];
        start.access = Access::OwnAuthority("/c/sarsen-ca.crt".into());
        let text = render(Banner::Full, &start);
        assert!(
            text.contains("S3 API        https://127.0.0.1:7000\n"),
            "{text}"
        );
        assert!(
            text.contains("--ca-bundle /c/sarsen-ca.crt s3 mb"),
            "{text}"
        );
    }
}
