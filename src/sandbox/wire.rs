//! Answers that no HTTP library agrees to send: lengths that lie, connections cut or reset in the middle. They are
//! written to the connection by hand; the library is left with a dead one.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::clock::Clock;
use crate::sandbox::exchange::{Answer, End, Framing, Wire};

/// Between the last byte and a reset.
const LINGER: Duration = Duration::from_millis(50);

/// The connection a request came on, beside the library's own hold on it.
#[derive(Clone)]
pub(crate) struct Line(Arc<OwnedFd>);

impl Line {
    /// A second hold on `stream`.
    pub fn of(stream: &TcpStream) -> std::io::Result<Self> {
        use std::os::fd::AsFd;
        Ok(Self(Arc::new(stream.as_fd().try_clone_to_owned()?)))
    }

    /// Sends `answer` as its [`Wire`] says and ends the connection, whatever happens.
    pub async fn send(&self, answer: &Answer, without_body: bool, clock: &Clock) -> std::io::Result<()> {
        let stream = std::net::TcpStream::from(self.0.try_clone()?);
        let mut stream = TcpStream::from_std(stream)?;
        let sent = write(&mut stream, answer, without_body, clock).await;
        if let End::Reset(_) = answer.wire.end {
            // A reset overtakes what the other side has not read yet; so it gets a moment to read.
            clock.sleep(LINGER).await;
        }
        if matches!(answer.wire.end, End::Nothing | End::Reset(_)) {
            // Undoing the connect sends a reset at once, whoever else holds the connection.
            rustix::net::connect_unspec(&self.0)?;
        } else {
            // The same for an end in good order: the library can write nothing behind it.
            rustix::net::shutdown(&self.0, rustix::net::Shutdown::Both)?;
        }
        sent
    }
}

/// Whether only [`Line::send`] can do this; everything else is left to the library.
pub(crate) fn by_hand(wire: &Wire) -> bool {
    let honest = matches!(wire.framing, Framing::Length | Framing::Chunked);
    !honest || wire.end != End::Whole || wire.pace.is_some()
}

async fn write(
    stream: &mut TcpStream,
    answer: &Answer,
    without_body: bool,
    clock: &Clock,
) -> std::io::Result<()> {
    let stop = match answer.wire.end {
        End::Nothing => return Ok(()),
        End::Whole => answer.body.len(),
        End::Close(bytes) | End::Reset(bytes) | End::Silence(bytes) => bytes.min(answer.body.len()),
    };
    stream.write_all(head(answer).as_bytes()).await?;
    if without_body {
        return Ok(());
    }
    let chunked = answer.wire.framing == Framing::Chunked;
    let mut at = 0;
    while at < stop {
        let mut piece = answer.body.piece(at);
        // Ten portions a second are slow enough to see and fast enough to wait for.
        let portion = answer.wire.pace.map_or(u64::MAX, |pace| pace.div_ceil(10).max(1));
        piece.truncate(usize::try_from((stop - at).min(portion)).unwrap_or(usize::MAX));
        at += piece.len() as u64;
        if chunked {
            // A chunk that is cut promises more than it has.
            let cut = at == stop && stop < answer.body.len();
            let promised = if cut { piece.len() + 1000 } else { piece.len() };
            stream.write_all(format!("{promised:x}\r\n").as_bytes()).await?;
            stream.write_all(&piece).await?;
            if !cut {
                stream.write_all(b"\r\n").await?;
            }
        } else {
            stream.write_all(&piece).await?;
        }
        if let Some(pace) = answer.wire.pace.filter(|_| at < stop) {
            clock.sleep(Duration::from_secs_f64(piece.len() as f64 / pace.max(1) as f64)).await;
        }
    }
    match answer.wire.end {
        End::Whole if chunked => stream.write_all(b"0\r\n\r\n").await,
        End::Silence(_) => hang_up(stream).await,
        _ => Ok(()),
    }
}

/// Waits until the other side goes.
async fn hang_up(stream: &mut TcpStream) -> std::io::Result<()> {
    use tokio::io::AsyncReadExt;
    let mut rest = [0; 64];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

fn head(answer: &Answer) -> String {
    let reason = StatusCode::from_u16(answer.status).ok().and_then(|status| status.canonical_reason());
    let mut head = format!("HTTP/1.1 {} {}\r\n", answer.status, reason.unwrap_or("Unknown"));
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    match answer.wire.framing {
        Framing::Length => head.push_str(&format!("Content-Length: {}\r\n", answer.body.len())),
        Framing::Claims(bytes) => head.push_str(&format!("Content-Length: {bytes}\r\n")),
        Framing::Chunked => head.push_str("Transfer-Encoding: chunked\r\n"),
        Framing::Close => {}
    }
    head + "Connection: close\r\n\r\n"
}
