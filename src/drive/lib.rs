//! The `drive` room.
