//! `[[hooks]]`: programs and addresses that are told of what happens (docs/hooks.md).

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::job::notification::JobNotification;
use crate::secret::{Secret, sha256_hex};
use crate::settings::SignatureScheme;
use crate::settings::check::Reading;
use crate::settings::load::Purpose;
use crate::settings::private::read_secret;
use crate::settings::units::duration;
use crate::settings::values::{http_url, optional_path};

/// How long a hook may take if nothing is said.
const TIMEOUT: &str = "60s";
/// No hook may take longer: it would keep others of its job waiting.
const LONGEST: Duration = Duration::from_secs(3600);
/// What a program is given of our environment; our own settings may hold secrets.
const PASSED: [&str; 9] =
    ["PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "HTTPS_PROXY", "HTTP_PROXY"];

/// One of `[[hooks]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Hook {
    /// A digest of its target: by this its calls are known again after a restart.
    pub name: String,
    /// What it is told of.
    pub on: BTreeSet<JobNotification>,
    /// Who is told.
    pub target: HookTarget,
    /// How long one try may take.
    pub timeout: Duration,
}

/// Who is told.
#[derive(Clone, Debug, PartialEq)]
pub enum HookTarget {
    /// A program, started without a shell.
    Program {
        /// Its path or name.
        program: String,
        /// Its arguments.
        arguments: Vec<String>,
        /// Its environment, to which ours is not added.
        environment: Vec<(OsString, OsString)>,
    },
    /// An address, told by POST.
    Address {
        /// Which; it may hold a token, and is never shown.
        url: Secret,
        /// Its host, to be shown.
        host: String,
        /// What signs (Standard Webhooks, [`SignatureScheme::key`]); `None`: nothing is signed.
        secret: Option<Secret>,
    },
}

/// As it stands in a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    on: Vec<String>,
    #[serde(default)]
    run: Vec<String>,
    #[serde(default)]
    url: String,
    #[serde(default)]
    secret_file: String,
    #[serde(default)]
    timeout: Option<String>,
}

impl Reading<'_> {
    pub(crate) fn hooks(&mut self) -> Option<Vec<Hook>> {
        let entries = self.read("hooks", |entries: Vec<config::Value>| {
            let entry = |(place, value): (usize, config::Value)| {
                let read: Result<Entry, _> = value.try_deserialize();
                read.map_err(|error| format!("number {}: {error}", place + 1))
            };
            entries.into_iter().enumerate().map(entry).collect::<Result<Vec<_>, _>>()
        })?;
        let mut hooks = Vec::new();
        for (place, entry) in entries.into_iter().enumerate() {
            match self.hook(&entry) {
                Ok(hook) => hooks.push(hook),
                Err(why) => {
                    self.bad("hooks", format!("number {}: {why}", place + 1));
                    return None;
                }
            }
        }
        let names: BTreeSet<&str> = hooks.iter().map(|hook| hook.name.as_str()).collect();
        if names.len() < hooks.len() {
            self.bad(
                "hooks",
                "two of them have the same `run` or `url`; give one of them both `on`".to_owned(),
            );
            return None;
        }
        Some(hooks)
    }

    fn hook(&mut self, entry: &Entry) -> Result<Hook, String> {
        let on = entry.on.iter().map(|word| JobNotification::parse(word).ok_or_else(|| unknown(word)));
        let on = on.collect::<Result<BTreeSet<_>, _>>()?;
        if on.is_empty() {
            return Err(format!("`on` is empty; there are: {}", words()));
        }
        let timeout = duration(entry.timeout.as_deref().unwrap_or(TIMEOUT))?;
        if timeout > LONGEST {
            return Err("`timeout` must be at most 1h".to_owned());
        }
        let target = match (entry.run.as_slice(), entry.url.as_str()) {
            ([program, arguments @ ..], "") if !program.is_empty() => self.program(program, arguments),
            ([], url) if !url.is_empty() => self.address(url, &entry.secret_file)?,
            _ => {
                return Err(
                    "needs `run = [\"program\", \"argument\"]` or `url = \"https://...\"`, and not both"
                        .to_owned(),
                );
            }
        };
        let spelt = format!("{:?}\n{}", entry.run, entry.url);
        let name = sha256_hex(spelt.as_bytes())[..12].to_owned();
        Ok(Hook { name, on, target, timeout })
    }

    fn program(&self, program: &str, arguments: &[String]) -> HookTarget {
        let passed = |name: &&str| Some((OsString::from(name), self.environment.get(name)?.to_owned()));
        HookTarget::Program {
            program: program.to_owned(),
            arguments: arguments.to_vec(),
            environment: PASSED.iter().filter_map(passed).collect(),
        }
    }

    fn address(&mut self, url: &str, secret_file: &str) -> Result<HookTarget, String> {
        let parsed = http_url(url).map_err(|why| format!("`url` {why}"))?;
        let host = parsed.host_str().unwrap_or("nowhere").to_owned();
        let file: Option<PathBuf> =
            optional_path(secret_file).map_err(|why| format!("`secret_file` {why}"))?;
        let secret = match file {
            Some(file) if self.purpose == Purpose::Daemon => {
                let secret = read_secret(&file).map_err(|error| format!("`secret_file`: {error}"))?;
                if SignatureScheme::StandardWebhooks.key(&secret).is_none() {
                    return Err(
                        "`secret_file`: a secret that begins with `whsec_` must go on in base64".into()
                    );
                }
                Some(secret)
            }
            _ => None,
        };
        Ok(HookTarget::Address { url: Secret::new(url), host, secret })
    }
}

fn words() -> String {
    JobNotification::ALL.map(JobNotification::as_str).join(", ")
}

fn unknown(word: &str) -> String {
    let nearest = JobNotification::ALL
        .map(JobNotification::as_str)
        .into_iter()
        .min_by_key(|known| strsim::osa_distance(known, word));
    format!(
        "there is no event `{word}`; did you mean `{}`? There are: {}",
        nearest.unwrap_or_default(),
        words()
    )
}
