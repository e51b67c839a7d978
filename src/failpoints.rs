//! Points in the code where a crash test can kill or stop the process.
//!
//! Without the feature `failpoints`, [`hit`] is empty. With it, `DROPREEL_FAIL_KILL_AT=submit-sending:3` kills the
//! process with SIGKILL when that point is hit for the third time, and `DROPREEL_FAIL_STOP_AT` stops it there with
//! SIGSTOP, so that a test can look at the disk as a power cut would leave it.

/// Variables that begin like this control failures. They are not settings.
#[cfg(feature = "failpoints")]
pub const VARIABLE_PREFIX: &str = "DROPREEL_FAIL_";

macro_rules! fail_points {
    ($($(#[$doc:meta])* $point:ident = $name:literal,)+) => {
        /// A point where a sudden death is worth a test.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FailPoint { $($(#[$doc])* $point,)+ }

        impl FailPoint {
            /// All points, in the order in which a job meets them.
            pub const ALL: &'static [Self] = &[$(Self::$point,)+];

            /// The name that the environment variables use.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$point => $name,)+ }
            }
        }
    };
}

fail_points! {
    // Start
    /// The data folder is locked; nothing else has happened yet.
    StartLocked = "start-locked",
    /// All folders exist, the library's among them.
    FoldersCreated = "folders-created",
    /// A new database is in WAL mode and has no tables.
    WalModeSet = "wal-mode-set",
    /// The tables of a new database are committed.
    SchemaCreated = "schema-created",
    /// This start is counted in the database, but not yet in the file beside it.
    EpochCommitted = "epoch-committed",
    /// This start is counted in both places.
    EpochFileWritten = "epoch-file-written",
    /// One job of a restored database is held; others may follow.
    RestoredJobHeld = "restored-job-held",
    /// Both listeners are open; no stage runs yet.
    ListenersOpen = "listeners-open",
    /// Everything runs; readiness is not reported yet.
    Ready = "ready",

    // Database
    /// A transaction is complete and not committed.
    CommitPending = "commit-pending",
    /// A transaction is committed; its callers have no answer yet.
    CommitDone = "commit-done",
    /// The callers of a commit have their answers; no topic is notified yet.
    CommitReported = "commit-reported",
    /// Shutdown is about to write the WAL back into the database.
    CheckpointBegan = "checkpoint-began",

    // Durable writes
    /// A durable write is flushed under its temporary name.
    DurableWritten = "durable-written",
    /// A durable write has its final name; the folder is not flushed.
    DurableRenamed = "durable-renamed",
    /// A durable write is complete.
    DurableFlushed = "durable-flushed",
    /// A durable write that replaces nothing is flushed under its temporary name.
    CreateWritten = "create-written",
    /// A durable write that replaces nothing has its final name; the folder is not flushed.
    CreateRenamed = "create-renamed",

    // Intake
    /// An inbox scan is due; nothing is read yet.
    IntakeBegan = "intake-began",
    /// A file is valid; nothing of it is committed.
    IntakeValidated = "intake-validated",
    /// All jobs of a file are inserted; their transaction is open.
    IntakeRowsWritten = "intake-rows-written",
    /// The jobs of a file are committed; the file is still in the inbox.
    IntakeCommitted = "intake-committed",
    /// A file about to be moved has been checked for changes once more.
    ArchiveChecked = "archive-checked",
    /// A file that cannot be renamed is copied, and still in the inbox too.
    ArchiveCopied = "archive-copied",
    /// A file is moved; neither folder is flushed.
    ArchiveRenamed = "archive-renamed",
    /// The folder a file was moved to is flushed; the inbox is not.
    ArchiveTargetFlushed = "archive-target-flushed",
    /// A file is moved and both folders are flushed; the database does not know it.
    ArchiveFlushed = "archive-flushed",
    /// The move of a file is committed.
    MoveRecorded = "move-recorded",
    /// A move that a crash interrupted is about to be finished.
    MoveResumed = "move-resumed",
    /// The reason for a rejection is in `rejected/`; the bad file is still in the inbox.
    ReasonWritten = "reason-written",
    /// A bad file is moved; neither folder is flushed.
    RejectRenamed = "reject-renamed",
    /// A bad file is moved and both folders are flushed.
    RejectFlushed = "reject-flushed",
    /// Jobs posted to the admin server are committed; the request is not answered.
    ApiJobsCommitted = "api-jobs-committed",

    // Submitting
    /// The end of a job's wait is committed.
    WaitEnded = "wait-ended",
    /// An attempt is committed; nothing is sent yet.
    AttemptCommitted = "attempt-committed",
    /// A submit is about to be sent.
    SubmitSending = "submit-sending",
    /// The answer to a submit is read, not classified.
    SubmitReceived = "submit-received",
    /// Suspensions that follow from the answer to a submit are stored; its job is unchanged.
    SubmitClassified = "submit-classified",
    /// A submit was answered with another job's task; that is not stored.
    SubmitTaskShared = "submit-task-shared",
    /// The outcome of a submit is committed.
    SubmitApplied = "submit-applied",
    /// A suspension is committed.
    SuspensionCommitted = "suspension-committed",
    /// The end of a suspension is committed.
    SuspensionLifted = "suspension-lifted",

    // Polling and cancelling
    /// A status query is about to be sent.
    PollSending = "poll-sending",
    /// A status is read, not classified.
    PollReceived = "poll-received",
    /// A status is classified; nothing of it is stored.
    PollClassified = "poll-classified",
    /// The outcome of a status query is committed.
    PollApplied = "poll-applied",
    /// A cancel is about to be sent.
    CancelSending = "cancel-sending",
    /// The answer to a cancel is read; nothing of it is stored.
    CancelReceived = "cancel-received",
    /// The outcome of a cancel is committed.
    CancelApplied = "cancel-applied",

    // Callbacks
    /// A callback is read to its end, not stored.
    CallbackReceived = "callback-received",
    /// A callback is committed, not answered.
    CallbackCommitted = "callback-committed",
    /// The last byte of a response of either server is written.
    ResponseWritten = "response-written",
    /// A stored callback is about to be applied to its job.
    CallbackProcessingBegan = "callback-processing-began",
    /// A callback's effect on its job is committed.
    CallbackProcessed = "callback-processed",

    // Downloads
    /// The alert that a link expires soon is committed, not logged.
    AlertCommitted = "alert-committed",
    /// A job's outputs are about to be downloaded.
    DownloadBegan = "download-began",
    /// A host has begun to answer; nothing is written.
    DownloadOpened = "download-opened",
    /// An existing part is about to be continued.
    DownloadResumed = "download-resumed",
    /// The validator under which a part may be resumed is written.
    ValidatorWritten = "validator-written",
    /// A chunk of a part is written.
    ChunkWritten = "chunk-written",
    /// All of a part is written, not flushed.
    PartWritten = "part-written",
    /// A part is flushed.
    PartFlushed = "part-flushed",
    /// A part has passed inspection; no name is planned for it.
    PartInspected = "part-inspected",
    /// The name of an output is committed; no file has it.
    OutputNameCommitted = "output-name-committed",
    /// A sidecar exists; the file it describes does not.
    SidecarWritten = "sidecar-written",
    /// A part with its final mode is flushed and has no name in the library.
    PublishFlushed = "publish-flushed",
    /// A file has its name in the library; no folder is flushed.
    PublishRenamed = "publish-renamed",
    /// The folder of a published file is flushed; the one it came from is not.
    PublishTargetFlushed = "publish-target-flushed",
    /// A file is published; the database does not know it.
    Published = "published",
    /// A file that was published before a crash is recognised.
    PublishRecognised = "publish-recognised",
    /// A whole part that was planned before a crash is recognised.
    PartRecognised = "part-recognised",
    /// That an output is stored is committed.
    StoredApplied = "stored-applied",
    /// The failure of a download is committed.
    DownloadFailureApplied = "download-failure-applied",
    /// An unfit download is in quarantine, without its response headers.
    QuarantineMoved = "quarantine-moved",
    /// An unfit download and its response headers are in quarantine, flushed; nothing is committed.
    QuarantineFlushed = "quarantine-flushed",

    // Operator
    /// An operator's action is parsed; nothing of it is stored.
    ActionReceived = "action-received",
    /// An operator's action is committed, not answered.
    ActionApplied = "action-applied",
    /// An operator's pause is committed, not answered.
    PauseCommitted = "pause-committed",

    // Shutdown
    /// An orderly shutdown begins.
    ShutdownBegan = "shutdown-began",
    /// All work has ended or is abandoned; the database is open.
    ShutdownDrained = "shutdown-drained",
    /// The database is closed; the process still runs.
    ShutdownClosed = "shutdown-closed",
}

/// Kills or stops the process here if the environment asks for it.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn hit(_point: FailPoint) {}

#[cfg(feature = "failpoints")]
pub use triggers::hit;

#[cfg(feature = "failpoints")]
#[expect(clippy::disallowed_methods, reason = "these variables are not settings")]
mod triggers {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::FailPoint;

    struct Trigger {
        signal: rustix::process::Signal,
        point: String,
        /// The hit that counts is the one that finds 1 here.
        countdown: AtomicU32,
    }

    fn triggers() -> &'static [Trigger] {
        static TRIGGERS: OnceLock<Vec<Trigger>> = OnceLock::new();
        TRIGGERS.get_or_init(|| {
            let variables = [
                ("DROPREEL_FAIL_KILL_AT", rustix::process::Signal::KILL),
                ("DROPREEL_FAIL_STOP_AT", rustix::process::Signal::STOP),
            ];
            let read = |(variable, signal)| {
                let text = std::env::var(variable).ok()?;
                let (point, nth) = text.split_once(':').unwrap_or((&text, "1"));
                let countdown = AtomicU32::new(nth.parse().unwrap_or(1));
                Some(Trigger { signal, point: point.to_owned(), countdown })
            };
            variables.into_iter().filter_map(read).collect()
        })
    }

    /// Kills or stops the process here if the environment asks for it.
    pub fn hit(point: FailPoint) {
        for trigger in triggers().iter().filter(|trigger| trigger.point == point.as_str()) {
            if trigger.countdown.fetch_sub(1, Ordering::SeqCst) != 1 {
                continue;
            }
            eprintln!("failpoint: {:?} at {}", trigger.signal, point.as_str());
            // The signal arrives before this call returns, or at once after.
            let _ = rustix::process::kill_process(rustix::process::getpid(), trigger.signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_has_its_own_name() {
        let names: std::collections::BTreeSet<_> =
            FailPoint::ALL.iter().map(|point| point.as_str()).collect();
        assert_eq!(names.len(), FailPoint::ALL.len());
    }
}
