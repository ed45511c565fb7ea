//! Which files one PUT writes and syncs before its 200, as the kernel sees it.
//!
//! The real server runs under strace. What W drives did between the request and the answer must
//! be what `syncs.golden` says, and what the others did in the end: a sync that is left out, comes
//! before the write that it is for, or is still under way at the answer, is seen.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::process::{DRIVES, Server};
use super::workload::{BUCKET, error_code};
use crate::load::body::Bodies;
use crate::load::wire::{Body, Request, Want};

/// What is to be seen.
const GOLDEN: &str = include_str!("syncs.golden");
/// The sizes of its PUTs: one that rides in the log, and one with files.
const SIZES: [u64; 2] = [4096, 1 << 20];
/// Drives that must be done before the answer, of four with parity 2.
const WRITE_QUORUM: usize = 3;
/// Long enough for settles, so that they are not taken for a part of the next PUT.
const CALM: Duration = Duration::from_millis(700);
const CALLS: &str = "trace=openat,mkdirat,write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,read,recvfrom,\
    fsync,fdatasync,sync_file_range,ftruncate,fallocate,rename,renameat,renameat2,link,linkat";

/// Runs the server and compares.
///
/// # Errors
/// If it did anything else, and what.
pub async fn run(mut server: Server, home: &Path, bodies: &Bodies) -> Result<()> {
    let trace = home.join("trace");
    let words = [
        "strace",
        "-D",
        "-f",
        "-qq",
        "-y",
        "--seccomp-bpf",
        "-s",
        "32",
    ];
    let mut tracer: Vec<String> = words.map(str::to_owned).into();
    tracer.extend(["-e", CALLS, "-o"].map(str::to_owned));
    tracer.push(trace.display().to_string());
    server.trace(tracer);
    server.spawn()?;
    server.ready(bodies).await?;
    let put = async |path: &str, size| -> Result<()> {
        let request = Request {
            body: Body::whole(7, size),
            ..Request::new("PUT", path)
        };
        let mut connection = server.connection(bodies);
        let reply = connection.exchange(&request, Want::Text).await?;
        let code = error_code(&reply.text);
        ensure!(reply.status == 200, "{path}: {} {code}", reply.status);
        tokio::time::sleep(CALM).await;
        Ok(())
    };
    put(&format!("/{BUCKET}"), 0).await?;
    for size in SIZES {
        put(&format!("/{BUCKET}/{size}"), size).await?;
    }
    server.kill()?;
    let trace = fs::read_to_string(&trace).context("strace left no trace")?;
    let found = puts(&trace).map_err(anyhow::Error::msg)?;
    ensure!(
        found == GOLDEN,
        "the syncs of a PUT are\n{found}\ninstead of\n{GOLDEN}"
    );
    Ok(())
}

/// The steps of every PUT of the trace in the form of the golden file.
fn puts(trace: &str) -> Result<String, String> {
    let events = events(trace);
    let mut out = String::new();
    for size in SIZES {
        let asked = format!("PUT /{BUCKET}/{size} ");
        let is_asked = |event: &Event| matches!(event, Event::Asked(line) if line.contains(&asked));
        let begun = events.iter().position(is_asked);
        let begun = begun.ok_or_else(|| format!("{asked}is not in the trace"))?;
        let rest = events.get(begun + 1..).unwrap_or_default();
        let answered = rest.iter().position(|event| *event == Event::Answered);
        let answered = answered.ok_or_else(|| format!("{asked}was not answered"))?;
        let next = rest
            .iter()
            .position(|event| matches!(event, Event::Asked(_)));
        let in_time = by_drive(rest.get(..answered).unwrap_or_default());
        let in_the_end = by_drive(rest.get(..next.unwrap_or(rest.len())).unwrap_or_default());
        out += &format!("put {size}\n{}", common(size, &in_time, &in_the_end)?);
    }
    Ok(out)
}

