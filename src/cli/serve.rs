//! `serve`: the daemon in the foreground, with its log on stderr.

use std::io::IsTerminal;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::debug_fn;

use crate::cli::term::plain;
use crate::cli::{Context, Exit, Failure};
use crate::daemon::service::{ServeError, serve as run};
use crate::rng::Rng;
use crate::settings::{Environment, Purpose};

/// What is logged where `RUST_LOG` does not say.
const FILTER: &str = "info,actix_server=warn,actix_http=off";

/// `serve`
pub(super) async fn serve(context: &Context) -> Result<Exit, Failure> {
    log();
    keep_memory_to_oneself();
    let ended = run(
        || crate::settings::load(context.config.as_deref(), &Environment::of_this_process(), Purpose::Daemon),
        context.clock.clone(),
        Rng::from_system(),
    )
    .await;
    match ended {
        Ok(()) => Ok(Exit::Done),
        Err(error) => {
            let exit = if error.exit_code() == 2 { Exit::Usage } else { Exit::Failed };
            let message = match &error {
                ServeError::Settings(invalid) => invalid.to_string(),
                other => other.to_string(),
            };
            Err(Failure::new(exit, message))
        }
    }
}

/// Memory holds secrets: no core dump of it, and no look into it for other programs of the same user.
fn keep_memory_to_oneself() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let kept =
        setrlimit(Resource::Core, none).and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable));
    if let Err(error) = kept {
        tracing::warn!("a core dump of this process might hold secrets, and cannot be forbidden: {error}");
    }
}

/// One event, one line, whatever stands in a file's name: nobody writes lines of his own into the log through it, and
/// nothing reaches a terminal that it would obey. journald adds its own time, so none is given to it.
fn log() {
    let environment = Environment::of_this_process();
    let wanted = environment.get("RUST_LOG").and_then(|text| text.to_str()).unwrap_or(FILTER);
    let filter = EnvFilter::try_new(wanted).unwrap_or_else(|_| EnvFilter::new(FILTER));
    let fields = debug_fn(|writer, field, value| match field.name() {
        "message" => write!(writer, "{}", plain(&format!("{value:?}"))),
        name => write!(writer, "{name}={}", plain(&format!("{value:?}"))),
    });
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .fmt_fields(fields.delimited(" "))
        .with_writer(std::io::stderr);
    let colours = std::io::stderr().is_terminal() && environment.get("NO_COLOR").is_none();
    // A subscriber that is there already (in a test) stays.
    let _ = if environment.get("JOURNAL_STREAM").is_some() {
        lines.without_time().with_ansi(false).try_init()
    } else {
        lines.with_ansi(colours).try_init()
    };
}

#[cfg(test)]
mod tests {
    use rustix::process::{dumpable_behavior, getrlimit};

    use super::*;

    #[test]
    fn memory_is_neither_dumped_nor_shown() {
        keep_memory_to_oneself();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        assert_eq!(getrlimit(Resource::Core), Rlimit { current: Some(0), maximum: Some(0) });
    }
}
