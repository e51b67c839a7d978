//! The stories: end-to-end tests of the behaviour that a user sees, with the real binary and the sandbox.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "../support/mod.rs"]
mod support;

mod adopt;
mod again;
mod bucket;
mod callback;
mod cli;
mod costs;
mod doctor;
mod download;
mod estimates;
mod export;
mod folders;
mod follow;
mod generations;
mod handed_pictures;
mod hook_bodies;
mod hooks;
mod intake;
mod isolation;
mod leaders;
mod main_job;
mod maintenance;
mod metrics;
mod migrate;
mod money;
mod page;
mod pictures;
mod poll;
mod postgres;
mod proxy;
mod quotes;
mod ratings;
mod recipes;
mod restart;
mod service;
mod signature;
mod standby;
mod submit;
mod tables;
