//! Media hosts: downloads outputs safely, and checks whether they are media.
//!
//! Not the provider's client: no key except to the provider's own origin, no cookies, no unchecked redirect, no address that the policy forbids. One call is one try; `job` decides about retries.

mod boxes;
pub mod client;
pub mod download;
pub mod error;
pub mod guard;
pub mod inspect;
pub mod range;
pub mod transport;
pub mod unpack;
