//! The two doors: what the world may tell us, and what people and programs may see and order.
//!
//! A door only commits and looks: it changes no job itself and calls nobody. Whoever is to act hears the store's bell.

pub mod admin;
mod body;
mod connection_limits;
mod events;
mod problem;
pub mod public;
mod signature;
mod status;

#[cfg(test)]
mod rig;
