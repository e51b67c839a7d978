//! The media server: answers one request for one file (RFC 9110, sections 13 to 15), correctly or with a fault.

use std::ops::Range;
use std::time::Duration;

use crate::sandbox::clip::Clip;
use crate::sandbox::fault_plan::FaultPlan;
use crate::sandbox::faults::{EtagKind, LengthKind, MediaFault, RangeSupport};
use crate::sandbox::http_types::{Body, Framing, Request, Response, TransmissionEnd};
use crate::sandbox::plan_value::RedirectTarget;
use crate::sandbox::responses;

/// What a `Range` header requests of a file.
#[derive(Debug, PartialEq, Eq)]
enum RangeRequest {
    Whole,
    Part(Range<u64>),
    Unsatisfiable,
}

/// The response to a download of `clip`, whose type is `media_type`.
pub(crate) fn serve(
    clip: &Clip,
    media_type: &str,
    request: &Request,
    plan: &FaultPlan,
    fault: Option<&MediaFault>,
) -> Response {
    let served = match fault {
        Some(MediaFault::Magic) => clip.without_magic(),
        Some(MediaFault::NoMoov) => clip.without_moov(),
        Some(MediaFault::Half) => clip.half(),
        Some(MediaFault::Zero) => Clip::from_bytes(bytes::Bytes::new()),
        Some(MediaFault::Gzip) => clip.gzipped(),
        _ => clip.clone(),
    };
    let mut response = file(&served, media_type, request, plan);
    let sent = response.body.len();
    match fault {
        None | Some(MediaFault::Magic | MediaFault::NoMoov | MediaFault::Half | MediaFault::Zero) => {}
        Some(MediaFault::BadRequest) => {
            return responses::error(400, "not_ready", "the file is not ready yet", None);
        }
        Some(MediaFault::Unauthorized) => return key_required(),
        Some(MediaFault::Forbidden) => {
            return responses::error(403, "not_ready", "the file is not ready yet", None);
        }
        Some(MediaFault::NotFound) => {
            return responses::error(404, "not_ready", "the file is not ready yet", None);
        }
        Some(MediaFault::Gone) => return responses::error(410, "gone", "the file is gone", None),
        Some(MediaFault::BadRange) => return range_not_satisfiable(served.len()),
        Some(MediaFault::TooManyRequests) => return responses::too_many_requests(Duration::from_secs(1)),
        Some(MediaFault::Internal) => {
            return responses::error(500, "internal_error", "something went wrong", None);
        }
        Some(MediaFault::BadGateway) => return responses::page(502),
        Some(MediaFault::Unavailable) => {
            return responses::error(503, "unavailable", "try again later", None);
        }
        Some(MediaFault::Html) => {
            let mut page = responses::page(200);
            page.headers = vec![("Content-Type", media_type.to_owned())];
            return page;
        }
        Some(MediaFault::Redirect(target)) => return redirect(target, request),
        Some(MediaFault::Gzip) => response = response.with("Content-Encoding", "gzip"),
        Some(MediaFault::Short) => {
            (response.transmission.framing, response.transmission.end) =
                (Framing::FalseLength(sent), TransmissionEnd::Close(sent / 2));
        }
        Some(MediaFault::Cut) => {
            (response.transmission.framing, response.transmission.end) =
                (Framing::Close, TransmissionEnd::Close(sent / 2))
        }
        Some(MediaFault::ChunkCut) => {
            (response.transmission.framing, response.transmission.end) =
                (Framing::Chunked, TransmissionEnd::Close(sent / 2));
        }
        Some(MediaFault::Long) => {
            response.transmission.framing = Framing::FalseLength(sent.saturating_sub(sent / 4))
        }
        Some(MediaFault::Reset(after)) => {
            response.transmission.end =
                if after.0 == 0 { TransmissionEnd::NoResponse } else { TransmissionEnd::Reset(after.0) };
        }
        Some(MediaFault::Stall(after)) => response.transmission.end = TransmissionEnd::Stall(after.0),
        Some(MediaFault::Drip(rate)) => response.transmission.bytes_per_second = Some(rate.0),
        Some(MediaFault::Slow(delay)) => response.transmission.delay = *delay,
    }
    response
}

