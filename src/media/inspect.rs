//! Checks whether a download is media: the first bytes give the type, the structure proves that the file is complete.

use std::io::{self, Read, Seek, SeekFrom};

use thiserror::Error;

use crate::job::output::OutputKind;
use crate::media::boxes::is_provably_complete;

/// How many leading bytes determine the type.
const HEAD: u64 = 8192;
/// From this size on, a RIFF header does not know its own: such a file was written as a stream.
const RIFF_STREAM: u64 = 0x7FFF_0000;
/// Most chunks of a PNG; real files have far fewer.
const MAX_CHUNKS: usize = 1_000_000;
const NO_END: &str = "the end is missing";

/// The type of a valid download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// File extension without the dot.
    pub extension: &'static str,
    /// Media type.
    pub mime: &'static str,
    /// Whether the structure proves that the file is complete. If not, the length announced by the host must.
    pub complete: bool,
}

/// Why a download is not valid.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidMedia {
    #[error("the file is empty")]
    Empty,
    /// A page or a message instead of media.
    #[error("the link returned {0}, not media")]
    Page(&'static str),
    /// Media of another type.
    #[error("the file is {found}, but {expected} was expected")]
    OtherKind { found: &'static str, expected: OutputKind },
    /// No known media type.
    #[error("the first bytes are of no known media type")]
    Unknown,
    /// The structure is cut or invalid.
    #[error("the file is damaged or cut: {0}")]
    Damaged(&'static str),
}

/// Inspects a complete download.
///
/// # Errors
/// `Ok(Err(_))` when the file is not valid; `Err` when it cannot be read.
pub fn inspect(
    file: &mut (impl Read + Seek),
    expected: OutputKind,
) -> io::Result<Result<Verified, InvalidMedia>> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(0))?;
    let mut head = Vec::new();
    file.take(HEAD).read_to_end(&mut head)?;
    if head.is_empty() {
        return Ok(Err(InvalidMedia::Empty));
    }
    if let Some(page) = page(&head) {
        return Ok(Err(InvalidMedia::Page(page)));
    }
    let Some(Found { family, extension, mime }) = recognise(&head) else {
        return Ok(Err(match infer::get(&head) {
            Some(kind) => InvalidMedia::OtherKind { found: kind.extension(), expected },
            None => InvalidMedia::Unknown,
        }));
    };
    // An animated picture counts as a video too, and a video container may hold sound alone.
    let fits = match expected {
        OutputKind::Video => family == OutputKind::Video || matches!(extension, "gif" | "webp"),
        OutputKind::Audio => {
            family == OutputKind::Audio || matches!(extension, "mp4" | "mov" | "webm" | "mkv")
        }
        OutputKind::Image => family == OutputKind::Image,
    };
    if !fits {
        return Ok(Err(InvalidMedia::OtherKind { found: mime, expected }));
    }
    let complete = match extension {
        "mp4" | "m4v" | "mov" | "m4a" | "3gp" => match is_provably_complete(file, length)? {
            Ok(complete) => complete,
            Err(damage) => return Ok(Err(InvalidMedia::Damaged(damage))),
        },
        "png" if has_png_end(file, length)? => true,
        "svg" if ends_with_svg(&tail(file, length)?) => true,
        "png" | "svg" => return Ok(Err(InvalidMedia::Damaged(NO_END))),
        // The end marker has two bytes, which also occur inside a cut file: only the very end counts.
        "jpg" => unpadded(&tail(file, length)?).ends_with(b"\xFF\xD9"),
        "gif" => unpadded(&tail(file, length)?).ends_with(b"\x3B"),
        "webp" | "wav" | "avi" => match riff_length(&head) {
            // Who writes as a stream does not know the length: only the host does.
            Some(RIFF_STREAM..) | None => false,
            Some(size) if size <= 8 => false,
            Some(size) if size > length => return Ok(Err(InvalidMedia::Damaged(NO_END))),
            // A large AVI continues in a second list.
            Some(size) => extension != "avi" || size == length,
        },
        _ => false,
    };
    Ok(Ok(Verified { extension, mime, complete }))
}

