//! Local pictures of jobs that do not come through the inbox: uploaded by `POST /api/v1/pictures`, or those of an older job.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use parking_lot::Mutex;

use crate::api::picture::UploadedPicture;
use crate::job::JobId;
use crate::jobfile::pictures::{FoundPicture, PictureContent};
use crate::jobfile::{self, Draft, MAX_PROBLEMS, quoted};
use crate::pictures::{MAX_PICTURE_BYTES, PictureError, PictureFolder, add_warnings, warnings};
use crate::server::admin::http::json_response;
use crate::server::admin::problem::{Problem, ProblemResponses};
use crate::server::admin::state::AdminState;
use crate::server::body::{BodyLimit, read_body};
use crate::store::pictures::{MAX_WAITING_BYTES, UPLOAD_LIFETIME};

/// Longest time to receive a picture.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(120);
/// The longest list of the names of pictures in a request, in bytes.
pub(super) const MAX_NAMES_BYTES: u64 = 32 << 20;

const WRONG_NAMES: &str =
    "the pictures must be a JSON object that gives each path what `POST /api/v1/pictures` answered";

/// `POST /api/v1/pictures`: keeps a picture for jobs to come.
#[utoipa::path(
    post,
    path = "/api/v1/pictures",
    tag = "jobs",
    summary = "Upload a picture for jobs to come. It is kept for a day, or until 4 GiB more are uploaded, and for as long as a job names it",
    request_body(description = "A JPEG, PNG, WebP or BMP up to 20 MiB", content_type = "application/octet-stream"),
    responses(
        (status = 201, description = "The picture is kept; jobs may name it", body = UploadedPicture),
        ProblemResponses
    )
)]
pub(super) async fn upload_picture(
    request: HttpRequest,
    mut body: web::Payload,
    admin: web::Data<AdminState>,
) -> Result<HttpResponse, Problem> {
    if !admin.server.settings.media.serve {
        let why = "local pictures are not served: set `media.serve = true` and restart the daemon";
        return Err(Problem::action_rejected(why));
    }
    // Each is in memory as a whole.
    let _permit = admin.picture_uploads.acquire().await;
    let limit = BodyLimit { max_bytes: MAX_PICTURE_BYTES, timeout: RECEIVE_TIMEOUT };
    let bytes = read_body(&request, &mut body, limit, &admin.server.clock).await?;
    let folder = admin.server.pictures.clone();
    let copies_stay = folder.keep_all().await;
    let keep = web::block(move || folder.keep_bytes(&bytes)).await;
    let panicked = |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "a bug: reading the picture panicked");
    let keep = keep.map_err(panicked)?;
    let kept = keep.map_err(|error| match error {
        PictureError::File(error) => {
            tracing::warn!("an uploaded picture cannot be kept: {error}");
            Problem::busy(format!("the picture cannot be kept: {error}"))
        }
        error => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("the picture {error}")),
    })?;
    let now = admin.server.clock.now();
    let forgotten = admin.server.store.record_upload(kept.content.clone(), kept.bytes, now).await?;
    drop(copies_stay);
    remove_forgotten(&admin, forgotten).await?;
    let answer = UploadedPicture {
        name: kept.content.file_name(),
        bytes: kept.bytes,
        width: kept.image.width,
        height: kept.image.height,
        warnings: warnings(&kept),
        kept_until: now.plus(UPLOAD_LIFETIME),
    };
    Ok(json_response(StatusCode::CREATED, &answer))
}

/// Removes uploaded pictures that were never named, and that made room for newer ones.
async fn remove_forgotten(admin: &AdminState, forgotten: Vec<PictureContent>) -> Result<(), Problem> {
    if forgotten.is_empty() {
        return Ok(());
    }
    tracing::warn!(
        "{} uploaded pictures that no job names are not kept any more: only {} GiB of them are",
        forgotten.len(),
        MAX_WAITING_BYTES >> 30
    );
    let folder = admin.server.pictures.clone();
    let _no_new_copies = folder.before_removal().await;
    let unneeded = admin.server.store.unneeded_pictures(forgotten, admin.server.clock.now()).await?;
    // After a panic, intake removes the rest.
    let _ = web::block(move || folder.remove_unneeded(&unneeded)).await;
    Ok(())
}

/// `GET /api/v1/pictures/{name}`: a picture that jobs name.
#[utoipa::path(
    get,
    path = "/api/v1/pictures/{name}",
    tag = "jobs",
    summary = "A picture that was uploaded, or that a job names",
    params(("name" = String, Path, description = "As the upload or an export answered it")),
    responses(
        (status = 200, description = "Its bytes", content_type = "image/*", body = Vec<u8>),
        ProblemResponses
    )
)]
pub(super) async fn get_picture(
    name: web::Path<String>,
    admin: web::Data<AdminState>,
) -> Result<HttpResponse, Problem> {
    let gone = |why: String| Problem::new(StatusCode::NOT_FOUND, format!("the picture is not kept: {why}"));
    let content =
        PictureContent::of_file_name(&name).ok_or_else(|| gone("no picture has this name".into()))?;
    // Each is in memory as a whole.
    let _permit = admin.picture_uploads.acquire().await;
    let folder = admin.server.pictures.clone();
    let _copies_stay = folder.keep_all().await;
    let inbox_path = admin.server.store.original_of(content.clone()).await?;
    let found = FoundPicture { inbox_path, content: content.clone() };
    let inbox = admin.server.settings.inbox.dir.clone();
    let read = web::block(move || {
        folder.restore(&inbox, &found)?;
        folder.read(&found.content).map_err(|error| error.to_string())
    });
    let read = read
        .await
        .map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "a bug: reading it panicked"))?;
    let bytes = read.map_err(gone)?;
    Ok(HttpResponse::Ok().content_type(content.picture_type.media_type()).body(bytes))
}

