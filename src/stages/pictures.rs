//! Local pictures of jobs that are to be submitted: makes sure that a copy is there, and fetches it once from its public
//! address as the provider will, so that a wrong web server in front costs nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::Response;
use reqwest::header::HeaderMap;
use sha2::{Digest, Sha256};
use url::Url;

use crate::clock::{Clock, Tick};
use crate::failpoints::{self, FailPoint};
use crate::job::JobId;
use crate::job::event::{Event, PictureFault};
use crate::job::next_action::{NextAction, is_due};
use crate::jobfile::pictures::{FoundPicture, PictureContent};
use crate::jobfile::quoted;
use crate::media::transport::MediaTransport;
use crate::pictures::address::PictureUrls;
use crate::pictures::{MAX_PICTURE_BYTES, PictureFolder};
use crate::stages::{InFlight, Stage, Wake, isolate_corrupt_job, log_transition, run_blocking};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::notify::{Notifications, Topic};

/// Most jobs whose pictures are checked at the same time.
const CONCURRENCY: usize = 8;
/// A check that takes longer makes room for another.
const SLOW_AFTER: Duration = Duration::from_secs(5);
/// Most due jobs read in one pass.
const BATCH: u32 = 64;
/// Longest time for one picture.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);
/// For how long a picture that came through its address counts for other jobs that name it.
const CHECK_LIFETIME: Duration = Duration::from_secs(600);
/// Most pictures that are remembered.
const MAX_REMEMBERED: usize = 10_000;

/// What the stage works with.
pub struct PictureTools {
    /// All state.
    pub store: Store,
    /// Time.
    pub clock: Clock,
    /// The watched folder, with the originals.
    pub inbox: PathBuf,
    /// The copies.
    pub folder: PictureFolder,
    /// Their public addresses.
    pub urls: PictureUrls,
    /// Fetches from there.
    pub transport: Arc<dyn MediaTransport>,
}

/// The stage of local pictures.
pub struct PictureStage {
    inner: Arc<Inner>,
    in_flight: InFlight,
    notifications: Notifications,
}

struct Inner {
    tools: PictureTools,
    /// When each picture came through an address of it.
    checked: Mutex<BTreeMap<PictureContent, Tick>>,
}

impl PictureStage {
    /// Listens from now on.
    pub fn new(tools: PictureTools) -> Self {
        let notifications = tools.store.listen(Topic::Pictures);
        let in_flight = InFlight::with_slow_after(CONCURRENCY, SLOW_AFTER, tools.clock.clone());
        Self { inner: Arc::new(Inner { tools, checked: Mutex::default() }), in_flight, notifications }
    }
}

impl Inner {
    async fn check(self: Arc<Self>, job: JobId) -> bool {
        let checked = self.try_check(job).await;
        if let Err(error) = &checked {
            tracing::warn!(%job, "the pictures of job {job} could not be checked; it is tried again: {error}");
        }
        checked.is_ok()
    }

    async fn try_check(&self, job: JobId) -> Result<(), StoreError> {
        let details = self.tools.store.details(job).await;
        let Some(details) = isolate_corrupt_job(&self.tools.store, job, details).await? else {
            return Ok(());
        };
        if !is_due(&details.job, NextAction::CheckPictures, self.tools.clock.now()) {
            return Ok(());
        }
        let event = match self.check_all(job).await? {
            Ok(()) => Event::PicturesChecked,
            Err(fault) => Event::PictureUnavailable(fault),
        };
        failpoints::hit(FailPoint::PicturesFetched);
        let applied = self.tools.store.apply(job, event, self.tools.clock.now()).await?;
        log_transition(&applied);
        Ok(())
    }

    async fn check_all(&self, job: JobId) -> Result<Result<(), PictureFault>, StoreError> {
        let pictures = self.tools.store.pictures(job).await?;
        if pictures.is_empty() {
            let why = "the list of its pictures is lost; drop its job file again".to_owned();
            return Ok(Err(PictureFault::Missing { why }));
        }
        for picture in pictures {
            let Some(found) = picture.found else { continue };
            if let Err(fault) = self.check_one(job, &picture.path, found).await {
                return Ok(Err(fault));
            }
        }
        Ok(Ok(()))
    }

