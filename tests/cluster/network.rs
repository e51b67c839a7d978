//! The network that `ci/cluster` makes: what has which address, and cuts.

use std::process::Command;

/// Where the simulated provider listens. An address of each node's own machine, from which a route leads here: without TLS, a
/// provider may not be elsewhere.
pub const PROVIDER: &str = "127.9.9.9:9000";
/// Where callbacks go.
pub const PROXY: &str = "10.77.0.10:8787";
pub const DATABASE: &str = "10.77.0.11";
pub const BUCKET: &str = "10.77.0.12:9000";

/// The network namespace of a member.
pub fn namespace(member: &str) -> String {
    format!("{}-{member}", std::env::var("DROPREEL_CLUSTER").expect("DROPREEL_CLUSTER: run ci/cluster"))
}

pub fn address_of_node(number: usize) -> String {
    format!("10.77.0.2{number}")
}

fn ip(member: &str, words: &str) {
    let namespace = namespace(member);
    let mut command = Command::new("ip");
    command.args(["-n", &namespace]).args(words.split(' '));
    assert!(command.status().unwrap().success(), "{command:?}");
}

/// Does to the database server what `FOLDER/control` knows.
pub async fn database_server(words: &[&str]) {
    let control = std::env::var("DROPREEL_TEST_POSTGRES").expect("DROPREEL_TEST_POSTGRES: run ci/cluster");
    let mut command = Command::new(control);
    command.args(words);
    let status = tokio::task::spawn_blocking(move || command.status().unwrap()).await.unwrap();
    assert!(status.success(), "{words:?}");
}

/// A cut, which ends when this is dropped. Nothing is refused: what is sent is lost.
#[derive(Debug)]
pub struct Cut {
    member: String,
    heal: String,
}

impl Cut {
    fn new(member: String, cut: &str, heal: &str) -> Self {
        ip(&member, cut);
        Self { member, heal: heal.to_owned() }
    }

    /// What the node sends to the database is lost.
    pub fn node_from_database(node: usize) -> Self {
        let route = format!("blackhole {DATABASE}/32");
        Self::new(format!("node-{node}"), &format!("route add {route}"), &format!("route del {route}"))
    }

    /// What the database sends to the node is lost.
    pub fn database_from_node(node: usize) -> Self {
        let route = format!("blackhole {}/32", address_of_node(node));
        Self::new("database".to_owned(), &format!("route add {route}"), &format!("route del {route}"))
    }

    /// What the node sends to the provider is lost.
    pub fn node_from_provider(node: usize) -> Self {
        let (cut, route) = ("route replace blackhole 127.9.9.9/32 table local", "route replace 127.9.9.9/32");
        let heal = format!("{route} via 10.77.0.10 dev eth0 table local");
        Self::new(format!("node-{node}"), cut, &heal)
    }

    /// Nothing reaches the bucket.
    pub fn bucket() -> Self {
        Self::new("bucket".to_owned(), "link set dev eth0 down", "link set dev eth0 up")
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        ip(&self.member, &self.heal);
    }
}
