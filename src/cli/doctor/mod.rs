//! `doctor`: looks at everything that dropreel stands on, and says for each finding how to mend it.

mod connectivity;
mod machine;

use serde_json::json;

use crate::cli::{Api, Context, Exit, Failure, term};
use crate::settings::{Purpose, Settings};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// It works, but not as well or as safely as it could.
    Warning,
    /// It will not work.
    Error,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One line of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    level: Level,
    /// What was looked at: one word.
    about: &'static str,
    /// What was found.
    what: String,
    /// What to do; empty if nothing is to be done.
    mend: String,
}

impl Finding {
    fn ok(about: &'static str, what: impl Into<String>) -> Self {
        Self { level: Level::Ok, about, what: what.into(), mend: String::new() }
    }

    fn warning(about: &'static str, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { level: Level::Warning, about, what: what.into(), mend: mend.into() }
    }

    fn error(about: &'static str, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { level: Level::Error, about, what: what.into(), mend: mend.into() }
    }
}

/// `doctor`
pub(super) async fn doctor(context: &Context) -> Result<Exit, Failure> {
    let mut findings = Vec::new();
    match context.settings(Purpose::Client) {
        Err(failure) => {
            let mend =
                "mend what is named; `dropreel init --output FILE` writes a complete one to compare with";
            findings.push(Finding::error("configuration", failure.message, mend));
        }
        Ok(settings) => look(context, &settings, &mut findings).await,
    }
    tell(context, &findings)
}

async fn look(context: &Context, settings: &Settings, findings: &mut Vec<Finding>) {
    findings.push(match &settings.config_file {
        Some(file) => Finding::ok("configuration", file.display().to_string()),
        None => Finding::ok("configuration", "no file; the defaults and the environment stand"),
    });
    let runs = daemon(settings, findings).await;
    findings.extend(machine::folders(settings));
    findings.push(machine::disk_speed(settings, &context.clock));
    findings.push(machine::database(settings));
    // A daemon under systemd has its key from systemd, where this command cannot see it.
    match context.settings(Purpose::Daemon) {
        Ok(with_key) => findings.extend(connectivity::provider(&with_key, &context.clock).await),
        Err(_) if runs => findings.push(Finding::ok("key", "the daemon has one; this command cannot see it")),
        Err(failure) => findings.push(Finding::error(
            "key",
            failure.message.lines().next().unwrap_or_default().to_owned(),
            "set DROPREEL_PROVIDER__API_KEY or provider.api_key_file, or the systemd credential `api_key`; if the key is \
             another user's, run this as that user",
        )),
    }
    findings.push(connectivity::callbacks(settings, runs).await);
}

/// Whether the daemon runs, and what it says of itself.
async fn daemon(settings: &Settings, findings: &mut Vec<Finding>) -> bool {
    let status = match Api::new(settings.admin.listen, settings.admin.token.clone()) {
        Ok(api) => match api.get(&["api", "v1", "status"], &[]).await {
            Ok(status) => Ok((status, api.get(&["readyz"], &[]).await)),
            Err(failure) => Err(failure),
        },
        Err(failure) => Err(failure),
    };
    let (status, ready) = match status {
        Ok(told) => told,
        Err(failure) if failure.exit == Exit::Unreachable => {
            let what = format!("not running, or not at {}", settings.admin.listen);
            findings.push(Finding::warning(
                "daemon",
                what,
                "`dropreel serve`, or `systemctl start dropreel`",
            ));
            return false;
        }
        Err(failure) => {
            let mend = "is something else at admin.listen, or the token of another daemon set?";
            findings.push(Finding::error("daemon", failure.message, mend));
            return false;
        }
    };
    let version = term::text(&status, "version");
    findings.push(if version == env!("CARGO_PKG_VERSION") {
        Finding::ok("daemon", format!("runs, version {version}"))
    } else {
        let what = format!("runs, version {version}; this command is {}", env!("CARGO_PKG_VERSION"));
        Finding::warning("daemon", what, "restart it: `systemctl restart dropreel`")
    });
    if let Err(failure) = ready {
        findings.push(Finding::error(
            "daemon",
            failure.message,
            "the log has the first cause: journalctl -u dropreel",
        ));
    }
    for stop in status["suspensions"].as_array().into_iter().flatten() {
        let mend = match stop["cause"].as_str().unwrap_or_default() {
            "paused_submits" | "paused_downloads" => "`dropreel resume` goes on",
            "key_refused" => "give it a valid key, then `systemctl restart dropreel`",
            "balance_empty" => "top up the balance at the provider; it goes on by itself",
            "misconfigured" => "set provider.base_url to the provider's address",
            _ => "it goes on by itself",
        };
        findings.push(Finding::warning("line", term::text(stop, "message"), mend));
    }
    let held = status["counts"]["held"].as_u64().unwrap_or(0);
    if held > 0 {
        let mend = "`dropreel list --state held`, `dropreel show JOB`";
        findings.push(Finding::warning("jobs", format!("{held} wait for you"), mend));
    }
    true
}

fn tell(context: &Context, findings: &[Finding]) -> Result<Exit, Failure> {
    if context.json {
        let shown: Vec<_> = findings
            .iter()
            .map(|one| json!({"level": one.level.as_str(), "about": one.about, "what": one.what, "mend": one.mend}))
            .collect();
        term::say_json(&json!({ "findings": shown }))?;
    } else {
        for one in findings {
            let what = term::plain(&one.what).replace('\n', " ");
            term::say(&format!("{:<8} {:<13} {what}", one.level.as_str(), one.about))?;
            if !one.mend.is_empty() {
                term::say(&format!("{:<22} -> {}", "", one.mend))?;
            }
        }
    }
    let worst = findings.iter().map(|one| one.level).max();
    Ok(if worst == Some(Level::Error) { Exit::Failed } else { Exit::Done })
}
