//! What is known of models and their prices before anything is sent (docs/provider.md#models): the table of models, and
//! what of a request decides its price.
//!
//! Pure data and arithmetic: nothing here asks the provider.

pub mod estimate;
mod model;
pub mod models;
pub mod own_charges;
pub mod price_book;
mod request;
pub mod total;

pub use request::{PriceRange, PricedRequest, SourcePrice};
