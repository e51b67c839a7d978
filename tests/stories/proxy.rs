//! Calls to the provider through a proxy.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{Rig, quick};

/// A SOCKS 5 server (RFC 1928) without passwords, for IPv4 addresses. Returns its address and its connections so far.
fn socks_server() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, connections) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = connections.clone();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            count.fetch_add(1, Ordering::Relaxed);
            let client = client.unwrap();
            std::thread::spawn(move || relay(client));
        }
    });
    (address, connections)
}

fn relay(mut client: TcpStream) -> std::io::Result<()> {
    let mut greeting = [0; 2];
    client.read_exact(&mut greeting)?;
    let mut methods = vec![0; greeting[1].into()];
    client.read_exact(&mut methods)?;
    client.write_all(&[5, 0])?;
    let mut request = [0; 10];
    client.read_exact(&mut request)?;
    let [5, 1, 0, 1, a, b, c, d, high, low] = request else { return Ok(()) };
    let server = TcpStream::connect((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])))?;
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    std::io::copy(&mut &server, &mut client)?;
    client.shutdown(Shutdown::Write)
}

#[tokio::test]
async fn socks_proxy_carries_all_calls_to_the_provider() {
    let (address, connections) = socks_server();
    let mut rig = Rig::set_up("").await;
    rig.set("PROVIDER__PROXY", &format!("socks5://{address}"));
    rig.start_daemon().await;
    rig.drop("through.json", quick("through", ""));
    rig.until("through", &["succeeded"]).await;
    assert!(connections.load(Ordering::Relaxed) > 0, "the proxy was not used");
    let doctor = rig.run(&["doctor"]).await;
    assert!(String::from_utf8_lossy(&doctor.stdout).contains("accepts the key"), "{doctor:?}");
    rig.finish().await;
}

#[tokio::test]
async fn doctor_names_an_unreachable_proxy() {
    let mut rig = Rig::set_up("").await;
    rig.set("PROVIDER__PROXY", "socks5h://127.0.0.1:9");
    let doctor = rig.run(&["doctor"]).await;
    let text = String::from_utf8_lossy(&doctor.stdout);
    assert!(doctor.status.code() == Some(1) && text.contains("provider.proxy"), "{text}");
    rig.finish().await;
}