struct Found {
    family: OutputKind,
    extension: &'static str,
    mime: &'static str,
}

/// The type by the first bytes.
fn recognise(head: &[u8]) -> Option<Found> {
    let found = |family, extension, mime| Some(Found { family, extension, mime });
    if is_svg(head) {
        return found(OutputKind::Image, "svg", "image/svg+xml");
    }
    if let Some(kind) = infer::get(head) {
        let family = match kind.matcher_type() {
            infer::MatcherType::Video => OutputKind::Video,
            infer::MatcherType::Image => OutputKind::Image,
            infer::MatcherType::Audio => OutputKind::Audio,
            _ => return None,
        };
        return found(family, kind.extension(), kind.mime_type());
    }
    match (head.get(..4)?, head.get(4..8)?) {
        // Of any brand, or from before there were brands; the boxes are checked.
        (_, b"ftyp" | b"styp") => found(OutputKind::Video, "mp4", "video/mp4"),
        (_, b"wide" | b"free" | b"skip" | b"pnot") => found(OutputKind::Video, "mov", "video/quicktime"),
        (b"RF64" | b"BW64", _) if head.get(8..12) == Some(b"WAVE") => {
            found(OutputKind::Audio, "wav", "audio/x-wav")
        }
        (b"\x1A\x45\xDF\xA3", _) => {
            let is_webm = head.windows(4).take(256).any(|name| name == b"webm");
            let (extension, mime) =
                if is_webm { ("webm", "video/webm") } else { ("mkv", "video/x-matroska") };
            found(OutputKind::Video, extension, mime)
        }
        _ => None,
    }
}

/// Whether the root element is `svg`, behind declarations and comments.
fn is_svg(head: &[u8]) -> bool {
    let head = String::from_utf8_lossy(head);
    let mut rest = head.trim_start_matches('\u{FEFF}').trim_start();
    loop {
        let end = if rest.starts_with("<?") {
            "?>"
        } else if rest.starts_with("<!--") {
            "-->"
        } else if rest.get(..9).is_some_and(|begin| begin.eq_ignore_ascii_case("<!doctype")) {
            if rest.contains('[') && rest.find('[') < rest.find('>') { "]>" } else { ">" }
        } else {
            break;
        };
        let Some((_, behind)) = rest.split_once(end) else { return false };
        rest = behind.trim_start();
    }
    let name = rest.strip_prefix('<').and_then(|rest| rest.split([' ', '\t', '\r', '\n', '>', '/']).next());
    name.is_some_and(|name| name == "svg" || name.ends_with(":svg"))
}

/// Whether an SVG file ends with its root element, or a comment behind it.
fn ends_with_svg(tail: &[u8]) -> bool {
    let tail = String::from_utf8_lossy(unpadded(tail)).into_owned();
    let last = tail.rsplit_once("</").and_then(|(_, last)| last.split_once('>'));
    last.is_some_and(|(name, behind)| {
        let name = name.trim_end();
        let behind = behind.trim_start();
        (name == "svg" || name.ends_with(":svg"))
            && (behind.is_empty() || (behind.starts_with("<!--") && behind.ends_with("-->")))
    })
}

/// Whether the chunks of a PNG lead to its end; something else may follow it.
fn has_png_end(file: &mut (impl Read + Seek), length: u64) -> io::Result<bool> {
    let mut at = 8;
    for _ in 0..MAX_CHUNKS {
        if at + 12 > length {
            return Ok(false);
        }
        file.seek(SeekFrom::Start(at))?;
        let mut header = [0; 8];
        file.read_exact(&mut header)?;
        let [a, b, c, d, kind @ ..] = header;
        at += 12 + u64::from(u32::from_be_bytes([a, b, c, d]));
        if &kind == b"IEND" {
            return Ok(at <= length);
        }
    }
    Ok(false)
}

