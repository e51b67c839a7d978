//! Each place with a story that leads past it.

use dropreel::failpoints::FailPoint;

use super::PATIENCE;
use super::story::{Play, Story};

/// A place to die at.
pub struct Point {
    pub site: FailPoint,
    story: Story,
    /// The story passes the place at least so often.
    passes: u64,
    /// Where the life before must have died for this place to be reached.
    after: Option<FailPoint>,
}

const PLAIN: Story = Story::Jobs("");
const TWO: Story = Story::Jobs("outputs=2");
const LARGE: Story = Story::Jobs("size=1MiB");
const CUT: Story = Story::Jobs("media=reset:4KiB");
const BUSY: Story = Story::Jobs("media=503");
const PAGE: Story = Story::Jobs("media=html200x1");
const COPIES: Story = Story::Jobs("callback=copies:3");
const LIMITED: Story = Story::Jobs("submit=429:1s");

const fn at(site: FailPoint, story: Story, passes: u64) -> Point {
    Point { site, story, passes, after: None }
}

const fn after(first: FailPoint, site: FailPoint, story: Story) -> Point {
    Point { site, story, passes: 1, after: Some(first) }
}

pub const POINTS: &[Point] = &[
    at(FailPoint::StartLocked, PLAIN, 1),
    at(FailPoint::FoldersCreated, PLAIN, 1),
    at(FailPoint::WalModeSet, PLAIN, 1),
    at(FailPoint::SchemaCreated, PLAIN, 1),
    at(FailPoint::EpochCommitted, PLAIN, 1),
    at(FailPoint::EpochFileWritten, PLAIN, 1),
    at(FailPoint::RestoredJobHeld, Story::Restored, 1),
    at(FailPoint::ListenersOpen, PLAIN, 1),
    at(FailPoint::Ready, PLAIN, 1),
    at(FailPoint::CommitPending, PLAIN, 10),
    at(FailPoint::CommitDone, TWO, 10),
    at(FailPoint::CommitReported, COPIES, 10),
    at(FailPoint::CheckpointBegan, Story::Stop, 1),
    at(FailPoint::DurableWritten, PLAIN, 5),
    at(FailPoint::DurableRenamed, PLAIN, 5),
    at(FailPoint::DurableFlushed, PLAIN, 5),
    at(FailPoint::CreateWritten, PLAIN, 1),
    at(FailPoint::CreateRenamed, PLAIN, 1),
    at(FailPoint::IntakeBegan, PLAIN, 3),
    at(FailPoint::IntakeValidated, PLAIN, 1),
    at(FailPoint::IntakeRowsWritten, PLAIN, 1),
    at(FailPoint::IntakeCommitted, PLAIN, 1),
    at(FailPoint::ArchiveChecked, PLAIN, 1),
    at(FailPoint::ArchiveCopied, Story::TwoNames, 1),
    at(FailPoint::ArchiveRenamed, PLAIN, 1),
    at(FailPoint::ArchiveTargetFlushed, PLAIN, 1),
    at(FailPoint::ArchiveFlushed, PLAIN, 1),
    at(FailPoint::MoveRecorded, PLAIN, 1),
    after(FailPoint::IntakeCommitted, FailPoint::MoveResumed, PLAIN),
    at(FailPoint::ReasonWritten, Story::BadFiles, 1),
    at(FailPoint::RejectRenamed, Story::BadFiles, 1),
    at(FailPoint::RejectFlushed, Story::BadFiles, 1),
    at(FailPoint::ApiJobsCommitted, Story::Api, 1),
    at(FailPoint::WaitEnded, Story::Wait, 1),
    at(FailPoint::AttemptCommitted, PLAIN, 1),
    at(FailPoint::SubmitSending, PLAIN, 1),
    at(FailPoint::SubmitReceived, PLAIN, 1),
    at(FailPoint::SubmitClassified, PLAIN, 1),
    at(FailPoint::SubmitTaskShared, Story::Shared, 1),
    at(FailPoint::SubmitApplied, PLAIN, 1),
    at(FailPoint::SuspensionCommitted, LIMITED, 1),
    at(FailPoint::SuspensionLifted, LIMITED, 1),
    at(FailPoint::PollSending, PLAIN, 1),
    at(FailPoint::PollReceived, PLAIN, 1),
    at(FailPoint::PollClassified, PLAIN, 1),
    at(FailPoint::PollApplied, PLAIN, 1),
    at(FailPoint::CancelSending, Story::Cancel, 1),
    at(FailPoint::CancelReceived, Story::Cancel, 1),
    at(FailPoint::CancelApplied, Story::Cancel, 1),
    at(FailPoint::CallbackReceived, COPIES, 3),
    at(FailPoint::CallbackCommitted, COPIES, 3),
    at(FailPoint::ResponseWritten, COPIES, 5),
    at(FailPoint::CallbackProcessingBegan, COPIES, 2),
    at(FailPoint::CallbackProcessed, COPIES, 2),
    at(FailPoint::AlertCommitted, Story::Alert, 1),
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
    at(FailPoint::DownloadFailureApplied, BUSY, 1),
    at(FailPoint::QuarantineMoved, PAGE, 1),
    at(FailPoint::QuarantineFlushed, PAGE, 1),
    at(FailPoint::ActionReceived, Story::Cancel, 1),
    at(FailPoint::ActionApplied, Story::Cancel, 1),
    at(FailPoint::PauseCommitted, Story::Pause, 1),
    at(FailPoint::ShutdownBegan, Story::Stop, 1),
    at(FailPoint::ShutdownDrained, Story::Stop, 1),
    at(FailPoint::ShutdownClosed, Story::Stop, 1),
];

impl Point {
    /// The run of this number: another seed, another time the place is passed, and now and then a second death there.
    pub fn play(&self, round: u64) -> Play {
        let nth = 1 + round % self.passes;
        let mut deaths: Vec<(FailPoint, u64)> = self.after.map(|first| (first, 1)).into_iter().collect();
        deaths.push((self.site, nth));
        if round % 3 == 2 {
            deaths.push((self.site, 1));
        }
        let seed = (self.site as u64) << 32 | round;
        Play { story: self.story, deaths, mutant: None, seed, patience: PATIENCE }
    }
}
