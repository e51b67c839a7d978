//! Whether the daemon runs, and what it reports about itself.

use crate::api::models::ModelsView;
use crate::api::status::StatusView;
use crate::cli::client::ApiClient;
use crate::cli::doctor::finding::Finding;
use crate::cli::exit::{CliError, Exit};
use crate::cli::suspensions::describe_suspension;
use crate::job::state::StateName;
use crate::job::suspension::{Suspension, SuspensionCause};
use crate::settings::Settings;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Whether the daemon runs, and the findings.
pub(super) async fn check(settings: &Settings) -> (bool, Vec<Finding>) {
    match request_status(settings).await {
        Ok((status, ready)) => (true, findings(&status, ready)),
        Err(error) if error.exit == Exit::Unreachable => {
            let what = format!("not running, or not at {}", settings.admin.listen);
            let fix = "`dropreel serve`, or `systemctl start dropreel`";
            (false, vec![Finding::warning("daemon", what, fix)])
        }
        Err(error) if error.exit == Exit::OtherDaemon => {
            let (what, fix) = error.message.split_once('\n').unwrap_or((&error.message, ""));
            (false, vec![Finding::error("daemon", what, fix)])
        }
        Err(error) => {
            let fix = "check whether another program listens at admin.listen, and whether the token is this daemon's";
            (false, vec![Finding::error("daemon", error.message, fix)])
        }
    }
}

/// What the daemon says of the models of its jobs.
pub(super) async fn models(settings: &Settings) -> Option<ModelsView> {
    let client = client(settings).ok()?;
    client.models().await.map(|models| ModelsView::clone(&models)).ok()
}

fn client(settings: &Settings) -> Result<ApiClient, CliError> {
    ApiClient::new(settings.admin.listen, settings.admin.token.clone(), &settings.data_dir)
}

async fn request_status(settings: &Settings) -> Result<(StatusView, Result<(), CliError>), CliError> {
    let client = client(settings)?;
    let status = client.status().await?;
    Ok((status, client.check_ready().await))
}

fn findings(status: &StatusView, ready: Result<(), CliError>) -> Vec<Finding> {
    let version = &status.version;
    let mut findings = vec![if version == VERSION {
        Finding::ok("daemon", format!("running, version {version}"))
    } else {
        let what = format!("running, version {version}; this command is version {VERSION}");
        Finding::warning("daemon", what, "restart it: `systemctl restart dropreel`")
    }];
    if let Err(error) = ready {
        findings.push(Finding::error("daemon", error.message, "see its log: `journalctl -u dropreel`"));
    }
    findings.extend(status.suspensions.iter().map(suspension));
    let held = status.count(StateName::Held);
    if held > 0 {
        let fix = "`dropreel list --state held`, `dropreel show JOB`";
        findings.push(Finding::warning("jobs", format!("{held} held, waiting for you"), fix));
    }
    findings
}

fn suspension(suspension: &Suspension) -> Finding {
    let fix = match suspension.cause {
        SuspensionCause::PausedSubmits | SuspensionCause::PausedDownloads => "`dropreel resume`",
        SuspensionCause::Superseded => {
            "make sure that no other daemon uses a copy of this database, then `dropreel resume takeover`; look at what \
             is held: `dropreel list --state held`"
        }
        SuspensionCause::RateLimited => "nothing to do: jobs continue by themselves",
        SuspensionCause::KeyRefused => "set a valid key, then `systemctl restart dropreel`",
        SuspensionCause::BalanceEmpty => "top up the balance at the provider; jobs continue by themselves",
        SuspensionCause::Misconfigured => "set provider.base_url to the provider's address",
        SuspensionCause::Unreachable => "check the network; jobs continue by themselves",
        SuspensionCause::ClockUnreliable => {
            "set the clock of this machine, best by NTP; jobs continue by themselves; if the clock is right, `dropreel \
             resume` says so"
        }
    };
    Finding::warning("suspension", describe_suspension(suspension), fix)
}