/// The response of a server that demands the API key with a download.
pub(crate) fn key_required() -> Response {
    responses::error(401, "unauthorized", "this file needs your API key", None)
}

fn file(clip: &Clip, media_type: &str, request: &Request, plan: &FaultPlan) -> Response {
    let etag = match plan.etag.as_ref().unwrap_or(&EtagKind::Strong) {
        EtagKind::Strong | EtagKind::Changes => Some(format!("\"{}\"", clip.tag())),
        EtagKind::Weak => Some(format!("W/\"{}\"", clip.tag())),
        EtagKind::Absent => None,
    };
    let ranges = plan.ranges.as_ref().unwrap_or(&RangeSupport::Yes);
    // RFC 9110, section 13.1.5: a weak tag never matches.
    let matches = match (&request.if_range, &etag) {
        (None, _) => true,
        (Some(wanted), Some(etag)) => wanted == etag && !etag.starts_with("W/"),
        (Some(_), None) => false,
    };
    let requested = match &request.range {
        Some(_) if *ranges == RangeSupport::Ignored => RangeRequest::Whole,
        Some(_) if !matches && *ranges != RangeSupport::Blind => RangeRequest::Whole,
        Some(range) => parse_range(range, clip.len()),
        None => RangeRequest::Whole,
    };
    let (status, range, announced) = match requested {
        RangeRequest::Unsatisfiable => return range_not_satisfiable(clip.len()),
        RangeRequest::Part(_) if *ranges == RangeSupport::Refused => {
            return range_not_satisfiable(clip.len());
        }
        RangeRequest::Whole => (200, 0..clip.len(), None),
        RangeRequest::Part(part) if *ranges == RangeSupport::Wrong => {
            let start = if part.start > 0 { part.start - 1 } else { 1.min(part.end) };
            (206, start..part.end, Some(start..part.end))
        }
        RangeRequest::Part(part) => (206, part.clone(), Some(part)),
    };
    let media_type = plan.media_type.as_ref().map_or(media_type, |text| text.0.as_str());
    let mut response = Response {
        status,
        headers: vec![("Content-Type", media_type.to_owned())],
        body: Body::Clip(clip.clone(), range),
        transmission: Default::default(),
    };
    if *ranges != RangeSupport::Ignored {
        response = response.with("Accept-Ranges", "bytes");
    }
    if let Some(etag) = etag {
        response = response.with("ETag", etag);
    }
    if let Some(announced) = announced {
        let last = announced.end.saturating_sub(1);
        response = response.with("Content-Range", format!("bytes {}-{last}/{}", announced.start, clip.len()));
    }
    response.transmission.framing = match plan.length.as_ref().unwrap_or(&LengthKind::Given) {
        LengthKind::Given => Framing::Length,
        LengthKind::Chunked => Framing::Chunked,
        LengthKind::Close => Framing::Close,
    };
    response
}

fn range_not_satisfiable(len: u64) -> Response {
    Response::text(416, "text/plain", "").with("Content-Range", format!("bytes */{len}"))
}

fn redirect(target: &RedirectTarget, request: &Request) -> Response {
    // The query has the signature that opens the file.
    let query = request.query.expose();
    let location = match target {
        RedirectTarget::Same => format!("{}?{query}", request.path.replacen("/output/", "/output/moved/", 1)),
        RedirectTarget::Loop => format!("{}?{query}", request.path),
        RedirectTarget::Url(url) => url.clone(),
    };
    Response::text(302, "text/plain", "").with("Location", location)
}

