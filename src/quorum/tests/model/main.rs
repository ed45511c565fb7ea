//! An exhaustive model of the commit rules: one key on one set, two processes that may hold its
//! lease, clients, messages that are late, lost or out of order, and a drive that is replaced by
//! an empty one. Every decision is made by the functions of this room; only the drives and the
//! wires between are written here.
//!
//! A run visits every state within its bound (or all there are) and checks that what clients are
//! told is linearizable and that what they were told is durable is there. With a rule left out it
//! must find the way to lose (`ways`). `SARSEN_MODEL_STATES` raises the bound of the sound runs.

mod config;
mod drive;
mod holder;
mod ledger;
mod linear;
mod model;
mod reader;
mod row;
mod search;
mod state;
mod ways;

use std::time::Instant;

use config::Operation::{Delete, Get, Put, PutIfAbsent, Versions};
use config::{Config, Mutant};
use model::Model;
use search::{Outcome, Report, explore, wander};

/// Three drives, k = 1, W = 2, R = 2.
pub(crate) const THREE: Config = Config::PLAIN;
/// Four drives, k = 2, W = 3, R = 2.
pub(crate) const FOUR: Config = Config {
    data: 2,
    parity: 2,
    ..THREE
};

/// States visited by each sound run that is not exhausted.
const STATES: usize = 250_000;
/// More than any run has that is to be exhausted, or to find what is wrong.
const STATES_MAX: usize = 4_000_000;

#[expect(
    clippy::print_stdout,
    reason = "the states visited are part of the result"
)]
pub(crate) fn report(config: &Config, how: &str, report: &Report, start: Instant) {
    let outcome = match &report.outcome {
        Outcome::Exhausted => "exhausted".to_owned(),
        Outcome::Bounded => "nothing wrong".to_owned(),
        Outcome::Wrong(wrong, steps) => format!("{wrong:?} after {} steps", steps.len()),
    };
    let Config {
        data,
        parity,
        programs,
        epochs,
        wipes,
        ..
    } = config;
    let mutant = config
        .mutant
        .map(|mutant| format!(" without {mutant:?}"))
        .unwrap_or_default();
    println!(
        "{data}+{parity} {programs:?}, {epochs} epochs, {wipes} replaced{mutant}: {} states {how}, {outcome}, {:.1} s",
        report.states,
        start.elapsed().as_secs_f64()
    );
}

fn right(config: &Config, report: &Report) {
    if let Outcome::Wrong(wrong, steps) = &report.outcome {
        panic!("{config:?}: {wrong:?}\n{steps:#?}");
    }
}

/// Sees every state.
fn exhausted(config: Config) {
    let start = Instant::now();
    let found = explore(&Model::new(config), STATES_MAX);
    report(&config, "searched", &found, start);
    right(&config, &found);
    assert!(
        matches!(found.outcome, Outcome::Exhausted),
        "{config:?} has grown"
    );
}

/// Sees the nearer states, and goes many random ways to deeper ones.
fn bounded(config: Config) {
    let limit = std::env::var("SARSEN_MODEL_STATES")
        .ok()
        .and_then(|text| text.parse().ok());
    let limit: usize = limit.unwrap_or(STATES);
    let (start, model) = (Instant::now(), Model::new(config));
    let found = explore(&model, limit);
    report(&config, "searched", &found, start);
    right(&config, &found);
    if matches!(found.outcome, Outcome::Bounded) {
        let start = Instant::now();
        let found = wander(&model, limit / 20);
        report(&config, "walked", &found, start);
        right(&config, &found);
    }
}

/// Finds what is lost without a rule.
pub(crate) fn caught(mutant: Mutant, config: Config) {
    let config = Config {
        mutant: Some(mutant),
        ..config
    };
    let start = Instant::now();
    let found = explore(&Model::new(config), STATES_MAX);
    report(&config, "searched", &found, start);
    assert!(
        matches!(found.outcome, Outcome::Wrong(..)),
        "{mutant:?} was not caught"
    );
}

#[test]
fn two_writers_three_drives() {
    exhausted(Config {
        epochs: 3,
        programs: &[&[Put], &[PutIfAbsent]],
        ..THREE
    });
    exhausted(Config {
        programs: &[&[Put], &[Get, PutIfAbsent]],
        ..THREE
    });
}

#[test]
fn the_shortcut_of_rule_3() {
    exhausted(Config {
        blind: true,
        programs: &[&[Put], &[Get, PutIfAbsent]],
        ..THREE
    });
}

#[test]
fn void_and_replaced_rows_discarded() {
    exhausted(Config {
        discard: true,
        programs: &[&[Put], &[Get, PutIfAbsent]],
        ..THREE
    });
}

