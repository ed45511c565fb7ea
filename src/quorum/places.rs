//! A handful of drives, by their place in the set.

use std::fmt;

use types::Geometry;

/// Some of a set's drives, by place (from 0, below [`Geometry::DRIVES_MAX`]).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Places(u16);

impl Places {
    /// No drive.
    pub const NONE: Places = Places(0);

    /// The first `drives` places: a whole set.
    pub fn all(drives: usize) -> Self {
        (0..drives).collect()
    }

    /// Adds a place. One that no set has is ignored.
    pub fn insert(&mut self, place: usize) {
        if place < Geometry::DRIVES_MAX {
            self.0 |= 1 << place;
        }
    }

    /// Takes a place out.
    pub fn remove(&mut self, place: usize) {
        *self = self.without(Self::from_iter([place]));
    }

    /// Whether the place is among them.
    pub fn contains(self, place: usize) -> bool {
        place < Geometry::DRIVES_MAX && self.0 & (1 << place) != 0
    }

    /// How many there are.
    pub fn len(self) -> usize {
        usize::try_from(self.0.count_ones()).unwrap_or(Geometry::DRIVES_MAX)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The places in both.
    pub fn and(self, other: Places) -> Places {
        Places(self.0 & other.0)
    }

    /// The places in either.
    pub fn or(self, other: Places) -> Places {
        Places(self.0 | other.0)
    }

    /// The places here that are not in `other`.
    pub fn without(self, other: Places) -> Places {
        Places(self.0 & !other.0)
    }

    /// The places, rising.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..Geometry::DRIVES_MAX).filter(move |place| self.contains(*place))
    }

    /// The lowest place.
    pub fn first(self) -> Option<usize> {
        self.iter().next()
    }
}

impl FromIterator<usize> for Places {
    fn from_iter<I: IntoIterator<Item = usize>>(places: I) -> Self {
        let mut set = Self::NONE;
        for place in places {
            set.insert(place);
        }
        set
    }
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_a_set() {
        let some: Places = [3, 0, 3, 15, 16, 99].into_iter().collect();
        assert_eq!(some.iter().collect::<Vec<_>>(), [0, 3, 15]);
        assert_eq!(
            (some.len(), some.first(), some.contains(16)),
            (3, Some(0), false)
        );
        assert_eq!(
            Places::all(4).without(some).iter().collect::<Vec<_>>(),
            [1, 2]
        );
        assert_eq!(Places::all(4).and(some).or(Places::from_iter([1])).len(), 3);
        assert_eq!(Places::all(16).len(), 16);
        let mut left = some;
        [0, 1, 16].iter().for_each(|place| left.remove(*place));
        assert_eq!(left, Places::from_iter([3, 15]));
        assert!(Places::NONE.is_empty() && Places::NONE.first().is_none());
    }
}
