//! The command line: its help texts, man pages and completions all come from here.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::job::state::StateName;
use crate::sandbox::signing::Scheme;
use crate::settings;
use crate::store::prune::{SHORTEST_AGE, too_short};

/// Drop a JSON job file into a folder; find the finished AI video in another.
#[derive(Debug, Parser)]
#[command(
    name = "dropreel",
    version,
    about,
    long_about = "Drop a JSON job file into a folder; find the finished AI video in another.\n\n\
        `dropreel serve` is the daemon: it submits jobs to the task API of qingbo.dev, receives the completion \
        webhooks, polls what stays silent, and downloads each video before its link dies. The other commands talk to \
        it.\n\nExit codes: 0 done; 1 it failed; 2 wrong usage or configuration; 3 the job waited for did not succeed; \
        4 the daemon cannot be reached.",
    after_help = "Try it without a key and without a network: dropreel demo",
    max_term_width = 100
)]
pub struct CommandLine {
    /// The configuration file; else $DROPREEL_CONFIG, ./config.toml, /etc/dropreel/config.toml
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print one JSON document on stdout instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands (docs/reference.md#command-line).
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon in the foreground
    #[command(after_help = "Example: DROPREEL_PROVIDER__API_KEY=sk-... dropreel serve")]
    Serve,
    /// Show everything at once on this machine: no key, no network
    #[command(after_help = "Example: dropreel demo --jobs 12 --keep")]
    Demo(Demo),
    /// Hand job files to the daemon
    #[command(after_help = "Example: dropreel submit scene-*.json --wait")]
    Submit(Submit),
    /// List jobs, newest first
    #[command(after_help = "Example: dropreel list --state held --label project=spring")]
    List(List),
    /// Show one job: files, cost, history, what it waits for
    #[command(after_help = "Example: dropreel show sakura")]
    Show(Reference),
    /// Watch jobs live, with a bar for each that runs
    #[command(after_help = "Example: dropreel watch sakura")]
    Watch(MaybeReference),
    /// Wait until jobs end; exit code 3 unless all succeeded
    #[command(after_help = "Example: dropreel wait sakura rain && echo both are here")]
    Wait(References),
    /// Cancel jobs that the provider has not begun
    #[command(after_help = "Example: dropreel cancel sakura")]
    Cancel(Act),
    /// Run failed, cancelled, expired or held jobs again, under a new key: it costs again
    #[command(after_help = "Example: dropreel retry --state failed --label project=spring")]
    Retry(Act),
    /// Let held jobs go on
    #[command(after_help = "Example: dropreel release sakura")]
    Release(Act),
    /// Stop submits, downloads, or both, until `resume`
    #[command(after_help = "Example: dropreel pause submits")]
    Pause(Pausable),
    /// Go on after `pause`
    #[command(after_help = "Example: dropreel resume")]
    Resume(Pausable),
    /// Make a new secret, and let the old one end with the jobs that use it
    #[command(after_help = "Example: dropreel rotate callback-secret")]
    Rotate {
        /// Which
        secret: Rotatable,
    },
    /// Tell how jobs ended, how long they took and what they cost
    #[command(after_help = "Example: dropreel report --since 7d\n         dropreel report --disputes")]
    Report(Report),
    /// Copy the database, whole and consistent, while the daemon runs or not
    #[command(after_help = "Example: sudo -u dropreel dropreel backup /var/backups/dropreel/monday.db")]
    Backup {
        /// Where to; never replaced if it is there
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Forget jobs that ended long ago, with their job files; never anything in the library
    #[command(after_help = "Example: dropreel prune --older-than 180d --dry-run")]
    Prune(Prune),
    /// Check job files as the inbox would, without sending anything
    #[command(after_help = "Example: dropreel check scene-*.json")]
    Check(Check),
    /// Look at everything it stands on, and say how to mend what is wrong
    #[command(after_help = "Example: sudo -u dropreel dropreel doctor")]
    Doctor,
    /// Write a commented configuration file
    #[command(after_help = "Example: dropreel init --output /etc/dropreel/config.toml")]
    Init(Init),
    /// Run the simulated provider alone
    #[command(after_help = "Example: dropreel sandbox --fault \"submit=503x3 callback=lost\"")]
    Sandbox(Sandbox),
    /// Write shell completions to stdout
    #[command(after_help = "Example: dropreel completions bash > /etc/bash_completion.d/dropreel")]
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Write the man page of dropreel, or of one command, to stdout
    #[command(after_help = "Example: dropreel man list | man -l -")]
    Man {
        /// Of which command; left out: the program's own
        command: Option<String>,
        /// Write all pages into this folder instead
        #[arg(long, value_name = "DIR", conflicts_with = "command")]
        dir: Option<PathBuf>,
    },
}

/// What `rotate` can make anew.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Rotatable {
    /// The secret behind callback addresses
    CallbackSecret,
}

/// `demo`
#[derive(Debug, Args)]
pub struct Demo {
    /// How many sample jobs
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub jobs: u32,
    /// Where to put everything; kept afterwards
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Keep the temporary folder with the videos
    #[arg(long)]
    pub keep: bool,
}

/// `submit`
#[derive(Debug, Args)]
pub struct Submit {
    /// Job files; `-` for standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Show progress and end with the jobs' outcome
    #[arg(long)]
    pub wait: bool,
    /// Standard input is one job per line
    #[arg(long)]
    pub lines: bool,
    /// A file name for standard input
    #[arg(long)]
    pub name: Option<String>,
}

/// `list`
#[derive(Debug, Args)]
pub struct List {
    /// Which jobs.
    #[command(flatten)]
    pub filter: Filter,
    /// How many at the most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
}

/// Which jobs.
#[derive(Clone, Debug, Default, Args)]
pub struct Filter {
    /// Only jobs in this state
    #[arg(long, value_name = "STATE", value_parser = PossibleValuesParser::new(StateName::ALL.map(StateName::as_str)))]
    pub state: Option<String>,
    /// Only jobs with this label; may be given again
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<String>,
}

fn label(text: &str) -> Result<String, &'static str> {
    if text.contains('=') { Ok(text.to_owned()) } else { Err("a label is KEY=VALUE") }
}

