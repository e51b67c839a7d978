//! dropreel
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests may look at the real clock"))]

pub mod clock;
pub mod dice;
pub mod disk;
pub mod job;
pub mod jobfile;
pub mod media;
pub mod money;
pub mod provider;
pub mod sandbox;
pub mod secret;
pub mod settings;
pub mod stages;
pub mod store;
