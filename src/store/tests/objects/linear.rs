//! Whether what the clients of one key were told can be explained by some order of what they did.

use std::collections::HashSet;

/// What a client did, and what it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// A put, which was done.
    Put(u64),
    /// A put if nothing is there, which was done.
    PutNew(u64),
    /// A put if nothing is there that found something.
    Refused,
    /// A deletion.
    Delete,
    /// A read of that value, or of nothing.
    Get(Option<u64>),
}

/// One operation on a line of time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    pub(crate) act: Act,
    pub(crate) begun: u64,
    /// `None`: the client was not told; it happens at some time after its begin, or never.
    pub(crate) ended: Option<u64>,
}

impl Act {
    /// What the key holds afterwards, if it can happen now.
    fn on(self, value: Option<u64>) -> Option<Option<u64>> {
        match self {
            Self::Put(new) => Some(Some(new)),
            Self::PutNew(new) => value.is_none().then_some(Some(new)),
            Self::Refused => value.is_some().then_some(value),
            Self::Delete => Some(None),
            Self::Get(seen) => (seen == value).then_some(value),
        }
    }
}

/// Looks for an order.
pub(crate) fn is_linear(events: &[Event]) -> bool {
    assert!(events.len() <= 64);
    let mut seen = HashSet::new();
    let mut open = vec![(0u64, None)];
    while let Some((done, value)) = open.pop() {
        let left = |at: &usize| done >> at & 1 == 0;
        let left: Vec<usize> = (0..events.len()).filter(left).collect();
        let told = left.iter().filter_map(|at| events[*at].ended);
        let Some(first_end) = told.min() else {
            return true;
        };
        for at in left {
            let Event { act, begun, .. } = events[at];
            let next = act.on(value).filter(|_| begun <= first_end);
            if let Some(next) = next.map(|value| (done | 1 << at, value))
                && seen.insert(next)
            {
                open.push(next);
            }
        }
    }
    false
}

#[test]
fn lost_updates_two_winners_and_flips_have_no_order() {
    let event = |act, begun, ended| Event { act, begun, ended };
    let put = event(Act::Put(1), 0, Some(1));
    let lost = [put, event(Act::Get(None), 2, Some(3))];
    assert!(!is_linear(&lost));
    let winners = [
        event(Act::PutNew(1), 0, Some(5)),
        event(Act::PutNew(2), 1, Some(4)),
    ];
    assert!(!is_linear(&winners));
    assert!(is_linear(&[winners[0], event(Act::Refused, 1, Some(4))]));
    let late = event(Act::Put(2), 2, None);
    let (old, new) = (Act::Get(Some(1)), Act::Get(Some(2)));
    let read = |act, at| event(act, at, Some(at));
    assert!(is_linear(&[put, late, read(old, 3), read(new, 4)]));
    assert!(
        !is_linear(&[put, late, read(new, 3), read(old, 4)]),
        "it flips"
    );
}
