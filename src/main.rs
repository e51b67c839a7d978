//! dropreel
fn main() {}
