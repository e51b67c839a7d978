//! What stands in front of the nodes for the provider's callbacks, as a proxy does: each connection is led to the next node.

use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use crate::network;

/// Runs until it is aborted.
pub async fn run() {
    let listener = TcpListener::bind(network::PROXY).await.unwrap();
    let mut turn = 0;
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        turn = turn % 3 + 1;
        tokio::spawn(async move {
            for place in 0..3 {
                let node = (turn + place) % 3 + 1;
                let address = format!("{}:8787", network::address_of_node(node));
                let connect = tokio::time::timeout(Duration::from_secs(1), TcpStream::connect(address)).await;
                if let Ok(Ok(mut server)) = connect {
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    return;
                }
            }
        });
    }
}
