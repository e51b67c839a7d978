//! The two HTTP servers: `public` receives callbacks from the internet, `admin` serves operators and their
//! programs.
//!
//! A handler reads the store or commits to it, and calls nobody else. Background stages do the rest: the
//! store notifies them after a commit.

pub mod admin;
mod answer_limit;
mod body;
mod connection_limits;
pub mod public;

#[cfg(test)]
mod rig;
