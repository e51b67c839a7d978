//! dropreel: drop a JSON job file into a folder, find the finished AI video in another.
//!
//! `ARCHITECTURE.md` in the repository is the map: layers, the pipeline, the states of a job, and where a change goes.
//! The words are defined in `docs/glossary.md`.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests may look at the real clock"))]

pub mod api;
pub mod cli;
pub mod clock;
pub mod daemon;
pub mod failpoints;
pub mod fs;
pub mod heartbeats;
pub mod inbox;
pub mod job;
pub mod jobfile;
pub mod library;
pub mod media;
pub mod money;
pub mod pictures;
pub mod pricing;
pub mod provider;
pub mod rng;
pub mod sandbox;
pub mod secret;
pub mod server;
pub mod settings;
pub mod sha256;
pub mod stages;
pub mod store;
pub mod watchers;
