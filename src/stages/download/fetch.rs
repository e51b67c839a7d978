//! One output: from its link to a checked part, or the reason why not.

use std::time::Duration;

use serde_json::json;
use url::Url;

use crate::failpoints::{self, FailPoint};
use crate::fs::FsError;
use crate::fs::file_system::FileSystem;
use crate::job::event::DownloadFailure;
use crate::job::output::{Output, OutputKind, OutputState, Stored};
use crate::library::boot_id;
use crate::library::part::{Part, PartWriter};
use crate::media::fetch::{Download, Head, MediaClient, MediaError, Resume};
use crate::media::inspect::{Unfit, Verified, inspect};
use crate::secret::Secret;
use crate::stages::download::DownloadTools;
use crate::stages::download::permits::TransferPermit;
use crate::stages::download::publish::Checked;
use crate::stages::run_blocking;
use crate::store::error::StoreError;
use crate::store::fetches::Fetching;
use crate::store::query::JobDetails;

/// A full disk is tried again so soon.
const FULL_PAUSE: Duration = Duration::from_secs(60);
/// So much is left free for the database and everybody else.
const RESERVE: u64 = 64 << 20;

impl DownloadTools {
    /// Brings an output into the library, by what is there already or from its link.
    pub(super) async fn fetch_output(
        &self,
        client: &MediaClient,
        fetching: &Fetching,
        output: &Output,
        lane: TransferPermit,
    ) -> Result<Result<Stored, DownloadFailure>, StoreError> {
        let OutputState::Waiting { link, .. } = &output.state else {
            return Ok(Err(passing("it is not waited for")));
        };
        if let Some(stored) = self.finish_publishing(fetching, output).await? {
            return Ok(stored);
        }
        match self.fetch_part(client, &fetching.sight, output, link, lane).await {
            Ok(checked) => self.publish(fetching, output, checked).await,
            Err(failure) => Ok(Err(failure)),
        }
    }

    async fn fetch_part(
        &self,
        client: &MediaClient,
        sight: &JobDetails,
        output: &Output,
        link: &Secret,
        lane: TransferPermit,
    ) -> Result<Checked, DownloadFailure> {
        let name = Self::part_name(sight.job.id(), output.key);
        // Network, hash and disk in turn, each piece while it is still in the processor's cache.
        let received = self.receive(client, &name, link, output.key.kind, lane).await;
        let Received { head, part, verified } = received.map_err(|trouble| self.failure(trouble))?;
        let why = match verified {
            Ok(verified) if verified.complete || head.length.is_some() => {
                failpoints::hit(FailPoint::PartInspected);
                return Ok(Checked { part, verified, host: head.host });
            }
            Ok(_) => "neither its length nor its structure proves that it is whole".to_owned(),
            Err(unfit) => unfit.to_string(),
        };
        self.quarantine(sight, output, part, &head, &why).await;
        Err(DownloadFailure::Invalid { why })
    }

    /// Makes a flushed part of a link, and looks at what it is. Blocks between its awaits.
    async fn receive(
        &self,
        client: &MediaClient,
        name: &str,
        link: &Secret,
        expected: OutputKind,
        lane: TransferPermit,
    ) -> Result<Received, Trouble> {
        let (head, writer) = match self.stream(client, name, link).await {
            Err(Trouble::Media(MediaError::CannotResume { .. })) => {
                self.library.remove_part(name);
                self.stream(client, name, link).await?
            }
            streamed => streamed?,
        };
        // The next one's bytes may come while these are flushed, checked and named.
        let turn = lane.leave().await;
        let part = writer.finish()?;
        drop(turn);
        let verified = inspect(&mut part.open()?, expected)
            .map_err(|source| FsError::Io { path: "the download".into(), source })?;
        Ok(Received { head, part, verified })
    }

    /// Streams the link into a part, going on with one that is there if it is surely the same file.
    async fn stream(
        &self,
        client: &MediaClient,
        name: &str,
        link: &Secret,
    ) -> Result<(Head, PartWriter), Trouble> {
        let host = Url::parse(link.expose()).ok().and_then(|url| url.host_str().map(str::to_owned));
        let resume = self.resumable(name, host.as_deref());
        let mut download = client.open(link, resume.as_ref()).await?;
        let head = download.head().clone();
        failpoints::hit(FailPoint::DownloadOpened);
        let left = head.length.map_or(0, |length| length.saturating_sub(head.offset));
        let room = FileSystem::of(self.library.root())?;
        if room.free_bytes < left.saturating_add(RESERVE) {
            return Err(FsError::StorageFull(self.library.root().to_owned()).into());
        }
        let validator = head.validator.as_ref().and_then(|tag| condition(host.as_deref()?, tag));
        let mut writer = self.library.open_part(name, head.offset, validator.as_deref())?;
        match pour(&mut download, &mut writer).await {
            Ok(()) => Ok((head, writer)),
            Err(trouble) => {
                drop(writer);
                if validator.is_none() {
                    self.library.remove_part(name);
                }
                Err(trouble)
            }
        }
    }

