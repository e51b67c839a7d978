//! Arguments of the commands that act on requests.

use std::path::PathBuf;

use clap::Args;
use serde_json::value::RawValue;

use crate::api::rating::MAX_RATING;
use crate::cli::args::jobs::{FilterArgs, parse_usd};
use crate::money::Quota;

/// `again`
#[derive(Debug, Args)]
pub(crate) struct AgainArgs {
    /// Id, name, or part of an id
    #[arg(value_name = "JOB")]
    pub job: String,
    /// A value of the new request, such as seed=7 or extra.audio=true; JSON if it is valid JSON, else text
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_set)]
    pub set: Vec<SetValue>,
    /// Draw a new seed for each new job
    #[arg(long)]
    pub new_seed: bool,
    /// Number of new jobs
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub times: u32,
    /// Do not ask for confirmation
    #[arg(long, short)]
    pub yes: bool,
    /// Only check and estimate
    #[arg(long)]
    pub dry_run: bool,
    /// Make nothing if the estimate is above this
    #[arg(long, value_name = "USD", value_parser = parse_usd)]
    pub max_cost: Option<Quota>,
    /// Key of an earlier `again` whose answer was lost: jobs that it made are not made again
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}

/// `edit`
#[derive(Debug, Args)]
pub(crate) struct EditArgs {
    /// Id, name, or part of an id
    #[arg(value_name = "JOB")]
    pub job: String,
    /// A value to change, such as seed=7, extra.audio=true or dropreel.priority=5; default: opens $EDITOR
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_set)]
    pub set: Vec<SetValue>,
    /// Draw a new seed
    #[arg(long)]
    pub new_seed: bool,
    /// Only check and estimate, and print the changed text
    #[arg(long)]
    pub dry_run: bool,
}

/// `rate`
#[derive(Debug, Args)]
pub(crate) struct RateArgs {
    /// Id, name, or part of an id; with one of its outputs, JOB:video-0
    #[arg(value_name = "JOB[:OUTPUT]")]
    pub job: String,
    /// 0 (rejected) to 5, or `clear`
    #[arg(value_name = "RATING", value_parser = parse_rating)]
    pub rating: GivenRating,
}

/// A rating; `None` clears.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GivenRating(pub Option<u8>);

fn parse_rating(text: &str) -> Result<GivenRating, String> {
    let rating = text.parse().ok().filter(|rating| *rating <= MAX_RATING);
    match (text, rating) {
        ("clear", _) => Ok(GivenRating(None)),
        (_, Some(rating)) => Ok(GivenRating(Some(rating))),
        _ => Err(format!("not a number from 0 to {MAX_RATING}, and not `clear`")),
    }
}

/// `export`
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Cancel here what is printed, so that another machine buys it: only jobs that were not submitted
    #[arg(long)]
    pub r#move: bool,
    /// Copy the local pictures that the jobs name into this folder; the lines call them by their content
    #[arg(long, value_name = "DIR")]
    pub pictures: Option<PathBuf>,
}

/// A key of the request, or a path below one, and its JSON text.
#[derive(Clone, Debug)]
pub(crate) struct SetValue {
    pub key: String,
    pub value: Box<RawValue>,
}

impl SetValue {
    /// An object with this value, if the key is at the root.
    pub fn object(&self) -> String {
        format!("{{{}:{}}}", serde_json::Value::from(&*self.key), self.value)
    }
}

fn parse_set(text: &str) -> Result<SetValue, String> {
    let (key, value) = text.split_once('=').ok_or("not KEY=VALUE, such as seed=7")?;
    if key.is_empty() {
        return Err("no key before `=`".to_owned());
    }
    let json = serde_json::from_str(value.trim()).or_else(|_| serde_json::value::to_raw_value(value));
    Ok(SetValue { key: key.to_owned(), value: json.map_err(|error| error.to_string())? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_is_json_where_it_is_valid_json_and_else_text() {
        let cases = [
            ("seed=7", "seed", "7"),
            ("scale=1.10", "scale", "1.10"),
            ("seed=007", "seed", "\"007\""),
            ("extra.audio=true", "extra.audio", "true"),
            ("prompt=rain, a = b", "prompt", "\"rain, a = b\""),
            ("prompt=\"7\"", "prompt", "\"7\""),
            ("image_urls=[\"https://a\"]", "image_urls", "[\"https://a\"]"),
            ("prompt=", "prompt", "\"\""),
        ];
        for (text, key, value) in cases {
            let set = parse_set(text).unwrap();
            assert_eq!((&*set.key, set.value.get()), (key, value), "{text}");
        }
        assert!(parse_set("seed").is_err() && parse_set("=7").is_err());
    }
}
