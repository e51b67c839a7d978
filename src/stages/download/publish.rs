//! Publishes a checked part under its final name. The name is committed before the rename: otherwise a crash between
//! the two would leave a file that no job knows, and download it again.

use crate::failpoints::{self, FailPoint};
use crate::fs::FsError;
use crate::job::event::{DownloadFailure, Event};
use crate::job::output::{Output, Stored, StoredFile};
use crate::job::{JobId, TaskId};
use crate::library::layout::LayoutValues;
use crate::library::part::Part;
use crate::library::published::Published;
use crate::media::inspect::{Verified, inspect};
use crate::stages::download::spool::{find_planned_part, is_plain_http};
use crate::stages::download::{DownloadTools, sidecar};
use crate::stages::run_blocking;
use crate::store::details::JobDetails;
use crate::store::downloads::{JobToDownload, Plan};
use crate::store::error::StoreError;

/// How many names are tried before publishing fails.
const MOST_NAMES: u32 = 10_000;

/// A part that passed inspection.
pub(super) struct Checked {
    pub part: Part,
    pub verified: Verified,
    pub host: String,
    /// It came without TLS.
    pub plain_http: bool,
}

impl DownloadTools {
    /// Finishes what a crash interrupted after the name was committed: the file may have its name already, or be complete
    /// and still need it. `None`: there is nothing to finish.
    pub(super) async fn finish_publishing(
        &self,
        queued: &JobToDownload,
        output: &Output,
    ) -> Result<Option<Result<Event, DownloadFailure>>, StoreError> {
        let job = queued.details.job.id();
        let plan = queued.plans.iter().find(|(key, _)| *key == output.key).map(|(_, plan)| plan.clone());
        let (Some(plan), Some(task)) = (plan, queued.details.job.task()) else { return Ok(None) };
        let (library, known) = (self.library.clone(), plan.clone());
        let published = run_blocking(&self.clock, move || {
            library.find_published(&known.path, known.bytes, &known.sha256)
        })
        .await;
        if let Some(published) = published {
            failpoints::hit(FailPoint::PublishRecognised);
            if let Err(error) = self.complete_publishing(queued, output, &published, &plan).await {
                return Ok(Some(Err(super::fetch::transient(error.to_string()))));
            }
            let stored = self.proof(task, output, published, plan.host);
            return Ok(Some(Ok(Event::Stored(stored))));
        }
        let (library, known, key) = (self.library.clone(), plan.clone(), output.key);
        let whole = run_blocking(&self.clock, move || find_planned_part(&library, job, key, &known)).await;
        match whole {
            Some((part, verified)) => {
                failpoints::hit(FailPoint::PartRecognised);
                // How it came is not known any more.
                let plain_http = is_plain_http(output);
                let checked = Checked { part, verified, host: plan.host, plain_http };
                self.publish(queued, output, checked).await.map(Some)
            }
            None => Ok(None),
        }
    }

    /// Finishes a file that has its name: writes the sidecar if it is missing, and flushes both.
    async fn complete_publishing(
        &self,
        queued: &JobToDownload,
        output: &Output,
        published: &Published,
        plan: &Plan,
    ) -> Result<(), FsError> {
        let (library, found, kind) = (self.library.clone(), published.clone(), output.key.kind);
        let mime = run_blocking(&self.clock, move || {
            let inspected = || inspect(&mut library.open_published(&found).ok()?, kind).ok()?.ok();
            // The file passed inspection before its name was committed.
            let mime = || inspected().map_or("application/octet-stream", |verified| verified.mime);
            library.lacks_sidecar(&found).then(mime)
        })
        .await;
        let text = mime.map(|mime| {
            let file = self.stored_file(published, plan.host.clone());
            let origin = sidecar::Origin { kind, mime, plain_http: is_plain_http(output) };
            sidecar::text(&queued.details, &queued.request, &origin, &file)
        });
        let (library, found) = (self.library.clone(), published.clone());
        let complete = move || {
            text.map_or(Ok(()), |text| library.restore_sidecar(&found, &text))?;
            library.flush_published(&found)
        };
        run_blocking(&self.clock, complete).await
    }

