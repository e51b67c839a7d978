//! Points in the code where a crash test can kill or stop the process.
//!
//! Without the feature `failpoints`, [`hit`] is empty. With it, `DROPREEL_FAIL_KILL_AT=submit-sending:3` kills the
//! process with SIGKILL when that point is hit for the third time, and `DROPREEL_FAIL_STOP_AT` stops it there with
//! SIGSTOP, so that a test can look at the disk as a power cut would leave it.

use strum::{IntoStaticStr, VariantArray};

/// Variables that begin like this control failures. They are not settings.
#[cfg(feature = "failpoints")]
pub const VARIABLE_PREFIX: &str = "DROPREEL_FAIL_";

/// A point where a crash is worth testing. The environment variables use its word; the order is that in which a
/// job meets the points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum FailPoint {
    // Start
    /// The data folder is locked; nothing else has happened yet.
    StartLocked,
    /// All folders exist, the library's among them.
    FoldersCreated,
    /// A new database is in WAL mode and has no tables.
    WalModeSet,
    /// The tables of a new database are committed.
    SchemaCreated,
    /// This start is counted in the database, but not yet in the file beside it.
    EpochCommitted,
    /// This start is counted in both places.
    EpochFileWritten,
    /// One job of a restored database is held; others may follow.
    RestoredJobHeld,
    /// Both listeners are open; no stage runs yet.
    ListenersOpen,
    /// Everything runs; readiness is not reported yet.
    Ready,

    // Database
    /// A transaction is complete and not committed.
    CommitPending,
    /// A transaction is committed; its callers have no answer yet.
    CommitDone,
    /// The callers of a commit have their answers; no topic is notified yet.
    CommitReported,
    /// Shutdown is about to write the WAL back into the database.
    CheckpointBegan,

    // Durable writes
    /// A durable write is flushed under its temporary name.
    DurableWritten,
    /// A durable write has its final name; the folder is not flushed.
    DurableRenamed,
    /// A durable write is complete.
    DurableFlushed,
    /// A durable write that replaces nothing is flushed under its temporary name.
    CreateWritten,
    /// A durable write that replaces nothing has its final name; the folder is not flushed.
    CreateRenamed,

    // Intake
    /// An inbox scan is due; nothing is read yet.
    IntakeBegan,
    /// A copy of a local picture is on disk; nothing that names it is committed.
    PictureKept,
    /// A file is valid; nothing of it is committed.
    IntakeValidated,
    /// All jobs of a file are inserted; their transaction is open.
    IntakeRowsWritten,
    /// The jobs of a file are committed; the file is still in the inbox.
    IntakeCommitted,
    /// The folders that files are to be moved to exist and are flushed; no file is moved.
    ArchiveFoldersCreated,
    /// A file about to be moved has been checked for changes once more.
    ArchiveChecked,
    /// A file that cannot be renamed is copied, and still in the inbox too.
    ArchiveCopied,
    /// A file is moved; whether it is the one that was read is not known yet.
    MoveUnverified,
    /// A file is moved; neither folder is flushed.
    ArchiveRenamed,
    /// The folder a file was moved to is flushed; the inbox is not.
    ArchiveTargetFlushed,
    /// A file is moved and both folders are flushed; the database does not know it.
    ArchiveFlushed,
    /// The move of a file is committed.
    MoveRecorded,
    /// A move that a crash interrupted is about to be finished.
    MoveResumed,
    /// The reason for a rejection is in `rejected/`; the bad file is still in the inbox.
    ReasonWritten,
    /// A bad file is moved; neither folder is flushed.
    RejectRenamed,
    /// A bad file is moved and both folders are flushed.
    RejectFlushed,
    /// Jobs posted to the admin server are committed; the request is not answered.
    ApiJobsCommitted,

    // Submitting
    /// The pictures of a job came through their addresses; that is not committed.
    PicturesFetched,
    /// The end of a job's wait is committed.
    WaitEnded,
    /// An attempt is committed; nothing is sent yet.
    AttemptCommitted,
    /// A submit is about to be sent.
    SubmitSending,
    /// The answer to a submit is read, not classified.
    SubmitReceived,
    /// Suspensions that follow from the answer to a submit are stored; its job is unchanged.
    SubmitClassified,
    /// A submit was answered with another job's task; that is not stored.
    SubmitTaskShared,
    /// The outcome of a submit is committed.
    SubmitApplied,
    /// The spending of a quarter of an hour is changed, that of labels is not; the transaction is open.
    SpendingChanged,
    /// A suspension is committed.
    SuspensionCommitted,
    /// The end of a suspension is committed.
    SuspensionLifted,

    // Polling and cancelling
    /// A status query is about to be sent.
    PollSending,
    /// A status is read, not classified.
    PollReceived,
    /// A status is classified; nothing of it is stored.
    PollClassified,
    /// The outcome of a status query is committed.
    PollApplied,
    /// A status query for the cost alone is answered; nothing of it is stored.
    SettlementReceived,
    /// The outcome of a status query for the cost alone is committed.
    SettlementApplied,
    /// A cancel is about to be sent.
    CancelSending,
    /// The answer to a cancel is read; nothing of it is stored.
    CancelReceived,
    /// The outcome of a cancel is committed.
    CancelApplied,

    // Callbacks
    /// A callback is read to its end, not stored.
    CallbackReceived,
    /// A callback is committed, not answered.
    CallbackCommitted,
    /// The last byte of a response of either server is written.
    ResponseWritten,
    /// A stored callback is about to be applied to its job.
    CallbackProcessingBegan,
    /// A callback's effect on its job is committed.
    CallbackProcessed,

    // Downloads
    /// The alert that a link expires soon is committed, not logged.
    AlertCommitted,
    /// A job's outputs are about to be downloaded.
    DownloadBegan,
    /// A host has begun to answer; nothing is written.
    DownloadOpened,
    /// An existing part is about to be continued.
    DownloadResumed,
    /// The validator under which a part may be resumed is written.
    ValidatorWritten,
    /// A chunk of a part is written.
    ChunkWritten,
    /// All of a part is written, not flushed.
    PartWritten,
    /// A part is flushed.
    PartFlushed,
    /// A part has passed inspection; no name is planned for it.
    PartInspected,
    /// The name of an output is committed; no file has it.
    OutputNameCommitted,
    /// A sidecar exists; the file it describes does not.
    SidecarWritten,
    /// A part with its final mode is flushed and has no name in the library.
    PublishFlushed,
    /// A file has its name in the library; no folder is flushed.
    PublishRenamed,
    /// The folder of a published file is flushed; the one it came from is not.
    PublishTargetFlushed,
    /// A file is published; the database does not know it.
    Published,
    /// A file that was published before a crash is recognised.
    PublishRecognised,
    /// A whole part that was planned before a crash is recognised.
    PartRecognised,
    /// That an output is spooled is committed.
    SpooledApplied,
    /// An object is in the bucket; its sidecar is not.
    ObjectUploaded,
    /// An object and its sidecar are in the bucket; the database does not know it.
    SidecarUploaded,
    /// That an uploaded output is stored is committed; its file is still in the spool.
    UploadApplied,
    /// That an output is stored is committed.
    StoredApplied,
    /// A sidecar is rewritten; the database still has it as outdated.
    SidecarRewritten,
    /// The failure of a download is committed.
    DownloadFailureApplied,
    /// An unfit download is in quarantine, without its response headers.
    QuarantineMoved,
    /// An unfit download and its response headers are in quarantine, flushed; nothing is committed.
    QuarantineFlushed,

    // Operator
    /// An operator's action is parsed; nothing of it is stored.
    ActionReceived,
    /// An operator's action is committed, not answered.
    ActionApplied,
    /// An operator's pause is committed, not answered.
    PauseCommitted,
    /// Jobs for another machine are cancelled and their lines kept; the transaction is open.
    MovedJobsWritten,
    /// The same is committed; the lines are not handed out.
    MovedJobsCommitted,
    /// That the lines are where they were to go is committed, not answered.
    MovedJobsAcknowledged,

    // Shutdown
    /// An orderly shutdown begins.
    ShutdownBegan,
    /// All work has ended or is abandoned; the database is open.
    ShutdownDrained,
    /// The database is closed; the process still runs.
    ShutdownClosed,
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
        for trigger in triggers().iter().filter(|trigger| trigger.point == point.into_str()) {
            if trigger.countdown.fetch_sub(1, Ordering::SeqCst) != 1 {
                continue;
            }
            eprintln!("failpoint: {:?} at {}", trigger.signal, point.into_str());
            // The signal arrives before this call returns, or at once after.
            let _ = rustix::process::kill_process(rustix::process::getpid(), trigger.signal);
        }
    }
}
