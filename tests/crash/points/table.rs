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
    at(FailPoint::FoldersMade, PLAIN, 1),
    at(FailPoint::DatabaseMarked, PLAIN, 1),
    at(FailPoint::SchemaMade, PLAIN, 1),
    at(FailPoint::EpochCounted, PLAIN, 1),
    at(FailPoint::EpochWritten, PLAIN, 1),
    at(FailPoint::RestoredHeld, Story::Restored, 1),
    at(FailPoint::DoorsOpened, PLAIN, 1),
    at(FailPoint::Ready, PLAIN, 1),
    at(FailPoint::CommitWritten, PLAIN, 10),
    at(FailPoint::CommitDone, TWO, 10),
    at(FailPoint::CommitTold, COPIES, 10),
    at(FailPoint::CheckpointBegan, Story::Stop, 1),
    at(FailPoint::DurableWritten, PLAIN, 5),
    at(FailPoint::DurableRenamed, PLAIN, 5),
    at(FailPoint::DurableFlushed, PLAIN, 5),
    at(FailPoint::CreateWritten, PLAIN, 1),
    at(FailPoint::CreateRenamed, PLAIN, 1),
    at(FailPoint::IntakeBegan, PLAIN, 3),
    at(FailPoint::IntakeJudged, PLAIN, 1),
    at(FailPoint::IntakeWritten, PLAIN, 1),
    at(FailPoint::IntakeCommitted, PLAIN, 1),
    at(FailPoint::ArchiveChecked, PLAIN, 1),
    at(FailPoint::ArchiveCopied, Story::TwoNames, 1),
    at(FailPoint::ArchiveRenamed, PLAIN, 1),
    at(FailPoint::ArchiveHalfFlushed, PLAIN, 1),
    at(FailPoint::ArchiveFlushed, PLAIN, 1),
    at(FailPoint::MoveMarked, PLAIN, 1),
    after(FailPoint::IntakeCommitted, FailPoint::MoveResumed, PLAIN),
    at(FailPoint::ReasonWritten, Story::BadFiles, 1),
    at(FailPoint::RejectRenamed, Story::BadFiles, 1),
    at(FailPoint::RejectFlushed, Story::BadFiles, 1),
    at(FailPoint::ApiTaken, Story::Api, 1),
    at(FailPoint::WaitEnded, Story::Wait, 1),
    at(FailPoint::SubmitFrozen, PLAIN, 1),
    at(FailPoint::SubmitSending, PLAIN, 1),
    at(FailPoint::SubmitReceived, PLAIN, 1),
    at(FailPoint::SubmitAnswered, PLAIN, 1),
    at(FailPoint::SubmitShared, Story::Shared, 1),
    at(FailPoint::SubmitApplied, PLAIN, 1),
    at(FailPoint::StopWritten, LIMITED, 1),
    at(FailPoint::StopLifted, LIMITED, 1),
    at(FailPoint::AskSending, PLAIN, 1),
    at(FailPoint::AskReceived, PLAIN, 1),
    at(FailPoint::AskAnswered, PLAIN, 1),
    at(FailPoint::AskApplied, PLAIN, 1),
    at(FailPoint::CallOffSending, Story::Cancel, 1),
    at(FailPoint::CallOffReceived, Story::Cancel, 1),
    at(FailPoint::CallOffApplied, Story::Cancel, 1),
    at(FailPoint::CallbackReceived, COPIES, 3),
    at(FailPoint::CallbackKept, COPIES, 3),
    at(FailPoint::DoorAnswered, COPIES, 5),
    at(FailPoint::FoldBegan, COPIES, 2),
    at(FailPoint::Folded, COPIES, 2),
    at(FailPoint::AlertKept, Story::Alert, 1),
    at(FailPoint::FetchBegan, PLAIN, 1),
    at(FailPoint::DownloadOpened, TWO, 2),
    at(FailPoint::DownloadResumed, CUT, 1),
    at(FailPoint::ValidatorWritten, CUT, 1),
    at(FailPoint::ChunkWritten, LARGE, 4),
    at(FailPoint::PartWritten, TWO, 2),
    at(FailPoint::PartFlushed, TWO, 2),
    at(FailPoint::PartInspected, TWO, 2),
    at(FailPoint::OutputPlanned, TWO, 2),
    at(FailPoint::SidecarWritten, TWO, 2),
    at(FailPoint::PublishFlushed, TWO, 2),
    at(FailPoint::PublishRenamed, TWO, 2),
    at(FailPoint::PublishHalfFlushed, TWO, 2),
    at(FailPoint::Published, TWO, 2),
    after(FailPoint::PublishRenamed, FailPoint::PublishRecognised, PLAIN),
    after(FailPoint::OutputPlanned, FailPoint::PartTakenUp, PLAIN),
    at(FailPoint::StoredApplied, TWO, 2),
    at(FailPoint::FetchFailureApplied, BUSY, 1),
    at(FailPoint::AsideMoved, PAGE, 1),
    at(FailPoint::AsideTold, PAGE, 1),
    at(FailPoint::OrderReceived, Story::Cancel, 1),
    at(FailPoint::OrderApplied, Story::Cancel, 1),
    at(FailPoint::PauseWritten, Story::Pause, 1),
    at(FailPoint::StopBegan, Story::Stop, 1),
    at(FailPoint::StopDrained, Story::Stop, 1),
    at(FailPoint::StopClosed, Story::Stop, 1),
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
        Play { story: self.story, deaths, bug: None, seed, patience: PATIENCE }
    }
}