/// The warnings about copies, or why they cannot be used.
type Examined = BTreeMap<PictureContent, Result<Vec<String>, String>>;

/// The pictures that the requests of a call may name, besides those that are named by their content.
#[derive(Clone)]
pub(super) struct HandedOver {
    folder: PictureFolder,
    inbox: PathBuf,
    by_path: Arc<BTreeMap<String, FoundPicture>>,
    /// What was found out about the copies.
    examined: Arc<Mutex<Examined>>,
}

impl HandedOver {
    pub fn new(admin: &AdminState, by_path: BTreeMap<String, FoundPicture>) -> Self {
        Self {
            folder: admin.server.pictures.clone(),
            inbox: admin.server.settings.inbox.dir.clone(),
            by_path: Arc::new(by_path),
            examined: Arc::default(),
        }
    }

    /// Those of an older job, and in their place those of these names.
    pub async fn of_job(
        admin: &AdminState,
        job: JobId,
        names: &BTreeMap<String, String>,
    ) -> Result<Self, Problem> {
        let named = admin.server.store.pictures(job).await?.into_iter();
        let mut found: BTreeMap<_, _> =
            named.filter_map(|picture| Some((picture.path, picture.found?))).collect();
        found.extend(uploaded(names)?);
        Ok(Self::new(admin, found))
    }

    /// Those of a JSON object that gives each path the name of an uploaded picture.
    pub fn named_in(admin: &AdminState, names: &[u8]) -> Result<Self, Problem> {
        let names = serde_json::from_slice(names).map_err(|_| Problem::bad_request(WRONG_NAMES))?;
        Ok(Self::new(admin, uploaded(&names)?))
    }

    /// The contents of those that were handed over, by their paths.
    pub fn contents(&self) -> impl Iterator<Item = (&String, &PictureContent)> {
        self.by_path.iter().map(|(path, found)| (path, &found.content))
    }

    /// The draft with its pictures, or what is wrong with them. Blocks. Copies may be removed again unless they are
    /// [kept](PictureFolder::keep_all).
    pub fn resolve(&self, mut draft: Draft) -> Result<Draft, Vec<jobfile::Problem>> {
        let (mut pictures, mut problems) = (std::mem::take(&mut draft.pictures), Vec::new());
        for picture in &mut pictures {
            match self.find(&picture.path) {
                Ok((found, warnings)) => {
                    picture.found = Some(found);
                    add_warnings(&mut draft, &picture.path, &warnings);
                }
                Err(why) => problems.push(jobfile::Problem {
                    pointer: draft.place.pointer.clone(),
                    message: format!("the picture {} {why}", quoted(&picture.path)),
                    line: draft.place.line.max(1),
                    column: 1,
                }),
            }
        }
        if problems.is_empty() { Ok(Draft { pictures, ..draft }) } else { Err(problems) }
    }

    /// [`resolve`](Self::resolve) for all jobs of a document.
    pub fn resolve_all(&self, drafts: Vec<Draft>) -> Result<Vec<Draft>, Problem> {
        let (mut resolved, mut problems) = (Vec::with_capacity(drafts.len()), Vec::new());
        for draft in drafts {
            match self.resolve(draft) {
                Ok(draft) => resolved.push(draft),
                Err(more) => problems.extend(more),
            }
        }
        problems.truncate(MAX_PROBLEMS);
        if problems.is_empty() { Ok(resolved) } else { Err(Problem::invalid_job_file(&problems)) }
    }

    /// What is wrong with the pictures of a draft that is not to be committed: those that were handed over by their paths may
    /// still have to be uploaded.
    pub fn preview(&self, draft: &mut Draft) -> Vec<jobfile::Problem> {
        draft.pictures.retain(|picture| !self.by_path.contains_key(&picture.path));
        match self.resolve(draft.clone()) {
            Ok(resolved) => *draft = resolved,
            Err(problems) => return problems,
        }
        Vec::new()
    }

    fn find(&self, path: &str) -> Result<(FoundPicture, Vec<String>), String> {
        let by_content =
            || PictureContent::of_file_name(path).map(|content| FoundPicture { inbox_path: None, content });
        let found = self.by_path.get(path).cloned().or_else(by_content).ok_or_else(|| {
            "was not handed over with its job: the inbox and `dropreel submit` take pictures that lie beside the job \
             file, `again` and `edit` those of the current folder, and programs upload them to `POST /api/v1/pictures`"
                .to_owned()
        })?;
        let mut examined = self.examined.lock();
        let known = examined.entry(found.content.clone()).or_insert_with(|| self.examine(&found));
        known.clone().map(|warnings| (found, warnings))
    }

    fn examine(&self, found: &FoundPicture) -> Result<Vec<String>, String> {
        self.folder.restore(&self.inbox, found).map_err(|why| match &found.inbox_path {
            Some(_) => format!("cannot be used: {why}"),
            None => "is not kept any more: upload it again, and submit its job within a day".to_owned(),
        })?;
        let kept = self.folder.examine(&found.content).map_err(|error| format!("cannot be used: {error}"))?;
        Ok(warnings(&kept))
    }
}

/// Uploaded pictures by their paths, of the names that the upload answered.
fn uploaded(names: &BTreeMap<String, String>) -> Result<BTreeMap<String, FoundPicture>, Problem> {
    let found = names.iter().map(|(path, name)| {
        let content = PictureContent::of_file_name(name);
        let content = content.ok_or_else(|| Problem::bad_request(WRONG_NAMES))?;
        Ok((path.clone(), FoundPicture { inbox_path: None, content }))
    });
    found.collect()
}
