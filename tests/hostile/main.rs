//! The hostile corpus: hostile and broken input of every kind, as data with the expected outcome. Answers of the provider
//! and of media hosts, links, objects in the inbox, texts, and HTTP clients.
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
mod hosts;
mod inbox;
mod injections;
mod media;
mod pictures;
mod plans;
mod provider;
