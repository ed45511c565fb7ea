//! The `erasure` room.