/// One job.
#[derive(Debug, Args)]
pub struct Reference {
    /// An id, a unique beginning of one, or a name
    #[arg(value_name = "JOB")]
    pub job: String,
}

/// One job or all.
#[derive(Debug, Args)]
pub struct MaybeReference {
    /// An id, a unique beginning of one, or a name; left out: all jobs
    #[arg(value_name = "JOB")]
    pub job: Option<String>,
}

/// Jobs.
#[derive(Debug, Args)]
pub struct References {
    /// Ids, unique beginnings of them, or names
    #[arg(required = true, value_name = "JOB")]
    pub jobs: Vec<String>,
}

/// `cancel`, `retry`, `release`
#[derive(Debug, Args)]
pub struct Act {
    /// Ids, unique beginnings of them, or names
    #[arg(value_name = "JOB", required_unless_present_any = ["state", "labels"], conflicts_with_all = ["state", "labels"])]
    pub jobs: Vec<String>,
    /// Instead of naming jobs.
    #[command(flatten)]
    pub filter: Filter,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// Only say which jobs it would be
    #[arg(long)]
    pub dry_run: bool,
}

/// `pause`, `resume`
#[derive(Debug, Args)]
pub struct Pausable {
    /// Which; left out: both
    pub what: Option<Activity>,
}

/// What can be paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Activity {
    /// New tasks at the provider
    Submits,
    /// Fetching finished files
    Downloads,
}

/// `report`
#[derive(Debug, Args)]
pub struct Report {
    /// A span before now (7d, 12h), a day (2026-11-01, UTC) or a time; left out: 30 days
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// Instead: jobs that were charged and have no video
    #[arg(long)]
    pub disputes: bool,
}

/// `prune`
#[derive(Debug, Args)]
pub struct Prune {
    /// What ended, was rejected or set aside longer ago than this; at least 31d
    #[arg(long, value_name = "AGE", default_value = "90d", value_parser = age)]
    pub older_than: String,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// Only say how much it would be
    #[arg(long)]
    pub dry_run: bool,
}

fn age(text: &str) -> Result<String, String> {
    if settings::age(text)? < SHORTEST_AGE { Err(too_short(text)) } else { Ok(text.to_owned()) }
}

/// `check`
#[derive(Debug, Args)]
pub struct Check {
    /// Job files
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// `init`
#[derive(Debug, Args)]
pub struct Init {
    /// Where to
    #[arg(long, short, value_name = "FILE", default_value = "config.toml")]
    pub output: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    pub force: bool,
}

/// `sandbox`
#[derive(Debug, Args)]
pub struct Sandbox {
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8790")]
    pub listen: SocketAddr,
    /// Faults and shapes for the whole run, such as "submit=503x3 callback=lost"; may be given again
    #[arg(long = "fault", value_name = "WORDS")]
    pub faults: Vec<String>,
    /// The same seed, calls and times give the same answers
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// How long tasks run: "3s", or a range such as "2s-6s"
    #[arg(long, value_name = "TIME", default_value = "2s-6s")]
    pub run_time: String,
    /// What the account has at the start, in whole US dollars
    #[arg(long, value_name = "USD", default_value_t = 100)]
    pub balance: u32,
    /// Let only this key in; left out: any
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Sign callbacks: standard-webhooks or hmac-sha256-hex
    #[arg(long, value_name = "SCHEME", requires = "secret_file")]
    pub sign: Option<Scheme>,
    /// The file of the secret to sign with
    #[arg(long, value_name = "FILE", requires = "sign")]
    pub secret_file: Option<PathBuf>,
    /// List the words of --fault and end
    #[arg(long)]
    pub list_faults: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn the_help_is_as_it_was_read() {
        let mut command = CommandLine::command().term_width(100);
        command.build();
        let mut shown = command.render_long_help().to_string();
        for part in command.get_subcommands_mut().filter(|part| part.get_name() != "help") {
            let help = part.render_help();
            shown.push_str(&format!("\n---- {}\n{help}", part.get_name()));
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/help.txt");
        if std::env::var_os("DROPREEL_GOLDEN").is_some() {
            std::fs::write(path, &shown).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), shown);
    }
}
