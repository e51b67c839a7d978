//! The commands: what a person types, and what they are told.

mod actions;
mod api;
pub mod args;
mod backup;
mod bars;
mod check;
mod demo;
mod doctor;
mod events;
mod follow;
mod generate;
mod prune;
mod report;
mod sandbox;
mod serve;
mod show;
mod term;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::clock::Clock;
use crate::settings::{Environment, Invalid, Purpose, Settings, load};
use api::Api;
use args::{Command, CommandLine};

/// How a command ended (docs/reference.md#command-line).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0
    Done,
    /// 1
    Failed,
    /// 2
    Usage,
    /// 3
    NotSucceeded,
    /// 4
    Unreachable,
}

impl Exit {
    const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotSucceeded => 3,
            Self::Unreachable => 4,
        }
    }
}

/// A command that did not do what it was asked to, and why.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// How it ends.
    pub exit: Exit,
    /// For people; may have several lines.
    pub message: String,
}

impl Failure {
    fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Self {
        Self::new(Exit::Usage, invalid.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::Failed, error.to_string())
    }
}

/// What every command has.
pub(crate) struct Context {
    config: Option<std::path::PathBuf>,
    json: bool,
    clock: Clock,
}

impl Context {
    fn settings(&self, purpose: Purpose) -> Result<Settings, Failure> {
        Ok(load(self.config.as_deref(), &Environment::of_this_process(), purpose)?)
    }

    fn api(&self) -> Result<Api, Failure> {
        let settings = self.settings(Purpose::Client)?;
        Api::new(settings.admin.listen, settings.admin.token)
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) => {
            let told = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // A closed pipe while help is printed is nobody's error.
            let _ = error.print();
            return ExitCode::from(if told { 0 } else { Exit::Usage.code() });
        }
    };
    // Once for the process, before any client is made; that it is set already would be all right.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run(line)),
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(failure) => {
            for text in failure.message.lines() {
                term::tell(&format!("dropreel: {}", term::plain(text)));
            }
            ExitCode::from(failure.exit.code())
        }
    }
}

async fn run(line: CommandLine) -> Result<Exit, Failure> {
    let context = Context { config: line.config, json: line.json, clock: Clock::machine() };
    match line.command {
        Command::Serve => serve::serve(&context).await,
        Command::Demo(demo) => demo::demo(&context, &demo).await,
        Command::Submit(submit) => actions::submit(&context, &submit).await,
        Command::List(list) => show::list(&context, &list).await,
        Command::Show(reference) => show::show(&context, &reference.job).await,
        Command::Watch(reference) => follow::watch(&context, reference.job.as_deref()).await,
        Command::Wait(references) => follow::wait(&context, &references.jobs).await,
        Command::Cancel(act) => actions::act(&context, "cancel", &act).await,
        Command::Retry(act) => actions::act(&context, "retry", &act).await,
        Command::Release(act) => actions::act(&context, "release", &act).await,
        Command::Pause(what) => actions::pause(&context, "pause", what.what).await,
        Command::Resume(what) => actions::pause(&context, "resume", what.what).await,
        Command::Rotate { secret } => actions::rotate(&context, secret).await,
        Command::Report(asked) => report::report(&context, &asked).await,
        Command::Backup { file } => backup::backup(&context, &file).await,
        Command::Prune(asked) => prune::prune(&context, &asked).await,
        Command::Check(files) => check::check(&context, &files.files),
        Command::Doctor => doctor::doctor(&context).await,
        Command::Init(init) => generate::init(&context, &init),
        Command::Sandbox(options) => sandbox::sandbox(&context, &options).await,
        Command::Completions { shell } => generate::completions(shell),
        Command::Man { command, dir } => generate::man(command.as_deref(), dir.as_deref()),
    }
}
