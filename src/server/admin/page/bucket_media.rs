//! Serves files of the library that are in a bucket: streamed from there through the daemon, whole or in ranges, so that the
//! bucket need not be reachable from a browser, and no address of it leaves the machine.

use std::ops::Range;
use std::path::Path;

use actix_files::{HttpRange, file_extension_to_mime};
use actix_web::body::{BoxBody, SizedStream};
use actix_web::http::header::{self, ContentRange, ContentRangeSpec, ETag, EntityTag, HeaderValue, IfRange};
use actix_web::http::header::{Header, IfNoneMatch};
use actix_web::http::{Method, StatusCode};
use actix_web::mime::{self, Mime};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;

use crate::job::output::StoredFile;
use crate::server::admin::problem::Problem;
use crate::server::admin::state::AdminState;
use crate::server::answer_limit::hold;

/// Answers with a file in the bucket of this address.
pub(super) async fn respond(
    request: &HttpRequest,
    admin: &AdminState,
    address: &str,
    file: &StoredFile,
) -> Result<HttpResponse, Problem> {
    let Some(bucket) = admin.server.library.bucket_at(address) else {
        let why = format!("the file is in {address}, and `storage.library` names another place now");
        return Err(Problem::new(StatusCode::NOT_FOUND, why));
    };
    let tag = EntityTag::new_strong(file.sha256.clone());
    let mut response = HttpResponse::Ok();
    response
        .insert_header(ETag(tag.clone()))
        .insert_header((header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache")))
        .insert_header((header::ACCEPT_RANGES, HeaderValue::from_static("bytes")))
        .insert_header((header::CONTENT_TYPE, media_type(&file.path).to_string()));
    let is_known = match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(&tag)),
        Err(_) => false,
    };
    if is_known && request.headers().contains_key(header::IF_NONE_MATCH) {
        return Ok(response.status(StatusCode::NOT_MODIFIED).finish());
    }
    let range = match wanted_range(request, &tag, file.bytes) {
        Ok(range) => range,
        Err(()) => {
            let spec = ContentRangeSpec::Bytes { range: None, instance_length: Some(file.bytes) };
            response.insert_header(ContentRange(spec));
            return Ok(response.status(StatusCode::RANGE_NOT_SATISFIABLE).finish());
        }
    };
    if let Some(Range { start, end }) = range.clone() {
        let spec =
            ContentRangeSpec::Bytes { range: Some((start, end - 1)), instance_length: Some(file.bytes) };
        response.status(StatusCode::PARTIAL_CONTENT).insert_header(ContentRange(spec));
    }
    let range = range.unwrap_or(0..file.bytes);
    let length = range.end - range.start;
    if request.method() == Method::HEAD || length == 0 {
        let nothing = futures_util::stream::empty::<std::io::Result<Bytes>>();
        return Ok(response.body(SizedStream::new(length, nothing)));
    }
    let permit = admin.media_answers.clone().try_acquire_owned();
    let permit =
        permit.map_err(|_| Problem::busy("too many files are being read; close some of the readers"))?;
    let content = bucket.read(&file.path, range, file.bytes).await;
    let content =
        content.map_err(|error| Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
    Ok(response.body(hold(permit, BoxBody::new(SizedStream::new(length, content)))))
}

/// The first range that the request wants, if it wants one of this very file; the error is one beyond its end.
fn wanted_range(request: &HttpRequest, tag: &EntityTag, bytes: u64) -> Result<Option<Range<u64>>, ()> {
    let Some(ranges) = request.headers().get(header::RANGE) else { return Ok(None) };
    if request.headers().contains_key(header::IF_RANGE) {
        match IfRange::parse(request) {
            Ok(IfRange::EntityTag(known)) if known.strong_eq(tag) => {}
            _ => return Ok(None),
        }
    }
    let ranges = ranges.to_str().map_err(|_| ())?;
    let ranges = HttpRange::parse(ranges, bytes).map_err(|_| ())?;
    Ok(ranges.first().map(|range| range.start..range.start + range.length).filter(|range| range.end <= bytes))
}

/// Only media may be displayed: a page or an SVG file could run scripts with the rights of ours.
fn media_type(path: &str) -> Mime {
    let extension = Path::new(path).extension().and_then(|extension| extension.to_str());
    let found = file_extension_to_mime(extension.unwrap_or_default());
    let is_media = matches!(found.type_().as_str(), "video" | "audio" | "image") && found.subtype() != "svg";
    if is_media { found } else { mime::APPLICATION_OCTET_STREAM }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn range_is_the_first_that_is_wanted_of_this_file() {
        let tag = EntityTag::new_strong("abc".to_owned());
        let wanted = |range: &str, condition: &str| {
            let mut request = TestRequest::get();
            if !range.is_empty() {
                request = request.insert_header((header::RANGE, range));
            }
            if !condition.is_empty() {
                request = request.insert_header((header::IF_RANGE, condition));
            }
            wanted_range(&request.to_http_request(), &tag, 100)
        };
        assert_eq!(wanted("", ""), Ok(None));
        for (range, first) in [
            ("bytes=0-", 0..100),
            ("bytes=10-19", 10..20),
            ("bytes=-5", 95..100),
            ("bytes=90-200", 90..100),
            ("bytes=1-2,5-6", 1..3),
        ] {
            assert_eq!(wanted(range, ""), Ok(Some(first.clone())), "{range}");
            assert_eq!(wanted(range, "\"abc\""), Ok(Some(first)), "{range}");
            assert_eq!(wanted(range, "\"older\""), Ok(None), "{range}");
        }
        assert_eq!(wanted("bytes=100-", ""), Err(()));
    }

    #[test]
    fn only_media_is_displayed() {
        for (path, shown) in [
            ("a/b.mp4", "video/mp4"),
            ("b.png", "image/png"),
            ("b.svg", "application/octet-stream"),
            ("b.html", "application/octet-stream"),
            ("b", "application/octet-stream"),
        ] {
            assert_eq!(media_type(path).to_string(), shown, "{path}");
        }
    }
}