/// What W drives did before the answer, if every drive did it in the end.
fn common(size: u64, in_time: &Steps, in_the_end: &Steps) -> Result<String, String> {
    let mut same: BTreeMap<&str, usize> = BTreeMap::new();
    for steps in in_time.values() {
        *same.entry(steps).or_default() += 1;
    }
    let most = same.into_iter().max_by_key(|(_, drives)| *drives);
    let (steps, drives) = most.unwrap_or(("", 0));
    if drives < WRITE_QUORUM {
        return Err(format!(
            "put {size}: drives differ before the answer: {in_time:#?}"
        ));
    }
    // After the answer a drive may go on: it notes what is settled.
    let followed = in_the_end.values().filter(|all| all.starts_with(steps));
    if followed.count() < DRIVES {
        return Err(format!(
            "put {size}: not every drive came to the end: {in_the_end:#?}"
        ));
    }
    Ok(steps.to_owned())
}

/// What the trace shows, in the order in which it was done.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Event {
    /// A request came in.
    Asked(String),
    /// A drive's file was changed or synced: the drive's name, and what was done.
    Done(String, String),
    /// A 200 begins to go out.
    Answered,
}

type Steps = BTreeMap<String, String>;

/// The steps of each drive, one a line; what is repeated at once is one step.
fn by_drive(events: &[Event]) -> Steps {
    let mut steps = Steps::new();
    for event in events {
        if let Event::Done(drive, step) = event {
            let (all, line) = (
                steps.entry(drive.clone()).or_default(),
                format!("  {step}\n"),
            );
            if !all.ends_with(&line) {
                *all += &line;
            }
        }
    }
    steps
}

/// Reads the output of `strace -f -y`. A call counts when it returns, an answer when it begins.
fn events(trace: &str) -> Vec<Event> {
    let mut unfinished: BTreeMap<&str, String> = BTreeMap::new();
    let mut events = Vec::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let rest = rest.trim_start();
        let resumed = rest
            .strip_prefix("<... ")
            .and_then(|rest| rest.split_once(" resumed>"));
        let call = match resumed {
            Some((_, end)) => unfinished.remove(thread).unwrap_or_default() + end,
            None => {
                if rest.contains("\"HTTP/1.1 200") {
                    events.push(Event::Answered);
                }
                if let Some(begun) = rest.strip_suffix("<unfinished ...>") {
                    unfinished.insert(thread, begun.to_owned());
                    continue;
                }
                rest.to_owned()
            }
        };
        if call.contains("\"PUT /") {
            events.push(Event::Asked(call));
        } else if let Some((drive, step)) = step(&call) {
            events.push(Event::Done(drive, step));
        }
    }
    events
}

/// The drive and the step of a call that returned.
fn step(call: &str) -> Option<(String, String)> {
    let (name, rest) = call.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let verb = match name {
        "openat" if !arguments.contains("O_CREAT") => return None,
        "openat" => "create",
        name if name.starts_with("rename") => "rename",
        name if name.starts_with("pwrite") || name.starts_with("write") => "write",
        name @ ("fsync" | "fdatasync" | "mkdirat" | "linkat" | "fallocate" | "ftruncate") => name,
        _ => return None,
    };
    // Directories and files are shown as <path>, names as "name".
    let shown: Vec<&str> = arguments.split(['<', '>']).skip(1).step_by(2).collect();
    let names: Vec<&str> = arguments.split('"').skip(1).step_by(2).collect();
    let paths = match verb {
        "create" | "rename" | "mkdirat" | "linkat" => {
            let joined = shown.iter().zip(&names);
            joined
                .map(|(shown, name)| format!("{shown}/{name}"))
                .collect()
        }
        _ => vec![(*shown.first()?).to_owned()],
    };
    let (drive, _) = inside(paths.first()?)?;
    let paths = paths.iter().map(|path| Some(plain(inside(path)?.1)));
    let paths: Vec<String> = paths.collect::<Option<_>>()?;
    let failed = match result.starts_with('-') {
        true => " failed",
        false => "",
    };
    Some((
        drive.to_owned(),
        format!("{verb} {}{failed}", paths.join(" ")),
    ))
}

/// The name of the drive that a path lies on, and the path on it.
fn inside(path: &str) -> Option<(&str, &str)> {
    (1..=DRIVES).find_map(|number| {
        let (_, rest) = path.split_once(&format!("/d{number}/"))?;
        let start = path.len() - rest.len();
        Some((path.get(start - 3..start - 1)?, rest))
    })
}

