//! `doctor`: checks everything that dropreel depends on, and suggests a fix for each finding.

mod catalogue;
mod connectivity;
mod daemon;
mod finding;
mod machine;
mod storage;

use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::format::hang;
use crate::cli::terminal::{print_json, print_line, width};
use crate::settings::{Purpose, Settings};
use finding::{Finding, Level};

#[derive(Serialize)]
struct DoctorDocument {
    findings: Vec<Finding>,
}

/// `doctor`
pub(crate) async fn doctor(context: &Context) -> Result<Exit, CliError> {
    let (findings, is_usable) = match context.settings(Purpose::Client) {
        Ok(settings) => (examine(context, &settings).await, true),
        Err(error) => {
            let fix =
                "correct what is named; `dropreel init --output FILE` writes a complete file to compare with";
            (vec![Finding::error("configuration", error.message, fix)], false)
        }
    };
    let worst = findings.iter().map(|finding| finding.level).max();
    if context.json {
        print_json(&DoctorDocument { findings })?;
    } else {
        findings.iter().try_for_each(print)?;
    }
    Ok(match worst {
        _ if !is_usable => Exit::Usage,
        Some(Level::Error) => Exit::Failed,
        _ => Exit::Done,
    })
}

async fn examine(context: &Context, settings: &Settings) -> Vec<Finding> {
    let mut findings = vec![Finding::ok(
        "configuration",
        match &settings.config_file {
            Some(file) => file.display().to_string(),
            None => "no file; using defaults and environment".to_owned(),
        },
    )];
    let (runs, daemon) = daemon::check(settings).await;
    findings.extend(daemon);
    findings.extend(machine::folders(settings));
    findings.extend(machine::leftovers(settings, &context.clock));
    findings.push(machine::disk_speed(settings, &context.clock));
    // With the secrets that a client does without.
    let complete = context.settings(Purpose::Daemon).map_err(|error| error.message);
    findings.push(machine::database(complete.as_ref().unwrap_or(settings), runs));
    findings.extend(machine::unusable_answers(settings));
    let key = complete.as_ref().map_err(Clone::clone).and_then(|with_key| match with_key.provider.api_key {
        Some(_) => Ok(with_key),
        None => Err("no API key is set, and the daemon does not start without one".to_owned()),
    });
    match key {
        Ok(with_key) => {
            let models = if runs { daemon::models(settings).await } else { None };
            findings.extend(connectivity::provider(with_key, &context.clock, models.as_ref()).await);
        }
        // A daemon under systemd has its key from systemd, where this command cannot read it.
        Err(_) if runs => findings.push(Finding::ok("key", "the daemon has one; this command cannot read it")),
        Err(why) => findings.push(Finding::error(
            "key",
            why.lines().next().unwrap_or_default(),
            "set DROPREEL_PROVIDER__API_KEY, provider.api_key_file or the systemd credential `api_key`; if the key \
             belongs to another user, run this as that user",
        )),
    }
    let bucket = complete.as_ref().map_or(&settings.bucket, |with_keys| &with_keys.bucket);
    if let Some(bucket) = bucket {
        findings.push(storage::check(bucket, runs, &context.clock).await);
    }
    findings.push(connectivity::callbacks(settings, runs).await);
    findings.extend(connectivity::pictures(settings, runs).await);
    findings
}

fn print(finding: &Finding) -> Result<(), CliError> {
    let before = format!("{:<8} {:<13} ", finding.level.into_str(), finding.about);
    print_line(&hang(&before, &finding.what.replace('\n', " "), width()))?;
    if finding.fix.is_empty() {
        return Ok(());
    }
    print_line(&hang(&format!("{:<22} -> ", ""), &finding.fix, width()))
}
