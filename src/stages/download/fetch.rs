//! Downloads one output: from its link to a checked part file, or a failure.

use std::io::{self, Read as _};
use std::time::Duration;

use serde_json::json;
use url::Url;

use crate::failpoints::{self, FailPoint};
use crate::fs::FsError;
use crate::fs::file_system::FileSystem;
use crate::job::event::{DownloadFailure, Event, ForbiddenKind};
use crate::job::output::{Output, OutputKind, Waiting};
use crate::library::boot_id;
use crate::library::part::{Part, PartWriter};
use crate::media::client::{MediaClient, Resume};
use crate::media::download::{Download, Head};
use crate::media::error::MediaError;
use crate::media::guard::Forbidden;
use crate::media::inspect::{InvalidMedia, Verified, inspect};
use crate::media::unpack::unpack;
use crate::secret::Secret;
use crate::stages::download::DownloadTools;
use crate::stages::download::permits::TransferPermit;
use crate::stages::download::publish::Checked;
use crate::stages::download::spool::unpacked_name;
use crate::stages::run_blocking;
use crate::store::details::JobDetails;
use crate::store::downloads::JobToDownload;
use crate::store::error::StoreError;

/// How soon a download is retried after the disk was full.
const FULL_DISK_RETRY: Duration = Duration::from_secs(60);
/// Bytes left free for the database and other programs.
const DISK_RESERVE: u64 = 64 << 20;
/// How much is decompressed at once.
const UNPACK_BYTES: usize = 64 << 10;

impl DownloadTools {
    /// Brings an output into the library: finishes what a crash left, or downloads its link. `None`: it gave way to others.
    pub(super) async fn download_output(
        &self,
        client: &MediaClient,
        queued: &JobToDownload,
        output: &Output,
        permit: TransferPermit,
    ) -> Result<Option<Result<Event, DownloadFailure>>, StoreError> {
        let Some(Waiting { link, .. }) = output.waiting() else {
            return Ok(Some(Err(transient("the output is not waiting"))));
        };
        if let Some(stored) = self.finish_publishing(queued, output).await? {
            return Ok(Some(stored));
        }
        match self.download_part(client, &queued.details, output, link, permit).await {
            Some(Ok(checked)) => self.publish(queued, output, checked).await.map(Some),
            Some(Err(failure)) => Ok(Some(Err(failure))),
            None => Ok(None),
        }
    }

    async fn download_part(
        &self,
        client: &MediaClient,
        details: &JobDetails,
        output: &Output,
        link: &Secret,
        permit: TransferPermit,
    ) -> Option<Result<Checked, DownloadFailure>> {
        let name = Self::part_name(details.job.id(), output.key);
        // One thread receives, hashes and writes each chunk while it is in the processor's cache.
        let received = self.receive(client, &name, link, output.key.kind, permit).await;
        let Received { head, part, verified } = match received {
            Ok(received) => received,
            Err(DownloadError::GaveWay) => return None,
            Err(error) => return Some(Err(self.to_failure(error))),
        };
        let why = match verified {
            Ok(verified) if verified.complete || head.length.is_some() || head.chunked => {
                failpoints::hit(FailPoint::PartInspected);
                let Head { host, plain_http, .. } = head;
                return Some(Ok(Checked { part, verified, host, plain_http }));
            }
            Ok(_) => "neither its length nor its structure proves that the file is whole".to_owned(),
            Err(unfit) => unfit.to_string(),
        };
        client.reject_file(&head);
        let why = match self.quarantine(details, output, part, &head, &why).await {
            Some(name) => format!("{why}; see quarantine/{name}"),
            None => why,
        };
        Some(Err(DownloadFailure::Invalid { why }))
    }

