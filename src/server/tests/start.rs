//! The binary as an operator meets it: what it refuses, how it starts, how it stops.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

fn sarsen(home: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sarsen"));
    command
        .env_clear()
        .env("HOME", home)
        .envs(variables.iter().copied());
    command.current_dir(home).args(arguments);
    command
}

fn refused(variables: &[(&str, &str)], arguments: &[&str]) -> (Option<i32>, String) {
    let home = tempfile::tempdir().unwrap();
    let output: Output = sarsen(home.path(), variables, arguments).output().unwrap();
    assert_eq!(output.stdout, b"");
    assert_eq!(
        std::fs::read_dir(home.path()).unwrap().count(),
        0,
        "something was written"
    );
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn a_wrong_start_says_one_line_and_writes_nothing() {
    type Row = (
        &'static [(&'static str, &'static str)],
        &'static [&'static str],
        i32,
        &'static str,
    );
    let table: [Row; 7] = [
        (
            &[],
            &[],
            2,
            "no command: try `sarsen server DIR...` or `sarsen --help`",
        ),
        (
            &[],
            &["server", "--nope", "d"],
            2,
            "unexpected argument '--nope' found",
        ),
        (
            &[],
            &["server"],
            1,
            "no drives: name at least one directory",
        ),
        (
            &[],
            &["server", "d{1..4}"],
            1,
            "invalid ellipsis in \"d{1..4}\": write {first...last}, decimal or hexadecimal",
        ),
        (
            &[("MINIO_ROOT_USER", "admin")],
            &["server", "d"],
            1,
            "MINIO_ROOT_USER: set, but no SARSEN_ROOT_PASSWORD: give both",
        ),
        (
            &[("SARSEN_NOPE", "1")],
            &["server", "d"],
            1,
            "SARSEN_NOPE: no such setting",
        ),
        (
            &[("SARSEN_LOG", "loud")],
            &["server", "d"],
            1,
            "SARSEN_LOG: \"loud\" is no list such as info,store=debug: \"loud\" is no level",
        ),
    ];
    for (variables, arguments, code, line) in table {
        let expected = (Some(code), format!("sarsen: {line}\n"));
        assert_eq!(
            refused(variables, arguments),
            expected,
            "{variables:?} {arguments:?}"
        );
    }
}

#[test]
fn help_goes_to_standard_output() {
    let output = sarsen(Path::new("/"), &[], &["server", "--help"])
        .output()
        .unwrap();
    assert!(output.status.success());
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("--certs-dir")
    );
}

struct Running {
    child: Child,
    address: String,
    home: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Starts a server on a port of the system's choice, which the banner tells.
fn start(more: &[&str]) -> Running {
    let home = tempfile::tempdir().unwrap();
    let variables = [
        ("SARSEN_DEV", "on"),
        ("MINIO_PROMETHEUS_AUTH_TYPE", "public"),
        ("SARSEN_LOG", "off"),
    ];
    let arguments = [&["server", "--address", "127.0.0.1:0", "d{1...4}"], more].concat();
    let mut command = sarsen(home.path(), &variables, &arguments);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut banner = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let line = banner.find(|line| line.starts_with("S3 API")).unwrap();
    let address = line.split_once("://").unwrap().1.to_owned();
    Running {
        child,
        address,
        home,
    }
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request(path).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_server_answers_probes_and_stops_when_told() {
    let mut running = start(&[]);
    assert!(get(&running.address, "/minio/health/live").starts_with("HTTP/1.1 200 "));
    let metrics = get(&running.address, "/minio/v2/metrics/node");
    assert!(
        metrics.contains("minio_node_process_uptime_seconds"),
        "{metrics}"
    );
    let pid = rustix::process::Pid::from_child(&running.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
}

/// Asks over TLS, trusting the certificates in one file alone.
fn get_safely(address: &str, trusted: &Path, path: &str) -> String {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(trusted).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    let name = ServerName::try_from("localhost").unwrap();
    let client = ClientConnection::new(config, name).unwrap();
    let mut stream = StreamOwned::new(client, TcpStream::connect(address).unwrap());
    stream.write_all(request(path).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_server_with_its_own_authority_is_trusted_and_refuses_plain_http() {
    let running = start(&["--certs-dir", "certs", "--tls", "auto"]);
    let trusted = running.home.path().join("certs/sarsen-ca.crt");
    let answer = get_safely(&running.address, &trusted, "/minio/health/live");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let answer = get(&running.address, "/");
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.contains("HTTPS"),
        "{answer}"
    );
}
