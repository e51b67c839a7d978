//! Reads `[[hooks]]`: programs and URLs that are called on events (docs/hooks.md).

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use strum::VariantArray;

use crate::job::notification::JobNotification;
use crate::secret::Secret;
use crate::settings::hook_body::BodyTemplate;
use crate::settings::parse::{http_url, optional_path};
use crate::settings::reader::{Reader, Unusable, words};
use crate::settings::secret_file::read_secret;
use crate::settings::units::duration;
use crate::settings::{Purpose, SignatureScheme};
use crate::sha256::sha256_hex;

/// Default of `timeout`.
const DEFAULT_TIMEOUT: &str = "60s";
/// Limit of `timeout`: a hook delays the later ones of its job.
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);
/// Default and limit of `at_once`.
const DEFAULT_AT_ONCE: usize = 4;
const MAX_AT_ONCE: usize = 64;
/// The variables passed to a program. The others can hold secrets of our own.
const PASSED_VARIABLES: [&str; 9] =
    ["PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "HTTPS_PROXY", "HTTP_PROXY"];

/// One of `[[hooks]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Hook {
    /// A digest of its target, which identifies its calls across restarts; with a number where earlier hooks have the same.
    pub name: String,
    /// The events it is called on.
    pub on: BTreeSet<JobNotification>,
    /// What is called.
    pub target: HookTarget,
    /// Limit of one attempt.
    pub timeout: Duration,
    /// The most calls of it at the same time.
    pub at_once: usize,
}

/// What a hook calls.
#[derive(Clone, Debug, PartialEq)]
pub enum HookTarget {
    /// A program, started without a shell.
    Program {
        /// Its path or name.
        program: String,
        /// Its arguments.
        arguments: Vec<String>,
        /// Its whole environment.
        environment: Vec<(OsString, OsString)>,
    },
    /// A URL, called by POST.
    Url {
        /// The URL. It may hold a token and is never shown.
        url: Secret,
        /// Its host, for logs.
        host: String,
        /// The secret that signs the calls (Standard Webhooks, [`SignatureScheme::key`]); `None`: not signed.
        secret: Option<Secret>,
        /// What is posted; `None`: as Standard Webhooks have it.
        body: Option<BodyTemplate>,
    },
}

/// One of `[[hooks]]` as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HookEntry {
    on: Vec<String>,
    #[serde(default)]
    run: Vec<String>,
    #[serde(default)]
    url: String,
    #[serde(default)]
    secret_file: String,
    #[serde(default)]
    timeout: Option<String>,
    #[serde(default)]
    at_once: Option<i64>,
    #[serde(default)]
    body: String,
}