    async fn check_one(&self, job: JobId, path: &str, found: FoundPicture) -> Result<(), PictureFault> {
        let content = found.content.clone();
        let (folder, inbox) = (self.tools.folder.clone(), self.tools.inbox.clone());
        // Removal takes away files that are being written, too: it cannot tell them from those of an interrupted run.
        let copies_stay = folder.keep_all().await;
        let kept = run_blocking(&self.tools.clock, move || folder.restore(&inbox, &found)).await;
        drop(copies_stay);
        kept.map_err(|why| PictureFault::Missing { why: format!("picture {}: {why}", quoted(path)) })?;
        let unreachable = |why| PictureFault::Unreachable { why: format!("picture {}: {why}", quoted(path)) };
        let Some(address) = self.tools.urls.url(job, &content) else {
            return Err(unreachable("local pictures are not served (`media.serve`)".to_owned()));
        };
        let now = self.tools.clock.tick();
        if self.checked.lock().get(&content).is_some_and(|at| now.since(*at) < CHECK_LIFETIME) {
            return Ok(());
        }
        let url = Url::parse(address.expose()).map_err(|error| unreachable(error.to_string()))?;
        let fetched = self.tools.clock.within(FETCH_TIMEOUT, self.fetch(&url, &content)).await;
        fetched
            .unwrap_or_else(|| Err(format!("no whole answer within {} s", FETCH_TIMEOUT.as_secs())))
            .map_err(|why| unreachable(format!("{why} when fetched by {}", origin(&url))))?;
        let mut checked = self.checked.lock();
        if checked.len() >= MAX_REMEMBERED {
            checked.clear();
        }
        checked.insert(content, now);
        Ok(())
    }

    /// Fetches a picture as the provider does; the error says what went wrong.
    async fn fetch(&self, url: &Url, content: &PictureContent) -> Result<(), String> {
        let response =
            self.tools.transport.get(url, HeaderMap::new()).await.map_err(|error| error.to_string())?;
        let status = response.status();
        if status.is_redirection() {
            return Err(format!("HTTP {}, a redirect, which the provider may not follow,", status.as_u16()));
        }
        if status.as_u16() != 200 {
            let status = status.as_u16();
            return Err(format!(
                "HTTP {status} (does the web server pass on GET /media/ to callbacks.listen?)"
            ));
        }
        if sha256_of(response).await? != content.sha256 {
            return Err("another file arrived".to_owned());
        }
        Ok(())
    }
}

async fn sha256_of(mut response: Response) -> Result<String, String> {
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                bytes += chunk.len() as u64;
                if bytes > MAX_PICTURE_BYTES {
                    return Err("a larger file arrived".to_owned());
                }
                hash.update(&chunk);
            }
            Ok(None) => return Ok(data_encoding::HEXLOWER.encode(&hash.finalize())),
            // The error would name the address.
            Err(_) => return Err(format!("the connection broke after {bytes} bytes")),
        }
    }
}

/// Scheme, host and port: the path of an address is a secret.
fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

impl Stage for PictureStage {
    const NAME: &'static str = "pictures";

    async fn pass(&self) -> Result<Wake, StoreError> {
        let tools = &self.inner.tools;
        let due = tools.store.due_jobs(NextAction::CheckPictures, tools.clock.now(), BATCH).await?;
        for job in due.jobs {
            if self.in_flight.is_full() {
                return Ok(Wake::OnNotify);
            }
            if !self.in_flight.contains(job) {
                self.in_flight.spawn(job, self.inner.clone().check(job));
            }
        }
        Ok(Wake::at(due.next))
    }

    async fn notified(&self) {
        tokio::select! {
            biased;
            () = self.notifications.next() => {}
            () = self.in_flight.completed() => {}
        }
    }

    async fn drain(&self) {
        // A check changes nothing but its own result.
        self.in_flight.abort().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::policy::PollingPolicy;
    use crate::jobfile::pictures::PictureType;
    use crate::media::guard::Policy;
    use crate::media::transport::PinnedTransport;
    use crate::rng::Rng;
    use crate::secret::{CallbackSecrets, Secret};

    #[tokio::test]
    async fn copy_is_made_again_only_while_none_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let clock = Clock::machine();
        let database = root.path().join("dropreel.db");
        let (store, _writer) =
            Store::open(&database, PollingPolicy::DEFAULT, Rng::seeded(1), clock.clone()).unwrap();
        let folder = PictureFolder::new(root.path().join("pictures"));
        let secrets = Arc::new(parking_lot::RwLock::new(CallbackSecrets::new(Secret::new("s"), Vec::new())));
        let policy = Policy { private_addresses: true, plain_http: true, hosts: Vec::new() };
        let stage = PictureStage::new(PictureTools {
            store,
            clock: clock.clone(),
            inbox: root.path().join("inbox"),
            folder: folder.clone(),
            urls: PictureUrls::new(None, secrets),
            transport: Arc::new(PinnedTransport::new(policy, clock.clone())),
        });
        let content = PictureContent { sha256: "0".repeat(64), picture_type: PictureType::Png };
        let found = FoundPicture { inbox_path: Some("a.png".to_owned()), content };
        let removal = folder.before_removal().await;
        let checked = stage.inner.check_one(JobId::NONE, "a.png", found.clone());
        let waited = clock.within(Duration::from_millis(200), checked).await;
        assert!(waited.is_none(), "during a removal");
        drop(removal);
        let checked = stage.inner.check_one(JobId::NONE, "a.png", found).await;
        assert!(matches!(checked, Err(PictureFault::Missing { .. })), "{checked:?}");
    }
}
