//! The way to the daemon: its admin door.
#![expect(clippy::disallowed_methods, reason = "the one home of the command line's client")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;

use crate::cli::events::EventStream;
use crate::cli::{Exit, Failure, term};
use crate::secret::Secret;

/// An order or a look that takes longer is not going to be answered.
const PATIENCE: Duration = Duration::from_secs(30);
/// A job file of 256 MiB is checked and committed before it is answered, and all of a large archive is counted.
const LONG_PATIENCE: Duration = Duration::from_secs(600);
/// The daemon says at least every 15 seconds that an event stream lives.
const SILENCE: Duration = Duration::from_secs(45);

/// The daemon's admin door.
#[derive(Clone)]
pub(crate) struct Api {
    base: String,
    http: Client,
    /// Without a limit to the whole answer, but with one to silence.
    streams: Client,
    token: Option<Secret>,
}

impl Api {
    /// The door at `listen`; an unspecified address is reached on loopback.
    pub fn new(listen: SocketAddr, token: Option<Secret>) -> Result<Self, Failure> {
        Self::patient(listen, token, PATIENCE, SILENCE)
    }

    /// [`Api::new`], with other limits to an answer and to silence in a stream.
    fn patient(
        listen: SocketAddr,
        token: Option<Secret>,
        patience: Duration,
        silence: Duration,
    ) -> Result<Self, Failure> {
        let host = if listen.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { listen.ip() };
        let base = format!("http://{}", SocketAddr::new(host, listen.port()));
        let client = || {
            Client::builder()
                .no_proxy()
                .tls_certs_only([])
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(Duration::from_secs(5))
        };
        let built = client().timeout(patience).build();
        let streams = client().read_timeout(silence).build();
        let (http, streams) = built
            .and_then(|http| Ok((http, streams?)))
            .map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        Ok(Self { base, http, streams, token })
    }

    /// One job in full: by id, by a unique beginning of one, or by name.
    pub async fn job(&self, reference: &str) -> Result<Value, Failure> {
        // In an address these mean a folder and not a job; a job that is really called so has an id, too.
        if matches!(reference, "" | "." | "..") {
            let message = format!("`{reference}` is no job; name it by its id, see `dropreel list`");
            return Err(Failure::new(Exit::Usage, message));
        }
        self.get(&["api", "v1", "jobs", reference], &[]).await
    }

    /// Gets a JSON answer. `query` is added to the path, encoded.
    pub async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, Failure> {
        let request = self.http.get(self.url(path, query)?);
        self.answer(self.send(request).await?).await
    }

    /// Posts JSON and gets a JSON answer.
    pub async fn post(&self, path: &[&str], body: &Value) -> Result<Value, Failure> {
        self.answer(self.send(self.posting(path, body)?).await?).await
    }

    /// [`Api::post`], for what may take longer than most.
    pub async fn post_patiently(&self, path: &[&str], body: &Value) -> Result<Value, Failure> {
        self.answer(self.send(self.posting(path, body)?.timeout(LONG_PATIENCE)).await?).await
    }

    fn posting(&self, path: &[&str], body: &Value) -> Result<RequestBuilder, Failure> {
        let request = self.http.post(self.url(path, &[])?);
        Ok(request.header("content-type", "application/json").body(body.to_string()))
    }

    /// Hands a job file over. `shown` is what its problems are told with.
    pub async fn submit(
        &self,
        shown: &str,
        name: Option<&str>,
        lines: bool,
        bytes: Vec<u8>,
    ) -> Result<Value, Failure> {
        let query: Vec<(&str, &str)> = name.map(|name| ("name", name)).into_iter().collect();
        let kind = if lines { "application/x-ndjson" } else { "application/json" };
        let request = self.http.post(self.url(&["api", "v1", "jobs"], &query)?);
        let request = request.header("content-type", kind).timeout(LONG_PATIENCE).body(bytes);
        let response = self.send(request).await?;
        if response.status().is_success() {
            self.answer(response).await
        } else {
            Err(problem(response, Some(shown)).await)
        }
    }

