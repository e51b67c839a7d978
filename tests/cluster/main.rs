//! The cluster tests, which `ci/cluster` starts: three daemons on one PostgreSQL server and one bucket, each in a network
//! namespace of its own, as are the servers and the simulated provider, in which this program runs.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "../support/mod.rs"]
mod support;

mod bucket;
mod checks;
mod cluster;
mod fail_over;
mod faults;
mod load;
mod network;
mod node;
mod proxy;
mod rounds;

/// A number that `ci/cluster` sets.
fn number(variable: &str) -> u64 {
    let text = std::env::var(variable).unwrap_or_else(|_| panic!("{variable}: run ci/cluster"));
    text.parse().unwrap()
}
