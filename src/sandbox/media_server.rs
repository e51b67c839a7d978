//! The media host: one file, one request, one answer (RFC 9110, sections 13 to 15), and the ways it goes wrong.

use std::ops::Range;
use std::time::Duration;

use crate::sandbox::answers;
use crate::sandbox::clip::Clip;
use crate::sandbox::exchange::{Answer, Body, End, Framing, Request};
use crate::sandbox::faults::{Etag, Length, MediaFault, Ranges};
use crate::sandbox::plan::Plan;
use crate::sandbox::value::Target;

/// What a range header asks of a file.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    All,
    Part(Range<u64>),
    Impossible,
}

/// The answer to a download of `film`. `media_type` is what the file is; `plan` and `fault` what becomes of it.
pub(crate) fn serve(
    film: &Clip,
    media_type: &str,
    request: &Request,
    plan: &Plan,
    fault: Option<&MediaFault>,
) -> Answer {
    let spoilt = match fault {
        Some(MediaFault::Magic) => film.without_magic(),
        Some(MediaFault::NoMoov) => film.without_moov(),
        Some(MediaFault::Half) => film.half(),
        Some(MediaFault::Zero) => Clip::whole(bytes::Bytes::new()),
        Some(MediaFault::Gzip) => film.gzipped(),
        _ => film.clone(),
    };
    let mut answer = file(&spoilt, media_type, request, plan);
    let sent = answer.body.len();
    match fault {
        None | Some(MediaFault::Magic | MediaFault::NoMoov | MediaFault::Half | MediaFault::Zero) => {}
        Some(MediaFault::BadRequest) => {
            return answers::error(400, "not_ready", "the file is not ready yet", None);
        }
        Some(MediaFault::BadKey) => return key_wanted(),
        Some(MediaFault::Forbidden) => {
            return answers::error(403, "not_ready", "the file is not ready yet", None);
        }
        Some(MediaFault::NotFound) => {
            return answers::error(404, "not_ready", "the file is not ready yet", None);
        }
        Some(MediaFault::Gone) => return answers::error(410, "gone", "the file is gone", None),
        Some(MediaFault::BadRange) => return refused_range(spoilt.len()),
        Some(MediaFault::SlowDown) => return answers::slow_down(Duration::from_secs(1)),
        Some(MediaFault::Internal) => {
            return answers::error(500, "internal_error", "something went wrong", None);
        }
        Some(MediaFault::BadGateway) => return answers::page(502),
        Some(MediaFault::Unavailable) => return answers::error(503, "unavailable", "try again later", None),
        Some(MediaFault::Html) => {
            let mut page = answers::page(200);
            page.headers = vec![("Content-Type", media_type.to_owned())];
            return page;
        }
        Some(MediaFault::Redirect(target)) => return redirect(target, request),
        Some(MediaFault::Gzip) => answer = answer.with("Content-Encoding", "gzip"),
        Some(MediaFault::Short) => {
            (answer.wire.framing, answer.wire.end) = (Framing::Claims(sent), End::Close(sent / 2));
        }
        Some(MediaFault::Cut) => {
            (answer.wire.framing, answer.wire.end) = (Framing::Close, End::Close(sent / 2))
        }
        Some(MediaFault::ChunkCut) => {
            (answer.wire.framing, answer.wire.end) = (Framing::Chunked, End::Close(sent / 2));
        }
        Some(MediaFault::Long) => answer.wire.framing = Framing::Claims(sent.saturating_sub(sent / 4)),
        Some(MediaFault::Reset(after)) => {
            answer.wire.end = if after.0 == 0 { End::Nothing } else { End::Reset(after.0) };
        }
        Some(MediaFault::Stall(after)) => answer.wire.end = End::Silence(after.0),
        Some(MediaFault::Drip(pace)) => answer.wire.pace = Some(pace.0),
        Some(MediaFault::Slow(delay)) => answer.wire.delay = *delay,
    }
    answer
}

/// The answer of a host that wants the API key with a download.
pub(crate) fn key_wanted() -> Answer {
    answers::error(401, "unauthorized", "this file needs your API key", None)
}