    /// What can be gone on with: begun since this machine's last start (so no power cut has eaten what was written),
    /// from the same host, under a strong entity tag.
    fn resumable(&self, name: &str, host: Option<&str>) -> Option<Resume> {
        let (offset, known) = self.library.resumable_part(name)?;
        let tag = known.rsplit(' ').next()?.to_owned();
        (condition(host?, &tag)? == known).then_some(Resume { offset, validator: tag })
    }

    fn failure(&self, trouble: Trouble) -> DownloadFailure {
        let now = self.clock.now();
        match trouble {
            Trouble::Media(error) => match error {
                MediaError::Forbidden(why) => DownloadFailure::Forbidden { why: why.to_string() },
                MediaError::LinkRefused { status, host } => DownloadFailure::LinkRefused { status, host },
                MediaError::Encoded { .. } | MediaError::TooLarge { .. } => {
                    DownloadFailure::Invalid { why: error.to_string() }
                }
                MediaError::Busy { wait, .. } => DownloadFailure::Transient {
                    why: error.to_string(),
                    not_before: wait.map(|wait| now.plus(wait.min(Duration::from_secs(3600)))),
                },
                MediaError::CannotResume { .. }
                | MediaError::TooSlow { .. }
                | MediaError::CutShort { .. }
                | MediaError::Redirects { .. }
                | MediaError::Network { .. } => passing(error.to_string()),
            },
            Trouble::Disk(error @ FsError::StorageFull(_)) => {
                DownloadFailure::Transient { why: error.to_string(), not_before: Some(now.plus(FULL_PAUSE)) }
            }
            Trouble::Disk(error) => passing(error.to_string()),
        }
    }

    async fn quarantine(&self, sight: &JobDetails, output: &Output, part: Part, head: &Head, why: &str) {
        let (job, key) = (sight.job.id(), output.key);
        let evidence = json!({
            "job": job.to_string(),
            "name": sight.job.identity().name,
            "task_id": sight.job.task().map(crate::job::TaskId::as_str),
            "output": key.to_string(),
            "at": self.clock.now(),
            "why": why,
            "url_host": head.host,
            "headers": head.evidence,
            "bytes": part.bytes(),
            "sha256": part.sha256(),
        });
        let (library, folder) = (self.library.clone(), self.quarantine.clone());
        let name = format!("{}-{key}.bin", crate::library::safe_name(&sight.job.identity().name));
        let evidence = serde_json::to_vec_pretty(&evidence).unwrap_or_default();
        let kept =
            run_blocking(&self.clock, move || library.quarantine(part, &folder, &name, &evidence)).await;
        if let Err(error) = kept {
            tracing::warn!(%job, "an unfit download of job {job} could not be kept as evidence: {error}");
            self.library.remove_part(&Self::part_name(job, key));
        }
    }
}

/// What came of a link.
struct Received {
    head: Head,
    part: Part,
    verified: Result<Verified, Unfit>,
}

/// Why no part came of it.
pub(super) enum Trouble {
    Media(MediaError),
    Disk(FsError),
}

impl From<MediaError> for Trouble {
    fn from(error: MediaError) -> Self {
        Self::Media(error)
    }
}

impl From<FsError> for Trouble {
    fn from(error: FsError) -> Self {
        Self::Disk(error)
    }
}

async fn pour(download: &mut Download<'_>, writer: &mut PartWriter) -> Result<(), Trouble> {
    while let Some(chunk) = download.chunk().await? {
        writer.write(&chunk)?;
    }
    Ok(())
}

/// What must be the same for a part to be gone on with.
fn condition(host: &str, tag: &str) -> Option<String> {
    Some(format!("{} {host} {}", boot_id()?, tag.replace(' ', "")))
}

pub(super) fn passing(why: impl Into<String>) -> DownloadFailure {
    DownloadFailure::Transient { why: why.into(), not_before: None }
}
