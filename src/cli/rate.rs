//! `rate`: rates the outputs of a job, or one of them.

use crate::api::rating::RatingRequest;
use crate::cli::args::RateArgs;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::format::printable;
use crate::cli::terminal::{print_json, print_line};

/// `rate`
pub(crate) async fn rate(context: &Context, args: &RateArgs) -> Result<Exit, CliError> {
    let client = context.client()?;
    let (reference, output) = split_output(&args.job);
    let job = client.job(reference).await?.id;
    let request = RatingRequest { rating: args.rating.0, output: output.map(str::to_owned) };
    let result = client.rate(job, &request).await?;
    if context.json {
        print_json(&result)?;
    } else {
        print_line(&format!("{}: {}", printable(&result.job.name), printable(&result.message)))?;
    }
    Ok(Exit::Done)
}

/// `sakura` and `video-1` of `sakura:video-1`. Another text after a colon belongs to the name.
fn split_output(job: &str) -> (&str, Option<&str>) {
    let is_output = |output: &str| {
        output.split_once('-').is_some_and(|(kind, index)| {
            matches!(kind, "video" | "image" | "audio") && index.parse::<u16>().is_ok()
        })
    };
    match job.rsplit_once(':') {
        Some((job, output)) if is_output(output) => (job, Some(output)),
        _ => (job, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_split_from_a_job_with_colons() {
        let cases = [
            ("sakura", ("sakura", None)),
            ("sakura:video-1", ("sakura", Some("video-1"))),
            ("a:b", ("a:b", None)),
            ("a:b:image-0", ("a:b", Some("image-0"))),
            ("a:video-x", ("a:video-x", None)),
        ];
        for (job, expected) in cases {
            assert_eq!(split_output(job), expected, "{job}");
        }
    }
}
