//! The records of the HTTP API (docs/reference.md#http): what the server writes, hooks send and the command
//! line reads. Defined once, so that both sides agree; `schema/openapi.json` is generated from them.
//!
//! A record is not a database row: a row may change without the API, and a secret cannot end up in an answer
//! because somebody added a column.

pub mod action;
pub mod adopt;
pub mod again;
pub mod batch;
pub mod budget;
pub mod data_dir;
pub mod estimate;
pub mod event;
pub mod export;
pub mod hook;
pub mod job;
pub mod list;
pub mod models;
pub mod picture;
pub mod problem;
pub mod prune;
pub mod rating;
pub mod report;
pub mod slots;
pub mod status;
