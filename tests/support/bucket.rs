//! A small S3 server on a real port, which tests let misbehave. It holds what it is sent to its checksums.

use std::collections::{BTreeMap, VecDeque};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_web::http::{Method, StatusCode};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest, Sha256};

use super::Rig;

pub const KEY_ID: &str = "GKcanary";
pub const SECRET_KEY: &str = "canary-secret-access-key";
pub const NAME: &str = "reels";

/// What the server does wrong with one request that it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answers with this status.
    Status(u16),
    /// Stores half of what it is sent, and says that all is well.
    Half,
    /// Receives another byte than was sent.
    Flipped,
    /// Closes the connection without an answer.
    Reset,
    /// Answers late.
    Late,
    /// Stores it, and closes the connection without an answer.
    NoAnswer,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub content: Vec<u8>,
    pub media_type: String,
    sha256: String,
}

impl Object {
    fn etag(&self) -> String {
        format!("\"{}\"", &HEXLOWER.encode(&Sha256::digest(&self.content))[..32])
    }
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, (Object, BTreeMap<u32, Vec<u8>>)>,
    /// The method and the key of each request.
    requests: Vec<(String, String)>,
    /// While set, every request fails.
    away: bool,
    /// While set, writes with a condition are refused as something unknown.
    unconditional: bool,
    /// For the next requests that write to a key with this ending.
    faults: VecDeque<(&'static str, Fault)>,
}

/// The server. It runs until the test ends.
#[derive(Clone)]
pub struct BucketServer {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl BucketServer {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self { address: listener.local_addr().unwrap(), state: Arc::default() };
        let shared = server.clone();
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let http = HttpServer::new(move || {
                    App::new()
                        .app_data(web::PayloadConfig::new(64 << 20))
                        .app_data(web::Data::new(shared.clone()))
                        .default_service(web::to(handle))
                });
                http.workers(1).disable_signals().listen(listener).unwrap().run().await
            })
        });
        server
    }

    /// Makes the server the library of this rig's daemon.
    pub fn configure(&self, rig: &mut Rig) {
        rig.set("STORAGE__LIBRARY", &format!("s3://{NAME}/spring"));
        rig.set("STORAGE__ENDPOINT", &format!("http://{}", self.address));
        rig.set_variable("AWS_ACCESS_KEY_ID", KEY_ID);
        rig.set_variable("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    }

    /// Compares the bucket with the database: every stored output is there, whole and with its sidecar, and nothing else is
    /// but outputs on their way.
    pub fn check(&self, database: &std::path::Path) -> Result<(), String> {
        // A copy: what a crash has left must not change.
        let place = tempfile::tempdir().unwrap();
        let copy = place.path().join("copy.db");
        std::fs::copy(database, &copy).unwrap();
        let log = database.with_extension("db-wal");
        if log.exists() {
            std::fs::copy(log, place.path().join("copy.db-wal")).unwrap();
        }
        let connection = rusqlite::Connection::open(copy).unwrap();
        let mut statement = connection
            .prepare("SELECT path, sha256, state, bucket FROM outputs WHERE path IS NOT NULL")
            .unwrap();
        let rows = statement.query_map([], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get::<_, Option<String>>(3)?))
        });
        let rows: Vec<(String, String, String, _)> = rows.unwrap().map(Result::unwrap).collect();
        let mut objects = self.objects();
        for (path, sha256, state, bucket) in rows {
            let key = format!("spring/{path}");
            let (video, sidecar) = (objects.remove(&key), objects.remove(&format!("{key}.json")));
            if state != "stored" {
                continue;
            }
            let video = video.ok_or_else(|| format!("{key} is stored, but not in the bucket"))?;
            let sidecar = sidecar.ok_or_else(|| format!("{key} has no sidecar"))?;
            let is_whole = HEXLOWER.encode(&Sha256::digest(&video.content)) == sha256;
            let names_it = String::from_utf8_lossy(&sidecar.content).contains(&sha256);
            if !is_whole || !names_it || bucket.as_deref() != Some("s3://reels/spring") {
                return Err(format!("{key} is not what the database says ({bucket:?})"));
            }
        }
        let strays: Vec<_> = objects.into_keys().collect();
        if strays.is_empty() { Ok(()) } else { Err(format!("no output has the keys {strays:?}")) }
    }

    pub fn set_away(&self, away: bool) {
        self.state.lock().unwrap().away = away;
    }

    /// Lets the next requests that write to a key with this ending fail, one after the other.
    pub fn fail(&self, ending: &'static str, faults: &[Fault]) {
        self.state.lock().unwrap().faults.extend(faults.iter().map(|fault| (ending, *fault)));
    }

    pub fn clear_faults(&self) {
        self.state.lock().unwrap().faults.clear();
    }

    pub fn has_faults(&self) -> bool {
        !self.state.lock().unwrap().faults.is_empty()
    }

    /// Lets the server refuse writes with a condition, as stores do that have none.
    pub fn set_unconditional(&self) {
        self.state.lock().unwrap().unconditional = true;
    }

    /// All objects but the record of the epoch.
    pub fn objects(&self) -> BTreeMap<String, Object> {
        let mut objects = self.state.lock().unwrap().objects.clone();
        objects.retain(|key, _| !key.contains("/.dropreel/"));
        objects
    }

    /// The record of the epoch, if there is one of one database.
    pub fn epoch_record(&self) -> Option<serde_json::Value> {
        let state = self.state.lock().unwrap();
        let mut records = state.objects.iter().filter(|(key, _)| key.contains("/.dropreel/epoch-"));
        let (_, record) = records.next()?;
        assert!(records.next().is_none(), "records of two databases");
        Some(serde_json::from_slice(&record.content).unwrap())
    }

    pub fn remove(&self, key: &str) {
        self.state.lock().unwrap().objects.remove(key);
    }

    /// How many requests of this method had a key with this ending.
    pub fn count(&self, method: &str, ending: &str) -> usize {
        let state = self.state.lock().unwrap();
        state.requests.iter().filter(|(found, key)| found == method && key.ends_with(ending)).count()
    }

    /// Waits until there was such a request.
    pub async fn until_request(&self, method: &str, ending: &str) {
        let start = Instant::now();
        while self.count(method, ending) == 0 {
            assert!(start.elapsed() < Duration::from_secs(90), "no {method} of a key that ends in {ending}");
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
}

fn error(status: u16, code: &str) -> HttpResponse {
    let text = format!("<Error><Code>{code}</Code><Message>the test wants it</Message></Error>");
    HttpResponse::build(StatusCode::from_u16(status).unwrap()).content_type("application/xml").body(text)
}

/// An answer that breaks off.
fn reset() -> HttpResponse {
    let broken = futures_util::stream::once(async { Err::<web::Bytes, _>(std::io::Error::other("reset")) });
    HttpResponse::Ok().no_chunking(10).streaming(broken)
}

async fn handle(request: HttpRequest, body: web::Bytes, server: web::Data<BucketServer>) -> HttpResponse {
    let path = percent_decoded(request.path());
    let Some(key) = path.strip_prefix(&format!("/{NAME}/")).map(str::to_owned) else {
        return error(404, "NoSuchBucket");
    };
    let fault = {
        let mut state = server.state.lock().unwrap();
        state.requests.push((request.method().to_string(), key.clone()));
        if state.away {
            return error(503, "SlowDown");
        }
        let writes = matches!(*request.method(), Method::PUT | Method::POST);
        let hit = state.faults.front().is_some_and(|(ending, _)| writes && key.ends_with(ending));
        if hit { state.faults.pop_front().map(|(_, fault)| fault) } else { None }
    };
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    if !header("authorization").contains(&format!("Credential={KEY_ID}/")) {
        return error(403, "InvalidAccessKeyId");
    }
    let mut content = body.to_vec();
    match fault {
        Some(Fault::Status(status)) => {
            return error(status, if status == 403 { "AccessDenied" } else { "InternalError" });
        }
        Some(Fault::Reset) => return reset(),
        Some(Fault::Late) => tokio::time::sleep(Duration::from_secs(2)).await,
        Some(Fault::Flipped) => {
            if let Some(byte) = content.first_mut() {
                *byte ^= 1;
            }
        }
        Some(Fault::Half | Fault::NoAnswer) | None => {}
    }
    if request.method() == Method::PUT {
        let hash = Sha256::digest(&content);
        if header("x-amz-checksum-sha256") != BASE64.encode(&hash) {
            return error(400, "BadDigest");
        }
        if header("x-amz-content-sha256") != HEXLOWER.encode(&hash) {
            return error(400, "XAmzContentSHA256Mismatch");
        }
    }
    if fault == Some(Fault::Half) {
        content.truncate(content.len() / 2);
    }
    let object = Object {
        content: Vec::new(),
        media_type: header("content-type").to_owned(),
        sha256: header("x-amz-meta-dropreel-sha256").to_owned(),
    };
    let query =
        web::Query::<BTreeMap<String, String>>::from_query(request.query_string()).unwrap().into_inner();
    let answer = answer(&request, &server, &key, content, object, &query);
    if fault == Some(Fault::NoAnswer) { reset() } else { answer }
}

fn answer(
    request: &HttpRequest,
    server: &BucketServer,
    key: &str,
    content: Vec<u8>,
    object: Object,
    query: &BTreeMap<String, String>,
) -> HttpResponse {
    let mut state = server.state.lock().unwrap();
    let upload = query.get("uploadId");
    if request.method() == Method::PUT
        && let Some(refusal) = unmet_condition(request, &state, key)
    {
        return refusal;
    }
    match (request.method().as_str(), upload) {
        ("PUT", None) => {
            let object = Object { content, ..object };
            let etag = object.etag();
            state.objects.insert(key.to_owned(), object);
            HttpResponse::Ok().insert_header(("etag", etag)).finish()
        }
        ("POST", None) if query.contains_key("uploads") => {
            let id = format!("upload-{}", state.uploads.len());
            state.uploads.insert(id.clone(), (object, BTreeMap::new()));
            let text = format!(
                "<InitiateMultipartUploadResult><Bucket>{NAME}</Bucket><Key>{key}</Key><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
            );
            HttpResponse::Ok().content_type("application/xml").body(text)
        }
        ("PUT", Some(id)) => {
            let number = query["partNumber"].parse().unwrap();
            let Some((_, parts)) = state.uploads.get_mut(id) else { return error(404, "NoSuchUpload") };
            parts.insert(number, content);
            HttpResponse::Ok().insert_header(("etag", format!("\"{number}\""))).finish()
        }
        ("POST", Some(id)) => {
            let Some((object, parts)) = state.uploads.remove(id) else { return error(404, "NoSuchUpload") };
            let content = parts.into_values().flatten().collect();
            state.objects.insert(key.to_owned(), Object { content, ..object });
            let text = "<CompleteMultipartUploadResult><ETag>\"9\"</ETag></CompleteMultipartUploadResult>";
            HttpResponse::Ok().content_type("application/xml").body(text)
        }
        ("DELETE", Some(id)) => {
            state.uploads.remove(id);
            HttpResponse::NoContent().finish()
        }
        ("DELETE", None) => {
            state.objects.remove(key);
            HttpResponse::NoContent().finish()
        }
        (method, _) => match state.objects.get(key) {
            Some(object) => read(request, object, method == "HEAD"),
            None => error(404, "NoSuchKey"),
        },
    }
}

/// Why a write is refused, as S3 answers.
fn unmet_condition(request: &HttpRequest, state: &State, key: &str) -> Option<HttpResponse> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let (none, this) = (header("if-none-match"), header("if-match"));
    if none.or(this).is_some() && state.unconditional {
        return Some(error(501, "NotImplemented"));
    }
    let found = state.objects.get(key).map(Object::etag);
    match (none, this, found) {
        (Some("*"), _, Some(_)) => Some(error(412, "PreconditionFailed")),
        (_, Some(_), None) => Some(error(404, "NoSuchKey")),
        (_, Some(this), Some(found)) if this != found => Some(error(412, "PreconditionFailed")),
        _ => None,
    }
}

