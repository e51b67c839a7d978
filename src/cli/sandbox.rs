//! `sandbox`: the simulated provider alone.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::json;

use crate::cli::args::Sandbox as Line;
use crate::cli::term::{say, say_json};
use crate::cli::{Context, Exit, Failure};
use crate::money::{QUOTA_PER_USD, Quota};
use crate::sandbox::plan::Plan;
use crate::sandbox::signing::Signing;
use crate::sandbox::{Options, start};
use crate::secret::Secret;

/// `sandbox`
pub(super) async fn sandbox(context: &Context, line: &Line) -> Result<Exit, Failure> {
    if line.list_faults {
        say(Plan::help().trim_end())?;
        return Ok(Exit::Done);
    }
    let usage = |why: String| Failure::new(Exit::Usage, why);
    let signing = match (line.sign, &line.secret_file) {
        (Some(scheme), Some(file)) => {
            let text = std::fs::read_to_string(file)
                .map_err(|error| usage(format!("cannot read {} (--secret-file): {error}", file.display())))?;
            let secret = Secret::new(text.lines().next().unwrap_or_default());
            Some(Signing { scheme, secret, seconds_ahead: 0 })
        }
        _ => None,
    };
    let options = Options {
        signing,
        plan: Plan::parse(&line.faults.join(" ")).map_err(|error| usage(error.to_string()))?,
        seed: line.seed,
        run_time: span(&line.run_time)
            .ok_or_else(|| usage(format!("`{}` is no time; write 3s, or 2s-6s", line.run_time)))?,
        balance: Quota::new(i64::from(line.balance) * QUOTA_PER_USD),
        api_key: line.key.clone().map(Secret::new),
        ..Options::default()
    };
    let listener = TcpListener::bind(line.listen)
        .map_err(|error| usage(format!("cannot listen on {} (--listen): {error}", line.listen)))?;
    let sandbox = start(listener, options, context.clock.clone()).await?;
    let base = sandbox.base_url();
    if context.json {
        say_json(&json!({"base_url": base}))?;
    } else {
        say(&format!(
            "a simulated provider is at {base}; ctrl-c ends it\n\n\
             point a daemon at it:\n  \
             export DROPREEL_PROVIDER__BASE_URL={base}\n  \
             export DROPREEL_PROVIDER__API_KEY={}\n  \
             export DROPREEL_DOWNLOADS__ALLOW_PRIVATE_ADDRESSES=true\n  \
             dropreel serve\n\n\
             who was billed for what: {base}/sandbox/ledger",
            line.key.as_deref().unwrap_or("anything")
        ))?;
    }
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
    }
    sandbox.stop().await;
    Ok(Exit::Done)
}

/// `3s`, or `2s-6s`.
fn span(text: &str) -> Option<(Duration, Duration)> {
    let one = |text: &str| {
        let friendly: jiff::SignedDuration = text.parse().ok()?;
        Duration::try_from(friendly).ok()
    };
    match text.split_once('-') {
        None => one(text).map(|time| (time, time)),
        Some((from, to)) => Some((one(from)?, one(to)?)).filter(|(from, to)| from <= to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_time_is_one_time_or_two() {
        let seconds = |from, to| Some((Duration::from_secs(from), Duration::from_secs(to)));
        assert_eq!(span("3s"), seconds(3, 3));
        assert_eq!(span("2s-1m"), seconds(2, 60));
        for bad in ["", "x", "6s-2s", "3", "-3s"] {
            assert_eq!(span(bad), None, "{bad}");
        }
    }
}
