//! `again`: new jobs from the request of an old one.

use data_encoding::HEXLOWER;

use crate::api::again::AgainRequest;
use crate::api::estimate::EstimateView;
use crate::cli::args::{AgainArgs, SetValue};
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::format::{count, printable};
use crate::cli::list::JobsDocument;
use crate::cli::pictures::HandOver;
use crate::cli::submit::{print_accepted, repeat_until_answered};
use crate::cli::terminal::{confirm, eprint_line, print_json, print_line, stdin_is_terminal};
use crate::rng::Rng;
use crate::settings::Purpose;

/// `again`
pub(crate) async fn again(context: &Context, args: &AgainArgs) -> Result<Exit, CliError> {
    let client = context.client()?;
    // By its id from here on: the new jobs may have a name that the reference matches, too.
    let origin = client.job(&args.job).await?.id;
    let mut hand_over = HandOver::new(&context.settings(Purpose::Client)?);
    let set: Vec<String> = args.set.iter().map(SetValue::object).collect();
    let pictures = hand_over.upload_named_in(&client, set.iter().map(String::as_str)).await?;
    let request = AgainRequest {
        set: set_values(&args.set),
        pictures,
        new_seed: args.new_seed,
        times: args.times,
        ..AgainRequest::default()
    };
    let estimate = client.estimate_again(origin, &request).await?;
    if args.dry_run {
        if context.json {
            print_json(&estimate)?;
        } else {
            eprint_warnings(&estimate);
            print_line(&describe(&estimate))?;
        }
        return Ok(Exit::Done);
    }
    // A script has said what it wants, and limits the cost with --max-cost.
    if stdin_is_terminal() && !args.yes {
        eprint_warnings(&estimate);
        confirm(&format!("Make {}?", describe(&estimate)))?;
    }
    let key = args.idempotency_key.clone().unwrap_or_else(|| HEXLOWER.encode(&Rng::from_system().id_bytes()));
    let title = printable(&args.job);
    let send = || client.again(origin, &request, &key, args.max_cost);
    let created = repeat_until_answered(context, &title, send).await.map_err(|error| {
        if !error.answer_lost {
            return error;
        }
        let repeat = format!("run the same command with `--idempotency-key {key}`: it makes nothing twice");
        CliError::new(error.exit, format!("{}\n{repeat}", error.message))
    })?;
    if context.json {
        print_json(&JobsDocument { jobs: &created.jobs })?;
    } else {
        eprint_line(&describe(&estimate));
        print_accepted(&created.jobs)?;
    }
    Ok(Exit::Done)
}

pub(crate) fn set_values(
    set: &[SetValue],
) -> std::collections::BTreeMap<String, Box<serde_json::value::RawValue>> {
    set.iter().map(|set| (set.key.clone(), set.value.clone())).collect()
}

pub(crate) fn describe(estimate: &EstimateView) -> String {
    format!("{}, {}", count(estimate.jobs, "job"), estimate.cost.describe())
}

pub(crate) fn eprint_warnings(estimate: &EstimateView) {
    for warning in estimate.files.iter().flat_map(|file| &file.warnings) {
        eprint_line(&format!("warning: {}", printable(&warning.message)));
    }
}
