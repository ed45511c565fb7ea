//! Which store carries a drive's index? Candidates, a benchmark and a power-cut test.
//!
//! `engines bench` prints a table; `engines power` (as root) cuts the power of an XFS on a
//! loop device under a writer, hundreds of times, and counts acknowledged rows that are gone.
//! Results are in `docs/decisions/0001-drive-engine.md`.

mod bench;
mod candidates;
mod engine;
mod log;
mod own;
mod power;
mod rows;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::candidates::Candidate;

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure one candidate, or all, each in its own process.
    Bench(bench::Options),
    /// Cut the power under a candidate.
    Power(power::Options),
    /// Put rows until killed; the power test starts this.
    Writer(power::Store),
    /// Print every row found; the power test starts this.
    Verify(power::Store),
    /// Open a store of the benchmark and measure reading; the benchmark starts this.
    Reopen {
        /// Which.
        #[arg(value_enum)]
        engine: Candidate,
        /// Where.
        directory: PathBuf,
        /// Rows that it holds.
        rows: u64,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Bench(options) => bench::run(&options),
        Command::Power(options) => power::run(&options),
        Command::Writer(store) => power::write(&store),
        Command::Verify(store) => power::verify(&store),
        Command::Reopen {
            engine,
            directory,
            rows,
        } => bench::reopen(engine, &directory, rows),
    }
}
