//! Arguments of the commands that make jobs, show them and act on them.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use strum::VariantArray;

use crate::api::list::{JobFilter, JobOrder, RatingFilter};
use crate::api::status::{PauseTarget, ResumeTarget};
use crate::job::label::Label;
use crate::job::state::StateName;
use crate::money::Quota;

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Number of sample jobs
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub jobs: u32,
    /// Folder for all files, kept afterwards; default: a temporary one
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Keep the temporary folder with the videos
    #[arg(long)]
    pub keep: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    /// Job files; `-` for standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Show progress and exit with the jobs' outcome
    #[arg(long)]
    pub wait: bool,
    /// Read one job per line from standard input
    #[arg(long)]
    pub lines: bool,
    /// File name for standard input
    #[arg(long)]
    pub name: Option<String>,
    /// Add the keys of this file to each job that does not have them, as `defaults.json` in the inbox does
    #[arg(long, value_name = "FILE")]
    pub defaults: Option<PathBuf>,
    /// Key of an earlier submit whose answer was lost: jobs that it made are not made again
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// Submit nothing if the estimate of all jobs is above this
    #[arg(long, value_name = "USD", value_parser = parse_usd)]
    pub max_cost: Option<Quota>,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only jobs with all of these words in name, prompt, model, id, task, file or labels; `-WORD`: without it
    #[arg(value_name = "WORD", allow_hyphen_values = true, conflicts_with = "batches")]
    pub words: Vec<String>,
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Only jobs with this rating: 4, 4+ (4 or 5) or none
    #[arg(long, value_name = "N[+]")]
    pub rating: Option<RatingFilter>,
    /// Only jobs of the job files with this name, with or without their folder
    #[arg(long, value_name = "FILE")]
    pub file: Option<String>,
    /// Only jobs of this folder of the inbox, and of those below it
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<String>,
    /// Order: the newest, most expensive or best first, or by name
    #[arg(long, value_name = "ORDER", default_value = "created", hide_default_value = true, value_parser = order_parser())]
    pub sort: JobOrder,
    /// List batches (job files and posted jobs) with what became of their jobs
    #[arg(long, conflicts_with_all = ["state", "labels", "rating", "file", "folder", "sort"])]
    pub batches: bool,
    /// Print a table for spreadsheets, with the state, cost and files of each job
    #[arg(long, conflicts_with = "batches")]
    pub csv: bool,
    /// Most jobs or batches to list
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct FilterArgs {
    /// Only jobs in this state
    #[arg(long, value_name = "STATE", value_parser = state_parser())]
    pub state: Option<StateName>,
    /// Only jobs with this label; repeat for more labels
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<Label>,
}

#[derive(Debug, Args)]
pub(crate) struct JobArg {
    /// Id, name, or part of an id
    #[arg(value_name = "JOB")]
    pub job: String,
}

#[derive(Debug, Args)]
pub(crate) struct OptionalJobArg {
    /// Id, name, or part of an id; default: all jobs
    #[arg(value_name = "JOB")]
    pub job: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct JobsArg {
    /// Ids, names, or parts of ids
    #[arg(required = true, value_name = "JOB")]
    pub jobs: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct AdoptArgs {
    /// The provider's ids of the tasks
    #[arg(value_name = "TASK_ID", required = true)]
    pub task_ids: Vec<String>,
    /// Name of the new jobs: NAME, NAME-2, ...; default: the id of the task
    #[arg(long)]
    pub name: Option<String>,
}

/// `cancel`, `retry`, `release`, `dismiss`, `undismiss`, and which jobs `label` changes
#[derive(Debug, Args)]
pub(crate) struct ActionArgs {
    /// Ids, names, or parts of ids
    #[arg(value_name = "JOB", required_unless_present_any = ["state", "labels"], conflicts_with_all = ["state", "labels"])]
    pub jobs: Vec<String>,
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Do not ask for confirmation
    #[arg(long, short)]
    pub yes: bool,
    /// Only list the jobs
    #[arg(long)]
    pub dry_run: bool,
}

/// `label`
#[derive(Debug, Args)]
pub(crate) struct LabelArgs {
    #[command(flatten)]
    pub jobs: ActionArgs,
    /// A label to set, in place of one with the same key; repeat for more
    #[arg(long, value_name = "KEY=VALUE", required_unless_present = "remove")]
    pub set: Vec<Label>,
    /// The key of a label to remove; repeat for more
    #[arg(long, value_name = "KEY")]
    pub remove: Vec<String>,
}

/// `pause`
#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// Default: both
    pub what: Option<PauseTarget>,
}

/// `resume`
#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// Default: everything but `takeover`
    pub what: Option<ResumeTarget>,
}

impl ListArgs {
    pub fn filter(&self) -> JobFilter {
        let words = self.words.join(" ");
        JobFilter {
            text: Some(words).filter(|words| !words.trim().is_empty()),
            rating: self.rating,
            file: self.file.clone(),
            folder: self.folder.clone(),
            ..self.filter.filter()
        }
    }
}

impl FilterArgs {
    pub fn filter(&self) -> JobFilter {
        JobFilter { state: self.state, labels: self.labels.clone(), ..JobFilter::default() }
    }
}

pub(super) fn parse_usd(text: &str) -> Result<Quota, &'static str> {
    Quota::parse_usd(text).ok_or("not an amount in US dollars, such as 0.5")
}

fn order_parser() -> impl TypedValueParser<Value = JobOrder> {
    let words = PossibleValuesParser::new(JobOrder::VARIANTS.iter().map(JobOrder::into_str));
    words.try_map(|word| word.parse().map_err(|_| "not an order"))
}

fn state_parser() -> impl TypedValueParser<Value = StateName> {
    let words = PossibleValuesParser::new(StateName::VARIANTS.iter().map(StateName::into_str));
    words.try_map(|word| word.parse().map_err(|_| "not a state"))
}
