//! `submit`, `cancel`, `retry`, `release`, `pause`, `resume`, `rotate`: what changes something.

use std::io::Read;
use std::path::Path;

use serde_json::{Value, json};

use crate::cli::args::{Act, Activity, Rotatable, Submit};
use crate::cli::term::{self, say, say_json, tell, text};
use crate::cli::{Api, Context, Exit, Failure, follow, show};
use crate::jobfile::Form;

/// So many jobs a filter may name at the most.
const MOST_JOBS: u32 = 10_000;

/// `submit`
pub(super) async fn submit(context: &Context, submit: &Submit) -> Result<Exit, Failure> {
    let api = context.api()?;
    let mut jobs: Vec<Value> = Vec::new();
    let mut errors: Vec<Value> = Vec::new();
    for file in &submit.files {
        let shown = term::plain(&file.display().to_string());
        match submit_file(&api, file, &shown, submit).await {
            Ok(mut taken) => {
                for job in taken.iter().filter(|_| !context.json) {
                    tell(&format!("accepted {}  {}", text(job, "name"), text(job, "id")));
                }
                jobs.append(&mut taken);
            }
            Err(failure) if failure.exit == Exit::Failed => {
                for line in failure.message.lines() {
                    tell(&term::plain(line));
                }
                errors.push(json!({"file": file.display().to_string(), "message": failure.message}));
            }
            Err(failure) => return Err(failure),
        }
    }
    let exit = if submit.wait && !jobs.is_empty() {
        jobs = follow::until_ended(&api, &context.clock, jobs).await?;
        follow::exit(&jobs)
    } else {
        Exit::Done
    };
    if context.json {
        say_json(&json!({"jobs": jobs, "errors": errors}))?;
    } else if submit.wait {
        follow::report(&jobs)?;
    } else if !(term::is_read() && term::draws()) {
        // A person has just been told; a script takes the ids.
        for job in &jobs {
            say(&text(job, "id"))?;
        }
    }
    if errors.is_empty() {
        return Ok(exit);
    }
    let (refused, all) = (errors.len(), submit.files.len());
    Err(Failure::new(Exit::Failed, format!("{refused} of {all} files not accepted")))
}

/// The jobs made of a file. `shown` is its name for people.
async fn submit_file(api: &Api, file: &Path, shown: &str, submit: &Submit) -> Result<Vec<Value>, Failure> {
    let (name, bytes) = if file == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes)?;
        (submit.name.clone(), bytes)
    } else {
        let bytes = std::fs::read(file)
            .map_err(|error| Failure::new(Exit::Failed, format!("{shown}: it cannot be read: {error}")))?;
        (file.file_name().map(|name| name.to_string_lossy().into_owned()), bytes)
    };
    let by_name = name.as_deref().and_then(Form::of_name) == Some(Form::Lines);
    let mut answer = api.submit(shown, name.as_deref(), by_name || submit.lines, bytes).await?;
    let jobs = answer["jobs"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let count = answer["count"].as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or(jobs.len());
    if jobs.len() < count { show::made_with(api, jobs, count).await } else { Ok(jobs) }
}

/// `cancel`, `retry`, `release`
pub(super) async fn act(context: &Context, what: &str, act: &Act) -> Result<Exit, Failure> {
    let api = context.api()?;
    let by_filter = act.jobs.is_empty();
    let mut jobs = Vec::new();
    if by_filter {
        jobs = show::fetch(&api, &act.filter, MOST_JOBS).await?.0;
    } else {
        for reference in &act.jobs {
            jobs.push(api.job(reference).await?);
        }
    }
    if act.dry_run || jobs.is_empty() {
        return told(context, what, &jobs);
    }
    if by_filter && !act.yes {
        ask(what, jobs.len())?;
    }
    let mut answers = Vec::new();
    let mut refused = 0;
    for job in &jobs {
        match api.post(&["api", "v1", "jobs", &text(job, "id"), what], &json!({})).await {
            Ok(answer) => {
                if !context.json {
                    say(&format!("{}: {}", text(job, "name"), text(&answer, "message")))?;
                }
                answers.push(answer);
            }
            Err(failure) if failure.exit == Exit::Failed => {
                tell(&format!("{}: {}", text(job, "name"), term::plain(&failure.message)));
                refused += 1;
            }
            Err(failure) => return Err(failure),
        }
    }
    if context.json {
        say_json(&json!({"done": answers, "refused": refused}))?;
    }
    Ok(if refused == 0 { Exit::Done } else { Exit::Failed })
}

fn told(context: &Context, what: &str, jobs: &[Value]) -> Result<Exit, Failure> {
    if context.json {
        say_json(&json!({"jobs": jobs}))?;
        return Ok(Exit::Done);
    }
    tell(&format!("{} job{} to {what}", jobs.len(), if jobs.len() == 1 { "" } else { "s" }));
    for job in jobs {
        say(&format!("{}  {}  {}", text(job, "id"), text(job, "state"), text(job, "name")))?;
    }
    Ok(Exit::Done)
}

/// Asks once before many jobs are acted upon.
fn ask(what: &str, count: usize) -> Result<(), Failure> {
    let price = match what {
        "retry" => " Each is billed again.",
        "release" => " Some may be billed again: `dropreel show JOB` says which.",
        _ => "",
    };
    let question = format!("{what} {count} job{}?{price}", if count == 1 { "" } else { "s" });
    term::ask(&question)
}

/// `pause`, `resume`
pub(super) async fn pause(
    context: &Context,
    what: &str,
    activity: Option<Activity>,
) -> Result<Exit, Failure> {
    let body = match activity {
        Some(Activity::Submits) => json!({"what": "submits"}),
        Some(Activity::Downloads) => json!({"what": "downloads"}),
        None => json!({}),
    };
    let status = context.api()?.post(&["api", "v1", what], &body).await?;
    if context.json {
        say_json(&status)?;
        return Ok(Exit::Done);
    }
    let stops = show::stops(&status);
    if stops.is_empty() {
        say("nothing stands still")?;
    }
    for stop in stops {
        say(&stop)?;
    }
    Ok(Exit::Done)
}

/// `rotate`
pub(super) async fn rotate(context: &Context, secret: Rotatable) -> Result<Exit, Failure> {
    let Rotatable::CallbackSecret = secret;
    let done = context.api()?.post(&["api", "v1", "callback-secret", "rotate"], &json!({})).await?;
    if context.json {
        say_json(&done)?;
    } else {
        say("there is a new callback secret; addresses made under the last three still count")?;
    }
    Ok(Exit::Done)
}
