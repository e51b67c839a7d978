//! The hostile corpus: everything that others can send to the real listeners, as data with its one right
//! outcome. The provider's answers, media hosts and their links, what lies in the inbox, and HTTP clients.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "../support/mod.rs"]
mod support;

mod clients;
mod evidence;
mod inbox;
mod injections;
mod media;
mod plans;
mod provider;
