//! Knocks: at the provider's door with the key, and at our own from outside.
#![expect(clippy::disallowed_methods, reason = "the one home of the doctor's client")]

use std::time::Duration;

use reqwest::{Client, Proxy, Response, redirect};

use crate::cli::doctor::Finding;
use crate::clock::{Clock, Timestamp};
use crate::provider::wire::time::read_http_date;
use crate::settings::Settings;

const PATIENCE: Duration = Duration::from_secs(15);
/// Clocks that differ by more are doubted by the daemon (docs/reference.md#job-states).
const SKEW: Duration = Duration::from_secs(60);
/// An address of ours that no job has.
const NOBODY: &str = "callbacks/00000000-0000-7000-8000-000000000000/doctor";

/// A client that follows nothing. `certificates`: whether it will need them.
fn client(proxy: Option<&str>, certificates: bool) -> Result<Client, String> {
    let mut builder = Client::builder().redirect(redirect::Policy::none()).timeout(PATIENCE);
    if let Some(proxy) = proxy {
        builder = builder.proxy(Proxy::all(proxy).map_err(|_| "provider.proxy cannot be used".to_owned())?);
    }
    if !certificates {
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|error| error.to_string())
}

/// Whether the provider is there, takes the key, and what its clock says.
pub(super) async fn provider(settings: &Settings, clock: &Clock) -> Vec<Finding> {
    let base = &settings.provider.base_url;
    let Some(key) = &settings.provider.api_key else { return Vec::new() };
    let (proxy, https) =
        (settings.provider.proxy.as_ref().map(|proxy| proxy.expose()), base.scheme() == "https");
    let asked = match (client(proxy, https || proxy.is_some()), base.join("v1/models")) {
        (Ok(client), Ok(address)) => {
            client.get(address).bearer_auth(key.expose()).send().await.map_err(|error| cause(&error))
        }
        (Err(why), _) => Err(why),
        (_, Err(error)) => Err(error.to_string()),
    };
    let answer = match asked {
        Ok(answer) => answer,
        Err(why) => {
            let mend = "is this machine online, provider.base_url right, a proxy needed (provider.proxy)?";
            return vec![Finding::error("provider", format!("{base} cannot be reached: {why}"), mend)];
        }
    };
    let mut findings = vec![judge_key(base.as_str(), answer.status().as_u16())];
    findings.extend(judge_clock(&answer, clock.now()));
    findings
}

fn judge_key(base: &str, status: u16) -> Finding {
    match status {
        200..300 => Finding::ok("key", format!("{base} takes it")),
        401 | 403 => Finding::error(
            "key",
            format!("{base} refuses it (HTTP {status})"),
            "make a new one at the provider, write it where the old one is, restart the daemon",
        ),
        300..=399 | 404 | 405 => Finding::error(
            "provider",
            format!("{base} answers HTTP {status} where the API should be"),
            "set provider.base_url to the API's own address: scheme and host, without a path",
        ),
        _ => Finding::warning(
            "provider",
            format!("{base} answers HTTP {status}"),
            "nothing to do if it passes: the daemon waits such things out",
        ),
    }
}

fn judge_clock(answer: &Response, now: Timestamp) -> Option<Finding> {
    let date = answer.headers().get("date")?.to_str().ok()?;
    let mend =
        "set the clock (timedatectl set-ntp true): how old a submit may be when it is repeated hangs on it";
    // What is too far away is not taken for a time at all.
    let Some(theirs) = read_http_date(date, now) else {
        return Some(Finding::error("clock", format!("{now}; the provider's says {date}"), mend));
    };
    let apart = if now > theirs { now.since(theirs) } else { theirs.since(now) };
    let what = format!("{} s from the provider's", apart.as_secs());
    Some(if apart > SKEW { Finding::error("clock", what, mend) } else { Finding::ok("clock", what) })
}

/// Whether the public address leads to the public door, for the very request a provider makes.
pub(super) async fn callbacks(settings: &Settings, runs: bool) -> Finding {
    let Some(public) = &settings.callbacks.public_url else {
        let what = "callbacks.public_url is not set: the provider is asked every few seconds instead";
        return Finding::ok("callbacks", what);
    };
    if !runs {
        let mend = "start the daemon and run this again";
        return Finding::warning(
            "callbacks",
            format!("{public} is not tried while the daemon does not run"),
            mend,
        );
    }
    let base = public.as_str().trim_end_matches('/');
    let asked = match client(None, public.scheme() == "https") {
        Ok(client) => {
            client.post(format!("{base}/{NOBODY}")).body("{}").send().await.map_err(|error| cause(&error))
        }
        Err(why) => Err(why),
    };
    match asked {
        Ok(answer) => judge_door(base, answer).await,
        Err(why) => Finding::error(
            "callbacks",
            format!("{base} cannot be reached from this machine: {why}"),
            "DNS, firewall, certificate, web server: in that order. (Some routers let nobody in from inside; then try \
             from elsewhere.)",
        ),
    }
}

async fn judge_door(base: &str, answer: Response) -> Finding {
    let status = answer.status().as_u16();
    let to = answer.headers().get("location").and_then(|to| to.to_str().ok()).map(str::to_owned);
    let body = answer.text().await.unwrap_or_default();
    let what = |what: &str| format!("{base} {what}");
    match status {
        // What the public door says to a knock at an address that no job has.
        404 if body == "not found" => Finding::ok("callbacks", what("leads to this daemon")),
        300..=399 => Finding::error(
            "callbacks",
            what(&format!(
                "redirects (HTTP {status}) to {}; a provider does not follow",
                to.unwrap_or_default()
            )),
            "set callbacks.public_url to the address it redirects to, or end the redirect",
        ),
        401 | 403 => Finding::error(
            "callbacks",
            what(&format!("asks for a login or forbids it (HTTP {status})")),
            "let POST /callbacks/ through: its address is its password",
        ),
        405 => Finding::error(
            "callbacks",
            what("does not take POST"),
            "let POST /callbacks/ through to callbacks.listen",
        ),
        413 => {
            Finding::error("callbacks", what("takes no bodies"), "allow 256 KiB (client_max_body_size 256k)")
        }
        502..=504 => Finding::error(
            "callbacks",
            what(&format!("has no way to the daemon (HTTP {status})")),
            "point the web server at callbacks.listen",
        ),
        _ => Finding::error(
            "callbacks",
            what(&format!("is answered by something else (HTTP {status})")),
            "point /callbacks/ of that host at callbacks.listen",
        ),
    }
}

/// The innermost reason, without the address, which may hold a secret.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
