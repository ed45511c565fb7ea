//! A lean S3 client for load and for the limits that a server can approach.
//!
//! On two cores a slow client hides the server, so this one writes HTTP/1.1 by hand,
//! keeps connections, signs once per request and makes bodies without copying.

pub mod bare;
pub mod body;
pub mod commit_files;
pub mod list;
pub mod md5;
pub mod report;
pub mod run;
pub mod sign;
pub mod wire;
