//! Checks whether a download is media: the first bytes give the type, the structure proves that the file is complete.

use std::io::{self, Read, Seek, SeekFrom};

use thiserror::Error;

use crate::job::output::OutputKind;
use crate::media::boxes::is_provably_complete;

/// How many leading bytes determine the type.
const HEAD: u64 = 8192;

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
    let Some(kind) = infer::get(&head) else {
        return Ok(Err(InvalidMedia::Unknown));
    };
    let (family, extension, mime) = match (kind.matcher_type(), kind.extension()) {
        (infer::MatcherType::Video, extension) => (OutputKind::Video, extension, kind.mime_type()),
        (infer::MatcherType::Image, extension) => (OutputKind::Image, extension, kind.mime_type()),
        (infer::MatcherType::Audio, extension) => (OutputKind::Audio, extension, kind.mime_type()),
        (_, found) => return Ok(Err(InvalidMedia::OtherKind { found, expected })),
    };
    // A GIF counts as a video too, and an MP4 with only sound is still an MP4.
    let fits = family == expected || (extension, expected) == ("gif", OutputKind::Video);
    if !fits {
        return Ok(Err(InvalidMedia::OtherKind { found: mime, expected }));
    }
    let complete = match extension {
        "mp4" | "m4v" | "mov" | "m4a" | "3gp" => match is_provably_complete(file, length)? {
            Ok(complete) => complete,
            Err(damage) => return Ok(Err(InvalidMedia::Damaged(damage))),
        },
        "png" => tail(file, length)?.windows(8).any(|end| end == b"IEND\xAE\x42\x60\x82"),
        // The end marker has two bytes, which also occur inside a cut file: only the very end counts.
        "jpg" => unpadded(&tail(file, length)?).ends_with(b"\xFF\xD9"),
        "gif" => unpadded(&tail(file, length)?).ends_with(b"\x3B"),
        "webp" | "wav" | "avi" => riff_length(&head).is_some_and(|riff| riff <= length),
        _ => false,
    };
    if !complete && matches!(extension, "png" | "webp" | "wav" | "avi") {
        return Ok(Err(InvalidMedia::Damaged("the end is missing")));
    }
    Ok(Ok(Verified { extension, mime, complete }))
}

/// Recognises text where media should be: a page, or an error object.
fn page(head: &[u8]) -> Option<&'static str> {
    let text = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head);
    let start = text.iter().position(|byte| !byte.is_ascii_whitespace())?;
    let start = &text[start..];
    let begins =
        |with: &str| start.len() >= with.len() && start[..with.len()].eq_ignore_ascii_case(with.as_bytes());
    if begins("<!doctype") || begins("<html") || begins("<head") || begins("<body") {
        Some("a web page")
    } else if begins("<?xml") || begins("<error") || begins("<svg") {
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
        assert!(inspected(&[clip, vec![0; 3]].concat(), OutputKind::Video).is_err());
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
    fn images_and_sounds_are_checked_to_their_end() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR....\0\0\0\0IEND\xAE\x42\x60\x82";
        assert_eq!(inspected(png, OutputKind::Image).unwrap().extension, "png");
        assert!(inspected(&png[..png.len() - 4], OutputKind::Image).is_err());
        let gif = b"GIF89a\x01\0\x01\0\0\0\0;,\0\0\0\0\x01\0\x01\0\0\x02\x02L\x01\0;";
        assert!(inspected(&[&gif[..], b"\0\n"].concat(), OutputKind::Image).unwrap().complete);
        assert!(!inspected(&gif[..gif.len() - 1], OutputKind::Image).unwrap().complete);
        let wav = b"RIFF\x04\0\0\0WAVE";
        assert_eq!(inspected(wav, OutputKind::Audio).unwrap().mime, "audio/x-wav");
        let cut = b"RIFF\x40\0\0\0WAVEfmt ";
        assert!(inspected(cut, OutputKind::Audio).is_err());
    }
}
