//! The binary as an operator meets it: what it refuses, how it starts, how it stops.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

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
    /// The banner's line about drives.
    drives: String,
    home: Arc<TempDir>,
}

impl Running {
    /// Tells the server to stop; answers with what it logged.
    fn stop(mut self) -> String {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        let mut log = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut log).unwrap();
        log
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Starts a server on a port of the system's choice, which the banner tells.
fn start(more: &[&str]) -> Running {
    let arguments = [&["d{1...4}"], more].concat();
    start_in(Arc::new(tempfile::tempdir().unwrap()), &[], &arguments)
}

fn start_in(home: Arc<TempDir>, more: &[(&str, &str)], arguments: &[&str]) -> Running {
    let variables = [
        ("SARSEN_DEV", "on"),
        ("MINIO_PROMETHEUS_AUTH_TYPE", "public"),
        ("SARSEN_LOG", "error"),
    ];
    let variables = [&variables, more].concat();
    let arguments = [&["server", "--address", "127.0.0.1:0"], arguments].concat();
    let mut command = sarsen(home.path(), &variables, &arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut banner = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let mut line = |name: &str| {
        let line = banner.find(|line| line.starts_with(name));
        line.expect("the server starts and tells how")
    };
    let address = line("S3 API").split_once("://").unwrap().1.to_owned();
    Running {
        child,
        address,
        drives: line("Drives"),
        home,
    }
}

/// The one line with which a start on drives that exist is refused; nothing is written by it.
fn refused_in(home: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> String {
    let before = files(home);
    let variables = [&[("SARSEN_DEV", "on"), ("SARSEN_LOG", "off")], variables].concat();
    let arguments = [&["server", "--address", "127.0.0.1:0"], arguments].concat();
    let output = sarsen(home, &variables, &arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    assert!(files(home) == before, "something was written");
    let home = format!("{}/", home.display());
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(line.lines().count(), 1, "{line}");
    line.trim_end().replace(&home, "")
}

/// What is below a path, with the bytes of identities; but not the logs, which an open extends.
fn files(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(path).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("index") {
            found.extend(files(&path));
        }
        let identity = path.ends_with("sarsen.json");
        let bytes = identity.then(|| std::fs::read(&path).unwrap());
        found.insert(path, bytes.unwrap_or_default());
    }
    found
}

#[test]
fn a_set_keeps_its_size_and_a_deployment_its_sets() {
    let four = start(&[]);
    let home = Arc::clone(&four.home);
    four.stop();
    for (argument, drives) in [("d{1...3}", 3), ("d{1...8}", 8)] {
        let line = refused_in(home.path(), &[], &[argument]);
        let told = "sarsen: d1: its set was formatted with 4 drives, and ";
        assert_eq!(line, format!("{told}{drives} are named"));
    }
    // The secret is elsewhere, so that it is not what the start lacks.
    let twos = [
        ("SARSEN_ERASURE_SET_DRIVE_COUNT", "2"),
        ("SARSEN_STATE_DIR", "state"),
    ];
    let home = Arc::new(tempfile::tempdir().unwrap());
    start_in(Arc::clone(&home), &twos, &["d{1...4}"]).stop();
    let line = refused_in(home.path(), &twos, &["d{1...2}"]);
    assert_eq!(
        line,
        "sarsen: this deployment has 2 sets of drives, and those that are named form 1"
    );
}

#[test]
fn one_bad_drive_is_offline_loudly_and_the_rest_serves() {
    type Damage = (&'static str, fn(&Path), &'static str);
    let table: [Damage; 5] = [
        ("missing", |_| {}, "no such directory"),
        (
            "foreign",
            |path| {
                std::fs::create_dir(path.join("d1")).unwrap();
                std::fs::write(path.join("d1/photo"), "").unwrap();
            },
            "not empty and not a drive of sarsen: it holds \"photo\"",
        ),
        (
            "a file",
            |path| std::fs::write(path.join("d1"), "x").unwrap(),
            "not a directory",
        ),
        (
            "a copy of another",
            |path| {
                let copied = Command::new("cp")
                    .args(["-a", "d2", "d1"])
                    .current_dir(path)
                    .status();
                assert!(copied.unwrap().success());
            },
            "d2 holds the drive of its seat",
        ),
        (
            "empty, and its drive in another's place",
            |path| {
                let place = |name| path.join(name);
                std::fs::rename(place("d2"), place("lost")).unwrap();
                std::fs::rename(place("away"), place("d2")).unwrap();
                std::fs::create_dir(place("d1")).unwrap();
            },
            "d2 holds the drive of its seat",
        ),
    ];
    let formed = start(&[]);
    let home = Arc::clone(&formed.home);
    formed.stop();
    let first = home.path().join("d1");
    std::fs::rename(&first, home.path().join("away")).unwrap();
    for (what, damage, why) in table {
        damage(home.path());
        let before = files(&first);
        let running = start_in(Arc::clone(&home), &[], &["d{1...4}"]);
        assert!(
            running.drives.contains("3 of 4 online"),
            "{what}: {}",
            running.drives
        );
        assert!(get(&running.address, "/minio/health/cluster").starts_with("HTTP/1.1 200 "));
        let log = running.stop();
        assert!(log.contains("a drive is offline"), "{what}: {log}");
        assert!(log.replace('\\', "").contains(why), "{what}: {log}");
        assert!(files(&first) == before, "{what}: touched");
        let removed = std::fs::remove_dir_all(&first);
        removed.or_else(|_| std::fs::remove_file(&first)).ok();
    }
}

#[test]
fn what_lies_in_memory_is_no_drive() {
    let home = tempfile::tempdir_in("/dev/shm").unwrap();
    let run = |dev| {
        let variables = [
            ("SARSEN_DEV", dev),
            ("MINIO_ROOT_USER", "memory"),
            ("MINIO_ROOT_PASSWORD", "is-short"),
        ];
        refused_in(home.path(), &variables, &["d{1...4}"])
    };
    assert_eq!(
        run("off"),
        "sarsen: d1: a file system in memory keeps nothing when the machine stops; SARSEN_DEV=on takes it for tests"
    );
    assert_eq!(files(home.path()), BTreeMap::new());
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
    let running = start(&[]);
    assert!(get(&running.address, "/minio/health/live").starts_with("HTTP/1.1 200 "));
    let metrics = get(&running.address, "/minio/v2/metrics/node");
    assert!(
        metrics.contains("minio_node_process_uptime_seconds"),
        "{metrics}"
    );
    running.stop();
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
