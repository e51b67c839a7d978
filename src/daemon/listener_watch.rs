//! Runs an HTTP server and watches its listener. Without a listener the daemon would keep running unreachable, so the process must
//! end then: a service manager starts it again.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use actix_web::dev::Server;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::clock::Clock;

/// How often to try whether the listener accepts connections.
const INTERVAL: Duration = Duration::from_secs(10);
/// After this many refusals in a row it is taken for closed.
const REFUSALS: u32 = 3;

/// A listener of the daemon.
#[derive(Clone, Copy, Debug)]
pub(super) struct WatchedListener {
    pub address: SocketAddr,
    /// The setting it comes from.
    pub key: &'static str,
}

/// Runs `server` to its end. If that, or the end of its listener, comes before `stop`, sends why to `failed`.
pub(super) async fn serve(
    listener: WatchedListener,
    mut server: Server,
    clock: Clock,
    stop: watch::Receiver<bool>,
    failed: watch::Sender<Option<String>>,
) {
    let ended = tokio::select! {
        ended = &mut server => Some(ended),
        () = wait_until_closed(listener.address, &clock, INTERVAL) => None,
    };
    let WatchedListener { address, key } = listener;
    if *stop.borrow() {
        if ended.is_none() {
            let _ = server.await;
        }
        return;
    }
    let why = match ended {
        Some(Err(error)) => error.to_string(),
        Some(Ok(())) => "its server ended".to_owned(),
        None => "it refuses connections".to_owned(),
    };
    failed.send_replace(Some(format!("the listener at {address} (`{key}`) failed: {why}")));
}

/// The acceptor of actix-web retries every error for ever, and ends in silence when it panics. Either way connections are
/// refused. A full listener only makes them wait, which is no failure.
async fn wait_until_closed(address: SocketAddr, clock: &Clock, interval: Duration) {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let address = SocketAddr::new(ip, address.port());
    let mut refusals = 0;
    while refusals < REFUSALS {
        clock.sleep(interval).await;
        let connected = clock.within(interval, TcpStream::connect(address)).await;
        let is_refused =
            matches!(connected, Some(Err(error)) if error.kind() == ErrorKind::ConnectionRefused);
        refusals = if is_refused { refusals + 1 } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use actix_web::{App, HttpServer};

    use super::*;

    fn server(listener: TcpListener) -> Server {
        HttpServer::new(App::new).workers(1).disable_signals().listen(listener).unwrap().run()
    }

    #[tokio::test]
    async fn closed_listener_is_noticed_under_its_running_server() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, socket) = (listener.local_addr().unwrap(), listener.try_clone().unwrap());
        let (clock, short) = (Clock::machine(), Duration::from_millis(20));
        let server = server(listener);
        let handle = server.handle();
        let test = async {
            let closed = clock.within(short * 10, wait_until_closed(address, &clock, short)).await;
            assert!(closed.is_none(), "an open listener counts as closed");
            rustix::net::shutdown(&socket, rustix::net::Shutdown::Both).unwrap();
            let limit = Duration::from_secs(20);
            assert!(clock.within(limit, wait_until_closed(address, &clock, short)).await.is_some());
            handle.stop(false).await;
        };
        let (ended, ()) = futures_util::future::join(server, test).await;
        ended.unwrap();
    }

    #[tokio::test]
    async fn end_of_a_server_is_a_failure_unless_the_daemon_stops() {
        for stops in [true, false] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let watched = WatchedListener { address: listener.local_addr().unwrap(), key: "admin.listen" };
            let (server, clock) = (server(listener), Clock::machine());
            let handle = server.handle();
            let (_stop, stop) = watch::channel(stops);
            let (sender, failed) = watch::channel(None);
            let run = serve(watched, server, clock, stop, sender);
            futures_util::future::join(run, handle.stop(false)).await;
            let why = failed.borrow().clone();
            assert_eq!(why.is_some_and(|why: String| why.contains("`admin.listen`")), !stops);
        }
    }
}
