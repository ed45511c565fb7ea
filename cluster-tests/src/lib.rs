//! Black-box tests, load and fault programs: real binary, real disks.
