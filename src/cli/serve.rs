//! `serve`: the daemon in the foreground, with its log on standard error.

use std::io::IsTerminal;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::context::{Context, load_settings};
use crate::cli::exit::{CliError, Exit};
use crate::cli::format::printable;
use crate::daemon::service;
use crate::rng::Rng;
use crate::settings::{Environment, Purpose};

/// `serve`
pub(crate) async fn serve(context: &Context) -> Result<Exit, CliError> {
    start_logging();
    protect_memory();
    let served = service::serve(
        || load_settings(context.config.as_deref(), Purpose::Daemon),
        context.clock.clone(),
        Rng::from_system(),
    );
    match served.await {
        Ok(()) => Ok(Exit::Done),
        Err(error) => {
            let exit = if error.exit_code() == 2 { Exit::Usage } else { Exit::Failed };
            Err(CliError::new(exit, error.to_string()))
        }
    }
}

/// Memory holds secrets: no core dumps, and no reading by other programs of the same user.
fn protect_memory() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let protected =
        setrlimit(Resource::Core, none).and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable));
    if let Err(error) = protected {
        tracing::warn!("cannot disable core dumps, which could contain secrets: {error}");
    }
}

/// One line per event, with control characters replaced: a file name can neither forge log lines nor act on a
/// terminal. Without time under journald, which adds its own.
fn start_logging() {
    let environment = Environment::of_this_process();
    let from_user = environment.get("RUST_LOG").and_then(|text| text.to_str()?.parse().ok());
    let filter = from_user.unwrap_or_else(default_filter);
    let fields = debug_fn(|writer, field, value| match field.name() {
        "message" => write!(writer, "{}", printable(&format!("{value:?}"))),
        name => write!(writer, "{name}={}", printable(&format!("{value:?}"))),
    });
    let lines = tracing_subscriber::fmt::layer()
        .with_target(false)
        .fmt_fields(fields.delimited(" "))
        .with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    let colours = std::io::stderr().is_terminal() && environment.get("NO_COLOR").is_none();
    // An error means that a subscriber is installed already, as in tests.
    let _ = if environment.get("JOURNAL_STREAM").is_some() {
        registry.with(lines.without_time().with_ansi(false)).try_init()
    } else {
        registry.with(lines.with_ansi(colours)).try_init()
    };
}

/// What is logged unless `RUST_LOG` says otherwise.
fn default_filter() -> Targets {
    Targets::new()
        .with_default(LevelFilter::INFO)
        .with_target("actix_server", LevelFilter::WARN)
        .with_target("actix_http", LevelFilter::OFF)
}
