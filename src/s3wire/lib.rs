//! The `s3wire` room.
