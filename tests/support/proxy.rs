//! A SOCKS 5 server, and a TLS server in front of the sandbox: tests have no provider that is not on this machine.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// An address that no network has (RFC 5737), and for which the TLS server has a certificate.
pub const PROVIDER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The certificate, valid for a hundred years, and its key.
const CERTIFICATE: &str = include_str!("provider-tls.pem");
/// How long a relay waits for one side before it looks at the other.
const TURN: Duration = Duration::from_millis(5);

/// A SOCKS 5 server (RFC 1928) without passwords, for IPv4 addresses.
pub struct SocksServer {
    pub address: SocketAddr,
    /// Connections so far.
    pub connections: Arc<AtomicUsize>,
    /// Where [`PROVIDER`] leads.
    pub provider: Arc<Mutex<Option<SocketAddr>>>,
}

impl SocksServer {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            provider: Arc::default(),
        };
        let (count, provider) = (server.connections.clone(), server.provider.clone());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                count.fetch_add(1, Ordering::Relaxed);
                let (client, provider) = (client.unwrap(), *provider.lock().unwrap());
                std::thread::spawn(move || relay(client, provider));
            }
        });
        server
    }
}

fn relay(mut client: TcpStream, provider: Option<SocketAddr>) -> io::Result<()> {
    let mut greeting = [0; 2];
    client.read_exact(&mut greeting)?;
    let mut methods = vec![0; greeting[1].into()];
    client.read_exact(&mut methods)?;
    client.write_all(&[5, 0])?;
    let mut request = [0; 10];
    client.read_exact(&mut request)?;
    let [5, 1, 0, 1, a, b, c, d, high, low] = request else { return Ok(()) };
    let wanted = (Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low]));
    let server = TcpStream::connect(match provider {
        Some(provider) if wanted.0 == PROVIDER => provider,
        _ => wanted.into(),
    })?;
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    io::copy(&mut &server, &mut client)?;
    client.shutdown(Shutdown::Write)
}

/// Starts a server at a free port that takes TLS connections for [`PROVIDER`], and passes on what they carry to `server`.
/// The certificate is written to `certificate`, for the clients that shall trust it.
pub fn start_tls_server(server: SocketAddr, certificate: &std::path::Path) -> SocketAddr {
    std::fs::write(certificate, CERTIFICATE).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let chain = vec![CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, connection) = (client.unwrap(), ServerConnection::new(config.clone()).unwrap());
            std::thread::spawn(move || decrypt(StreamOwned::new(connection, client), server));
        }
    });
    address
}

fn decrypt(mut client: StreamOwned<ServerConnection, TcpStream>, server: SocketAddr) -> io::Result<()> {
    let mut server = TcpStream::connect(server)?;
    client.sock.set_read_timeout(Some(TURN))?;
    server.set_read_timeout(Some(TURN))?;
    while pass_on(&mut client, &mut server)? && pass_on(&mut server, &mut client)? {}
    Ok(())
}

/// Whether the connection is still open.
fn pass_on(from: &mut impl Read, to: &mut impl Write) -> io::Result<bool> {
    let mut bytes = [0; 16 * 1024];
    match from.read(&mut bytes) {
        Ok(count) => to.write_all(&bytes[..count]).map(|()| count > 0),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(true),
        Err(error) => Err(error),
    }
}
