//! Each failpoint with a scenario that reaches it.

use dropreel::failpoints::FailPoint;

use super::TIMEOUT;
use super::scenario::{CrashRun, Scenario};

/// A failpoint and how to reach it.
pub struct Row {
    pub point: FailPoint,
    scenario: Scenario,
    /// The scenario hits the failpoint at least this often.
    hits: u64,
    /// The failpoint that must have killed the previous daemon for this one to be reached.
    after: Option<FailPoint>,
}

const PLAIN: Scenario = Scenario::Jobs("");
const TWO: Scenario = Scenario::Jobs("outputs=2");
const BUCKET: Scenario = Scenario::Bucket("outputs=2");
const LARGE: Scenario = Scenario::Jobs("size=1MiB");
const CUT: Scenario = Scenario::Jobs("media=reset:4KiB");
const BUSY: Scenario = Scenario::Jobs("media=503");
const PAGE: Scenario = Scenario::Jobs("media=html200x1");
const COPIES: Scenario = Scenario::Jobs("callback=copies:3");
/// Charged half of what is frozen, a second after the end.
const LATE: Scenario =
    Scenario::Jobs("generation=new unlisted=yes settle=after:1s cost-percent=50 callback=copies:2");
const LIMITED: Scenario = Scenario::Jobs("submit=429:1s");

const fn at(point: FailPoint, scenario: Scenario, hits: u64) -> Row {
    Row { point, scenario, hits, after: None }
}

const fn after(first: FailPoint, point: FailPoint, scenario: Scenario) -> Row {
    Row { point, scenario, hits: 1, after: Some(first) }
}