#[test]
fn two_writers_four_drives() {
    exhausted(Config {
        programs: &[&[Put], &[PutIfAbsent]],
        ..FOUR
    });
    exhausted(Config {
        programs: &[&[Put], &[Get]],
        ..FOUR
    });
}

#[test]
fn histories_of_two_writers() {
    bounded(Config {
        versioned: true,
        programs: &[&[Put], &[Put], &[Versions]],
        ..THREE
    });
}

#[test]
fn overwrite_four_drives_one_replaced() {
    exhausted(Config {
        epochs: 1,
        wipes: 1,
        stored: true,
        programs: &[&[Put, Put], &[Get]],
        ..FOUR
    });
}

#[test]
fn settles() {
    bounded(Config {
        settle: true,
        programs: &[&[Put], &[Get, PutIfAbsent]],
        ..THREE
    });
    bounded(Config {
        stored: true,
        settle: true,
        programs: &[&[Put, Put], &[Get]],
        ..THREE
    });
}

#[test]
fn settles_with_the_shortcut() {
    bounded(Config {
        blind: true,
        settle: true,
        programs: &[&[Put], &[Put], &[Get]],
        ..THREE
    });
}

#[test]
fn discards_with_settles() {
    bounded(Config {
        discard: true,
        programs: &[&[Put, Get, Get]],
        ..FOUR
    });
    bounded(Config {
        stored: true,
        settle: true,
        discard: true,
        programs: &[&[Put, Put], &[Get]],
        ..THREE
    });
}

#[test]
fn deletes_and_collection() {
    bounded(Config {
        stored: true,
        settle: true,
        programs: &[&[Put, Delete], &[Get]],
        ..THREE
    });
    bounded(Config {
        stored: true,
        settle: true,
        programs: &[&[Put, Delete, Get]],
        ..THREE
    });
    bounded(Config {
        stored: true,
        settle: true,
        epochs: 3,
        programs: &[&[Put, Delete, PutIfAbsent]],
        ..THREE
    });
}

#[test]
fn one_of_three_drives_replaced() {
    bounded(Config {
        settle: true,
        wipes: 1,
        epochs: 1,
        programs: &[&[Put], &[Get]],
        ..THREE
    });
    bounded(Config {
        wipes: 1,
        programs: &[&[Put], &[Get]],
        ..THREE
    });
    bounded(Config {
        stored: true,
        settle: true,
        wipes: 1,
        programs: &[&[Put, Delete], &[Get]],
        ..THREE
    });
}

#[test]
fn one_of_four_drives_replaced() {
    bounded(Config {
        wipes: 1,
        programs: &[&[Put], &[PutIfAbsent]],
        ..FOUR
    });
    bounded(Config {
        wipes: 1,
        programs: &[&[Put, Put]],
        ..FOUR
    });
    bounded(Config {
        epochs: 1,
        wipes: 1,
        settle: true,
        programs: &[&[Put, Put]],
        ..FOUR
    });
}

#[test]
fn three_leases_and_a_condition() {
    let config = Config {
        epochs: 3,
        programs: &[&[Put], &[PutIfAbsent], &[Get, Get]],
        ..THREE
    };
    bounded(config);
    bounded(Config {
        settle: true,
        blind: true,
        ..config
    });
    bounded(Config {
        data: 2,
        parity: 2,
        ..config
    });
    bounded(Config {
        data: 2,
        parity: 2,
        settle: true,
        discard: true,
        ..config
    });
}

#[test]
fn histories_of_three_leases() {
    let versions = Config {
        versioned: true,
        epochs: 3,
        programs: &[&[Put], &[PutIfAbsent], &[Versions, Versions]],
        ..THREE
    };
    bounded(versions);
    bounded(Config {
        settle: true,
        discard: true,
        ..versions
    });
    bounded(Config {
        data: 2,
        parity: 2,
        settle: true,
        ..versions
    });
    let current = Config {
        programs: &[&[Put], &[Delete], &[Get, Get]],
        ..versions
    };
    bounded(Config {
        settle: true,
        ..current
    });
}

#[test]
fn histories_with_markers() {
    bounded(Config {
        versioned: true,
        stored: true,
        settle: true,
        programs: &[&[Put, Delete], &[Get]],
        ..THREE
    });
    bounded(Config {
        versioned: true,
        epochs: 3,
        programs: &[&[Put], &[Put], &[Versions, Versions]],
        ..THREE
    });
    bounded(Config {
        versioned: true,
        stored: true,
        settle: true,
        wipes: 1,
        programs: &[&[Put, Put], &[Versions]],
        ..THREE
    });
}
