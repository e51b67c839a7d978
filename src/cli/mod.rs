//! The commands.

mod actions;
mod adopt;
mod again;
mod args;
mod backup;
mod batches;
mod check;
mod client;
mod context;
mod demo;
mod doctor;
mod edit;
mod event_stream;
mod exit;
mod export;
#[cfg(test)]
mod fixtures;
mod follow;
mod format;
mod generate;
mod label;
mod list;
mod list_csv;
mod migrate;
mod models;
mod path;
mod pause;
mod pictures;
mod problem_answer;
mod progress;
mod prune;
mod rate;
mod received;
mod report;
mod rotate;
mod sandbox;
mod serve;
mod show;
mod submit;
mod summary;
mod suspensions;
mod terminal;
mod usual;
mod wait;
mod watch;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::clock::Clock;
use crate::job::event::OperatorAction;
use args::{Command, CommandLine};
use context::Context;
use exit::{CliError, Exit};

/// How long the process waits for work off its async threads at its end.
const SHUTDOWN_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2);

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) => {
            let requested = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // A reader that closes the pipe while help is printed is no error.
            let _ = error.print();
            return ExitCode::from(if requested { Exit::Done.code() } else { Exit::Usage.code() });
        }
    };
    // Once per process, before any client is made; an error means that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(run(line));
            // Not for ever for threads that hang, such as in a flush: meanwhile a daemon keeps others from leading.
            runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
            result
        }
        Err(error) => Err(error.into()),
    };
    let exit = result.unwrap_or_else(|error| {
        for (number, line) in error.message.lines().enumerate() {
            let prefix = if number == 0 { "dropreel:" } else { " " };
            terminal::eprint_line(&format!("{prefix} {}", format::printable(line)));
        }
        error.exit
    });
    ExitCode::from(exit.code())
}

async fn run(line: CommandLine) -> Result<Exit, CliError> {
    let context = Context { config: line.config, json: line.json, clock: Clock::machine() };
    match line.command {
        Command::Serve => serve::serve(&context).await,
        Command::Demo(args) => demo::demo(&context, &args).await,
        Command::Submit(args) => submit::submit(&context, &args).await,
        Command::List(args) if args.batches => batches::list_batches(&context, args.limit).await,
        Command::List(args) => list::list(&context, &args).await,
        Command::Show(args) => show::show(&context, &args.job).await,
        Command::Watch(args) => watch::watch(&context, args.job.as_deref()).await,
        Command::Wait(args) => wait::wait(&context, &args.jobs).await,
        Command::Cancel(args) => actions::apply(&context, OperatorAction::Cancel, &args).await,
        Command::Retry(args) => actions::apply(&context, OperatorAction::Retry, &args).await,
        Command::Release(args) => actions::apply(&context, OperatorAction::Release, &args).await,
        Command::Dismiss(args) => actions::apply(&context, OperatorAction::Dismiss, &args).await,
        Command::Undismiss(args) => actions::apply(&context, OperatorAction::Undismiss, &args).await,
        Command::Label(args) => label::label(&context, &args).await,
        Command::Rate(args) => rate::rate(&context, &args).await,
        Command::Export(args) => export::export(&context, &args).await,
        Command::Path(args) => path::path(&context, &args.job).await,
        Command::Again(args) => again::again(&context, &args).await,
        Command::Edit(args) => edit::edit(&context, &args).await,
        Command::Adopt(args) => adopt::adopt(&context, &args).await,
        Command::Pause(args) => pause::pause(&context, args.what).await,
        Command::Resume(args) => pause::resume(&context, args.what).await,
        Command::Rotate { secret } => rotate::rotate(&context, secret).await,
        Command::Models => models::models(&context).await,
        Command::Report(args) => report::report(&context, &args).await,
        Command::Migrate { to } => migrate::migrate(&context, &to).await,
        Command::Backup { file } => backup::backup(&context, &file).await,
        Command::Prune(args) => prune::prune(&context, &args).await,
        Command::Check(args) => check::check(&context, &args).await,
        Command::Doctor => doctor::doctor(&context).await,
        Command::Init(args) => generate::init(&context, &args),
        Command::Sandbox(args) => sandbox::sandbox(&context, &args).await,
        Command::Completions { shell } => generate::completions(shell),
        Command::Man { command, dir } => generate::man(command.as_deref(), dir.as_deref()),
    }
}
