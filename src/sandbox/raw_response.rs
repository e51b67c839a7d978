//! Responses that no HTTP library sends: false lengths, connections closed or reset in the middle. They are written to
//! the socket directly, which is closed before the library can write its own response.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::clock::Clock;
use crate::sandbox::http_types::{Framing, Response, Transmission, TransmissionEnd};

/// Time for the client to read before a reset, which discards what it has not read.
const RESET_DELAY: Duration = Duration::from_millis(50);

/// The socket of a request's connection, duplicated from the library's.
#[derive(Clone)]
pub(crate) struct RawConnection(Arc<OwnedFd>);

impl RawConnection {
    pub fn duplicate(stream: &TcpStream) -> std::io::Result<Self> {
        use std::os::fd::AsFd;
        Ok(Self(Arc::new(stream.as_fd().try_clone_to_owned()?)))
    }

    /// Sends a response as its [`Transmission`] says, and ends the connection even if that fails.
    pub async fn send(&self, response: &Response, without_body: bool, clock: &Clock) -> std::io::Result<()> {
        let stream = std::net::TcpStream::from(self.0.try_clone()?);
        let mut stream = TcpStream::from_std(stream)?;
        let sent = write(&mut stream, response, without_body, clock).await;
        if let TransmissionEnd::Reset(_) = response.transmission.end {
            clock.sleep(RESET_DELAY).await;
        }
        if matches!(response.transmission.end, TransmissionEnd::NoResponse | TransmissionEnd::Reset(_)) {
            // Undoing the connect sends a reset at once, although the library holds the socket too.
            rustix::net::connect_unspec(&self.0)?;
        } else {
            // The library can write nothing after this.
            rustix::net::shutdown(&self.0, rustix::net::Shutdown::Both)?;
        }
        sent
    }
}

/// Whether [`RawConnection::send`] must send this; the library sends everything else.
pub(crate) fn is_needed_for(transmission: &Transmission) -> bool {
    let ordinary = matches!(transmission.framing, Framing::Length | Framing::Chunked);
    !ordinary || transmission.end != TransmissionEnd::Complete || transmission.bytes_per_second.is_some()
}

async fn write(
    stream: &mut TcpStream,
    response: &Response,
    without_body: bool,
    clock: &Clock,
) -> std::io::Result<()> {
    let stop = match response.transmission.end {
        TransmissionEnd::NoResponse => return Ok(()),
        TransmissionEnd::Complete => response.body.len(),
        TransmissionEnd::Close(bytes) | TransmissionEnd::Reset(bytes) | TransmissionEnd::Stall(bytes) => {
            bytes.min(response.body.len())
        }
    };
    stream.write_all(head(response).as_bytes()).await?;
    if without_body {
        return Ok(());
    }
    let chunked = response.transmission.framing == Framing::Chunked;
    let mut at = 0;
    while at < stop {
        let mut chunk = response.body.chunk(at);
        // A limited rate is sent in ten portions a second.
        let rate = response.transmission.bytes_per_second;
        let portion = rate.map_or(u64::MAX, |rate| rate.div_ceil(10).max(1));
        chunk.truncate(usize::try_from((stop - at).min(portion)).unwrap_or(usize::MAX));
        at += chunk.len() as u64;
        if chunked {
            // The chunk that is cut off announces more than it has.
            let cut = at == stop && stop < response.body.len();
            let announced = if cut { chunk.len() + 1000 } else { chunk.len() };
            stream.write_all(format!("{announced:x}\r\n").as_bytes()).await?;
            stream.write_all(&chunk).await?;
            if !cut {
                stream.write_all(b"\r\n").await?;
            }
        } else {
            stream.write_all(&chunk).await?;
        }
        if let Some(rate) = rate.filter(|_| at < stop) {
            clock.sleep(Duration::from_secs_f64(chunk.len() as f64 / rate.max(1) as f64)).await;
        }
    }
    match response.transmission.end {
        TransmissionEnd::Complete if chunked => stream.write_all(b"0\r\n\r\n").await,
        TransmissionEnd::Stall(_) => wait_until_closed(stream).await,
        _ => Ok(()),
    }
}

async fn wait_until_closed(stream: &mut TcpStream) -> std::io::Result<()> {
    use tokio::io::AsyncReadExt;
    let mut rest = [0; 64];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

fn head(response: &Response) -> String {
    let reason = StatusCode::from_u16(response.status).ok().and_then(|status| status.canonical_reason());
    let mut head = format!("HTTP/1.1 {} {}\r\n", response.status, reason.unwrap_or("Unknown"));
    for (name, value) in &response.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    match response.transmission.framing {
        Framing::Length => head.push_str(&format!("Content-Length: {}\r\n", response.body.len())),
        Framing::FalseLength(bytes) => head.push_str(&format!("Content-Length: {bytes}\r\n")),
        Framing::Chunked => head.push_str("Transfer-Encoding: chunked\r\n"),
        Framing::Close => {}
    }
    head + "Connection: close\r\n\r\n"
}
