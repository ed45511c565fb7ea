//! The nouns every room shares: names, ids, geometry, orders, ranges.
//!
//! Everything here is parsed once and always legal afterwards. This room knows no other
//! room, no clock, no file, no socket and no randomness.

mod geometry;
mod id;
mod name;
mod order;
mod range;
mod time;
mod version;

pub use geometry::{Geometry, GeometryError};
pub use id::{DataId, DeploymentId, DriveId, IdError, Uuid};
pub use name::{BucketName, NameError, ObjectKey};
pub use order::{BucketId, Epoch, Order, Slot, VersionId};
pub use range::{ByteRange, RangeError, RangeSpec};
pub use time::Timestamp;
pub use version::{Etag, Head, Kind, Placed, StorageClass};
