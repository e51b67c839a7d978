//! The command line. Help texts, man pages and completions are generated from it.

mod jobs;
mod maintenance;
mod requests;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub(crate) use jobs::{
    ActionArgs, AdoptArgs, DemoArgs, JobArg, JobsArg, LabelArgs, ListArgs, OptionalJobArg, PauseArgs,
    ResumeArgs, SubmitArgs,
};
pub(crate) use maintenance::{CheckArgs, InitArgs, PruneArgs, ReportArgs, RotatableSecret, SandboxArgs};
pub(crate) use requests::{AgainArgs, EditArgs, ExportArgs, RateArgs, SetValue};

/// Drop a JSON job file into a folder; find the finished AI video in another.
#[derive(Debug, Parser)]
#[command(
    name = "dropreel",
    version,
    about,
    long_about = "Drop a JSON job file into a folder; find the finished AI video in another.\n\n\
        `dropreel serve` runs the daemon: it submits jobs to the task API of qingbo.dev, receives the completion \
        webhooks, polls tasks whose webhook is missing, and downloads each video before its link expires. The other \
        commands talk to the daemon.\n\nExit codes: 0 done; 1 it failed; 2 wrong usage or configuration; 3 a job that was waited \
        for did not succeed; 4 the daemon cannot be reached.",
    after_help = "Try it without a key and without a network: dropreel demo",
    max_term_width = 100
)]
pub(crate) struct CommandLine {
    /// Configuration file; else $DROPREEL_CONFIG, ./config.toml, /etc/dropreel/config.toml
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print one JSON document on stdout instead of text
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

/// The commands (docs/reference.md#command-line).
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon in the foreground
    #[command(after_help = "Example: DROPREEL_PROVIDER__API_KEY=sk-... dropreel serve")]
    Serve,
    /// Run everything at once on this machine: no key, no network
    #[command(after_help = "Example: dropreel demo --jobs 12 --keep")]
    Demo(DemoArgs),
    /// Submit job files to the daemon
    #[command(after_help = "Example: dropreel submit scene-*.json --wait")]
    Submit(SubmitArgs),
    /// List jobs, newest first
    #[command(after_help = "Example: dropreel list --state held --label project=spring")]
    List(ListArgs),
    /// Show one job: files, cost, history, what it waits for
    #[command(after_help = "Example: dropreel show sakura")]
    Show(JobArg),
    /// Watch jobs live, with a bar for each running job
    #[command(after_help = "Example: dropreel watch sakura")]
    Watch(OptionalJobArg),
    /// Wait until jobs finish or are held; exit with 0 only if all succeeded
    #[command(after_help = "Example: dropreel wait sakura rain && echo both are here")]
    Wait(JobsArg),
    /// Cancel jobs that the provider has not started
    #[command(after_help = "Example: dropreel cancel sakura")]
    Cancel(ActionArgs),
    /// Run failed, cancelled, expired or held jobs again; each may be billed again
    #[command(after_help = "Example: dropreel retry --state failed --label project=spring")]
    Retry(ActionArgs),
    /// Make new jobs from the request of an old one; each is billed
    #[command(
        after_help = "Example: dropreel again sakura --set resolution=1080p\n         dropreel again sakura --new-seed --times 3 --max-cost 2"
    )]
    Again(AgainArgs),
    /// Change a pending or held job that has not been submitted
    #[command(
        after_help = "Example: EDITOR=nano dropreel edit sakura\n         dropreel edit sakura --set duration=10"
    )]
    Edit(EditArgs),
    /// Continue held jobs
    #[command(after_help = "Example: dropreel release sakura")]
    Release(ActionArgs),
    /// Take failed or expired jobs off the list of what needs a person
    #[command(after_help = "Example: dropreel dismiss --state failed --label project=spring")]
    Dismiss(ActionArgs),
    /// Put dismissed jobs back on the list of what needs a person
    #[command(after_help = "Example: dropreel undismiss sakura")]
    Undismiss(ActionArgs),
    /// Set and remove labels of jobs
    #[command(
        after_help = "Example: dropreel label sakura rain --set client=ume\n         dropreel label --label client=ume --remove client --yes"
    )]
    Label(LabelArgs),
    /// Rate the outputs of a job, or one of them, from 0 (rejected) to 5
    #[command(after_help = "Example: dropreel rate sakura 4\n         dropreel rate sakura:video-1 clear")]
    Rate(RateArgs),
    /// Print jobs as job files, one per line, to drop again elsewhere
    #[command(
        after_help = "Example: dropreel export --state failed > again.jsonl\n         dropreel export --move --label project=spring > /mnt/other/inbox/.spring.jsonl"
    )]
    Export(ExportArgs),
    /// Print where the files of a job are; exit with 1 if there are none
    #[command(after_help = "Example: mpv \"$(dropreel path sakura)\"")]
    Path(JobArg),
    /// Track tasks that were made elsewhere: with curl, or before a database was lost
    #[command(after_help = "Example: dropreel adopt task-wave1775285160b950328499 --name sakura")]
    Adopt(AdoptArgs),
    /// Pause submits, downloads, or both, until `resume`
    #[command(after_help = "Example: dropreel pause submits")]
    Pause(PauseArgs),
    /// End a pause, and try suspended calls at once
    #[command(after_help = "Example: dropreel resume")]
    Resume(ResumeArgs),
    /// Make a new secret; the old one stays valid for jobs in progress
    #[command(after_help = "Example: dropreel rotate callback-secret")]
    Rotate {
        /// Which secret
        secret: RotatableSecret,
    },
    /// List the provider's models with prices, and what own jobs of each took and cost
    #[command(after_help = "Example: dropreel models")]
    Models,
    /// Report how jobs ended, how long they took and what they cost
    #[command(
        after_help = "Example: dropreel report --since 7d --csv > week.csv\n         dropreel report --disputes"
    )]
    Report(ReportArgs),
    /// Copy the database, whole and consistent, while the daemon runs or not
    #[command(after_help = "Example: sudo -u dropreel dropreel backup /var/backups/dropreel/monday.db")]
    Backup {
        /// The copy to write; a file that exists is never replaced
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Move the state to another database, a PostgreSQL server or a file, while no daemon runs
    #[command(
        after_help = "Example: sudo -u dropreel dropreel migrate --to postgres://dropreel@db/dropreel\n         sudo -u dropreel dropreel migrate --to /var/lib/dropreel/dropreel.db"
    )]
    Migrate {
        /// An empty database: an address that begins with postgres://, or the path of a new SQLite file
        #[arg(long, value_name = "ADDRESS|FILE")]
        to: String,
    },
    /// Delete old jobs and their job files; never anything in the library
    #[command(after_help = "Example: dropreel prune --older-than 180d --dry-run")]
    Prune(PruneArgs),
    /// Check job files as the inbox would, without submitting them
    #[command(after_help = "Example: dropreel check scene-*.json")]
    Check(CheckArgs),
    /// Check configuration, API key, clock, disk, database and callback URL, and suggest fixes
    #[command(after_help = "Example: sudo -u dropreel dropreel doctor")]
    Doctor,
    /// Write a commented configuration file
    #[command(after_help = "Example: dropreel init --output /etc/dropreel/config.toml")]
    Init(InitArgs),
    /// Run the simulated provider alone
    #[command(after_help = "Example: dropreel sandbox --fault \"submit=503x3 callback=lost\"")]
    Sandbox(SandboxArgs),
    /// Print shell completions
    #[command(after_help = "Example: dropreel completions bash > /etc/bash_completion.d/dropreel")]
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Print the man page of dropreel, or of one command
    #[command(after_help = "Example: dropreel man list | man -l -")]
    Man {
        /// The command; default: dropreel itself
        command: Option<String>,
        /// Write all pages into this folder instead
        #[arg(long, value_name = "DIR", conflicts_with = "command")]
        dir: Option<PathBuf>,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::fixtures::assert_golden;

    #[test]
    fn command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn help_is_as_reviewed() {
        let mut command = CommandLine::command().term_width(100);
        command.build();
        let mut text = command.render_long_help().to_string();
        for part in command.get_subcommands_mut().filter(|part| part.get_name() != "help") {
            let help = part.render_help();
            text.push_str(&format!("\n---- {}\n{help}", part.get_name()));
        }
        assert_golden("help", text.trim_end());
    }
}
