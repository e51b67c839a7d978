//! `sandbox`: the simulated provider alone.

use std::net::TcpListener;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::cli::args::SandboxArgs;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::terminal::{print_json, print_line};
use crate::money::{QUOTA_PER_USD, Quota};
use crate::sandbox::fault_plan::FaultPlan;
use crate::sandbox::faults::Generation;
use crate::sandbox::plan_value::PlanValue as _;
use crate::sandbox::signing::Signing;
use crate::sandbox::{Options, start};
use crate::secret::Secret;

/// `sandbox`
pub(crate) async fn sandbox(context: &Context, args: &SandboxArgs) -> Result<Exit, CliError> {
    if args.list_faults {
        let help = FaultPlan::help();
        if context.json {
            print_json(&serde_json::json!({"help": help.trim_end()}))?;
        } else {
            print_line(help.trim_end())?;
        }
        return Ok(Exit::Done);
    }
    let options = options(args)?;
    let listener = TcpListener::bind(args.listen)
        .map_err(|error| CliError::usage(format!("cannot listen on {} (--listen): {error}", args.listen)))?;
    let sandbox = start(listener, options, context.clock.clone()).await?;
    let base = sandbox.base_url();
    if context.json {
        print_json(&serde_json::json!({"base_url": base}))?;
    } else {
        print_line(&instructions(&base, args.key.as_deref()))?;
    }
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    sandbox.stop().await;
    Ok(Exit::Done)
}

fn options(args: &SandboxArgs) -> Result<Options, CliError> {
    let run_time = parse_run_time(&args.run_time).ok_or_else(|| {
        CliError::usage(format!("`{}` is no run time; write 3s, or 2s-6s (--run-time)", args.run_time))
    })?;
    let fault_plan = FaultPlan::parse(&args.faults.join(" "));
    Ok(Options {
        // The command line accepts no other word.
        generation: Generation::parse(&args.generation).unwrap_or(Generation::Old),
        signing: signing(args)?,
        fault_plan: fault_plan.map_err(|error| CliError::usage(error.to_string()))?,
        seed: args.seed,
        run_time,
        balance: Quota::new(i64::from(args.balance) * QUOTA_PER_USD),
        api_key: args.key.clone().map(Secret::new),
        ..Options::default()
    })
}

fn signing(args: &SandboxArgs) -> Result<Option<Signing>, CliError> {
    let (Some(scheme), Some(file)) = (args.sign, &args.secret_file) else { return Ok(None) };
    let text = std::fs::read_to_string(file).map_err(|error| {
        CliError::usage(format!("cannot read {} (--secret-file): {error}", file.display()))
    })?;
    let secret = Secret::new(text.lines().next().unwrap_or_default());
    Ok(Some(Signing { scheme, secret, seconds_ahead: 0 }))
}

fn instructions(base: &str, key: Option<&str>) -> String {
    format!(
        "the simulated provider listens at {base}; press ctrl-c to end\n\n\
         to use it, run the daemon with:\n  \
         export DROPREEL_PROVIDER__BASE_URL={base}\n  \
         export DROPREEL_PROVIDER__API_KEY={}\n  \
         export DROPREEL_DOWNLOADS__ALLOW_PRIVATE_ADDRESSES=true\n  \
         dropreel serve\n\n\
         all tasks and what they were billed: {base}/sandbox/ledger\n\
         the sums: {base}/sandbox/totals",
        key.unwrap_or("anything")
    )
}

/// `3s`, or `2s-6s`.
fn parse_run_time(text: &str) -> Option<(Duration, Duration)> {
    let parse = |text: &str| {
        let duration: jiff::SignedDuration = text.parse().ok()?;
        Duration::try_from(duration).ok()
    };
    match text.split_once('-') {
        None => parse(text).map(|time| (time, time)),
        Some((from, to)) => Some((parse(from)?, parse(to)?)).filter(|(from, to)| from <= to),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Command {
        #[command(flatten)]
        sandbox: SandboxArgs,
    }

    #[test]
    fn generation_and_balance_come_from_the_command_line() {
        let options = |words: &str| {
            let words = ["sandbox"].into_iter().chain(words.split_whitespace());
            let command = Command::try_parse_from(words).ok()?;
            let options = options(&command.sandbox).expect("options");
            Some((options.generation, options.balance.get()))
        };
        assert_eq!(options(""), Some((Generation::Old, 50_000_000)));
        assert_eq!(options("--generation old"), Some((Generation::Old, 50_000_000)));
        assert_eq!(options("--generation new --balance 3"), Some((Generation::New, 1_500_000)));
        assert_eq!(options("--generation newest"), None);
    }

    #[test]
    fn run_time_is_one_time_or_a_range() {
        let seconds = |from, to| Some((Duration::from_secs(from), Duration::from_secs(to)));
        assert_eq!(parse_run_time("3s"), seconds(3, 3));
        assert_eq!(parse_run_time("2s-1m"), seconds(2, 60));
        for invalid in ["", "x", "6s-2s", "3", "-3s"] {
            assert_eq!(parse_run_time(invalid), None, "{invalid}");
        }
    }
}
