//! Foreign hosts: fetching an output from wherever its link leads, safely, and seeing whether it is one.
//!
//! Never the provider's client: no key but to the provider's own origin, no cookies, no decompression, no redirect
//! followed unseen, no address that the policy forbids. One call is one try; what to try again is decided in `job`.

mod boxes;
pub mod fetch;
pub mod guard;
pub mod inspect;
pub mod transport;