/// Recognises text where media should be: a page, or an error object.
fn page(head: &[u8]) -> Option<&'static str> {
    let text = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head);
    let start = text.iter().position(|byte| !byte.is_ascii_whitespace())?;
    let start = &text[start..];
    let begins =
        |with: &str| start.len() >= with.len() && start[..with.len()].eq_ignore_ascii_case(with.as_bytes());
    if (begins("<!doctype") && !is_svg(head)) || begins("<html") || begins("<head") || begins("<body") {
        Some("a web page")
    } else if (begins("<?xml") || begins("<error")) && !is_svg(head) {
        Some("an XML document")
    } else if begins("{") || begins("[") {
        Some("a JSON document")
    } else {
        None
    }
}

/// The last bytes of the file: some encoders add a little after the end.
fn tail(file: &mut (impl Read + Seek), length: u64) -> io::Result<Vec<u8>> {
    let tail = length.min(64);
    file.seek(SeekFrom::Start(length - tail))?;
    let mut bytes = Vec::new();
    file.take(tail).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Removes zeros and white space at the end.
fn unpadded(tail: &[u8]) -> &[u8] {
    let end = tail.iter().rposition(|byte| *byte != 0 && !byte.is_ascii_whitespace());
    &tail[..end.map_or(0, |end| end + 1)]
}

/// The file's length according to its RIFF header.
fn riff_length(head: &[u8]) -> Option<u64> {
    let size: [u8; 4] = head.get(4..8)?.try_into().ok()?;
    Some(u64::from(u32::from_le_bytes(size)) + 8)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::media::boxes::tests::{boxed, ftyp, moov};

    fn clip() -> Vec<u8> {
        let data = u32::try_from([ftyp(), moov(&[0])].concat().len() + 8).unwrap();
        [ftyp(), moov(&[data, data + 100]), boxed(b"mdat", &[1; 200])].concat()
    }

    fn inspected(bytes: &[u8], expected: OutputKind) -> Result<Verified, InvalidMedia> {
        inspect(&mut Cursor::new(bytes), expected).unwrap()
    }

    #[test]
    fn complete_clip_is_valid_and_cut_ones_are_not() {
        let clip = clip();
        let whole = inspected(&clip, OutputKind::Video).unwrap();
        assert_eq!((whole.extension, whole.mime, whole.complete), ("mp4", "video/mp4", true));
        for cut in 0..clip.len() {
            assert!(inspected(&clip[..cut], OutputKind::Video).is_err(), "cut at {cut}");
        }
        assert!(inspected(&[clip, vec![0; 3]].concat(), OutputKind::Video).unwrap().complete);
    }

    #[test]
    fn clip_without_index_or_end_proves_nothing() {
        let no_index = [ftyp(), boxed(b"mdat", &[1; 200])].concat();
        assert_eq!(
            inspected(&no_index, OutputKind::Video),
            Err(InvalidMedia::Damaged("the index (`moov`) is missing"))
        );
        let mut open = [ftyp(), moov(&[100])].concat();
        open.extend_from_slice(b"\0\0\0\0mdat with an open end");
        assert!(!inspected(&open, OutputKind::Video).unwrap().complete);
    }

    #[test]
    fn pages_and_other_types_are_recognised() {
        let cases: [(&[u8], InvalidMedia); 7] = [
            (b"", InvalidMedia::Empty),
            (b"\n <!DOCTYPE html><title>502</title>", InvalidMedia::Page("a web page")),
            (b"\xEF\xBB\xBF<HTML>", InvalidMedia::Page("a web page")),
            (b"{\"error\":{}}", InvalidMedia::Page("a JSON document")),
            (b"<?xml version=\"1.0\"?><Error/>", InvalidMedia::Page("an XML document")),
            (b"just words", InvalidMedia::Unknown),
            (
                b"PK\x03\x04zipped zipped zipped",
                InvalidMedia::OtherKind { found: "zip", expected: OutputKind::Video },
            ),
        ];
        for (bytes, unfit) in cases {
            assert_eq!(inspected(bytes, OutputKind::Video), Err(unfit), "{bytes:?}");
        }
        let clip = clip();
        let other = InvalidMedia::OtherKind { found: "video/mp4", expected: OutputKind::Image };
        assert_eq!(inspected(&clip, OutputKind::Image), Err(other));
    }

    #[test]
    fn every_brand_and_container_is_recognised() {
        let clip = clip();
        for brand in [b"iso8", b"hvc1", b"avc1", b"cmfc", b"xxxx"] {
            let mut clip = clip.clone();
            clip[8..12].copy_from_slice(brand);
            assert_eq!(inspected(&clip, OutputKind::Video).unwrap().extension, "mp4", "{brand:?}");
            assert!(inspected(&clip, OutputKind::Image).is_err());
        }
        let without_brand = [boxed(b"wide", b""), clip[ftyp().len()..].to_vec()].concat();
        assert_eq!(inspected(&without_brand, OutputKind::Video).unwrap().extension, "mov");
        let short_webm = b"\x1A\x45\xDF\xA3\x01\0\0\0\0\0\0\x1F\x42\x82\x40\x04webm".to_vec();
        assert_eq!(inspected(&short_webm, OutputKind::Video).unwrap().extension, "webm");
        assert!(!inspected(b"RF64\xFF\xFF\xFF\xFFWAVEds64....", OutputKind::Audio).unwrap().complete);
    }

    #[test]
    fn vector_graphics_are_images_to_their_last_tag() {
        for good in [
            "<svg xmlns='http://www.w3.org/2000/svg'><path/></svg>\n",
            "\u{FEFF}<?xml version=\"1.0\"?>\n<!-- made by a model -->\n<svg><g></g></svg>",
            "<!DOCTYPE svg PUBLIC \"-//W3C//DTD SVG 1.1//EN\" \"x.dtd\">\n<svg></svg><!-- end -->",
            "<?xml version='1.0'?><s:svg xmlns:s='http://www.w3.org/2000/svg'></s:svg>",
        ] {
            let found = inspected(good.as_bytes(), OutputKind::Image).unwrap();
            assert_eq!((found.extension, found.complete), ("svg", true), "{good}");
        }
        assert!(inspected(b"<svg><path/></svg>", OutputKind::Video).is_err());
        for bad in [
            "<svg><path d='M0 0'",
            "<svg><g></g>",
            "<!DOCTYPE html><html><svg></svg></html>",
            "<html><svg></svg></html>",
            "<?xml version='1.0'?><Error><Code>svg</Code></Error>",
        ] {
            assert!(inspected(bad.as_bytes(), OutputKind::Image).is_err(), "{bad}");
        }
    }

    #[test]
    fn images_and_sounds_are_checked_to_their_end() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR0123456789abcCRC.\0\0\0\0IEND\xAE\x42\x60\x82";
        assert_eq!(inspected(png, OutputKind::Image).unwrap().extension, "png");
        assert!(inspected(&[&png[..], &[7; 200]].concat(), OutputKind::Image).unwrap().complete);
        for cut in 16..png.len() {
            assert!(inspected(&png[..cut], OutputKind::Image).is_err(), "cut at {cut}");
        }
        let gif = b"GIF89a\x01\0\x01\0\0\0\0;,\0\0\0\0\x01\0\x01\0\0\x02\x02L\x01\0;";
        assert!(inspected(&[&gif[..], b"\0\n"].concat(), OutputKind::Image).unwrap().complete);
        assert!(!inspected(&gif[..gif.len() - 1], OutputKind::Image).unwrap().complete);
        let wav = b"RIFF\x04\0\0\0WAVE";
        assert_eq!(inspected(wav, OutputKind::Audio).unwrap().mime, "audio/x-wav");
        let cut = b"RIFF\x40\0\0\0WAVEfmt ";
        assert!(inspected(cut, OutputKind::Audio).is_err());
        for size in [[0xFF; 4], [0; 4], 0x7FFF_FFFF_u32.to_le_bytes(), 0x8000_0024_u32.to_le_bytes()] {
            let streamed = [&b"RIFF"[..], &size, b"WAVEfmt \x10\0\0\0data\xFF\xFF\xFF\xFFsamples"].concat();
            assert!(!inspected(&streamed, OutputKind::Audio).unwrap().complete, "{size:?}");
        }
    }
}
