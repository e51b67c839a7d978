//! Serves the stored files of a job. A file is found by its number in the database, never by a path from the
//! address.

use std::path::{Path, PathBuf};

use actix_files::NamedFile;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};

use crate::fs::{FsError, open_file_below};
use crate::job::JobId;
use crate::server::admin::answer_limit::hold;
use crate::server::admin::problem::Problem;
use crate::server::admin::state::AdminState;

/// `GET /media/{job}/{number}`: the file with this number, from 1, whole or in ranges (RFC 9110, section 14).
pub(super) async fn get_media(
    request: HttpRequest,
    path: web::Path<(String, usize)>,
    admin: web::Data<AdminState>,
) -> Result<HttpResponse, Problem> {
    let (job, number) = path.into_inner();
    let job = JobId::parse(&job).ok_or_else(Problem::unknown_address)?;
    let details = admin.server.store.details(job).await?;
    let file = number.checked_sub(1).and_then(|index| details.files.get(index));
    let (_, file) = file.ok_or_else(Problem::unknown_address)?;
    let (library, path) = (admin.server.library_dir().to_owned(), PathBuf::from(&file.path));
    let permit = admin.media_answers.clone().try_acquire_owned();
    let permit =
        permit.map_err(|_| Problem::busy("too many files are being read; close some of the readers"))?;
    let opened = web::block(move || {
        // Others may write into the library: a link in it could lead to any file of ours.
        let file = open_file_below(&library, &path)?;
        let name = path.file_name().unwrap_or_default();
        NamedFile::from_file(file, Path::new(name)).map_err(|error| FsError::new(&library.join(&path), error))
    });
    let opened = opened.await.map_err(|_| Problem::unknown_address())?;
    let opened = opened.map_err(|error| Problem::new(StatusCode::NOT_FOUND, error.to_string()))?;
    // Only media may be displayed: a page or an SVG file could run scripts with the rights of ours.
    let media_type = opened.content_type();
    let is_media =
        matches!(media_type.type_().as_str(), "video" | "audio" | "image") && media_type.subtype() != "svg";
    let opened =
        if is_media { opened } else { opened.set_content_type(actix_web::mime::APPLICATION_OCTET_STREAM) };
    let mut response = opened.into_response(&request).map_body(|_, body| hold(permit, body));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(response)
}