    /// Publishes a checked part under the first free name of the layout. A bucket gets it later, under the name that is
    /// committed here: downloads must not wait for uploads, for their links expire.
    pub(super) async fn publish(
        &self,
        queued: &JobToDownload,
        output: &Output,
        checked: Checked,
    ) -> Result<Result<Event, DownloadFailure>, StoreError> {
        let JobToDownload { details, request, .. } = queued;
        let job = details.job.id();
        let Some(task) = details.job.task() else {
            return Ok(Err(super::fetch::transient("the job has no task")));
        };
        let now = self.clock.now();
        let mut base = self.layout_path(details, output, checked.verified.extension);
        let is_folder = self.library.bucket().is_none();
        if !is_folder {
            base = with_id(base, job);
        }
        let (bytes, sha256) = (checked.part.bytes(), checked.part.sha256().to_owned());
        let mut part = Some(checked.part);
        for number in 0..MOST_NAMES {
            let path = numbered(&base, number);
            let (library, candidate) = (self.library.clone(), path.clone());
            let is_taken = move || library.is_name_taken(&candidate, &job.to_string());
            if is_folder && run_blocking(&self.clock, is_taken).await {
                continue;
            }
            let plan = Plan { path, bytes, sha256: sha256.clone(), host: checked.host.clone() };
            let cost = details.job.facts().cost;
            if !self.store.plan_output(job, task.clone(), output.key, plan.clone(), cost).await? {
                continue;
            }
            failpoints::hit(FailPoint::OutputNameCommitted);
            if !is_folder {
                let library = self.library.clone();
                let flushed = run_blocking(&self.clock, move || library.flush_spool()).await;
                let spooled = flushed.map(|()| Event::Spooled { task: task.clone(), key: output.key });
                return Ok(spooled.map_err(|error| super::fetch::transient(error.to_string())));
            }
            let file = StoredFile {
                path: plan.path.clone(),
                bucket: None,
                bytes,
                sha256: sha256.clone(),
                host: checked.host.clone(),
                stored_at: now,
            };
            let (mime, plain_http) = (checked.verified.mime, checked.plain_http);
            let origin = sidecar::Origin { kind: output.key.kind, mime, plain_http };
            let text = sidecar::text(details, request, &origin, &file);
            let Some(whole) = part.take() else { break };
            let library = self.library.clone();
            let published = run_blocking(&self.clock, move || {
                library.publish(whole, &plan.path, &text, &job.to_string())
            })
            .await;
            match published {
                Ok(published) => {
                    failpoints::hit(FailPoint::Published);
                    return Ok(Ok(Event::Stored(self.proof(task, output, published, checked.host))));
                }
                Err((whole, FsError::AlreadyExists(_))) => part = Some(whole),
                Err((_, error)) => return Ok(Err(super::fetch::transient(error.to_string()))),
            }
        }
        Ok(Err(super::fetch::transient("the library has no free name for the file")))
    }

    fn proof(&self, task: &TaskId, output: &Output, published: Published, host: String) -> Stored {
        Stored::new(task.clone(), output.key, &published, host, self.clock.now())
    }

    fn stored_file(&self, published: &Published, host: String) -> StoredFile {
        StoredFile {
            path: published.path().to_owned(),
            bucket: None,
            bytes: published.bytes(),
            sha256: published.sha256().to_owned(),
            host,
            stored_at: self.clock.now(),
        }
    }

    fn layout_path(&self, details: &JobDetails, output: &Output, extension: &str) -> String {
        let identity = details.job.identity();
        let position = details.job.outputs().iter().position(|known| known.key == output.key).unwrap_or(0);
        let path = self.layout.path(&LayoutValues {
            date: &self.clock.local_date(self.clock.now()),
            name: &identity.name,
            id: &identity.id.to_string(),
            model: &identity.model,
            number: position + 1,
            extension,
            labels: &details.labels,
        });
        let outside = self.library.outside_inbox(path.clone());
        if outside != path {
            let job = identity.id;
            tracing::warn!(%job, "{path} would be in the inbox; the file of job {job} is stored as {outside}");
        }
        outside
    }
}

/// A key with the job's id in it. Whoever else writes into the bucket, no two objects have the same key then, which not
/// every store could refuse.
fn with_id(path: String, job: JobId) -> String {
    match path.rsplit_once('.') {
        Some((stem, extension)) if !path.contains(&job.to_string()) => format!("{stem}-{job}.{extension}"),
        _ => path,
    }
}

/// `sakura.mp4`, `sakura-2.mp4`, `sakura-3.mp4`, ...
fn numbered(path: &str, number: u32) -> String {
    match path.rsplit_once('.') {
        Some((stem, extension)) if number > 0 => format!("{stem}-{}.{extension}", number + 1),
        _ => path.to_owned(),
    }
}
