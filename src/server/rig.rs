//! Test support for the servers: a real store on a real file, and a client that writes HTTP by hand.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use actix_web::dev::{Server, ServerHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::job::JobId;
use crate::job::policy::PollingPolicy;
use crate::jobfile::{Draft, ObjectPlace};
use crate::rng::Rng;
use crate::store::Store;
use crate::store::job_files::{FileToIngest, Source};

/// No test waits longer than this for anything.
pub(super) const TEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A store in its own folder.
pub(super) struct Rig {
    pub folder: tempfile::TempDir,
    pub store: Store,
}

impl Rig {
    pub fn new() -> Self {
        Self::in_folder(tempfile::tempdir().unwrap())
    }

    pub fn in_folder(folder: tempfile::TempDir) -> Self {
        let path = folder.path().join("dropreel.db");
        let (store, _) =
            Store::open(&path, PollingPolicy::DEFAULT, Rng::seeded(1), Clock::machine()).unwrap();
        Self { folder, store }
    }

    pub async fn add_jobs(&self, drafts: Vec<Draft>) -> Vec<JobId> {
        let file = FileToIngest {
            source: Source::Api,
            file_name: None,
            sha256: String::new(),
            bytes: 1,
            idempotency_key: None,
            inputs_sha256: None,
        };
        let drafts = Box::new(drafts.into_iter().map(Ok));
        self.store.ingest(file, drafts, NOW).await.unwrap().jobs
    }
}

/// When the test jobs were accepted.
pub(super) const NOW: Timestamp = Timestamp::from_millis(1_775_285_160_000);

pub(super) fn draft(name: &str) -> Draft {
    Draft {
        name: name.into(),
        priority: 0,
        max_cost: None,
        pictures: Vec::new(),
        warnings: Vec::new(),
        labels: [("project".to_owned(), "spring".to_owned())].into(),
        key: None,
        object_key: None,
        again: false,
        not_before: None,
        model: "wan2.5-t2v".into(),
        prompt: Some("春天的樱花树下".into()),
        body: r#"{"model":"wan2.5-t2v","seed":1.10}"#.into(),
        variation: None,
        defaults: Vec::new(),
        place: ObjectPlace::default(),
    }
}

/// A server that runs until this is dropped.
pub(super) struct TestServer {
    pub address: SocketAddr,
    handle: ServerHandle,
}

impl TestServer {
    pub fn start(serve: impl FnOnce(TcpListener) -> Server) -> Self {
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

    /// Sends these bytes and reads until the server closes the connection.
    pub async fn send_raw(&self, request: impl AsRef<[u8]>) -> TestResponse {
        let mut socket = self.connect().await;
        // A server that rejects early may close before it has read everything.
        let _ = socket.write_all(request.as_ref()).await;
        TestResponse::read(&mut socket).await
    }

    /// Sends a request with `Connection: close`; `head` is the request line and further header lines.
    pub async fn send(&self, head: &str, body: &str) -> TestResponse {
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
        self.send_raw(format!("{request}\r\n{body}")).await
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        // The stop is requested at once; no test depends on its completion.
        drop(self.handle.stop(false));
    }
}

/// Everything the server sent until it closed the connection.
#[derive(Debug)]
pub(super) struct TestResponse {
    pub status: u16,
    pub head: String,
    pub body: String,
    pub took: Duration,
}

impl TestResponse {
    pub async fn read(socket: &mut TcpStream) -> Self {
        let started = Instant::now();
        let bytes = tokio::time::timeout(TEST_TIMEOUT, read_to_end(socket))
            .await
            .expect("the server never closed the connection");
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_owned(), body: body.to_owned(), took: started.elapsed() }
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let has_name = |line: &&str| line.to_ascii_lowercase().starts_with(&format!("{name}:"));
        self.head.lines().find(has_name).map(|line| line[name.len() + 1..].trim())
    }
}

/// A reset ends the answer, too; what came before it counts.
async fn read_to_end(socket: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Ok(1..) = socket.read_buf(&mut bytes).await {}
    bytes
}
