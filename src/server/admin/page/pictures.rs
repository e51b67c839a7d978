//! `GET /pictures/{name}`: a local picture of jobs, for the form and the page of a job. It is found by its content in the
//! database, never by a path from the address.

use std::fs::File;
use std::io::Seek;
use std::path::Path;

use actix_files::NamedFile;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};

use crate::fs::{FsError, open_file_below};
use crate::jobfile::pictures::PictureContent;
use crate::pictures::{PictureError, PictureFolder, describe, read_whole};
use crate::server::admin::problem::Problem;
use crate::server::admin::state::AdminState;
use crate::server::answer_limit::hold;

pub(super) async fn get_picture(
    request: HttpRequest,
    name: web::Path<String>,
    admin: web::Data<AdminState>,
) -> Result<HttpResponse, Problem> {
    let content = PictureContent::of_file_name(&name).ok_or_else(Problem::unknown_address)?;
    let permit = admin.media_answers.clone().try_acquire_owned();
    let permit =
        permit.map_err(|_| Problem::busy("too many files are being read; close some of the readers"))?;
    let original = admin.server.store.original_of(content.clone()).await?;
    let (folder, inbox) = (admin.server.pictures.clone(), admin.server.settings.inbox.dir.clone());
    let media_type = content.picture_type.media_type();
    let opened = web::block(move || {
        let file = open(&folder, &content, &inbox, original.as_deref())?;
        let io = |error| FsError::new(Path::new(&content.file_name()), error);
        NamedFile::from_file(file, Path::new(&content.file_name())).map_err(io).map_err(PictureError::File)
    });
    let opened = opened.await.map_err(|_| Problem::busy("the daemon is stopping"))?;
    let file = opened.map_err(|_| Problem::unknown_address())?.disable_content_disposition();
    let mut response = file.into_response(&request).map_body(|_, body| hold(permit, body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=86400, immutable"));
    Ok(response)
}

/// Opens the copy; once it is removed with the end of its job, the original if it is still what it was.
fn open(
    folder: &PictureFolder,
    content: &PictureContent,
    inbox: &Path,
    original: Option<&str>,
) -> Result<File, PictureError> {
    let (missing, path) = match (folder.open(content), original) {
        (Err(missing @ FsError::NotFound(_)), Some(path)) => (missing, path),
        (opened, _) => return Ok(opened?),
    };
    let mut file = open_file_below(inbox, Path::new(path))?;
    let whole = inbox.join(path);
    let io = |error| FsError::new(&whole, error);
    let found = describe(&read_whole(file.try_clone().map_err(io)?, &whole)?)?;
    file.rewind().map_err(io)?;
    if found.content == *content { Ok(file) } else { Err(missing.into()) }
}
