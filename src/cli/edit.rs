//! `edit`: changes a job that has not been submitted, by `--set` or in an editor.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;

use data_encoding::HEXLOWER;

use crate::api::again::EditRequest;
use crate::cli::again::{describe, eprint_warnings, set_values};
use crate::cli::args::{EditArgs, SetValue};
use crate::cli::client::ApiClient;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::format::{printable, usd};
use crate::cli::pictures::HandOver;
use crate::cli::terminal::{confirm, eprint_line, print_json, print_line, stdin_is_terminal};
use crate::job::JobId;
use crate::rng::Rng;
use crate::settings::{Environment, Purpose};

/// `edit`
pub(crate) async fn edit(context: &Context, args: &EditArgs) -> Result<Exit, CliError> {
    let client = context.client()?;
    let job = client.job(&args.job).await?.id;
    let mut hand_over = HandOver::new(&context.settings(Purpose::Client)?);
    let request =
        EditRequest { set: set_values(&args.set), new_seed: args.new_seed, ..EditRequest::default() };
    let request = if request.set.is_empty() && !request.new_seed {
        match edit_text(&client, job, &mut hand_over).await? {
            Some(text) => EditRequest { text: Some(text), ..request },
            None => {
                eprint_line("nothing was changed");
                return Ok(Exit::Done);
            }
        }
    } else {
        request
    };
    let set: Vec<String> = args.set.iter().map(SetValue::object).collect();
    let texts = set.iter().map(String::as_str).chain(request.text.as_deref());
    let pictures = hand_over.upload_named_in(&client, texts).await?;
    let request = EditRequest { pictures, ..request };
    if args.dry_run {
        let preview = client.preview_edit(job, &request).await?;
        if context.json {
            print_json(&preview)?;
        } else {
            eprint_warnings(&preview.estimate);
            eprint_line(&describe(&preview.estimate));
            print_line(&preview.text)?;
        }
        return Ok(Exit::Done);
    }
    let result = client.edit(job, &request).await?;
    if context.json {
        print_json(&result)?;
        return Ok(Exit::Done);
    }
    for warning in &result.job.warnings {
        eprint_line(&format!("warning: {}", printable(warning)));
    }
    let about = result.job.estimate_usd.map_or_else(String::new, |cost| format!("; about {}", usd(cost)));
    print_line(&format!("{}: {}{about}", printable(&result.job.name), printable(&result.message)))?;
    Ok(Exit::Done)
}

/// The text that a person makes of the job's own in an editor; `None`: it is unchanged. What was typed is never lost: with
/// a problem the editor opens again, or the file is kept.
async fn edit_text(
    client: &ApiClient,
    job: JobId,
    hand_over: &mut HandOver,
) -> Result<Option<String>, CliError> {
    let old = client.preview_edit(job, &EditRequest::default()).await?.text;
    // Its name is new, so it is never the file or link of another user.
    let name = format!("dropreel-{job}-{}.json", HEXLOWER.encode(&Rng::from_system().id_bytes()));
    let file = std::env::temp_dir().join(name);
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file)?.write_all(old.as_bytes())?;
    loop {
        run_editor(&file)?;
        let text = std::fs::read_to_string(&file)?;
        let is_changed = text.trim_end() != old.trim_end() && !text.trim().is_empty();
        let checked = if is_changed { check_text(client, job, hand_over, &text).await } else { Ok(()) };
        let Err(error) = checked else {
            std::fs::remove_file(&file)?;
            return Ok(is_changed.then_some(text));
        };
        if error.exit == Exit::Failed && stdin_is_terminal() {
            eprint_line(&error.message);
            if confirm("Edit again?").is_ok() {
                continue;
            }
        }
        let message = format!("{}\nyour text is in {}", error.message, file.display());
        return Err(CliError { message, ..error });
    }
}

async fn check_text(
    client: &ApiClient,
    job: JobId,
    hand_over: &mut HandOver,
    text: &str,
) -> Result<(), CliError> {
    let pictures = hand_over.upload_named_in(client, [text]).await?;
    let request = EditRequest { text: Some(text.to_owned()), pictures, ..EditRequest::default() };
    client.preview_edit(job, &request).await.map(drop)
}

/// Through a shell, because the variable may hold arguments, as in `code --wait`.
fn run_editor(file: &Path) -> Result<(), CliError> {
    let environment = Environment::of_this_process();
    let chosen = ["VISUAL", "EDITOR"].into_iter().find_map(|name| environment.get(name));
    let editor = chosen.unwrap_or(OsStr::new("vi"));
    let mut script = editor.to_owned();
    script.push(" \"$1\"");
    let status = Command::new("sh").arg("-c").arg(script).arg("sh").arg(file).status()?;
    if status.success() {
        return Ok(());
    }
    Err(CliError::failed(format!(
        "`{}` ended with {status}, so nothing was changed; $EDITOR names the editor, and `--set KEY=VALUE` needs none",
        printable(&editor.to_string_lossy())
    )))
}
