//! The `quorum` room.
