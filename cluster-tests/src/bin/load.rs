//! Load, and the limits that a server can approach. See `load --help`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use cluster_tests::load::bare;
use cluster_tests::load::body::Bodies;
use cluster_tests::load::commit_files::{self, Commits};
use cluster_tests::load::list::{self, Listing};
use cluster_tests::load::md5;
use cluster_tests::load::report::Report;
use cluster_tests::load::run::{self, Op, Server, Work};
use cluster_tests::load::wire::{Body, Request, Want};
use tokio::runtime::Builder;

/// A lean S3 load generator; plain HTTP only.
#[derive(Debug, Parser)]
struct Arguments {
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a bucket; one that exists is fine.
    Bucket {
        #[command(flatten)]
        server: Server,
        /// Its name.
        #[arg(long, default_value = "bench")]
        bucket: String,
    },
    /// Run one kind of request.
    Run {
        /// Which.
        #[arg(value_enum)]
        op: Op,
        #[command(flatten)]
        server: Server,
        #[command(flatten)]
        work: Work,
    },
    /// List a whole bucket, or one page repeatedly.
    List {
        #[command(flatten)]
        server: Server,
        #[command(flatten)]
        listing: Listing,
    },
    /// Serve as a bare hyper server: PUT sink, GET source.
    Bare {
        /// Where.
        #[arg(long, default_value = "127.0.0.1:9009")]
        address: SocketAddr,
        /// Bytes that a GET answers.
        #[arg(long, default_value_t = 4096)]
        size: u64,
        /// Threads.
        #[arg(long, default_value_t = 2)]
        threads: usize,
    },
    /// Measure one MD5 stream, in MiB/s.
    Md5 {
        /// For so long.
        #[arg(long, default_value_t = 1.0)]
        seconds: f64,
    },
    /// Commit a file per object on several directories.
    CommitFiles {
        #[command(flatten)]
        commits: Commits,
        /// Remove the directories afterwards.
        #[arg(long)]
        clean: bool,
    },
}

fn main() -> Result<()> {
    let Arguments { json, command } = Arguments::parse();
    match command {
        Command::Bucket { server, bucket } => bucket_made(&server, &bucket),
        Command::Run { op, server, work } => show(json, &run::run(&server, op, &work)?),
        Command::List { server, listing } => {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            show(json, &runtime.block_on(list::walk(&server, &listing))?)
        }
        Command::Bare {
            address,
            size,
            threads,
        } => {
            let mut builder = Builder::new_multi_thread();
            let runtime = builder.worker_threads(threads).enable_all().build()?;
            Ok(runtime.block_on(bare::serve(address, size))?)
        }
        Command::Md5 { seconds } => {
            say(&format!(
                "{:.1}",
                md5::rate(Duration::from_secs_f64(seconds))
            ));
            Ok(())
        }
        Command::CommitFiles { commits, clean } => {
            let report = commit_files::run(&commits)?;
            show(json, &report)?;
            let removed: &[PathBuf] = if clean { &commits.directories } else { &[] };
            removed.iter().try_for_each(std::fs::remove_dir_all)?;
            Ok(())
        }
    }
}

fn bucket_made(server: &Server, bucket: &str) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let path = format!("/{bucket}");
    let request = Request {
        body: Body::Text(""),
        ..Request::new("PUT", &path)
    };
    let mut connection = server.connection(&Bodies::new());
    let reply = runtime.block_on(connection.exchange(&request, Want::Text))?;
    match reply.status {
        200 | 409 => Ok(()),
        status => bail!("status {status}: {}", String::from_utf8_lossy(&reply.text)),
    }
}

fn show(json: bool, report: &Report) -> Result<()> {
    if json {
        say(&serde_json::to_string(report)?);
    } else {
        say(&report.to_string());
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a program whose output is its result")]
fn say(line: &str) {
    println!("{line}");
}
