//! Runs before routing: rejects requests that may not pass, and adds the security headers to every answer.

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{ResponseError, web};

use crate::api::data_dir::{DATA_DIR_HEADER, DataDir};
use crate::server::admin::auth;
use crate::server::admin::problem::Problem;
use crate::server::admin::state::AdminState;

/// For browsers, with every answer that sets no value of its own: run and load nothing, do not embed the
/// answer in another page, send no referrer, do not guess the media type.
const SECURITY_HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

pub(super) async fn check_request(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let admin = request.app_data::<web::Data<AdminState>>().cloned();
    let is_private = !auth::is_open(request.head());
    let allowed = match &admin {
        Some(admin) => admin.request_check.check(request.head()),
        None => Err(Problem::unknown_address()),
    };
    // Who may not read learns nothing of the folder.
    let names_folder = is_private && allowed.is_ok();
    let checked =
        allowed.and_then(|()| admin.as_ref().map_or(Ok(()), |admin| check_data_dir(admin, &request)));
    let mut response = match checked {
        Ok(()) => next.call(request).await?,
        Err(problem) => request.into_response(problem.error_response()),
    };
    if let Some(admin) = admin.filter(|_| names_folder)
        && let Ok(value) = HeaderValue::from_str(&admin.data_dir.to_header())
    {
        response.headers_mut().insert(HeaderName::from_static(DATA_DIR_HEADER), value);
    }
    let headers = response.headers_mut();
    for (name, value) in SECURITY_HEADERS {
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    if is_private && !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    Ok(response)
}

/// Rejects a request that is meant for the daemon of another data folder.
fn check_data_dir(admin: &AdminState, request: &ServiceRequest) -> Result<(), Problem> {
    let Some(value) = request.headers().get(DATA_DIR_HEADER) else { return Ok(()) };
    match DataDir::from_header(value.as_bytes()) {
        Some(meant) if !admin.data_dir.is_same(&meant) => Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            format!(
                "this is the daemon of the data folder {}, not of {}",
                admin.data_dir.path.display(),
                meant.path.display()
            ),
        )),
        _ => Ok(()),
    }
}