impl Reader<'_> {
    pub(super) fn hooks(&mut self) -> Result<Vec<Hook>, Unusable> {
        let entries: Vec<config::Value> = self.read("hooks", Ok)?;
        let (mut hooks, mut bodies, mut is_repeated) = (Vec::<Hook>::new(), BTreeSet::new(), false);
        for (place, entry) in entries.into_iter().enumerate() {
            let entry: Result<HookEntry, _> = entry.try_deserialize();
            let entry = entry.map_err(|error| without_quoted_text(&error.to_string()));
            match entry.and_then(|entry| Ok((self.hook(&entry)?, entry.body))) {
                Ok((mut hook, body)) => {
                    let target = hook.name.clone();
                    let same = hooks.iter().filter(|other| other.name.starts_with(&target)).count();
                    if same > 0 {
                        hook.name = format!("{target}-{}", same + 1);
                    }
                    is_repeated |= !bodies.insert((target, body));
                    hooks.push(hook);
                }
                Err(why) => self.reject("hooks", format!("hook {}: {why}", place + 1)),
            }
        }
        if is_repeated {
            self.reject(
                "hooks",
                "two hooks have the same `run` or `url` and the same `body`; make them one hook with the events of both",
            );
        }
        Ok(hooks)
    }

    fn hook(&self, entry: &HookEntry) -> Result<Hook, String> {
        let on = entry.on.iter().map(|word| word.parse().map_err(|_| unknown_event(word)));
        let on = on.collect::<Result<BTreeSet<_>, _>>()?;
        if on.is_empty() {
            return Err(format!("`on` is empty; valid events: {}", words::<JobNotification>()));
        }
        let timeout = duration(entry.timeout.as_deref().unwrap_or(DEFAULT_TIMEOUT))?;
        if timeout > MAX_TIMEOUT {
            return Err("`timeout` must be at most 1h".to_owned());
        }
        let at_once = entry.at_once.map_or(Some(DEFAULT_AT_ONCE), |number| usize::try_from(number).ok());
        let at_once = at_once
            .filter(|number| (1..=MAX_AT_ONCE).contains(number))
            .ok_or_else(|| format!("`at_once` must be from 1 to {MAX_AT_ONCE}"))?;
        let target = match (entry.run.as_slice(), entry.url.as_str()) {
            ([program, arguments @ ..], "") if !program.is_empty() => {
                if !entry.body.is_empty() {
                    return Err("`body` is for a `url`; a program gets the data on standard input".to_owned());
                }
                self.program(program, arguments)
            }
            ([], url) if !url.is_empty() => self.url(url, entry)?,
            _ => {
                return Err(
                    "needs `run = [\"program\", \"argument\"]` or `url = \"https://...\"`, and not both"
                        .to_owned(),
                );
            }
        };
        let spelt = format!("{:?}\n{}", entry.run, entry.url);
        let name = sha256_hex(spelt.as_bytes())[..12].to_owned();
        Ok(Hook { name, on, target, timeout, at_once })
    }

    fn program(&self, program: &str, arguments: &[String]) -> HookTarget {
        let passed = |name: &&str| Some((OsString::from(name), self.environment.get(name)?.to_owned()));
        HookTarget::Program {
            program: program.to_owned(),
            arguments: arguments.to_vec(),
            environment: PASSED_VARIABLES.iter().filter_map(passed).collect(),
        }
    }

    fn url(&self, url: &str, HookEntry { secret_file, body, .. }: &HookEntry) -> Result<HookTarget, String> {
        let parsed = http_url(url).map_err(|why| format!("`url` {why}"))?;
        let host = parsed.host_str().unwrap_or("nowhere").to_owned();
        let file: Option<PathBuf> =
            optional_path(secret_file).map_err(|why| format!("`secret_file` {why}"))?;
        let secret = match file {
            Some(file) if self.purpose == Purpose::Daemon => {
                let secret = read_secret(&file).map_err(|error| format!("`secret_file`: {error}"))?;
                if SignatureScheme::StandardWebhooks.key(&secret).is_none() {
                    return Err(
                        "`secret_file`: a secret that begins with `whsec_` must continue in base64".into()
                    );
                }
                Some(secret)
            }
            _ => None,
        };
        let body = if body.is_empty() { None } else { Some(BodyTemplate::parse(body)?) };
        Ok(HookTarget::Url { url: Secret::new(url), host, secret, body })
    }
}

fn unknown_event(word: &str) -> String {
    let nearest = JobNotification::VARIANTS
        .iter()
        .map(JobNotification::into_str)
        .min_by_key(|known| strsim::osa_distance(known, word));
    format!(
        "unknown event `{word}`; did you mean `{}`? Valid events: {}",
        nearest.unwrap_or_default(),
        words::<JobNotification>()
    )
}

/// The message of a wrong type quotes the value, which can be a URL with a token.
fn without_quoted_text(message: &str) -> String {
    match (message.find('"'), message.rfind('"')) {
        (Some(first), Some(last)) if first < last => {
            format!("{}...{}", &message[..=first], &message[last..])
        }
        _ => message.to_owned(),
    }
}
