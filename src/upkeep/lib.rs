//! The `upkeep` room.
