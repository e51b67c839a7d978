//! dropreel: drop a JSON job file into a folder, find the finished AI video in another.
//!
//! # The house
//! **Names point down, data meets in the store, neighbours never speak.** A file may name only rooms on floors below
//! its own; each folder or file in `stages` and `server` is a room of its own.
//!
//! | floor | rooms | may name |
//! | --- | --- | --- |
//! | 6 street | [`cli`] | everything below |
//! | 5 roof | [`daemon`] | everything below but [`sandbox`] |
//! | 4 rooms | [`stages`], [`server`]; and, apart, [`sandbox`] | floors 0-3; [`sandbox`] only floor 0 |
//! | 3 hands | [`store`], [`provider`], [`media`], [`inbox`], [`library`] | floors 0-2 |
//! | 2 reading | [`settings`], [`jobfile`] | floors 0-1 |
//! | 1 the job machine | [`job`] | floor 0 |
//! | 0 ground | [`clock`], [`rng`], [`failpoints`], [`money`], [`secret`], [`fs`] | nothing of ours but [`failpoints`] |
//!
//! # The river
//! ```text
//!  file ─▶ stages/intake ─┐                    ┌─▶ stages/submit ───▶ provider
//!  POST ─▶ server/public ──┤  store.apply(id,   ├─▶ stages/poll ─────▶ provider
//!  CLI ──▶ server/admin ───┤  event, now)       ├─▶ stages/callback   (folds kept deliveries)
//!                         └▶ read → job::step ─┴─▶ stages/download ─▶ media ─▶ library
//!                            → write, one tx;      each ends in store.apply(...) again
//!                            then ring the bell
//! ```
//!
//! # Four ideas carry it
//! - **One way to change a job.** [`store::Store::apply`] reads the row, asks the pure [`job::step::step`], and writes
//!   job, history and outputs in one transaction. A job's state is private; only `step` makes states.
//! - **The state is the queue.** The pure [`job::next::next_action`] says what a job needs next, and the store keeps that
//!   in two indexed columns. A restart replays nothing: the same rows give the same moves.
//! - **A stage is a pass.** [`stages::Stage::pass`] takes what is due, does one kind of work outside with no
//!   transaction open, and hands the store an event. The loop, the panic fence, backoff and shutdown exist once.
//! - **Proof by type.** The 204 is made from a [`store::deliveries::Kept`]; the provider's client sends only a
//!   [`job::attempt::Attempt`], which the store hands out after its commit, and only with a
//!   [`provider::gate::Pass`]; [`job::event::Event::Stored`] holds what only [`library`] hands out.
//!
//! # The rooms
//! - [`clock`]: wall clock and monotonic clock, and their paused twin. [`rng`]: seeded chance. [`money`]: integer
//!   quota. [`secret`]: text that cannot be printed, callback tokens. [`failpoints`]: places to die at, empty but in the lab.
//! - [`job`]: ten states, what can happen to them, what comes next, whose turn it is. No I/O.
//! - [`jobfile`]: bytes of a job file into drafts, or into every problem of it. [`settings`]: the configuration.
//! - [`store`]: SQLite, one writer thread, group commit; the only SQL. [`provider`]: the API, its words, its gate.
//!   [`media`]: foreign hosts. [`fs`]: durable writes, locks. [`inbox`], [`library`]: their folders.
//! - [`stages`]: the river's work. [`server`]: the public and the admin door. [`sandbox`]: the simulated provider, which
//!   shares no code with the reader of its answers.
//! - [`daemon`]: opens, wires, serves, drains. [`cli`]: the commands.
//!
//! # What holds it
//! `tests/house.rs` holds the floors; `clippy.toml` says what only one room may do. The seeded simulation
//! (`tests/simulation`) runs [`daemon::pipeline`] itself, not a model of it: under a paused clock blocking work is done in
//! place ([`clock::Clock::aside`]), requests are carried by somebody else ([`daemon::pipeline::Transports`]), and so one seed
//! decides all that happens. `docs/reliability.md` tells of it and of the crash lab, which the places in [`failpoints`] are for.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests may look at the real clock"))]

pub mod api;
pub mod cli;
pub mod clock;
pub mod daemon;
pub mod failpoints;
pub mod fs;
pub mod inbox;
pub mod job;
pub mod jobfile;
pub mod library;
pub mod media;
pub mod money;
pub mod provider;
pub mod rng;
pub mod sandbox;
pub mod secret;
pub mod server;
pub mod settings;
pub mod stages;
pub mod store;
