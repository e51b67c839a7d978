//! `serve`: the daemon in the foreground, with its log on standard error.

use std::io::IsTerminal;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::debug_fn;

use crate::cli::context::{Context, load_settings};
use crate::cli::exit::{CliError, Exit};
use crate::cli::format::printable;
use crate::daemon::service;
use crate::rng::Rng;
use crate::settings::{Environment, Purpose};

/// The log filter unless `RUST_LOG` is set.
const DEFAULT_FILTER: &str = "info,actix_server=warn,actix_http=off";

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
    let filter = environment.get("RUST_LOG").and_then(|text| text.to_str()).unwrap_or(DEFAULT_FILTER);
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let fields = debug_fn(|writer, field, value| match field.name() {
        "message" => write!(writer, "{}", printable(&format!("{value:?}"))),
        name => write!(writer, "{name}={}", printable(&format!("{value:?}"))),
    });
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .fmt_fields(fields.delimited(" "))
        .with_writer(std::io::stderr);
    let colours = std::io::stderr().is_terminal() && environment.get("NO_COLOR").is_none();
    // An error means that a subscriber is installed already, as in tests.
    let _ = if environment.get("JOURNAL_STREAM").is_some() {
        subscriber.without_time().with_ansi(false).try_init()
    } else {
        subscriber.with_ansi(colours).try_init()
    };
}

#[cfg(test)]
mod tests {
    use rustix::process::{dumpable_behavior, getrlimit};

    use super::*;

    #[test]
    fn memory_is_neither_dumped_nor_readable() {
        protect_memory();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        assert_eq!(getrlimit(Resource::Core), Rlimit { current: Some(0), maximum: Some(0) });
    }
}
