//! The client of the provider's task API: requests go out as they were committed, and each answer becomes a verdict in
//! the words of [`crate::job::event`].
//!
//! A refusal of one job's call says nothing about the others until a neutral call gets it too, one that is about no job:
//! [`gate`] decides when calls are suspended.
//!
//! A call goes [`gate::Gate`] → [`client::ProviderClient`] → [`gate::Gate::settle`]. The client consumes a permit that
//! only the gate makes, so no call can bypass the gate. Nothing here repeats a call: whether, when and with what to try
//! again, `job` decides.

mod account;
pub mod answer;
pub mod balance;
pub mod catalogue;
pub mod classify;
pub mod client;
pub mod gate;
pub mod neutral;
pub mod quote;
pub mod reply;
pub mod request;
pub mod transport;
pub mod wanted_quotes;
pub mod wire;