    /// Downloads a link into a flushed part file and inspects it. Blocks between its awaits.
    async fn receive(
        &self,
        client: &MediaClient,
        name: &str,
        link: &Secret,
        expected: OutputKind,
        permit: TransferPermit,
    ) -> Result<Received, DownloadError> {
        let stream = async {
            match self.stream(client, name, link, &permit).await {
                Err(DownloadError::Media(MediaError::CannotResume { .. })) => {
                    self.library.remove_part(name);
                    self.stream(client, name, link, &permit).await
                }
                streamed => streamed,
            }
        };
        let (head, writer) = permit.run(stream).await.unwrap_or(Err(DownloadError::GaveWay))?;
        // Give the transfer permit back first: the next file's bytes can arrive while this one is flushed and published.
        let flush_permit = permit.into_flush_permit().await;
        let mut part = writer.finish()?;
        let unpacked = self.unpack(name, &part, client.max_bytes(), &head)?;
        drop(flush_permit);
        let verified = match unpacked {
            Err(damage) => Err(damage),
            Ok(unpacked) => {
                if let Some(unpacked) = unpacked {
                    self.library.remove_part(name);
                    part = unpacked;
                }
                inspect(&mut part.reader()?, expected).map_err(cannot_read)?
            }
        };
        Ok(Received { head, part, verified })
    }

    /// Decompresses a file that came compressed, into a part of its own.
    fn unpack(
        &self,
        name: &str,
        packed: &Part,
        max_bytes: u64,
        head: &Head,
    ) -> Result<Result<Option<Part>, InvalidMedia>, DownloadError> {
        let mut file = packed.reader()?;
        let Some(mut reader) = unpack(&mut file).map_err(cannot_read)? else { return Ok(Ok(None)) };
        let name = unpacked_name(name);
        let mut writer = self.library.open_part(&name, 0, None)?;
        let (mut buffer, mut bytes) = (vec![0; UNPACK_BYTES], 0);
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(Ok(Some(writer.finish()?))),
                Ok(read) => {
                    bytes += read as u64;
                    if bytes > max_bytes {
                        self.library.remove_part(&name);
                        return Err(MediaError::TooLarge { host: head.host.clone(), limit: max_bytes }.into());
                    }
                    writer.write(&buffer[..read])?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.library.remove_part(&name);
                    return Ok(Err(InvalidMedia::Damaged(
                        "it is compressed, and the end is missing or wrong",
                    )));
                }
            }
        }
    }

    /// Streams the link into a part file. Resumes an existing part if it is certainly of the same file.
    async fn stream(
        &self,
        client: &MediaClient,
        name: &str,
        link: &Secret,
        permit: &TransferPermit,
    ) -> Result<(Head, PartWriter), DownloadError> {
        let host = Url::parse(link.expose()).ok().and_then(|url| url.host_str().map(str::to_owned));
        let resume = self.resumable(name, host.as_deref());
        let mut download = client.open(link, resume.as_ref()).await?;
        let head = download.head().clone();
        failpoints::hit(FailPoint::DownloadOpened);
        let left = head.length.map_or(0, |length| length.saturating_sub(head.offset));
        let space = FileSystem::of(self.library.root())?;
        let needed = left.saturating_add(DISK_RESERVE);
        if space.free_bytes < needed {
            let path = self.library.root().to_owned();
            return Err(FsError::StorageFull { path, needed: Some(needed) }.into());
        }
        let validator = head.validator.as_ref().and_then(|tag| resume_condition(host.as_deref()?, tag));
        let mut writer = self.library.open_part(name, head.offset, validator.as_deref())?;
        if validator.is_some() {
            permit.set_resumable();
        }
        match copy_chunks(&mut download, &mut writer, permit).await {
            Ok(()) => Ok((head, writer)),
            Err(error) => {
                drop(writer);
                if validator.is_none() {
                    self.library.remove_part(name);
                }
                Err(error)
            }
        }
    }

    /// How to resume a part: it was begun since this machine booted (so that no power cut lost what was written), from
    /// the same host, under a strong entity tag.
    fn resumable(&self, name: &str, host: Option<&str>) -> Option<Resume> {
        let (offset, known) = self.library.resumable_part(name)?;
        let tag = known.rsplit(' ').next()?.to_owned();
        (resume_condition(host?, &tag)? == known).then_some(Resume { offset, validator: tag })
    }

    fn to_failure(&self, error: DownloadError) -> DownloadFailure {
        let now = self.clock.now();
        match error {
            DownloadError::Media(error) => match error {
                MediaError::Forbidden(why) => {
                    DownloadFailure::Forbidden { kind: forbidden_kind(&why), why: why.to_string() }
                }
                MediaError::TooLarge { .. } => {
                    DownloadFailure::Forbidden { kind: ForbiddenKind::Size, why: error.to_string() }
                }
                MediaError::LinkRefused { status, host } => DownloadFailure::LinkRefused { status, host },
                MediaError::Busy { wait, .. } => DownloadFailure::Transient {
                    why: error.to_string(),
                    not_before: wait.map(|wait| now.plus(wait.min(Duration::from_secs(3600)))),
                },
                MediaError::CannotResume { .. }
                | MediaError::Partial { .. }
                | MediaError::TooSlow { .. }
                | MediaError::CutShort { .. }
                | MediaError::Redirects { .. }
                | MediaError::Network { .. } => transient(error.to_string()),
            },
            DownloadError::Disk(error @ FsError::StorageFull { .. }) => DownloadFailure::Transient {
                why: error.to_string(),
                not_before: Some(now.plus(FULL_DISK_RETRY)),
            },
            DownloadError::Disk(error) => transient(error.to_string()),
            DownloadError::GaveWay => transient("it gave way to other downloads"),
        }
    }

    /// Keeps a download as evidence, and returns its name in quarantine.
    async fn quarantine(
        &self,
        details: &JobDetails,
        output: &Output,
        part: Part,
        head: &Head,
        why: &str,
    ) -> Option<String> {
        let (job, key) = (details.job.id(), output.key);
        let evidence = json!({
            "job": job.to_string(),
            "name": details.job.identity().name,
            "task_id": details.job.task().map(crate::job::TaskId::as_str),
            "output": key.to_string(),
            "at": self.clock.now(),
            "why": why,
            "url_host": head.host,
            "headers": head.evidence,
            "bytes": part.bytes(),
            "sha256": part.sha256(),
        });
        let (library, quarantine) = (self.library.clone(), self.quarantine.clone());
        let name = format!("{}-{key}.bin", crate::library::safe_name(&details.job.identity().name));
        let evidence = serde_json::to_vec_pretty(&evidence).unwrap_or_default();
        let kept =
            run_blocking(&self.clock, move || library.quarantine(part, &quarantine, &name, &evidence)).await;
        match kept {
            Ok(path) => path.file_name().map(|name| name.to_string_lossy().into_owned()),
            Err(error) => {
                tracing::warn!(%job, "cannot quarantine a download of job {job}: {error}");
                self.library.remove_part(&Self::part_name(job, key));
                None
            }
        }
    }
}

