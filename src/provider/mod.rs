//! The provider's API: one call is one attempt, sent as it was committed, and its answer a verdict in the job
//! machine's words.
//!
//! A call goes [`gate::Gate::admit`] → [`client::ProviderClient`] → [`gate::Gate::settle`]; the pass that the gate
//! hands out is what the client asks for, so no call can go around it. Nothing here repeats a call: whether, when and
//! with what to try again is the job machine's to say.

mod classify;
pub mod client;
pub mod gate;
pub mod reply;
pub mod request;
pub mod suspension;
pub mod verdict;
pub mod wire;
