//! Serves the stored files of a job, and takes and serves their posters. A file is found by its number in the database,
//! never by a path from the address.

use std::path::{Path, PathBuf};

use actix_files::NamedFile;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, DispositionType, HeaderValue};
use actix_web::mime::{self, Mime};
use actix_web::{HttpRequest, HttpResponse, web};
use tokio::sync::OwnedSemaphorePermit;

use crate::fs::{FsError, open_file_below};
use crate::job::JobId;
use crate::job::output::StoredFile;
use crate::library::Library;
use crate::library::poster::{MAX_POSTER_BYTES, PosterError};
use crate::server::admin::http::media_type;
use crate::server::admin::page::bucket_media;
use crate::server::admin::problem::Problem;
use crate::server::admin::state::AdminState;
use crate::server::answer_limit::hold;
use crate::server::body::{BodyLimit, read_body};

/// `GET /media/{job}/{number}`: the file with this number, from 1, whole or in ranges (RFC 9110, section 14).
pub(super) async fn get_media(
    request: HttpRequest,
    path: web::Path<(String, usize)>,
    admin: web::Data<AdminState>,
) -> Result<HttpResponse, Problem> {
    let file = file_in_library(path.into_inner(), &admin).await?;
    if let Some(address) = &file.bucket {
        return bucket_media::respond(&request, &admin, address, &file).await;
    }
    let path = PathBuf::from(file.path);
    let opened = open(&admin, admin.server.library_dir().to_owned(), path).await?;
    // Only media may be displayed: a page or an SVG file could run scripts with the rights of ours.
    let media_type = opened.file.content_type();
    let is_media =
        matches!(media_type.type_().as_str(), "video" | "audio" | "image") && media_type.subtype() != "svg";
    let media_type = if is_media { None } else { Some(mime::APPLICATION_OCTET_STREAM) };
    Ok(opened.respond(&request, media_type, "private, no-cache"))
}

/// `GET /media/{job}/{number}/poster`.
pub(super) async fn get_poster(
    request: HttpRequest,
    path: web::Path<(String, usize)>,
    admin: web::Data<AdminState>,
) -> Result<HttpResponse, Problem> {
    let poster = Library::poster_of(&file_in_library(path.into_inner(), &admin).await?.path);
    let opened = open(&admin, admin.server.library_dir().to_owned(), poster).await?;
    Ok(opened.respond(&request, Some(mime::IMAGE_JPEG), "private, max-age=86400"))
}

/// `PUT /media/{job}/{number}/poster`: keeps what a browser has drawn of the file.
pub(super) async fn put_poster(
    request: HttpRequest,
    mut body: web::Payload,
    path: web::Path<(String, usize)>,
    admin: web::Data<AdminState>,
) -> Result<HttpResponse, Problem> {
    if media_type(request.headers()).as_deref() != Some("image/jpeg") {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send a poster as image/jpeg"));
    }
    let place = file_in_library(path.into_inner(), &admin).await?.place();
    let limit = BodyLimit { max_bytes: MAX_POSTER_BYTES, ..admin.limits.request };
    let poster = read_body(&request, &mut body, limit, &admin.server.clock).await?;
    let library = admin.server.library.clone();
    let kept = web::block(move || library.keep_poster(&place, &poster)).await;
    match kept.map_err(|_| Problem::busy("the daemon is stopping"))? {
        Ok(()) => Ok(HttpResponse::NoContent().finish()),
        Err(error @ (PosterError::NotJpeg | PosterError::Sides(..))) => {
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))
        }
        Err(error) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
    }
}

async fn file_in_library((job, number): (String, usize), admin: &AdminState) -> Result<StoredFile, Problem> {
    let job = JobId::parse(&job).ok_or_else(Problem::unknown_address)?;
    let mut files = admin.server.store.details(job).await?.files;
    let index = number.checked_sub(1).filter(|index| *index < files.len());
    Ok(files.swap_remove(index.ok_or_else(Problem::unknown_address)?).file)
}

/// A file that may be read.
pub(super) struct OpenedFile {
    file: NamedFile,
    permit: OwnedSemaphorePermit,
}

/// Opens a file below a folder.
pub(super) async fn open(admin: &AdminState, folder: PathBuf, path: PathBuf) -> Result<OpenedFile, Problem> {
    let permit = admin.media_answers.clone().try_acquire_owned();
    let permit =
        permit.map_err(|_| Problem::busy("too many files are being read; close some of the readers"))?;
    let opened = web::block(move || {
        // Others may write into the folder: a link in it could lead to any file of ours.
        let file = open_file_below(&folder, &path)?;
        let name = path.file_name().unwrap_or_default();
        NamedFile::from_file(file, Path::new(name)).map_err(|error| FsError::new(&folder.join(&path), error))
    });
    let opened = opened.await.map_err(|_| Problem::unknown_address())?;
    let file = opened.map_err(|error| Problem::new(StatusCode::NOT_FOUND, error.to_string()))?;
    Ok(OpenedFile { file, permit })
}

impl OpenedFile {
    /// Sends it to be kept as a file, never displayed.
    pub(super) fn respond_as_attachment(mut self, request: &HttpRequest) -> HttpResponse {
        let mut disposition = self.file.content_disposition().clone();
        disposition.disposition = DispositionType::Attachment;
        self.file = self.file.set_content_disposition(disposition);
        self.respond(request, Some(mime::APPLICATION_OCTET_STREAM), "no-store")
    }

    fn respond(self, request: &HttpRequest, media_type: Option<Mime>, caching: &'static str) -> HttpResponse {
        let Self { mut file, permit } = self;
        if let Some(media_type) = media_type {
            file = file.set_content_type(media_type);
        }
        let mut response = file.into_response(request).map_body(|_, body| hold(permit, body));
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
        response
    }
}
