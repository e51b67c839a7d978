//! The crash lab: the real binary dies, again and again, and afterwards everything is still as promised.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "../support/mod.rs"]
mod support;

mod bench;
mod calls;
mod disks;
mod kills;
mod mutants;
mod points;
mod power;
