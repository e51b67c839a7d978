//! Parts of requests and answers that most handlers use.

use actix_web::http::header::{CONTENT_TYPE, HeaderMap};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpResponse, Resource, Route, guard, web};
use serde::Serialize;

use crate::server::admin::problem::Problem;

/// A path with its methods; another method is answered with 405 and these.
pub(super) fn resource(path: &str, methods: &'static [Method]) -> Resource {
    web::resource(path).default_service(web::to(move || async move {
        Err::<HttpResponse, _>(Problem::method_not_allowed(methods))
    }))
}

/// A route for GET and HEAD.
pub(super) fn get_or_head() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

pub(super) fn json_response(status: StatusCode, body: &impl Serialize) -> HttpResponse {
    HttpResponse::build(status).json(body)
}

/// The media type of a request body without parameters, in lower case; `None` if the request names none.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let declared = headers.get(CONTENT_TYPE)?.to_str().unwrap_or("");
    Some(declared.split(';').next().unwrap_or("").trim().to_ascii_lowercase())
}
