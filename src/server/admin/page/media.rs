//! A job's stored files, for the page to play: only what the database says is one, never a path from the address.

use actix_files::NamedFile;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};

use crate::job::JobId;
use crate::server::admin::problem::Problem;
use crate::server::admin::state::AdminState;

/// `GET /media/{job}/{number}`: the job's file of that number, from 1, whole or in ranges (RFC 9110, section 14).
pub(super) async fn play(
    request: HttpRequest,
    path: web::Path<(String, usize)>,
    admin: web::Data<AdminState>,
) -> Result<HttpResponse, Problem> {
    let (job, number) = path.into_inner();
    let job = JobId::parse(&job).ok_or_else(Problem::unknown_address)?;
    let sight = admin.server.store.look(job).await?;
    let file = number.checked_sub(1).and_then(|place| sight.files.get(place));
    let (_, file) = file.ok_or_else(Problem::unknown_address)?;
    let path = admin.server.library_dir().join(&file.path);
    let missing = |error: std::io::Error| {
        let detail = format!("{} is not there to be shown: {error}", path.display());
        Problem::new(StatusCode::NOT_FOUND, detail)
    };
    let there = path.clone();
    let opened = web::block(move || NamedFile::open(there)).await.map_err(|_| Problem::unknown_address())?;
    let opened = opened.map_err(missing)?;
    if !opened.metadata().is_file() {
        return Err(Problem::new(StatusCode::NOT_FOUND, format!("{} is not a file", path.display())));
    }
    // What a browser does not show by itself, it stores: nothing of ours is a page.
    let kind = opened.content_type();
    let shown = matches!(kind.type_().as_str(), "video" | "audio" | "image") && kind.subtype() != "svg";
    let opened = if shown { opened } else { opened.set_content_type(mime_of_anything()) };
    let mut answer = opened.into_response(&request);
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(answer)
}

fn mime_of_anything() -> actix_web::mime::Mime {
    actix_web::mime::APPLICATION_OCTET_STREAM
}
