//! The real store on drives in memory: what clients see, with drives away, damaged and crashed,
//! and with two holders at once.

mod faults;
mod holders;
mod lists;
mod plain;
mod rig;
