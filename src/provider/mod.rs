//! The client of the provider's task API: requests go out as they were committed, and each answer becomes a verdict in
//! the words of [`crate::job::event`].
//!
//! A call goes [`gate::Gate`] → [`client::ProviderClient`] → [`gate::Gate::settle`]. The client consumes a permit that
//! only the gate makes, so no call can bypass the gate. Nothing here repeats a call: whether, when and with what to try
//! again, `job` decides.

pub mod answer;
pub mod classify;
pub mod client;
pub mod gate;
pub mod reply;
pub mod request;
pub mod wire;
