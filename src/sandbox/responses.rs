//! The provider's responses, written by hand. The sandbox shares no type with the daemon's client: both would make the
//! same mistake.

use std::time::Duration;

use serde_json::json;

use crate::clock::Timestamp;
use crate::money::{QUOTA_PER_USD, Quota};
use crate::sandbox::faults::Fault;
use crate::sandbox::http_types::{Body, Response, TransmissionEnd};

const PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Just a moment...</title></head>\n\
    <body><h1>Just a moment...</h1><p>Checking your browser.</p></body></html>\n";

/// `{"error":{"message","code","param"}}`.
pub fn error(status: u16, code: &str, message: &str, param: Option<&str>) -> Response {
    let mut error = json!({"message": message, "code": code});
    if let Some(param) = param {
        error["param"] = param.into();
    }
    Response::json(status, &json!({ "error": error }))
}

/// Refuses a non-empty `extra`.
pub fn extra_refused() -> Response {
    capability_violation("extra", "extra is not accepted: send its keys at the root")
}

/// Refuses a parameter that the model does not have, or not with this value.
pub fn capability_violation(param: &str, message: &str) -> Response {
    error(400, "capability_violation", message, Some(param))
}

/// An HTML page with any status.
pub fn page(status: u16) -> Response {
    Response::text(status, "text/html; charset=utf-8", PAGE)
}

/// 429 with `Retry-After`.
pub fn too_many_requests(wait: Duration) -> Response {
    error(429, "rate_limit_exceeded", "too many requests", None)
        .with("Retry-After", whole_seconds(wait).to_string())
}

fn whole_seconds(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1000) as u64
}

fn quota_window_exceeded(wait: Duration, now: Timestamp) -> Response {
    let reset_at = now.plus(wait).millis().div_euclid(1000) + 1;
    let error = json!({
        "message": "quota window exceeded", "code": "quota_window_exceeded",
        "window": "5h", "used": 1_000_000, "cap": 1_000_000, "reset_at": reset_at,
    });
    Response::json(429, &json!({ "error": error }))
}

/// No response: the connection is reset.
pub fn no_response() -> Response {
    let mut response = Response::text(500, "text/plain", "");
    response.transmission.end = TransmissionEnd::NoResponse;
    response
}

/// The response that the caller sees under `fault` instead of `usual`.
pub fn with_fault(fault: &Fault, mut usual: Response, now: Timestamp) -> Response {
    match fault {
        Fault::BadRequest => error(400, "invalid_request", "bad parameters", Some("prompt")),
        Fault::Unauthorized => error(401, "invalid_api_key", "the API key is refused", None),
        Fault::PaymentRequired => error(402, "insufficient_quota", "the balance is empty", None),
        Fault::Forbidden => error(403, "forbidden", "not allowed", None),
        Fault::NotFound => error(404, "task_not_found", "no such task", None),
        Fault::Conflict => in_progress(),
        Fault::TooManyRequests => too_many_requests(Duration::from_secs(1)),
        Fault::TooManyRequestsFor(wait) => too_many_requests(*wait),
        Fault::QuotaWindow => quota_window_exceeded(Duration::from_secs(2), now),
        Fault::QuotaWindowFor(wait) => quota_window_exceeded(*wait, now),
        Fault::Internal | Fault::Stored500 => error(500, "internal_error", "something went wrong", None),
        Fault::BadGateway => error(502, "bad_gateway", "bad gateway", None),
        Fault::Unavailable => error(503, "service_unavailable", "try again later", None),
        Fault::GatewayTimeout => error(504, "gateway_timeout", "the upstream took too long", None),
        Fault::Capability => extra_refused(),
        Fault::Price => {
            error(500, "price_not_configured", "no price is configured for this model", Some("model"))
        }
        Fault::Html200 => page(200),
        Fault::Html403 => page(403),
        Fault::Html502 => page(502),
        Fault::NoModel => Response::json(404, &json!({"error": {"message": "model wan2.5-t2w not found"}})),
        Fault::Detail => Response::json(
            422,
            &json!({"detail": [{"loc": ["body", "duration"], "msg": "value is not a valid integer"}]}),
        ),
        Fault::Endless => error(429, "too_many_requests", "slow down", None),
        Fault::Silence => {
            let mut response = no_response();
            response.transmission.delay = Duration::from_secs(3600);
            response
        }
        Fault::Empty => Response::text(200, "application/json", ""),
        Fault::Huge => Response::json(200, &json!({"padding": "樱".repeat(4 * 1024 * 1024 / 3)})),
        Fault::Redirect => Response::text(302, "text/plain", "").with("Location", "/v1/elsewhere"),
        Fault::Reset | Fault::Lost => no_response(),
        Fault::Cut => {
            let whole = usual.body.bytes();
            let half = whole[..whole.len() / 2].to_vec();
            usual.body = Body::Bytes(half.into());
            usual
        }
        Fault::Slow(delay) => {
            usual.transmission.delay = *delay;
            usual
        }
        Fault::Drip(rate) => {
            usual.transmission.bytes_per_second = Some(rate.0);
            usual
        }
        Fault::SameId => usual,
    }
}

/// 409: a call with this key is in progress.
pub fn in_progress() -> Response {
    error(409, "idempotency_in_progress", "a request with this Idempotency-Key is being handled", None)
        .with("Retry-After", "1")
}

/// A time in the format of HTTP headers; `None` outside the calendar.
pub fn date(at: Timestamp) -> Option<String> {
    let moment = jiff::Timestamp::from_millisecond(at.millis()).ok()?;
    jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&moment).ok()
}

/// The answer to a balance query.
pub fn balance(granted: Quota, left: Quota, now: Timestamp) -> Response {
    let used = Quota::new(granted.get().saturating_sub(left.get()));
    Response::json(
        200,
        &json!({
            "object": "credit_summary", "currency": "USD",
            "total_granted_usd": granted.usd(), "total_used_usd": used.usd(), "total_available_usd": left.usd(),
            "quota_per_usd": QUOTA_PER_USD, "as_of": now.millis().div_euclid(1000),
        }),
    )
}

/// The answer to a query of what was used: in cents, whatever dates are given.
pub fn usage(used: Quota) -> Response {
    let cents = used.get() / (QUOTA_PER_USD / 100);
    Response::json(200, &json!({"object": "list", "total_usage": cents}))
}

/// 404 `model_not_found`.
pub fn model_not_found(model: &str) -> Response {
    error(404, "model_not_found", &format!("the model {model} does not exist"), Some("model"))
}

/// 404 of a path that the service does not have.
pub fn no_such_endpoint() -> Response {
    error(404, "not_found", "no such endpoint", None)
}
