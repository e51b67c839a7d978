//! Hooks that are programs: run without a shell, with the data as JSON on standard input.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::Notify;

use crate::api::hook::HookData;
use crate::clock::Clock;
use crate::stages::hooks::{HookFailure, Message};
use crate::store::hooks::Subject;

/// How much of standard error is kept, in bytes.
const STDERR_LIMIT: usize = 2048;
/// How long standard error is read after the program has exited. Processes it left running may hold the pipe open.
const STDERR_GRACE: Duration = Duration::from_millis(200);

/// Runs the program until it exits or `timeout` is over.
pub(super) async fn run(
    program: &str,
    arguments: &[String],
    environment: &[(OsString, OsString)],
    message: &Message,
    timeout: Duration,
    clock: &Clock,
) -> Result<(), HookFailure> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .env("DROPREEL_EVENT", message.event.into_str())
        .env("DROPREEL_MESSAGE_ID", &message.id)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        // A group of its own, so that all its child processes can be killed with it.
        .process_group(0);
    match message.subject {
        Subject::Job(job) => command.env("DROPREEL_JOB_ID", job.to_string()),
        Subject::Batch(_) => command.env("DROPREEL_BATCH_ID", message.subject.to_string()),
        Subject::Daemon => &mut command,
    };
    let cannot_start =
        |error: std::io::Error| HookFailure::Transient(format!("the program cannot be started: {error}"));
    let mut child = command.spawn().map_err(cannot_start)?;
    let mut group = ProcessGroup(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let exited = clock.within(timeout, communicate(&mut child, &message.data, clock)).await;
    match exited {
        // The process is reaped: its id may already belong to another one.
        Some(Ok(_)) => group.0 = None,
        _ => {
            group.kill();
            let _ = child.wait().await;
        }
    }
    match exited {
        None => Err(HookFailure::Transient(format!(
            "the program ran longer than {} s and was killed",
            timeout.as_secs()
        ))),
        Some(Err(error)) => Err(HookFailure::Transient(format!("waiting for the program failed: {error}"))),
        Some(Ok((status, _))) if status.success() => Ok(()),
        Some(Ok((status, stderr))) => {
            let first_line = stderr.lines().next().map(clean).filter(|line| !line.is_empty());
            Err(HookFailure::Transient(match first_line {
                Some(line) => format!("{status}: {line}"),
                None => status.to_string(),
            }))
        }
    }
}

/// A process and all that it started: killed when dropped.
struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    fn kill(&mut self) {
        if let Some(group) = self.0.take() {
            // Fails only when all of it has exited.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Writes the data to standard input and waits for the exit. Returns the status and the beginning of standard error.
async fn communicate(
    child: &mut Child,
    data: &HookData,
    clock: &Clock,
) -> std::io::Result<(std::process::ExitStatus, String)> {
    // Texts, numbers and maps of texts always have a JSON form.
    let text = format!("{}\n", serde_json::to_string(data).unwrap_or_default());
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A program may exit or close its input without reading.
            let _ = stdin.write_all(text.as_bytes()).await;
        }
    };
    let mut stderr_text = Vec::new();
    let read = async {
        let Some(mut stderr) = stderr else { return };
        let mut buffer = [0; 512];
        while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
            // The rest is read and dropped: a full pipe would block the program.
            stderr_text.extend_from_slice(&buffer[..count.min(STDERR_LIMIT - stderr_text.len())]);
        }
    };
    let exited = Notify::new();
    let wait = async {
        let status = child.wait().await;
        exited.notify_one();
        status
    };
    // Processes that it leaves running may hold its pipes, so those are not waited for once it has exited.
    let transfer = async {
        tokio::select! {
            _ = async { tokio::join!(write, read) } => {}
            () = async { exited.notified().await; clock.sleep(STDERR_GRACE).await } => {}
        }
    };
    let (status, ()) = tokio::join!(wait, transfer);
    Ok((status?, String::from_utf8_lossy(&stderr_text).into_owned()))
}

/// Removes control characters, which a terminal might obey, and cuts the text.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
