//! For the crash lab only: named places where the process can be made to die, and bugs planted to see whether the
//! harnesses notice. In a build without the feature `lab` nothing of it exists: every call is empty, every question
//! is answered with no.
//!
//! `REELLAB_DIE_AT=submit-sent:3` kills the process (SIGKILL, no time for anything) when the site is reached for the
//! third time; `REELLAB_STOP_AT` stops it there instead (SIGSTOP), so that the disk can be looked at as a power cut
//! would leave it. `REELLAB_BUG=commit-without-flush` plants a bug.

/// Names for things that only the lab asks for.
macro_rules! names {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its name.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

names! {
    /// A place in the work where a sudden death is worth a test.
    FailPoint {
        /// The data folder is locked, and nothing else done yet.
        StartLocked = "start-locked",
        /// All folders are there, the library's among them.
        FoldersMade = "folders-made",
        /// A new database is marked as WAL and has no tables.
        DatabaseMarked = "database-marked",
        /// The tables of a new database are committed.
        SchemaMade = "schema-made",
        /// This start is counted in the database and not yet beside it.
        EpochCounted = "epoch-counted",
        /// This start is counted in both places.
        EpochWritten = "epoch-written",
        /// A job of a restored database is held; others may follow.
        RestoredHeld = "restored-held",
        /// Both doors are open, no stage runs yet.
        DoorsOpened = "doors-opened",
        /// Everything runs, nobody has been told.
        Ready = "ready",

        /// A transaction is complete and not committed.
        CommitWritten = "commit-written",
        /// A transaction is committed and nobody told.
        CommitDone = "commit-done",
        /// The callers of a commit have their results, no notification is sent.
        CommitTold = "commit-told",
        /// At an orderly end, before the log is written into the database.
        CheckpointBegan = "checkpoint-began",

        /// A durable write is flushed under its working name.
        DurableWritten = "durable-written",
        /// A durable write has its name and the folder is not flushed.
        DurableRenamed = "durable-renamed",
        /// A durable write is done.
        DurableFlushed = "durable-flushed",
        /// A durable write that replaces nothing is flushed under its temporary name.
        CreateWritten = "create-written",
        /// A durable write that replaces nothing has its name and the folder is not flushed.
        CreateRenamed = "create-renamed",

        /// A look at the inbox is due, and nothing looked at.
        IntakeBegan = "intake-began",
        /// A file is judged good and nothing of it is committed.
        IntakeJudged = "intake-judged",
        /// All jobs of a file are written, their transaction is open.
        IntakeWritten = "intake-written",
        /// The jobs of a file are committed, the file lies in the inbox.
        IntakeCommitted = "intake-committed",
        /// A file that is to be moved was looked at once more.
        ArchiveChecked = "archive-checked",
        /// A file that cannot be renamed is copied, and still in the inbox too.
        ArchiveCopied = "archive-copied",
        /// A file is moved, neither folder is flushed.
        ArchiveRenamed = "archive-renamed",
        /// Of a move, the folder it went to is flushed, the inbox is not.
        ArchiveHalfFlushed = "archive-half-flushed",
        /// A file is moved for good, which is not written down.
        ArchiveFlushed = "archive-flushed",
        /// That a file was moved is committed.
        MoveMarked = "move-marked",
        /// A move that a crash left is about to be finished.
        MoveResumed = "move-resumed",
        /// The reason lies beside the place of a bad file, which is still in the inbox.
        ReasonWritten = "reason-written",
        /// A bad file is moved, neither folder is flushed.
        RejectRenamed = "reject-renamed",
        /// A bad file is moved for good.
        RejectFlushed = "reject-flushed",
        /// Jobs handed over by a program are committed, and not answered for.
        ApiTaken = "api-taken",

        /// That a job's time has come is committed.
        WaitEnded = "wait-ended",
        /// The intent of a submit is committed and nothing sent yet.
        SubmitFrozen = "submit-frozen",
        /// A submit goes out now.
        SubmitSending = "submit-sending",
        /// The answer to a submit is read and not looked at.
        SubmitReceived = "submit-received",
        /// What an answer to a submit means for the line is kept, and nothing for its job.
        SubmitAnswered = "submit-answered",
        /// A submit was answered with another job's task, which is not kept.
        SubmitShared = "submit-shared",
        /// What a submit brought is committed.
        SubmitApplied = "submit-applied",
        /// A stop of the line is committed.
        StopWritten = "stop-written",
        /// The end of a stop of the line is committed.
        StopLifted = "stop-lifted",

        /// A status query goes out now.
        AskSending = "ask-sending",
        /// A status is read and not looked at.
        AskReceived = "ask-received",
        /// A status is understood and nothing of it kept.
        AskAnswered = "ask-answered",
        /// What a status brought is committed.
        AskApplied = "ask-applied",
        /// A cancel goes out now.
        CallOffSending = "call-off-sending",
        /// The answer to a cancel is read and nothing of it kept.
        CallOffReceived = "call-off-received",
        /// What a cancel brought is committed.
        CallOffApplied = "call-off-applied",

        /// A callback is read to its end and not kept.
        CallbackReceived = "callback-received",
        /// A callback is committed and not answered.
        CallbackKept = "callback-kept",
        /// The last byte of a door's answer is written out.
        DoorAnswered = "door-answered",
        /// A job is about to be told of a callback.
        FoldBegan = "fold-began",
        /// That a job was told of a callback is committed.
        Folded = "folded",

        /// The alert that a link dies soon is committed and not logged.
        AlertKept = "alert-kept",
        /// A job's outputs are about to be fetched.
        FetchBegan = "fetch-began",
        /// A host has begun to answer, nothing is written.
        DownloadOpened = "download-opened",
        /// A part that was there is about to be gone on with.
        DownloadResumed = "download-resumed",
        /// What a part that broke off may be gone on with under is written.
        ValidatorWritten = "validator-written",
        /// A piece of a part is written.
        ChunkWritten = "chunk-written",
        /// All of a part is written and not flushed.
        PartWritten = "part-written",
        /// A part is flushed.
        PartFlushed = "part-flushed",
        /// A part is what it should be, and no name is planned for it.
        PartInspected = "part-inspected",
        /// The name of an output is committed and not given.
        OutputPlanned = "output-planned",
        /// A sidecar lies where the file beside it is to come.
        SidecarWritten = "sidecar-written",
        /// A part with its final mode is flushed and has no name.
        PublishFlushed = "publish-flushed",
        /// A file has its name in the library, no folder is flushed.
        PublishRenamed = "publish-renamed",
        /// The folder of a published file is flushed, the one it came from is not.
        PublishHalfFlushed = "publish-half-flushed",
        /// A file is published, which is not written down.
        Published = "published",
        /// A file that a crash left published is known again.
        PublishRecognised = "publish-recognised",
        /// A part that a crash left whole and planned is known again.
        PartTakenUp = "part-taken-up",
        /// That an output is stored is committed.
        StoredApplied = "stored-applied",
        /// That a download failed is committed.
        FetchFailureApplied = "fetch-failure-applied",
        /// An unfit download lies in quarantine, without what is known about it.
        AsideMoved = "aside-moved",
        /// An unfit download lies in quarantine for good, and nothing is committed.
        AsideTold = "aside-told",

        /// A person's order is understood and nothing of it kept.
        OrderReceived = "order-received",
        /// A person's order is committed and not answered.
        OrderApplied = "order-applied",
        /// A person's pause is committed and not answered.
        PauseWritten = "pause-written",

        /// An orderly stop begins.
        StopBegan = "stop-began",
        /// All work has landed or is given up, the database is open.
        StopDrained = "stop-drained",
        /// The database is closed, the process still there.
        StopClosed = "stop-closed",
    }
}

names! {
    /// A mistake that a harness must notice.
    Bug {
        /// The database is opened with `synchronous=NORMAL`.
        CommitWithoutFlush = "commit-without-flush",
        /// A job file is moved before its jobs are committed.
        MoveBeforeCommit = "move-before-commit",
        /// A callback is answered before it is committed.
        AnswerBeforeCommit = "answer-before-commit",
        /// A submit whose outcome is unknown is repeated under a new key.
        NewKeyOnRetry = "new-key-on-retry",
        /// A repeated submit has another body.
        BodyChangedOnRetry = "body-changed-on-retry",
        /// After a crash, a submit without an answer counts as never sent.
        OutcomeForgotten = "outcome-forgotten",
        /// Files are named without being flushed.
        NoFileFlush = "no-file-flush",
        /// Folders are not flushed.
        NoFolderFlush = "no-folder-flush",
        /// What comes is published before anybody has looked at it.
        PublishUnchecked = "publish-unchecked",
        /// After a crash, a file already published is not known again.
        PlanForgotten = "plan-forgotten",
        /// A download may end before its announced length.
        ShortBodyAccepted = "short-body-accepted",
        /// Only the first address of a download is checked.
        RedirectUnchecked = "redirect-unchecked",
        /// A download is gone on with, without If-Range and without a look at the entity tag.
        ResumeBlindly = "resume-blindly",
        /// Only the first output of a task counts.
        SecondOutputIgnored = "second-output-ignored",
        /// A status word nobody has met counts as a failure.
        UnknownStatusFails = "unknown-status-fails",
        /// A log line shows a whole link.
        LinkLogged = "link-logged",
        /// The line goes on though the provider asked to wait.
        PauseIgnored = "pause-ignored",
        /// Callbacks are taken whatever their token.
        TokenUnchecked = "token-unchecked",
        /// A callback brings a job back from its end.
        EndLeft = "end-left",
    }
}

/// Dies or stops here if the lab says so.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn hit(_site: FailPoint) {}

/// Whether this bug is planted.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub const fn planted(_bug: Bug) -> bool {
    false
}