pub const POINTS: &[Row] = &[
    at(FailPoint::StartLocked, PLAIN, 1),
    at(FailPoint::FoldersCreated, PLAIN, 1),
    at(FailPoint::WalModeSet, PLAIN, 1),
    at(FailPoint::SchemaCreated, PLAIN, 1),
    at(FailPoint::EpochCommitted, PLAIN, 1),
    at(FailPoint::EpochFileWritten, PLAIN, 1),
    at(FailPoint::RestoredJobHeld, Scenario::Restored, 1),
    at(FailPoint::ListenersOpen, PLAIN, 1),
    at(FailPoint::Ready, PLAIN, 1),
    at(FailPoint::CommitPending, PLAIN, 10),
    at(FailPoint::CommitDone, TWO, 10),
    at(FailPoint::CommitReported, COPIES, 10),
    at(FailPoint::CheckpointBegan, Scenario::Stop, 1),
    at(FailPoint::DurableWritten, PLAIN, 5),
    at(FailPoint::DurableRenamed, PLAIN, 5),
    at(FailPoint::DurableFlushed, PLAIN, 5),
    at(FailPoint::CreateWritten, PLAIN, 1),
    at(FailPoint::CreateRenamed, PLAIN, 1),
    at(FailPoint::IntakeBegan, PLAIN, 3),
    at(FailPoint::PictureKept, Scenario::Pictures, 1),
    at(FailPoint::IntakeValidated, PLAIN, 1),
    at(FailPoint::IntakeRowsWritten, PLAIN, 1),
    at(FailPoint::IntakeCommitted, PLAIN, 1),
    at(FailPoint::ArchiveFoldersCreated, Scenario::Folders, 1),
    at(FailPoint::ArchiveChecked, PLAIN, 1),
    at(FailPoint::ArchiveCopied, Scenario::TwoNames, 1),
    at(FailPoint::MoveUnverified, PLAIN, 1),
    at(FailPoint::ArchiveRenamed, Scenario::Folders, 10),
    at(FailPoint::ArchiveTargetFlushed, PLAIN, 1),
    at(FailPoint::ArchiveFlushed, PLAIN, 1),
    at(FailPoint::MoveRecorded, PLAIN, 1),
    after(FailPoint::IntakeCommitted, FailPoint::MoveResumed, PLAIN),
    at(FailPoint::ReasonWritten, Scenario::BadFiles, 1),
    at(FailPoint::RejectRenamed, Scenario::BadFiles, 1),
    at(FailPoint::RejectFlushed, Scenario::BadFiles, 1),
    at(FailPoint::ApiJobsCommitted, Scenario::Api, 1),
    at(FailPoint::PicturesFetched, Scenario::Pictures, 1),
    at(FailPoint::WaitEnded, Scenario::Wait, 1),
    at(FailPoint::AttemptCommitted, PLAIN, 1),
    at(FailPoint::SubmitSending, PLAIN, 1),
    at(FailPoint::SubmitReceived, PLAIN, 1),
    at(FailPoint::SubmitClassified, PLAIN, 1),
    at(FailPoint::SubmitTaskShared, Scenario::Shared, 1),
    at(FailPoint::SubmitApplied, PLAIN, 1),
    at(FailPoint::SpendingChanged, LATE, 3),
    at(FailPoint::SuspensionCommitted, LIMITED, 1),
    at(FailPoint::SuspensionLifted, LIMITED, 1),
    at(FailPoint::PollSending, PLAIN, 1),
    at(FailPoint::PollReceived, PLAIN, 1),
    at(FailPoint::PollClassified, PLAIN, 1),
    at(FailPoint::PollApplied, PLAIN, 1),
    at(FailPoint::SettlementReceived, LATE, 1),
    at(FailPoint::SettlementApplied, LATE, 1),
    at(FailPoint::CancelSending, Scenario::Cancel, 1),
    at(FailPoint::CancelReceived, Scenario::Cancel, 1),
    at(FailPoint::CancelApplied, Scenario::Cancel, 1),
    at(FailPoint::CallbackReceived, COPIES, 3),
    at(FailPoint::CallbackCommitted, COPIES, 3),
    at(FailPoint::ResponseWritten, COPIES, 5),
    at(FailPoint::CallbackProcessingBegan, COPIES, 2),
    at(FailPoint::CallbackProcessed, COPIES, 2),
    at(FailPoint::AlertCommitted, Scenario::Alert, 1),
    at(FailPoint::DownloadBegan, PLAIN, 1),
    at(FailPoint::DownloadOpened, TWO, 2),
    at(FailPoint::DownloadResumed, CUT, 1),
    at(FailPoint::ValidatorWritten, CUT, 1),
    at(FailPoint::ChunkWritten, LARGE, 4),
    at(FailPoint::PartWritten, TWO, 2),
    at(FailPoint::PartFlushed, TWO, 2),
    at(FailPoint::PartInspected, TWO, 2),
    at(FailPoint::OutputNameCommitted, TWO, 2),
    at(FailPoint::SidecarWritten, TWO, 2),
    at(FailPoint::PublishFlushed, TWO, 2),
    at(FailPoint::PublishRenamed, TWO, 2),
    at(FailPoint::PublishTargetFlushed, TWO, 2),
    at(FailPoint::Published, TWO, 2),
    after(FailPoint::PublishRenamed, FailPoint::PublishRecognised, PLAIN),
    after(FailPoint::OutputNameCommitted, FailPoint::PartRecognised, PLAIN),
    at(FailPoint::StoredApplied, TWO, 2),
    at(FailPoint::SpooledApplied, BUCKET, 2),
    at(FailPoint::ObjectUploaded, BUCKET, 2),
    at(FailPoint::SidecarUploaded, BUCKET, 2),
    at(FailPoint::UploadApplied, BUCKET, 2),
    at(FailPoint::SidecarRewritten, LATE, 1),
    at(FailPoint::DownloadFailureApplied, BUSY, 1),
    at(FailPoint::QuarantineMoved, PAGE, 1),
    at(FailPoint::QuarantineFlushed, PAGE, 1),
    at(FailPoint::ActionReceived, Scenario::Cancel, 1),
    at(FailPoint::ActionApplied, Scenario::Cancel, 1),
    at(FailPoint::MovedJobsWritten, Scenario::Export, 1),
    at(FailPoint::MovedJobsCommitted, Scenario::Export, 1),
    at(FailPoint::MovedJobsAcknowledged, Scenario::Export, 1),
    at(FailPoint::PauseCommitted, Scenario::Pause, 1),
    at(FailPoint::ShutdownBegan, Scenario::Stop, 1),
    at(FailPoint::ShutdownDrained, Scenario::Stop, 1),
    at(FailPoint::ShutdownClosed, Scenario::Stop, 1),
];

impl Row {
    /// The run of this round: its own seed, another hit of the failpoint, and in each third round a second kill there.
    pub fn run(&self, round: u64) -> CrashRun {
        let nth = 1 + round % self.hits;
        let mut deaths: Vec<(FailPoint, u64)> = self.after.map(|first| (first, 1)).into_iter().collect();
        deaths.push((self.point, nth));
        if round % 3 == 2 {
            deaths.push((self.point, 1));
        }
        let seed = (self.point as u64) << 32 | round;
        CrashRun { scenario: self.scenario, deaths, mutant: None, seed, timeout: TIMEOUT }
    }
}