fn read(request: &HttpRequest, object: &Object, head: bool) -> HttpResponse {
    let whole = object.content.len() as u64;
    let range = request.headers().get("range").and_then(|range| range.to_str().ok());
    let range = range.and_then(|range| actix_files::HttpRange::parse(range, whole).ok()?.first().copied());
    let (start, length) = range.map_or((0, whole), |range| (range.start, range.length));
    let mut response = HttpResponse::Ok();
    response
        .insert_header(("etag", object.etag()))
        .insert_header(("last-modified", "Wed, 01 Jan 2025 00:00:00 GMT"))
        .insert_header(("content-type", object.media_type.clone()))
        .insert_header(("x-amz-meta-dropreel-sha256", object.sha256.clone()));
    if range.is_some() {
        response.status(StatusCode::PARTIAL_CONTENT);
        response.insert_header(("content-range", format!("bytes {start}-{}/{whole}", start + length - 1)));
    }
    if head {
        let nothing = futures_util::stream::empty::<std::io::Result<web::Bytes>>();
        return response.body(actix_web::body::SizedStream::new(whole, nothing));
    }
    response.body(object.content[start as usize..(start + length) as usize].to_vec())
}

fn percent_decoded(path: &str) -> String {
    let address = url::Url::parse(&format!("http://x/?{}", path.replace('+', "%2B"))).unwrap();
    address.query_pairs().next().map_or_else(String::new, |(path, _)| path.into_owned())
}