/// A path without what differs from run to run.
fn plain(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        ["index", "log", _] => "index/log".to_owned(),
        ["tmp", _, _] => "tmp/data".to_owned(),
        ["shards", _] => "shards/xx".to_owned(),
        ["shards", _, _] => "shards/xx/data".to_owned(),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{GOLDEN, puts};

    /// As strace shows the two PUTs, drive after drive.
    fn lines() -> Vec<String> {
        let mut lines =
            vec!["9 recvfrom(39<socket:[1]>, \"PUT /crash/4096 HT\"..., 8) = 4".to_owned()];
        for drive in 1..=4 {
            let log = format!("27</t/d{drive}/index/log/1.log>");
            lines.push(format!("{drive} pwrite64({log}, \"s\"..., 4096, 0) = 4096"));
            lines.push(format!("{drive} fdatasync({log} <unfinished ...>"));
            lines.push(format!("{drive} <... fdatasync resumed>) = 0"));
        }
        let answer =
            "9 writev(39<socket:[1]>, [{iov_base=\"HTTP/1.1 200 OK\"..., iov_len=2}], 1) = 2";
        lines.push(answer.to_owned());
        lines.push("9 recvfrom(39<socket:[1]>, \"PUT /crash/1048576 HT\"..., 8) = 4".to_owned());
        for drive in 1..=4 {
            let (tmp, shards) = (
                format!("</t/d{drive}/tmp/a"),
                format!("</t/d{drive}/shards/c1>"),
            );
            let log = format!("27</t/d{drive}/index/log/1.log>");
            lines.extend([
                format!("{drive} openat(20{tmp}>, \"c1a.70\", O_WRONLY|O_CREAT|O_EXCL, 0600) = 40{tmp}/c1a.70>"),
                format!("{drive} pwrite64(40{tmp}/c1a.70>, \"S\"..., 528384, 0) = 528384"),
                format!("{drive} pwrite64(40{tmp}/c1a.70>, \"S\"..., 32, 528384) = 32"),
                format!("{drive} fdatasync(40{tmp}/c1a.70>) = 0"),
                format!("{drive} openat(4{shards}, \"c1a.0\", O_RDONLY) = -1 ENOENT (No such file)"),
                format!("{drive} renameat(20{tmp}>, \"c1a.70\", 4{shards}, \"c1a.0\") = 0"),
                format!("{drive} fsync(4{shards}) = 0"),
                format!("{drive} pwrite64({log}, \"s\"..., 4096, 0) = 4096"),
                format!("{drive} fdatasync({log}) = 0"),
            ]);
        }
        lines.push(answer.to_owned());
        lines
    }

    #[test]
    fn the_golden_steps_are_read_from_a_trace() {
        assert_eq!(puts(&lines().join("\n")), Ok(GOLDEN.to_owned()));
    }

    #[test]
    fn any_sync_that_goes_missing_or_fails_is_seen() {
        let lines = lines();
        let syncs = |line: &String| line.contains("sync(") || line.contains("sync resumed");
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| syncs(line)) {
            let mut less = lines.clone();
            less.remove(at);
            assert_ne!(
                puts(&less.join("\n")),
                Ok(GOLDEN.to_owned()),
                "without {line}"
            );
            if line.ends_with("= 0") {
                let mut failing = lines.clone();
                failing[at] = line.replace("= 0", "= -1 EIO (Input/output error)");
                assert_ne!(
                    puts(&failing.join("\n")),
                    Ok(GOLDEN.to_owned()),
                    "{line} fails"
                );
            }
        }
    }

    #[test]
    fn an_answer_before_the_syncs_of_w_drives_is_seen() {
        let mut lines = lines();
        let answer = lines
            .iter()
            .position(|line| line.contains("200 OK"))
            .unwrap();
        let answer = lines.remove(answer);
        // The last sync of the third drive, then that of the fourth, come after it.
        lines.insert(9, answer.clone());
        assert!(puts(&lines.join("\n")).is_err());
        lines.remove(9);
        lines.insert(12, answer);
        assert_eq!(puts(&lines.join("\n")), Ok(GOLDEN.to_owned()));
    }
}