    /// Follows changes: those after the change numbered `after`, or from now on.
    pub async fn events(&self, after: Option<i64>) -> Result<EventStream, Failure> {
        let after = after.map(|after| after.to_string());
        let query: Vec<(&str, &str)> = after.as_deref().map(|after| ("after", after)).into_iter().collect();
        let response = self.send(self.streams.get(self.url(&["api", "v1", "events"], &query)?)).await?;
        if response.status().is_success() {
            Ok(EventStream::new(response))
        } else {
            Err(problem(response, None).await)
        }
    }

    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Result<url::Url, Failure> {
        let wrong = || Failure::new(Exit::Usage, format!("{} is no address of a daemon", self.base));
        let mut url = url::Url::parse(&self.base).map_err(|_| wrong())?;
        url.path_segments_mut().map_err(|()| wrong())?.extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        };
        request.send().await.map_err(|error| self.unreachable(&error))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let message = if error.is_connect() {
            format!(
                "the daemon cannot be reached at {}: it is not running, or listens elsewhere\nstart it with `dropreel \
                 serve` or `systemctl start dropreel`; `admin.listen` says where it is",
                self.base
            )
        } else {
            format!(
                "the daemon at {} does not answer; what was asked of it may have been done all the same\nis it really \
                 dropreel that listens there? `systemctl status dropreel` or its log tell more; `dropreel list` tells \
                 what it has",
                self.base
            )
        };
        Failure::new(Exit::Unreachable, message)
    }

    async fn answer(&self, response: Response) -> Result<Value, Failure> {
        if !response.status().is_success() {
            return Err(problem(response, None).await);
        }
        let text = response.text().await.map_err(|error| self.unreachable(&error))?;
        serde_json::from_str(&text).map_err(|_| {
            Failure::new(Exit::Failed, "the daemon's answer cannot be read; is it another version?")
        })
    }
}

/// An RFC 9457 problem for people. What is about `file` says so; the problems of a job file are a line each.
async fn problem(response: Response, file: Option<&str>) -> Failure {
    let status = response.status();
    let text = response.text().await.unwrap_or_default();
    let problem: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    let exit = if status == reqwest::StatusCode::UNAUTHORIZED { Exit::Usage } else { Exit::Failed };
    Failure::new(exit, told(&problem, file, &format!("the daemon answered HTTP {status}")))
}

fn told(problem: &Value, file: Option<&str>, otherwise: &str) -> String {
    let of = |place: &str, message: &str| match file {
        Some(file) => format!("{file}:{place} {message}"),
        None => format!("{place} {message}").trim_start().to_owned(),
    };
    let errors = problem["errors"].as_array().into_iter().flatten().map(|error| {
        let [line, column, pointer, message] =
            ["line", "column", "pointer", "message"].map(|key| term::text(error, key));
        let place = if pointer.is_empty() { pointer } else { format!(" {pointer}") };
        of(&format!("{line}:{column}{place}:"), &message)
    });
    let errors: Vec<String> = errors.collect();
    if !errors.is_empty() {
        return errors.join("\n");
    }
    let detail =
        [&problem["detail"], &problem["title"]].into_iter().find_map(Value::as_str).unwrap_or(otherwise);
    let candidates = problem["candidates"].as_array().into_iter().flatten().map(|candidate| {
        let [id, name, state] = ["id", "name", "state"].map(|key| term::text(candidate, key));
        format!("\n{id}  {name} ({state})")
    });
    candidates.fold(of("", detail), |all, one| all + &one)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_daemon_that_stays_silent_is_not_waited_for() {
        // Set already by another test: all right.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let short = Duration::from_millis(50);
        let api = Api::patient(listener.local_addr().unwrap(), None, short, short).unwrap();
        let clock = crate::clock::Clock::machine();
        let ended = clock.within(Duration::from_secs(5), api.get(&["x"], &[])).await;
        assert_eq!(ended.unwrap().unwrap_err().exit, Exit::Unreachable);
        let ended = clock.within(Duration::from_secs(5), api.events(None)).await;
        assert_eq!(ended.unwrap().err().unwrap().exit, Exit::Unreachable);
    }

    #[tokio::test]
    async fn what_means_a_folder_in_an_address_is_no_job() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let api = Api::new("127.0.0.1:9".parse().unwrap(), None).unwrap();
        for reference in ["", ".", ".."] {
            assert_eq!(api.job(reference).await.unwrap_err().exit, Exit::Usage, "{reference}");
        }
    }

    #[test]
    fn problems_are_told_with_their_places_or_in_a_sentence() {
        let whole = json!({"pointer": "", "message": "is empty", "line": 1, "column": 1});
        let part = json!({"pointer": "/seed", "message": "a \u{1b}", "line": 3, "column": 9});
        let cases = [
            (
                json!({"detail": "x", "errors": [whole, part]}),
                Some("a.json"),
                "a.json:1:1: is empty\na.json:3:9 /seed: a ·",
            ),
            (
                json!({"title": "Conflict", "detail": "was dropped before"}),
                Some("a.json"),
                "a.json: was dropped before",
            ),
            (json!({"title": "Not Found"}), None, "Not Found"),
            (
                json!({"detail": "several", "candidates": [{"id": "1", "name": "n", "state": "held"}]}),
                None,
                "several\n1  n (held)",
            ),
            (json!(null), None, "HTTP 500"),
        ];
        for (problem, file, expected) in cases {
            assert_eq!(told(&problem, file, "HTTP 500"), expected, "{problem}");
        }
    }
}
