//! Each place with a story that leads past it.

use dropreel::lab::Site;

use super::PATIENCE;
use super::story::{Play, Story};

/// A place to die at.
pub struct Point {
    pub site: Site,
    story: Story,
    /// The story passes the place at least so often.
    passes: u64,
    /// Where the life before must have died for this place to be reached.
    after: Option<Site>,
}

const PLAIN: Story = Story::Jobs("");
const TWO: Story = Story::Jobs("outputs=2");
const LARGE: Story = Story::Jobs("size=1MiB");
const CUT: Story = Story::Jobs("media=reset:4KiB");
const BUSY: Story = Story::Jobs("media=503");
const PAGE: Story = Story::Jobs("media=html200x1");
const COPIES: Story = Story::Jobs("callback=copies:3");
const LIMITED: Story = Story::Jobs("submit=429:1s");

const fn at(site: Site, story: Story, passes: u64) -> Point {
    Point { site, story, passes, after: None }
}

const fn after(first: Site, site: Site, story: Story) -> Point {
    Point { site, story, passes: 1, after: Some(first) }
}

pub const POINTS: &[Point] = &[
    at(Site::StartLocked, PLAIN, 1),
    at(Site::FoldersMade, PLAIN, 1),
    at(Site::SecretWritten, PLAIN, 1),
    at(Site::SecretLinked, PLAIN, 1),
    at(Site::SecretKept, PLAIN, 1),
    at(Site::DatabaseMarked, PLAIN, 1),
    at(Site::SchemaMade, PLAIN, 1),
    at(Site::EpochCounted, PLAIN, 1),
    at(Site::EpochWritten, PLAIN, 1),
    at(Site::RestoredHeld, Story::Restored, 1),
    at(Site::DoorsOpened, PLAIN, 1),
    at(Site::Ready, PLAIN, 1),
    at(Site::CommitWritten, PLAIN, 10),
    at(Site::CommitDone, TWO, 10),
    at(Site::CommitTold, COPIES, 10),
    at(Site::CheckpointBegan, Story::Stop, 1),
    at(Site::DurableWritten, PLAIN, 4),
    at(Site::DurableRenamed, PLAIN, 4),
    at(Site::DurableFlushed, PLAIN, 4),
    at(Site::IntakeBegan, PLAIN, 3),
    at(Site::IntakeJudged, PLAIN, 1),
    at(Site::IntakeWritten, PLAIN, 1),
    at(Site::IntakeCommitted, PLAIN, 1),
    at(Site::ArchiveChecked, PLAIN, 1),
    at(Site::ArchiveCopied, Story::TwoNames, 1),
    at(Site::ArchiveRenamed, PLAIN, 1),
    at(Site::ArchiveHalfFlushed, PLAIN, 1),
    at(Site::ArchiveFlushed, PLAIN, 1),
    at(Site::MoveMarked, PLAIN, 1),
    after(Site::IntakeCommitted, Site::MoveResumed, PLAIN),
    at(Site::ReasonWritten, Story::BadFiles, 1),
    at(Site::RejectRenamed, Story::BadFiles, 1),
    at(Site::RejectFlushed, Story::BadFiles, 1),
    at(Site::ApiTaken, Story::Api, 1),
    at(Site::WaitEnded, Story::Wait, 1),
    at(Site::SubmitFrozen, PLAIN, 1),
    at(Site::SubmitSending, PLAIN, 1),
    at(Site::SubmitReceived, PLAIN, 1),
    at(Site::SubmitAnswered, PLAIN, 1),
    at(Site::SubmitShared, Story::Shared, 1),
    at(Site::SubmitApplied, PLAIN, 1),
    at(Site::StopWritten, LIMITED, 1),
    at(Site::StopLifted, LIMITED, 1),
    at(Site::AskSending, PLAIN, 1),
    at(Site::AskReceived, PLAIN, 1),
    at(Site::AskAnswered, PLAIN, 1),
    at(Site::AskApplied, PLAIN, 1),
    at(Site::CallOffSending, Story::Cancel, 1),
    at(Site::CallOffReceived, Story::Cancel, 1),
    at(Site::CallOffApplied, Story::Cancel, 1),
    at(Site::CallbackReceived, COPIES, 3),
    at(Site::CallbackKept, COPIES, 3),
    at(Site::DoorAnswered, COPIES, 5),
    at(Site::FoldBegan, COPIES, 2),
    at(Site::Folded, COPIES, 2),
    at(Site::AlertKept, Story::Alert, 1),
    at(Site::FetchBegan, PLAIN, 1),
    at(Site::DownloadOpened, TWO, 2),
    at(Site::DownloadResumed, CUT, 1),
    at(Site::ValidatorWritten, CUT, 1),
    at(Site::ChunkWritten, LARGE, 4),
    at(Site::PartWritten, TWO, 2),
    at(Site::PartFlushed, TWO, 2),
    at(Site::PartInspected, TWO, 2),
    at(Site::OutputPlanned, TWO, 2),
    at(Site::SidecarWritten, TWO, 2),
    at(Site::PublishFlushed, TWO, 2),
    at(Site::PublishRenamed, TWO, 2),
    at(Site::PublishHalfFlushed, TWO, 2),
    at(Site::Published, TWO, 2),
    after(Site::PublishRenamed, Site::PublishRecognised, PLAIN),
    after(Site::OutputPlanned, Site::PartTakenUp, PLAIN),
    at(Site::StoredApplied, TWO, 2),
    at(Site::FetchFailureApplied, BUSY, 1),
    at(Site::AsideMoved, PAGE, 1),
    at(Site::AsideTold, PAGE, 1),
    at(Site::OrderReceived, Story::Cancel, 1),
    at(Site::OrderApplied, Story::Cancel, 1),
    at(Site::PauseWritten, Story::Pause, 1),
    at(Site::StopBegan, Story::Stop, 1),
    at(Site::StopDrained, Story::Stop, 1),
    at(Site::StopClosed, Story::Stop, 1),
];

impl Point {
    /// The run of this number: another seed, another time the place is passed, and now and then a second death there.
    pub fn play(&self, round: u64) -> Play {
        let nth = 1 + round % self.passes;
        let mut deaths: Vec<(Site, u64)> = self.after.map(|first| (first, 1)).into_iter().collect();
        deaths.push((self.site, nth));
        if round % 3 == 2 {
            deaths.push((self.site, 1));
        }
        let seed = (self.site as u64) << 32 | round;
        Play { story: self.story, deaths, bug: None, seed, patience: PATIENCE }
    }
}
