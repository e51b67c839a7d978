//! `path`: where the files of a job are.

use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::format::printable;
use crate::cli::terminal::{print_bytes, print_json};

#[derive(Serialize)]
struct PathDocument<'a> {
    files: Vec<&'a str>,
}

/// `path`
pub(crate) async fn path(context: &Context, reference: &str) -> Result<Exit, CliError> {
    let job = context.client()?.job(reference).await?;
    let files: Vec<&str> = job.files.iter().map(|file| &*file.path).collect();
    if context.json {
        print_json(&PathDocument { files: files.clone() })?;
    } else {
        // As it is: a script opens it. A library path has no control characters.
        files.iter().try_for_each(|file| print_bytes(format!("{file}\n").as_bytes()))?;
    }
    if files.is_empty() {
        return Err(CliError::failed(format!("{} ({}) has no file", printable(&job.name), job.state)));
    }
    Ok(Exit::Done)
}
