//! A hook that is a program: started without a shell, with the job as JSON on its standard input.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::Notify;

use crate::api::hook::HookData;
use crate::clock::Clock;
use crate::stages::hooks::{Failed, Message};

/// So much of what it says on standard error is kept, in bytes.
const KEPT: usize = 2048;
/// So long its last words may take to arrive once it has ended.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Runs it to its end, or to the end of its time.
pub(super) async fn run(
    program: &str,
    arguments: &[String],
    environment: &[(OsString, OsString)],
    message: &Message,
    timeout: Duration,
    clock: &Clock,
) -> Result<(), Failed> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .env("DROPREEL_EVENT", message.event.as_str())
        .env("DROPREEL_MESSAGE_ID", &message.id)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        // Of its own, so that what it starts can be ended with it.
        .process_group(0);
    if let Some(job) = message.job {
        command.env("DROPREEL_JOB_ID", job.to_string());
    }
    let cannot = |error: std::io::Error| Failed::Passing(format!("it cannot be started: {error}"));
    let mut child = command.spawn().map_err(cannot)?;
    let mut group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let ended = clock.within(timeout, told(&mut child, &message.data, clock)).await;
    match ended {
        // It has been waited for: its number may be another's by now.
        Some(Ok(_)) => group.0 = None,
        _ => {
            group.end();
            let _ = child.wait().await;
        }
    }
    match ended {
        None => Err(Failed::Passing(format!("it did not end within {} s and was killed", timeout.as_secs()))),
        Some(Err(error)) => Err(Failed::Passing(format!("it could not be waited for: {error}"))),
        Some(Ok((status, _))) if status.success() => Ok(()),
        Some(Ok((status, said))) => {
            let said = said.lines().next().map(clean).filter(|said| !said.is_empty());
            Err(Failed::Passing(match said {
                Some(said) => format!("{status}: {said}"),
                None => status.to_string(),
            }))
        }
    }
}

/// What was started, with all that it started: ended with whoever waits for it.
struct Group(Option<Pid>);

impl Group {
    fn end(&mut self) {
        if let Some(group) = self.0.take() {
            // What has ended already cannot be ended.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}

/// Gives it the job, and waits for its end with what it said.
async fn told(
    child: &mut Child,
    data: &HookData,
    clock: &Clock,
) -> std::io::Result<(std::process::ExitStatus, String)> {
    // Texts, numbers and maps of texts always have a JSON form.
    let text = format!("{}\n", serde_json::to_string(data).unwrap_or_default());
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let hand = async {
        if let Some(mut stdin) = stdin {
            // A program that does not want to hear it may close its ears.
            let _ = stdin.write_all(text.as_bytes()).await;
        }
    };
    let mut said = Vec::new();
    let listen = async {
        let Some(mut stderr) = stderr else { return };
        let mut some = [0; 512];
        while let Ok(count @ 1..) = stderr.read(&mut some).await {
            // The rest is let through, or it would wait for us.
            said.extend_from_slice(&some[..count.min(KEPT - said.len())]);
        }
    };
    let ended = Notify::new();
    let end = async {
        let status = child.wait().await;
        ended.notify_one();
        status
    };
    // What it leaves running may hold its pipes: once it has ended, they are not waited for.
    let talk = async {
        tokio::select! {
            _ = async { tokio::join!(hand, listen) } => {}
            () = async { ended.notified().await; clock.sleep(LAST_WORDS).await } => {}
        }
    };
    let (status, ()) = tokio::join!(end, talk);
    Ok((status?, String::from_utf8_lossy(&said).into_owned()))
}

/// Without what a terminal or a log would obey.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
