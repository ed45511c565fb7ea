//! The real store on drives in memory: what clients see, with drives away, damaged and crashed,
//! and with two holders at once.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod between;
mod contest;
mod course;
mod deletes;
mod faults;
mod holders;
mod linear;
mod lists;
mod plain;
mod post;
mod recount;
mod replaced;
mod rig;
mod tags;
mod upload_crashes;
mod upload_lists;
mod uploads;
mod versions;
