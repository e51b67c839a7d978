//! The way to the daemon: its admin door.
#![expect(clippy::disallowed_methods, reason = "the one home of the command line's client")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;

use crate::cli::events::EventStream;
use crate::cli::{Exit, Failure, term};
use crate::secret::Secret;

/// The daemon's admin door.
#[derive(Clone)]
pub(crate) struct Api {
    base: String,
    http: Client,
    token: Option<Secret>,
}

impl Api {
    /// The door at `listen`; an unspecified address is reached on loopback.
    pub fn new(listen: SocketAddr, token: Option<Secret>) -> Result<Self, Failure> {
        let host = if listen.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { listen.ip() };
        let base = format!("http://{}", SocketAddr::new(host, listen.port()));
        let http = Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .build()
            .map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        Ok(Self { base, http, token })
    }

    /// Gets a JSON answer. `query` is added to the path, encoded.
    pub async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, Failure> {
        let request = self.http.get(self.url(path, query)?);
        answer(self.send(request).await?).await
    }

    /// Posts JSON and gets a JSON answer.
    pub async fn post(&self, path: &[&str], body: &Value) -> Result<Value, Failure> {
        let request = self.http.post(self.url(path, &[])?);
        let request = request.header("content-type", "application/json").body(body.to_string());
        answer(self.send(request).await?).await
    }

    /// Hands a job file over.
    pub async fn submit(&self, name: Option<&str>, lines: bool, bytes: Vec<u8>) -> Result<Value, Failure> {
        let query: Vec<(&str, &str)> = name.map(|name| ("name", name)).into_iter().collect();
        let kind = if lines { "application/x-ndjson" } else { "application/json" };
        let request = self.http.post(self.url(&["api", "v1", "jobs"], &query)?);
        answer(self.send(request.header("content-type", kind).body(bytes)).await?).await
    }

    /// Follows changes: those after the change numbered `after`, or from now on.
    pub async fn events(&self, after: Option<i64>) -> Result<EventStream, Failure> {
        let after = after.map(|after| after.to_string());
        let query: Vec<(&str, &str)> = after.as_deref().map(|after| ("after", after)).into_iter().collect();
        let response = self.send(self.http.get(self.url(&["api", "v1", "events"], &query)?)).await?;
        if response.status().is_success() {
            Ok(EventStream::new(response))
        } else {
            Err(problem(response).await)
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
        request.send().await.map_err(|error| {
            let why = if error.is_connect() { "it is not running, or listens elsewhere" } else { "it does not answer" };
            Failure::new(
                Exit::Unreachable,
                format!(
                    "the daemon cannot be reached at {}: {why}\nstart it with `dropreel serve` or `systemctl start \
                     dropreel`; `admin.listen` says where it is",
                    self.base
                ),
            )
        })
    }
}

async fn answer(response: Response) -> Result<Value, Failure> {
    if !response.status().is_success() {
        return Err(problem(response).await);
    }
    let text = response.text().await.unwrap_or_default();
    serde_json::from_str(&text)
        .map_err(|_| Failure::new(Exit::Failed, "the daemon's answer cannot be read; is it another version?"))
}

/// An RFC 9457 problem as a sentence, with the problems of a job file a line each.
async fn problem(response: Response) -> Failure {
    let status = response.status();
    let text = response.text().await.unwrap_or_default();
    let problem: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    let detail = [&problem["detail"], &problem["title"]].into_iter().find_map(Value::as_str);
    let mut message = detail.map_or_else(|| format!("the daemon answered HTTP {status}"), str::to_owned);
    for error in problem["errors"].as_array().into_iter().flatten() {
        let place = format!("{}:{}", term::text(error, "line"), term::text(error, "column"));
        message.push_str(&format!(
            "\n{place} {}: {}",
            term::text(error, "pointer"),
            term::text(error, "message")
        ));
    }
    for candidate in problem["candidates"].as_array().into_iter().flatten() {
        let (id, name, state) =
            (term::text(candidate, "id"), term::text(candidate, "name"), term::text(candidate, "state"));
        message.push_str(&format!("\n{id} {name} ({state})"));
    }
    Failure::new(Exit::Failed, message)
}