/// Parses a `Range` header. Anything but a single range of bytes is ignored, as the RFC allows.
fn parse_range(range: &str, len: u64) -> RangeRequest {
    let Some(spec) = range.strip_prefix("bytes=") else { return RangeRequest::Whole };
    let Some((first, last)) = spec.split_once('-') else { return RangeRequest::Whole };
    let part = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if last < first => return RangeRequest::Whole,
        (Ok(first), Ok(last)) => first..last.saturating_add(1).min(len),
        (Ok(first), Err(_)) if last.is_empty() => first..len,
        (Err(_), Ok(last)) if first.is_empty() && last > 0 => len.saturating_sub(last)..len,
        (Err(_), Ok(_)) if first.is_empty() => return RangeRequest::Unsatisfiable,
        _ => return RangeRequest::Whole,
    };
    if part.start >= len { RangeRequest::Unsatisfiable } else { RangeRequest::Part(part) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::faults::MediaKind;

    fn clip() -> Clip {
        Clip::choose(&MediaKind::Video, "16:9", 0, Some(100_000))
    }

    fn request(range: Option<&str>, if_range: Option<String>) -> Request {
        Request { range: range.map(str::to_owned), if_range, ..Request::get("/output/1-1.mp4") }
    }

    fn respond(plan: &str, request: &Request) -> Response {
        let plan = FaultPlan::parse(plan).expect("a plan");
        let fault = plan.media.first().map(|scheduled| &scheduled.fault);
        serve(&clip(), "video/mp4", request, &plan, fault)
    }

    #[test]
    fn range_header_is_parsed_as_the_rfc_says() {
        for (range, expected) in [
            ("bytes=0-", RangeRequest::Part(0..10)),
            ("bytes=3-5", RangeRequest::Part(3..6)),
            ("bytes=3-99", RangeRequest::Part(3..10)),
            ("bytes=-4", RangeRequest::Part(6..10)),
            ("bytes=-40", RangeRequest::Part(0..10)),
            ("bytes=9-", RangeRequest::Part(9..10)),
            ("bytes=10-", RangeRequest::Unsatisfiable),
            ("bytes=-0", RangeRequest::Unsatisfiable),
            ("bytes=5-3", RangeRequest::Whole),
            ("bytes=0-1,3-4", RangeRequest::Whole),
            ("lines=0-", RangeRequest::Whole),
        ] {
            assert_eq!(parse_range(range, 10), expected, "{range}");
        }
    }

    #[test]
    fn range_is_served_only_if_the_tag_matches() {
        let tag = respond("", &request(None, None)).header("ETag").expect("a tag").to_owned();
        let part = respond("", &request(Some("bytes=99000-"), Some(tag.clone())));
        assert_eq!((part.status, part.body.len()), (206, 1000));
        assert_eq!(part.header("Content-Range"), Some("bytes 99000-99999/100000"));
        let other = Some("\"other\"".to_owned());
        for (plan, if_range, status) in [
            ("", other.clone(), 200),
            ("etag=weak", Some(format!("W/{tag}")), 200),
            ("etag=none", Some(tag.clone()), 200),
            ("ranges=blind", other, 206),
            ("ranges=ignored", Some(tag.clone()), 200),
            ("ranges=refused", Some(tag.clone()), 416),
        ] {
            assert_eq!(respond(plan, &request(Some("bytes=99000-"), if_range)).status, status, "{plan}");
        }
        let wrong = respond("ranges=wrong", &request(Some("bytes=99000-"), Some(tag)));
        assert_eq!(wrong.header("Content-Range"), Some("bytes 98999-99999/100000"));
        assert_eq!(respond("", &request(Some("bytes=100000-"), None)).status, 416);
    }

    #[test]
    fn redirect_leads_where_the_plan_says() {
        for (plan, expected) in [
            ("media=redirect:same", "/output/moved/1-1.mp4?sig=1"),
            ("media=redirect:loop", "/output/1-1.mp4?sig=1"),
            ("media=redirect:metadata", "http://169.254.169.254/latest/meta-data/"),
            ("media=redirect:https://example.com/x", "https://example.com/x"),
        ] {
            let request = Request { query: crate::secret::Secret::new("sig=1"), ..request(None, None) };
            let response = respond(plan, &request);
            assert_eq!((response.status, response.header("Location")), (302, Some(expected)), "{plan}");
        }
    }
}