fn file(film: &Clip, media_type: &str, request: &Request, plan: &Plan) -> Answer {
    let etag = match plan.etag.as_ref().unwrap_or(&Etag::Strong) {
        Etag::Strong | Etag::Changes => Some(format!("\"{}\"", film.tag())),
        Etag::Weak => Some(format!("W/\"{}\"", film.tag())),
        Etag::Absent => None,
    };
    let ranges = plan.ranges.as_ref().unwrap_or(&Ranges::Yes);
    // RFC 9110, section 13.1.5: a weak tag never agrees.
    let agrees = match (&request.if_range, &etag) {
        (None, _) => true,
        (Some(wanted), Some(etag)) => wanted == etag && !etag.starts_with("W/"),
        (Some(_), None) => false,
    };
    let asked = match &request.range {
        Some(_) if *ranges == Ranges::Ignored => Asked::All,
        Some(_) if !agrees && *ranges != Ranges::Blind => Asked::All,
        Some(range) => asked(range, film.len()),
        None => Asked::All,
    };
    let (status, range, told) = match asked {
        Asked::Impossible => return refused_range(film.len()),
        Asked::Part(_) if *ranges == Ranges::Refused => return refused_range(film.len()),
        Asked::All => (200, 0..film.len(), None),
        Asked::Part(part) if *ranges == Ranges::Wrong => {
            let start = if part.start > 0 { part.start - 1 } else { 1.min(part.end) };
            (206, start..part.end, Some(start..part.end))
        }
        Asked::Part(part) => (206, part.clone(), Some(part)),
    };
    let media_type = plan.media_type.as_ref().map_or(media_type, |text| text.0.as_str());
    let mut answer = Answer {
        status,
        headers: vec![("Content-Type", media_type.to_owned())],
        body: Body::Clip(film.clone(), range),
        wire: Default::default(),
    };
    if *ranges != Ranges::Ignored {
        answer = answer.with("Accept-Ranges", "bytes");
    }
    if let Some(etag) = etag {
        answer = answer.with("ETag", etag);
    }
    if let Some(told) = told {
        let last = told.end.saturating_sub(1);
        answer = answer.with("Content-Range", format!("bytes {}-{last}/{}", told.start, film.len()));
    }
    answer.wire.framing = match plan.length.as_ref().unwrap_or(&Length::Given) {
        Length::Given => Framing::Length,
        Length::Chunked => Framing::Chunked,
        Length::Close => Framing::Close,
    };
    answer
}

fn refused_range(len: u64) -> Answer {
    Answer::text(416, "text/plain", "").with("Content-Range", format!("bytes */{len}"))
}

fn redirect(target: &Target, request: &Request) -> Answer {
    // The query goes along: it is what opens the file.
    let query = request.query.expose();
    let location = match target {
        Target::Same => format!("{}?{query}", request.path.replacen("/output/", "/output/moved/", 1)),
        Target::Loop => format!("{}?{query}", request.path),
        Target::Elsewhere(url) => url.clone(),
    };
    Answer::text(302, "text/plain", "").with("Location", location)
}

/// Reads a `Range` header; what is no single range of bytes is ignored, as the RFC allows.
fn asked(range: &str, len: u64) -> Asked {
    let Some(spec) = range.strip_prefix("bytes=") else { return Asked::All };
    let Some((first, last)) = spec.split_once('-') else { return Asked::All };
    let part = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if last < first => return Asked::All,
        (Ok(first), Ok(last)) => first..last.saturating_add(1).min(len),
        (Ok(first), Err(_)) if last.is_empty() => first..len,
        (Err(_), Ok(last)) if first.is_empty() && last > 0 => len.saturating_sub(last)..len,
        (Err(_), Ok(_)) if first.is_empty() => return Asked::Impossible,
        _ => return Asked::All,
    };
    if part.start >= len { Asked::Impossible } else { Asked::Part(part) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::faults::Kind;

    fn film() -> Clip {
        Clip::choose(&Kind::Video, "16:9", 0, Some(100_000))
    }

    fn request(range: Option<&str>, if_range: Option<String>) -> Request {
        Request { range: range.map(str::to_owned), if_range, ..Request::get("/output/1-1.mp4") }
    }

    fn answer(plan: &str, request: &Request) -> Answer {
        let plan = Plan::parse(plan).expect("a plan");
        let fault = plan.media.first().map(|strike| &strike.fault);
        serve(&film(), "video/mp4", request, &plan, fault)
    }

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        for (range, expected) in [
            ("bytes=0-", Asked::Part(0..10)),
            ("bytes=3-5", Asked::Part(3..6)),
            ("bytes=3-99", Asked::Part(3..10)),
            ("bytes=-4", Asked::Part(6..10)),
            ("bytes=-40", Asked::Part(0..10)),
            ("bytes=9-", Asked::Part(9..10)),
            ("bytes=10-", Asked::Impossible),
            ("bytes=-0", Asked::Impossible),
            ("bytes=5-3", Asked::All),
            ("bytes=0-1,3-4", Asked::All),
            ("lines=0-", Asked::All),
        ] {
            assert_eq!(asked(range, 10), expected, "{range}");
        }
    }

    #[test]
    fn a_range_is_answered_only_where_the_tag_agrees() {
        let tag = answer("", &request(None, None)).header("ETag").expect("a tag").to_owned();
        let part = answer("", &request(Some("bytes=99000-"), Some(tag.clone())));
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
            assert_eq!(answer(plan, &request(Some("bytes=99000-"), if_range)).status, status, "{plan}");
        }
        let wrong = answer("ranges=wrong", &request(Some("bytes=99000-"), Some(tag)));
        assert_eq!(wrong.header("Content-Range"), Some("bytes 98999-99999/100000"));
        assert_eq!(answer("", &request(Some("bytes=100000-"), None)).status, 416);
    }

    #[test]
    fn a_redirect_leads_where_the_plan_says() {
        for (plan, expected) in [
            ("media=redirect:same", "/output/moved/1-1.mp4?sig=1"),
            ("media=redirect:loop", "/output/1-1.mp4?sig=1"),
            ("media=redirect:metadata", "http://169.254.169.254/latest/meta-data/"),
            ("media=redirect:https://example.com/x", "https://example.com/x"),
        ] {
            let request = Request { query: crate::secret::Secret::new("sig=1"), ..request(None, None) };
            let answer = answer(plan, &request);
            assert_eq!((answer.status, answer.header("Location")), (302, Some(expected)), "{plan}");
        }
    }
}
