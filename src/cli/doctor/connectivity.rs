//! Requests to the provider, with the key, and to the daemon's own callback address, from outside.
#![expect(clippy::disallowed_methods, reason = "the only HTTP client of the doctor")]

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use reqwest::{Client, Proxy, Response, redirect};

use crate::api::models::ModelsView;
use crate::cli::doctor::catalogue;
use crate::cli::doctor::finding::Finding;
use crate::clock::{Clock, Timestamp};
use crate::pictures::address::{PROBE, PictureUrls};
use crate::provider::wire::compression::BODY_LIMIT;
use crate::provider::wire::time::read_http_date;
use crate::settings::{Settings, load_callback_secrets};

const TIMEOUT: Duration = Duration::from_secs(15);
/// The daemon doubts a clock that is further off (docs/reference.md#job-states).
const MAX_SKEW: Duration = Duration::from_secs(60);
/// A callback path of no job.
const PROBE_PATH: &str = "callbacks/00000000-0000-7000-8000-000000000000/doctor";

/// A picture of no job.
const PICTURE_PROBE_PATH: &str = "media/doctor/doctor.png";

/// A client that follows no redirects. Certificates take a moment to load: only where TLS is used.
fn client(proxy: Option<&str>, tls: bool) -> Result<Client, String> {
    let mut builder = Client::builder().redirect(redirect::Policy::none()).timeout(TIMEOUT);
    if let Some(proxy) = proxy {
        builder = builder.proxy(Proxy::all(proxy).map_err(|_| "provider.proxy is unusable".to_owned())?);
    }
    if !tls {
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|error| error.to_string())
}

/// Whether the provider can be reached and accepts the key, how far our clock is from its clock, and what its list of models
/// says about `models`.
pub(super) async fn provider(
    settings: &Settings,
    clock: &Clock,
    models: Option<&ModelsView>,
) -> Vec<Finding> {
    let base = &settings.provider.base_url;
    let Some(key) = &settings.provider.api_key else { return Vec::new() };
    let proxy = settings.provider.proxy.as_ref().map(|proxy| proxy.expose());
    let tls = base.scheme() == "https" || proxy.is_some();
    let response = match (client(proxy, tls), base.join("v1/models")) {
        (Ok(client), Ok(url)) => {
            client.get(url).bearer_auth(key.expose()).send().await.map_err(|error| root_cause(&error))
        }
        (Err(why), _) => Err(why),
        (_, Err(error)) => Err(error.to_string()),
    };
    match response {
        Ok(response) => {
            let mut findings = vec![check_key(base.as_str(), response.status().as_u16())];
            findings.extend(check_clock(&response, clock.now()));
            if response.status().is_success() {
                findings.extend(catalogue::check(&read_body(response).await, models));
            }
            findings
        }
        Err(why) => {
            let fix = "check the network, provider.base_url, and whether a proxy is needed (provider.proxy)";
            vec![Finding::error("provider", format!("cannot reach {base}: {why}"), fix)]
        }
    }
}

/// The body, as far as it comes and is not too long.
async fn read_body(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        if body.len() + chunk.len() > BODY_LIMIT {
            return Vec::new();
        }
        body.extend_from_slice(&chunk);
    }
    body
}

fn check_key(base: &str, status: u16) -> Finding {
    match status {
        200..300 => Finding::ok("key", format!("{base} accepts the key")),
        401 | 403 => Finding::error(
            "key",
            format!("{base} refuses the key (HTTP {status})"),
            "create a new key at the provider, replace the old one, and restart the daemon",
        ),
        300..=399 | 404 | 405 => Finding::error(
            "provider",
            format!("{base} answers HTTP {status} where the API should be"),
            "set provider.base_url to the API's own address: scheme and host, without a path",
        ),
        _ => Finding::warning(
            "provider",
            format!("{base} answers HTTP {status}"),
            "nothing to do if it passes: the daemon waits and tries again",
        ),
    }
}

fn check_clock(response: &Response, now: Timestamp) -> Option<Finding> {
    let date = response.headers().get("date")?.to_str().ok()?;
    let fix =
        "set the clock (`timedatectl set-ntp true`): the age of a submit decides whether it may be repeated";
    // A date that is too far away does not count as a time at all.
    let Some(theirs) = read_http_date(date, now) else {
        return Some(Finding::error("clock", format!("{now} here, {date} at the provider"), fix));
    };
    let skew = if now > theirs { now.since(theirs) } else { theirs.since(now) };
    let what = format!("{} s from the provider's", skew.as_secs());
    Some(if skew > MAX_SKEW { Finding::error("clock", what, fix) } else { Finding::ok("clock", what) })
}

