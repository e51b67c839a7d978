//! Arguments of the commands that maintain and check an installation.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::sandbox::signing::Scheme;
use crate::settings;
use crate::store::prune::{MIN_PRUNE_AGE, below_min_age};

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum RotatableSecret {
    /// The secret behind callback addresses
    CallbackSecret,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// A time span (7d, 12h), a day (2026-11-01, of budget.time_zone) or a time; default: the last 30 days
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// List tasks that were charged and brought no video, as a text for the provider
    #[arg(long)]
    pub disputes: bool,
    /// Print one table of comma-separated values (RFC 4180)
    #[arg(long, conflicts_with_all = ["json", "disputes"])]
    pub csv: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Minimum age of finished jobs, rejected job files and quarantined downloads; at least 31d
    #[arg(long, value_name = "AGE", default_value = "90d", value_parser = parse_age)]
    pub older_than: String,
    /// Do not ask for confirmation
    #[arg(long, short)]
    pub yes: bool,
    /// Only count jobs and files
    #[arg(long)]
    pub dry_run: bool,
}

/// The age as written, after a check that needs no daemon.
fn parse_age(text: &str) -> Result<String, String> {
    if settings::age(text)? < MIN_PRUNE_AGE { Err(below_min_age(text)) } else { Ok(text.to_owned()) }
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Job files; `-` for standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Read one job per line from standard input
    #[arg(long)]
    pub lines: bool,
    /// Add the keys of this file to each job that does not have them; default: for files in the inbox, its `defaults.json`
    #[arg(long, value_name = "FILE")]
    pub defaults: Option<PathBuf>,
    /// Estimate without the daemon's quotes and history
    #[arg(long)]
    pub offline: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The file to write
    #[arg(long, short, value_name = "FILE", default_value = "config.toml")]
    pub output: PathBuf,
    /// Replace a file that exists
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SandboxArgs {
    /// Address to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8790")]
    pub listen: SocketAddr,
    /// Faults and task shapes, such as "submit=503x3 callback=lost"; repeat for more
    #[arg(long = "fault", value_name = "WORDS")]
    pub faults: Vec<String>,
    /// Generation of the service: old takes `extra`; new refuses undeclared keys, quotes prices, and settles later
    #[arg(long, value_name = "WHICH", default_value = "old", value_parser = ["old", "new"])]
    pub generation: String,
    /// Seed: the same calls at the same times get the same answers
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// How long tasks run: "3s", or a range such as "2s-6s"
    #[arg(long, value_name = "TIME", default_value = "2s-6s")]
    pub run_time: String,
    /// Initial balance in whole US dollars
    #[arg(long, value_name = "USD", default_value_t = 100)]
    pub balance: u32,
    /// Accept only this key; default: any key
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Sign callbacks: standard-webhooks or hmac-sha256-hex
    #[arg(long, value_name = "SCHEME", requires = "secret_file")]
    pub sign: Option<Scheme>,
    /// File with the secret to sign with
    #[arg(long, value_name = "FILE", requires = "sign")]
    pub secret_file: Option<PathBuf>,
    /// List the words of --fault and exit
    #[arg(long)]
    pub list_faults: bool,
}
