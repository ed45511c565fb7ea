//! Black-box tests, load and fault programs: real binary, real disks.

pub mod crash;
pub mod load;
