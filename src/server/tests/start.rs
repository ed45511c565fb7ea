//! The binary as an operator meets it: what it refuses, how it starts, how it stops.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

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
    _home: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Starts a server on a port of the system's choice, which the banner tells.
fn start() -> Running {
    let home = tempfile::tempdir().unwrap();
    let variables = [
        ("SARSEN_DEV", "on"),
        ("MINIO_PROMETHEUS_AUTH_TYPE", "public"),
        ("SARSEN_LOG", "off"),
    ];
    let arguments = ["server", "--address", "127.0.0.1:0", "d{1...4}"];
    let mut child = sarsen(home.path(), &variables, &arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let banner = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let address = banner.filter_map(|line| Some(line.split_once("http://")?.1.trim().to_owned()));
    let address = { address }.next().unwrap();
    Running {
        child,
        address,
        _home: home,
    }
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_server_answers_probes_and_stops_when_told() {
    let mut running = start();
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