#[cfg(feature = "failpoints")]
pub use planned::{hit, planted};

#[cfg(feature = "failpoints")]
#[expect(clippy::disallowed_methods, reason = "the lab's own variables, which are no settings")]
mod planned {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::{Bug, FailPoint};

    struct Plan {
        signal: rustix::process::Signal,
        site: String,
        /// Counts down to the time that counts.
        left: AtomicU32,
    }

    fn plans() -> &'static [Plan] {
        static PLANS: OnceLock<Vec<Plan>> = OnceLock::new();
        PLANS.get_or_init(|| {
            let kinds = [
                ("REELLAB_DIE_AT", rustix::process::Signal::KILL),
                ("REELLAB_STOP_AT", rustix::process::Signal::STOP),
            ];
            let read = |(name, signal)| {
                let text = std::env::var(name).ok()?;
                let (site, nth) = text.split_once(':').unwrap_or((&text, "1"));
                let left = AtomicU32::new(nth.parse().unwrap_or(1));
                Some(Plan { signal, site: site.to_owned(), left })
            };
            kinds.into_iter().filter_map(read).collect()
        })
    }

    /// Dies or stops here if the lab says so.
    pub fn hit(site: FailPoint) {
        for plan in plans().iter().filter(|plan| plan.site == site.as_str()) {
            if plan.left.fetch_sub(1, Ordering::SeqCst) != 1 {
                continue;
            }
            eprintln!("lab: {:?} at {}", plan.signal, site.as_str());
            // A signal to oneself is delivered before the call returns to us, or at once after.
            let _ = rustix::process::kill_process(rustix::process::getpid(), plan.signal);
        }
    }

    /// Whether this bug is planted.
    pub fn planted(bug: Bug) -> bool {
        static PLANTED: OnceLock<Option<String>> = OnceLock::new();
        let planted = PLANTED.get_or_init(|| std::env::var("REELLAB_BUG").ok());
        planted.as_deref() == Some(bug.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_there_once() {
        let sites: std::collections::BTreeSet<_> = FailPoint::ALL.iter().map(|site| site.as_str()).collect();
        assert_eq!(sites.len(), FailPoint::ALL.len());
        let bugs: std::collections::BTreeSet<_> = Bug::ALL.iter().map(|bug| bug.as_str()).collect();
        assert_eq!(bugs.len(), Bug::ALL.len());
    }
}
