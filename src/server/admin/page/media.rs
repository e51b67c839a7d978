//! Serves the stored files of a job. A file is found by its number in the database, never by a path from the
//! address.

use actix_files::NamedFile;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};

use crate::job::JobId;
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
    let path = admin.server.library_dir().join(&file.path);
    let missing = |error: std::io::Error| {
        let detail = format!("{} cannot be read: {error}", path.display());
        Problem::new(StatusCode::NOT_FOUND, detail)
    };
    let to_open = path.clone();
    let opened =
        web::block(move || NamedFile::open(to_open)).await.map_err(|_| Problem::unknown_address())?;
    let opened = opened.map_err(missing)?;
    if !opened.metadata().is_file() {
        return Err(Problem::new(StatusCode::NOT_FOUND, format!("{} is not a file", path.display())));
    }
    // Only media may be displayed: a page or an SVG file could run scripts with the rights of ours.
    let media_type = opened.content_type();
    let is_media =
        matches!(media_type.type_().as_str(), "video" | "audio" | "image") && media_type.subtype() != "svg";
    let opened =
        if is_media { opened } else { opened.set_content_type(actix_web::mime::APPLICATION_OCTET_STREAM) };
    let mut response = opened.into_response(&request);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(response)
}