/// Whether a POST to the public callback address reaches the public listener.
pub(super) async fn callbacks(settings: &Settings, daemon_runs: bool) -> Finding {
    let Some(public) = &settings.callbacks.public_url else {
        let what = "callbacks.public_url is not set: the provider is polled every few seconds instead";
        return Finding::ok("callbacks", what);
    };
    if !daemon_runs {
        let fix = "start the daemon and run this again";
        return Finding::warning("callbacks", format!("{public} not tried: the daemon does not run"), fix);
    }
    let base = public.as_str().trim_end_matches('/');
    let response = match client(None, public.scheme() == "https") {
        Ok(client) => {
            let request = client.post(format!("{base}/{PROBE_PATH}")).body("{}");
            request.send().await.map_err(|error| root_cause(&error))
        }
        Err(why) => Err(why),
    };
    match response {
        Ok(response) => check_callback_answer(base, response).await,
        Err(why) => Finding::error(
            "callbacks",
            format!("cannot reach {base} from this machine: {why}"),
            "check DNS, firewall, certificate and web server, in that order (some routers do not let their own \
             network in: then try from elsewhere)",
        ),
    }
}

/// Whether a small test picture arrives from the public address of pictures; `None`: they are not served, or the daemon does
/// not run.
pub(super) async fn pictures(settings: &Settings, daemon_runs: bool) -> Option<Finding> {
    let public = settings.callbacks.public_url.as_ref().filter(|_| settings.media.serve && daemon_runs)?;
    let base = public.as_str().trim_end_matches('/');
    // Only the daemon's user may read the secret of the addresses; an address of nothing tells others less.
    let secrets = load_callback_secrets(settings).ok().map(|secrets| Arc::new(RwLock::new(secrets)));
    let address = secrets.and_then(|secrets| PictureUrls::new(Some(public), secrets).probe_url());
    let url = address
        .as_ref()
        .map_or_else(|| format!("{base}/{PICTURE_PROBE_PATH}"), |url| url.expose().to_owned());
    let answer = match client(None, public.scheme() == "https") {
        Ok(client) => client.get(url).send().await.map_err(|error| root_cause(&error)),
        Err(why) => Err(why),
    };
    let let_through = "let GET /media/ of that host through to callbacks.listen, as POST /callbacks/ (docs/local-pictures.md)";
    let (what, fix) = match answer {
        Ok(answer) => {
            let status = answer.status().as_u16();
            let body = read_body(answer).await;
            match (status, &*body) {
                (200, PROBE) => {
                    return Some(Finding::ok("pictures", format!("a picture arrives from {base}/media/")));
                }
                (404, b"not found") if address.is_none() => {
                    return Some(Finding::ok("pictures", format!("{base}/media/ reaches this daemon")));
                }
                (404, b"not found") => (
                    format!("{base}/media/ reaches a daemon that does not serve pictures"),
                    "restart the daemon: it was started without `media.serve`, or with another callback secret",
                ),
                (200, _) => (format!("another file arrives from {base}/media/"), let_through),
                _ => (format!("{base}/media/ is answered by another server (HTTP {status})"), let_through),
            }
        }
        Err(why) => (format!("cannot reach {base}/media/ from this machine: {why}"), let_through),
    };
    Some(Finding::error("pictures", what, fix))
}

async fn check_callback_answer(base: &str, response: Response) -> Finding {
    let status = response.status().as_u16();
    let location = response.headers().get("location").and_then(|to| to.to_str().ok()).map(str::to_owned);
    let body = response.text().await.unwrap_or_default();
    let (what, fix) = match status {
        // The public listener's answer to a path of no job.
        404 if body == "not found" => {
            return Finding::ok("callbacks", format!("{base} reaches this daemon"));
        }
        300..=399 => (
            format!(
                "redirects (HTTP {status}) to {}; a provider does not follow",
                location.unwrap_or_default()
            ),
            "set callbacks.public_url to the target of the redirect, or remove the redirect",
        ),
        401 | 403 => (
            format!("requires a login or forbids access (HTTP {status})"),
            "let POST /callbacks/ through: the secret in its address protects it",
        ),
        405 => ("does not accept POST".to_owned(), "let POST /callbacks/ through to callbacks.listen"),
        413 => ("accepts no bodies".to_owned(), "allow 256 KiB (client_max_body_size 256k)"),
        502..=504 => {
            (format!("does not reach the daemon (HTTP {status})"), "point the web server at callbacks.listen")
        }
        _ => (
            format!("is answered by another server (HTTP {status})"),
            "point /callbacks/ of that host at callbacks.listen",
        ),
    };
    Finding::error("callbacks", format!("{base} {what}"), fix)
}

/// The innermost cause; the outer ones name the address, which may hold a secret.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
