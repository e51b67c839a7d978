//! `export`: jobs as job files, one per line, and their move to another machine.

use std::io::Write as _;

use crate::api::export::{ExportLine, MoveRequest, MovedJobs};
use crate::cli::args::ExportArgs;
use crate::cli::client::ApiClient;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::format::count;
use crate::cli::terminal::eprint_line;
use crate::fs::{FsError, create_durably, create_private_folder};

/// `export`. The lines are JSON, so `--json` changes nothing.
pub(crate) async fn export(context: &Context, args: &ExportArgs) -> Result<Exit, CliError> {
    let client = context.client()?;
    let (jobs, verb) = if args.r#move {
        (move_jobs(&client, args).await?, "moved")
    } else {
        (export_jobs(&client, args).await?, "exported")
    };
    eprint_line(&format!("{} {verb}", count(jobs, "job")));
    Ok(Exit::Done)
}

async fn export_jobs(client: &ApiClient, args: &ExportArgs) -> Result<u64, CliError> {
    let (mut cursor, mut jobs, mut with_pictures) = (None, 0, 0);
    loop {
        let page = client.export(&args.filter.filter(), args.pictures.is_some(), cursor).await?;
        copy_pictures(client, args, &page.jobs).await?;
        write_lines(&page.jobs)?;
        jobs += page.jobs.len() as u64;
        with_pictures += page.jobs.iter().filter(|job| !job.pictures.is_empty()).count();
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    if with_pictures > 0 && args.pictures.is_none() {
        let what = count(with_pictures as u64, "job");
        eprint_line(&format!(
            "{what} of these name local pictures by their paths: copy those as well, or let `--pictures DIR` do so"
        ));
    }
    Ok(jobs)
}

/// Copies what these jobs name, before their lines are printed.
async fn copy_pictures(client: &ApiClient, args: &ExportArgs, jobs: &[ExportLine]) -> Result<(), CliError> {
    let Some(folder) = &args.pictures else { return Ok(()) };
    let failed = |error: FsError| CliError::failed(error.to_string());
    create_private_folder(folder).map_err(failed)?;
    for job in jobs {
        for name in &job.pictures {
            let path = folder.join(name);
            if path.exists() {
                continue;
            }
            let picture = client.picture(name).await.map_err(|error| CliError {
                message: format!("job {} names a picture that cannot be copied: {}", job.id, error.message),
                ..error
            })?;
            create_durably(&path, &picture).map_err(failed)?;
        }
    }
    Ok(())
}

/// Acknowledges lines only once they are written: `store/export.rs` says why.
async fn move_jobs(client: &ApiClient, args: &ExportArgs) -> Result<u64, CliError> {
    let request = MoveRequest {
        state: args.filter.state,
        label: args.filter.labels.clone(),
        pictures: args.pictures.is_some(),
    };
    let mut moved = 0;
    loop {
        let page = client.move_jobs(&request).await?;
        if page.jobs.is_empty() {
            if page.left_with_pictures > 0 {
                let what = count(page.left_with_pictures as u64, "job");
                eprint_line(&format!(
                    "{what} with local pictures stay here: `--pictures DIR` moves them with their pictures"
                ));
            }
            return Ok(moved);
        }
        if page.interrupted {
            eprint_line(&format!(
                "{}: handed out by a move that was interrupted; give them to the same machine as then, which runs each once",
                count(page.jobs.len() as u64, "job")
            ));
        }
        copy_pictures(client, args, &page.jobs).await?;
        write_lines(&page.jobs)?;
        flush_stdout()?;
        client.acknowledge_moved(&MovedJobs { jobs: page.jobs.iter().map(|job| job.id).collect() }).await?;
        moved += page.jobs.len() as u64;
    }
}

/// Not by `print_line`, for which a closed pipe is no failure: nothing may be acknowledged then.
fn write_lines(jobs: &[ExportLine]) -> Result<(), CliError> {
    let mut lines = String::new();
    for job in jobs {
        lines.push_str(&job.line);
        lines.push('\n');
    }
    Ok(std::io::stdout().write_all(lines.as_bytes())?)
}

/// Until what is written is on the disk, if standard output is a file.
fn flush_stdout() -> Result<(), CliError> {
    use rustix::io::Errno;
    std::io::stdout().flush()?;
    match rustix::fs::fsync(std::io::stdout()) {
        // A pipe or a terminal.
        Ok(()) | Err(Errno::INVAL | Errno::ROFS | Errno::NOTSUP) => Ok(()),
        Err(error) => {
            Err(CliError::failed(format!("the exported lines cannot be flushed to the disk: {error}")))
        }
    }
}
