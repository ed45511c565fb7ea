//! Breadth-first search over all states, and the way to the first that is wrong.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use crate::model::{Model, Next, Step};
use crate::state::State;

/// What a client or an operator would complain of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wrong {
    /// No order of the operations explains what clients were told.
    NotLinearizable,
    /// What a client was told is durable is gone.
    Lost,
    /// Two rows carry one order.
    OrderTwice,
}

/// How a search ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Every state was seen.
    Exhausted,
    /// So many states were seen that the search stopped.
    Bounded,
    /// Something is wrong, and this is how it came about.
    Wrong(Wrong, Vec<Step>),
}

#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) states: usize,
    pub(crate) outcome: Outcome,
}

/// Fingerprints are hashes already.
#[derive(Default)]
struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// Where a state was reached from: its parent's number, and which of the parent's steps.
type Trail = Vec<(u32, u32)>;

/// Visits up to about `limit` states.
pub(crate) fn explore(model: &Model, limit: usize) -> Report {
    let mut seen: HashSet<u64, BuildHasherDefault<Same>> = HashSet::default();
    let mut trail: Trail = vec![(u32::MAX, 0)];
    let start = model.canonical(model.start());
    seen.insert(start.fingerprint());
    let mut level = vec![(0u32, start)];
    let mut next = Next::new();
    while !level.is_empty() {
        let mut deeper = Vec::new();
        for (number, state) in level {
            model.next(&state, &mut next);
            for (step, (_, after)) in next.drain(..).enumerate() {
                let after = model.canonical(after);
                if !seen.insert(after.fingerprint()) {
                    continue;
                }
                let id = u32::try_from(trail.len()).expect("searches are bounded");
                trail.push((number, u32::try_from(step).expect("few steps")));
                if let Some(wrong) = judge(model, &after) {
                    let steps = retrace(model, &trail, id);
                    return Report {
                        states: seen.len(),
                        outcome: Outcome::Wrong(wrong, steps),
                    };
                }
                if !model.is_over(&after) {
                    deeper.push((id, after));
                }
            }
            if seen.len() >= limit {
                return Report {
                    states: seen.len(),
                    outcome: Outcome::Bounded,
                };
            }
        }
        level = deeper;
    }
    Report {
        states: seen.len(),
        outcome: Outcome::Exhausted,
    }
}

/// Goes `walks` random ways from the start, to states deeper than a bounded search sees.
pub(crate) fn wander(model: &Model, walks: usize) -> Report {
    const STEPS_MAX: usize = 100;
    let mut dice: u64 = 0x5EED_0F5A_125E_4001;
    let (mut states, mut next) = (0, Next::new());
    for _ in 0..walks {
        let (mut state, mut steps) = (model.start(), Vec::new());
        while steps.len() < STEPS_MAX && !model.is_over(&state) {
            model.next(&state, &mut next);
            if next.is_empty() {
                break;
            }
            let mut choice = throw(&mut dice) % next.len();
            // A read that returns ends most runs: let them come seldom.
            if next[choice].0.returns() && !throw(&mut dice).is_multiple_of(8) {
                choice = throw(&mut dice) % next.len();
            }
            let (step, after) = next.swap_remove(choice);
            next.clear();
            state = after;
            steps.push(step);
            states += 1;
            if let Some(wrong) = judge(model, &state) {
                return Report {
                    states,
                    outcome: Outcome::Wrong(wrong, steps),
                };
            }
        }
        next.clear();
    }
    Report {
        states,
        outcome: Outcome::Bounded,
    }
}

fn throw(dice: &mut u64) -> usize {
    *dice ^= *dice << 13;
    *dice ^= *dice >> 7;
    *dice ^= *dice << 17;
    (*dice >> 11) as usize
}

fn judge(model: &Model, state: &State) -> Option<Wrong> {
    if state.linear.is_empty() {
        Some(Wrong::NotLinearizable)
    } else if model.lost(state) {
        Some(Wrong::Lost)
    } else {
        model.order_twice(state).then_some(Wrong::OrderTwice)
    }
}

/// The steps that led to a state, found by doing them again.
fn retrace(model: &Model, trail: &Trail, mut id: u32) -> Vec<Step> {
    let mut choices = Vec::new();
    while let Some((parent, step)) = trail
        .get(id as usize)
        .filter(|(parent, _)| *parent != u32::MAX)
    {
        choices.push(*step as usize);
        id = *parent;
    }
    let mut state = model.canonical(model.start());
    let mut steps = Vec::new();
    for choice in choices.into_iter().rev() {
        let mut next = Next::new();
        model.next(&state, &mut next);
        let (step, after) = next.swap_remove(choice);
        steps.push(step);
        state = model.canonical(after);
    }
    steps
}