/// A received file with the inspection's result.
struct Received {
    head: Head,
    part: Part,
    verified: Result<Verified, InvalidMedia>,
}

/// Why a download failed.
pub(super) enum DownloadError {
    Media(MediaError),
    Disk(FsError),
    /// It ended for the sake of others; its part stays.
    GaveWay,
}

impl From<MediaError> for DownloadError {
    fn from(error: MediaError) -> Self {
        Self::Media(error)
    }
}

impl From<FsError> for DownloadError {
    fn from(error: FsError) -> Self {
        Self::Disk(error)
    }
}

async fn copy_chunks(
    download: &mut Download,
    writer: &mut PartWriter,
    permit: &TransferPermit,
) -> Result<(), DownloadError> {
    while let Some(chunk) = download.chunk().await? {
        permit.add(chunk.len());
        writer.write(&chunk)?;
    }
    Ok(())
}

/// What must be unchanged for a part to be resumed: boot, host and entity tag.
fn resume_condition(host: &str, tag: &str) -> Option<String> {
    Some(format!("{} {host} {}", boot_id()?, tag.replace(' ', "")))
}

fn cannot_read(source: io::Error) -> FsError {
    FsError::Io { path: "the download".into(), source }
}

fn forbidden_kind(why: &Forbidden) -> ForbiddenKind {
    match why {
        Forbidden::Address { .. } => ForbiddenKind::Address,
        Forbidden::Host { .. } => ForbiddenKind::Host,
        Forbidden::PlainHttp { .. } => ForbiddenKind::PlainHttp,
        Forbidden::NotAUrl
        | Forbidden::Scheme { .. }
        | Forbidden::UserInfo { .. }
        | Forbidden::Port { .. } => ForbiddenKind::Link,
    }
}

pub(super) fn transient(why: impl Into<String>) -> DownloadFailure {
    DownloadFailure::Transient { why: why.into(), not_before: None }
}
