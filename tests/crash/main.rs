//! The crash tests: the real binary is killed, its disks fail or its calls do, and afterwards every promise holds.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "../support/mod.rs"]
mod support;

mod calls;
mod disks;
mod file_systems;
mod kills;
mod mutants;
mod points;
mod power;
