//! For the tests of the doors: a real store on a real file, and clients that speak HTTP by hand.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use actix_web::dev::{Server, ServerHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::job::JobId;
use crate::job::policy::PollingPolicy;
use crate::jobfile::Draft;
use crate::rng::Rng;
use crate::store::Store;
use crate::store::intake::{Intake, Source};

/// No test waits longer than this for anything.
pub(super) const SOON: Duration = Duration::from_secs(30);

/// A store in a folder of its own.
pub(super) struct Rig {
    pub folder: tempfile::TempDir,
    pub store: Store,
}

impl Rig {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dropreel.db");
        let (store, _) =
            Store::open(&path, PollingPolicy::DEFAULT, Rng::seeded(1), Clock::machine()).unwrap();
        Self { folder, store }
    }

    pub async fn take_in(&self, drafts: Vec<Draft>) -> Vec<JobId> {
        let intake = Intake { source: Source::Api, file_name: None, sha256: String::new(), bytes: 1 };
        let drafts = Box::new(drafts.into_iter().map(Ok));
        self.store.take_in(intake, drafts, NOW).await.unwrap().jobs
    }
}

/// When the jobs of the tests were accepted.
pub(super) const NOW: Timestamp = Timestamp::from_millis(1_775_285_160_000);

pub(super) fn draft(name: &str) -> Draft {
    Draft {
        name: name.into(),
        priority: 0,
        labels: [("project".to_owned(), "spring".to_owned())].into(),
        key: None,
        again: false,
        not_before: None,
        model: "wan2.5-t2v".into(),
        prompt: Some("春天的樱花树下".into()),
        body: r#"{"model":"wan2.5-t2v","seed":1.10}"#.into(),
    }
}

/// A door that is open as long as this lives.
pub(super) struct Open {
    pub address: SocketAddr,
    handle: ServerHandle,
}

impl Open {
    pub fn door(serve: impl FnOnce(TcpListener) -> Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = serve(listener);
        let handle = server.handle();
        tokio::spawn(server);
        Self { address, handle }
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends `request` as it is, and reads until the door hangs up.
    pub async fn exchange(&self, request: impl AsRef<[u8]>) -> Answer {
        let mut socket = self.connect().await;
        // A door that refuses early may hang up before it has read everything.
        let _ = socket.write_all(request.as_ref()).await;
        Answer::read(&mut socket).await
    }

    /// A request with `Connection: close`; `head` is the request line and further header lines.
    pub async fn ask(&self, head: &str, body: &str) -> Answer {
        let (line, headers) = head.split_once('\n').unwrap_or((head, ""));
        let mut request = format!("{line} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.contains("Host:") {
            request += &format!("Host: {}\r\n", self.address);
        }
        for header in headers.lines() {
            request += &format!("{header}\r\n");
        }
        if !body.is_empty() {
            request += &format!("Content-Length: {}\r\n", body.len());
        }
        self.exchange(format!("{request}\r\n{body}")).await
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // The order goes out at once; nobody needs to wait until it is carried out.
        drop(self.handle.stop(false));
    }
}

/// What came back until the other side hung up.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
    pub took: Duration,
}

impl Answer {
    pub async fn read(socket: &mut TcpStream) -> Self {
        let began = Instant::now();
        let bytes = tokio::time::timeout(SOON, read_to_end(socket)).await.expect("the door never hung up");
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_owned(), body: body.to_owned(), took: began.elapsed() }
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let is_it = |line: &&str| line.to_ascii_lowercase().starts_with(&format!("{name}:"));
        self.head.lines().find(is_it).map(|line| line[name.len() + 1..].trim())
    }
}

/// A reset is a way to hang up, too; what came before it counts.
async fn read_to_end(socket: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Ok(1..) = socket.read_buf(&mut bytes).await {}
    bytes
}
