//! Every rule left out, by the number of its way to lose in the room's `README.md`.

use std::time::Instant;

use crate::config::Operation::{Delete, Get, Put, PutIfAbsent, Versions};
use crate::config::{Config, Mutant};
use crate::model::Model;
use crate::search::{Outcome, explore, wander};
use crate::{FOUR, THREE, caught, report};

#[test]
fn way_01_raise_first_then_read_some_quorum() {
    caught(
        Mutant::RaiseThenRead,
        Config {
            programs: &[&[Put], &[PutIfAbsent]],
            ..THREE
        },
    );
}

#[test]
fn way_02_undo_below_k_shards() {
    caught(
        Mutant::UndoBelowData,
        Config {
            programs: &[&[Put], &[Get]],
            ..FOUR
        },
    );
}

#[test]
fn way_03_the_older_version_dropped_at_commit() {
    caught(
        Mutant::DropOlder,
        Config {
            wipes: 1,
            epochs: 1,
            programs: &[&[Put, Put]],
            ..FOUR
        },
    );
}

/// The older version needs every drive: the next one reaches two, and three shards are not left.
#[test]
fn way_03_without_a_drive_fault() {
    let config = Config {
        data: 3,
        parity: 1,
        epochs: 1,
        programs: &[&[Put, Put]],
        ..FOUR
    };
    caught(Mutant::DropOlder, config);
}

#[test]
fn way_04_an_older_version_on_w_drives() {
    caught(
        Mutant::OlderOnQuorum,
        Config {
            epochs: 1,
            programs: &[&[Put, Put], &[Get]],
            ..THREE
        },
    );
}

/// A drive is replaced while one writes and one reads.
const REPLACED: Config = Config {
    wipes: 1,
    epochs: 1,
    programs: &[&[Put], &[Get]],
    ..THREE
};

#[test]
fn way_05_an_empty_drive_votes() {
    caught(Mutant::EmptyVotes, REPLACED);
}

#[test]
fn way_06_fences_from_peers() {
    caught(
        Mutant::FencesFromPeers,
        Config {
            wipes: 1,
            programs: &[&[Put], &[PutIfAbsent]],
            ..FOUR
        },
    );
}

#[test]
fn way_07_no_new_membership_index() {
    caught(Mutant::NoMembershipIndex, REPLACED);
}

#[test]
fn way_08_a_tombstone_collected_in_its_own_epoch() {
    caught(
        Mutant::CollectInOwnEpoch,
        Config {
            epochs: 1,
            programs: &[&[Put, Delete, Get]],
            ..THREE
        },
    );
}

#[test]
fn way_09_a_read_that_spans_a_collection() {
    caught(
        Mutant::NoReask,
        Config {
            settle: true,
            stored: true,
            programs: &[&[Put, Delete, Get]],
            ..THREE
        },
    );
}

#[test]
fn way_10_a_restart_within_an_epoch() {
    caught(
        Mutant::RestartInEpoch,
        Config {
            epochs: 1,
            programs: &[&[Put, Put], &[Get]],
            ..THREE
        },
    );
}

#[test]
fn way_11_a_commit_given_up() {
    let config = Config {
        epochs: 1,
        programs: &[&[Put], &[Get, PutIfAbsent]],
        ..THREE
    };
    caught(Mutant::GiveUpKeepCache, config);
    caught(Mutant::GiveUpTouchAgain, config);
}

#[test]
fn way_12_answers_from_a_cache_and_commits_sent_twice() {
    caught(
        Mutant::RefuseFromCache,
        Config {
            programs: &[&[Put, Delete, PutIfAbsent]],
            ..THREE
        },
    );
    caught(
        Mutant::CommitTwice,
        Config {
            epochs: 1,
            programs: &[&[Put, Put], &[Get]],
            ..THREE
        },
    );
}

/// Two leases, over which way 14 alone does not show.
#[test]
fn way_13_a_late_discard_of_what_was_void() {
    caught(Mutant::DiscardUnheard, TWO_LEASES);
}

/// More than way 13 takes.
const WAY_13_STATES: usize = 1_100_000;

const TWO_LEASES: Config = Config {
    discard: true,
    programs: &[&[Put, Get, Get]],
    ..FOUR
};

/// What the mutant of way 13 leaves out besides is not what is caught: as many states without it.
#[test]
fn way_13_is_not_way_14() {
    let config = Config {
        mutant: Some(Mutant::FinishUnderOldOrder),
        ..TWO_LEASES
    };
    let start = Instant::now();
    let found = explore(&Model::new(config), WAY_13_STATES);
    report(&config, "searched", &found, start);
    assert!(!matches!(found.outcome, Outcome::Wrong(..)));
}

#[test]
fn way_14_what_is_finished_keeps_its_order() {
    let config = Config {
        mutant: Some(Mutant::FinishUnderOldOrder),
        epochs: 3,
        programs: &[&[Put], &[PutIfAbsent], &[Get, Get]],
        ..THREE
    };
    let start = Instant::now();
    let found = wander(&Model::new(config), 200_000);
    report(&config, "walked", &found, start);
    assert!(
        matches!(found.outcome, Outcome::Wrong(..)),
        "it was not caught"
    );
}

#[test]
fn way_15_a_decision_of_the_grant_before() {
    let config = Config {
        epochs: 3,
        programs: &[&[Put], &[PutIfAbsent]],
        ..THREE
    };
    caught(Mutant::KeepDecision, config);
}

#[test]
fn every_other_rule_left_out_is_caught() {
    let write = Config {
        programs: &[&[Put], &[Get, PutIfAbsent]],
        ..THREE
    };
    caught(Mutant::NoFence, write);
    caught(Mutant::FenceForgotten, write);
    let read = Config {
        programs: &[&[Put], &[Get, Get]],
        ..THREE
    };
    caught(Mutant::AdoptUnfinished, read);
    caught(Mutant::AckEarly, read);
    caught(Mutant::SettleEarly, read);
    let delete = Config {
        stored: true,
        programs: &[&[Put, Delete, Get]],
        ..THREE
    };
    caught(Mutant::CollectOnQuorum, delete);
    caught(Mutant::KeepAcks, REPLACED);
    caught(Mutant::JoiningVotes, REPLACED);
    caught(Mutant::RebuildFromOne, REPLACED);
    caught(Mutant::RebuildUnfenced, REPLACED);
    caught(Mutant::RebuildReplaces, REPLACED);
    caught(Mutant::SilentIsAbsent, read);
    caught(
        Mutant::ReadFromCache,
        Config {
            programs: &[&[Put, Get]],
            ..THREE
        },
    );
    let conditions = Config {
        programs: &[&[Put], &[PutIfAbsent]],
        ..THREE
    };
    caught(
        Mutant::BlindCondition,
        Config {
            blind: true,
            ..conditions
        },
    );
    caught(
        Mutant::CopyUnfenced,
        Config {
            programs: &[&[PutIfAbsent], &[PutIfAbsent], &[Get]],
            ..THREE
        },
    );
    let programs: &[&[_]] = &[&[Put], &[Put], &[Versions, Versions]];
    caught(
        Mutant::NoPredecessor,
        Config {
            versioned: true,
            epochs: 3,
            programs,
            ..THREE
        },
    );
}
