//! Is a download what it should be? Its first bytes tell its kind; its own structure tells whether it is whole.

use std::io::{self, Read, Seek, SeekFrom};

use thiserror::Error;

use crate::job::output::OutputKind;
use crate::media::boxes::prove_whole;

/// So much of the beginning tells the kind.
const HEAD: u64 = 8192;

/// What a download turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The ending for its name, without a dot.
    pub extension: &'static str,
    /// Its media type.
    pub mime: &'static str,
    /// Whether its own structure proves that it is whole. Where it does not, the length announced by the host must.
    pub complete: bool,
}

/// Why a download is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unfit {
    /// Nothing came.
    #[error("it is empty")]
    Empty,
    /// A page or a message instead of media.
    #[error("it is {0}, not media: an error page?")]
    Page(&'static str),
    /// Media of per_thread kind.
    #[error("it is {found}, but {expected} was expected")]
    OtherKind {
        /// What came.
        found: &'static str,
        /// What should have come.
        expected: OutputKind,
    },
    /// No known kind of media.
    #[error("its first bytes are of no known kind of media")]
    Unknown,
    /// Its structure breaks off or makes no sense.
    #[error("it is damaged or cut: {0}")]
    Damaged(&'static str),
}

/// Looks at a whole download.
///
/// # Errors
/// `Ok(Err(_))` when it is unfit; `Err` when it cannot be read.
pub fn inspect(file: &mut (impl Read + Seek), expected: OutputKind) -> io::Result<Result<Verified, Unfit>> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(0))?;
    let mut head = Vec::new();
    file.take(HEAD).read_to_end(&mut head)?;
    if head.is_empty() {
        return Ok(Err(Unfit::Empty));
    }
    if let Some(page) = page(&head) {
        return Ok(Err(Unfit::Page(page)));
    }
    let Some(kind) = infer::get(&head) else {
        return Ok(Err(Unfit::Unknown));
    };
    let (family, extension, mime) = match (kind.matcher_type(), kind.extension()) {
        (infer::MatcherType::Video, extension) => (OutputKind::Video, extension, kind.mime_type()),
        (infer::MatcherType::Image, extension) => (OutputKind::Image, extension, kind.mime_type()),
        (infer::MatcherType::Audio, extension) => (OutputKind::Audio, extension, kind.mime_type()),
        (_, found) => return Ok(Err(Unfit::OtherKind { found, expected })),
    };
    // A GIF may be asked for as a film, and an MP4 that holds only sound is still an MP4.
    let fits = family == expected || (extension, expected) == ("gif", OutputKind::Video);
    if !fits {
        return Ok(Err(Unfit::OtherKind { found: mime, expected }));
    }
    let complete = match extension {
        "mp4" | "m4v" | "mov" | "m4a" | "3gp" => match prove_whole(file, length)? {
            Ok(complete) => complete,
            Err(damage) => return Ok(Err(Unfit::Damaged(damage))),
        },
        "png" => tail(file, length)?.windows(8).any(|end| end == b"IEND\xAE\x42\x60\x82"),
        // Too short to be looked for: what was cut often has it somewhere.
        "jpg" => unpadded(&tail(file, length)?).ends_with(b"\xFF\xD9"),
        "gif" => unpadded(&tail(file, length)?).ends_with(b"\x3B"),
        "webp" | "wav" | "avi" => riff_length(&head).is_some_and(|riff| riff <= length),
        _ => false,
    };
    if !complete && matches!(extension, "png" | "webp" | "wav" | "avi") {
        return Ok(Err(Unfit::Damaged("its end is missing")));
    }
    Ok(Ok(Verified { extension, mime, complete }))
}

/// Text where media should be: a page, or an error object.
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

/// The last bytes: some writers leave a little after the end.
fn tail(file: &mut (impl Read + Seek), length: u64) -> io::Result<Vec<u8>> {
    let tail = length.min(64);
    file.seek(SeekFrom::Start(length - tail))?;
    let mut bytes = Vec::new();
    file.take(tail).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Without the zeros and blanks at its end.
fn unpadded(tail: &[u8]) -> &[u8] {
    let end = tail.iter().rposition(|byte| *byte != 0 && !byte.is_ascii_whitespace());
    &tail[..end.map_or(0, |end| end + 1)]
}

/// What a RIFF header says the whole file's length is.
fn riff_length(head: &[u8]) -> Option<u64> {
    let size: [u8; 4] = head.get(4..8)?.try_into().ok()?;
    Some(u64::from(u32::from_le_bytes(size)) + 8)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::media::boxes::tests::{boxed, ftyp, moov};

    fn film() -> Vec<u8> {
        let data = u32::try_from([ftyp(), moov(&[0])].concat().len() + 8).unwrap();
        [ftyp(), moov(&[data, data + 100]), boxed(b"mdat", &[1; 200])].concat()
    }

    fn judged(bytes: &[u8], expected: OutputKind) -> Result<Verified, Unfit> {
        inspect(&mut Cursor::new(bytes), expected).unwrap()
    }

    #[test]
    fn a_whole_film_is_told_from_every_cut_one() {
        let film = film();
        let whole = judged(&film, OutputKind::Video).unwrap();
        assert_eq!((whole.extension, whole.mime, whole.complete), ("mp4", "video/mp4", true));
        for cut in 0..film.len() {
            assert!(judged(&film[..cut], OutputKind::Video).is_err(), "cut at {cut}");
        }
        assert!(judged(&[film, vec![0; 3]].concat(), OutputKind::Video).is_err());
    }

    #[test]
    fn a_film_without_index_or_with_an_open_end_proves_nothing() {
        let no_index = [ftyp(), boxed(b"mdat", &[1; 200])].concat();
        assert_eq!(
            judged(&no_index, OutputKind::Video),
            Err(Unfit::Damaged("its index (`moov`) is missing"))
        );
        let mut open = [ftyp(), moov(&[100])].concat();
        open.extend_from_slice(b"\0\0\0\0mdat with an open end");
        assert!(!judged(&open, OutputKind::Video).unwrap().complete);
    }

    #[test]
    fn pages_and_strangers_are_told_apart() {
        let cases: [(&[u8], Unfit); 7] = [
            (b"", Unfit::Empty),
            (b"\n <!DOCTYPE html><title>502</title>", Unfit::Page("a web page")),
            (b"\xEF\xBB\xBF<HTML>", Unfit::Page("a web page")),
            (b"{\"error\":{}}", Unfit::Page("a JSON document")),
            (b"<?xml version=\"1.0\"?><Error/>", Unfit::Page("an XML document")),
            (b"just words", Unfit::Unknown),
            (
                b"PK\x03\x04zipped zipped zipped",
                Unfit::OtherKind { found: "zip", expected: OutputKind::Video },
            ),
        ];
        for (bytes, unfit) in cases {
            assert_eq!(judged(bytes, OutputKind::Video), Err(unfit), "{bytes:?}");
        }
        let film = film();
        let other = Unfit::OtherKind { found: "video/mp4", expected: OutputKind::Image };
        assert_eq!(judged(&film, OutputKind::Image), Err(other));
    }

    #[test]
    fn pictures_and_sounds_are_known_with_their_ends() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR....\0\0\0\0IEND\xAE\x42\x60\x82";
        assert_eq!(judged(png, OutputKind::Image).unwrap().extension, "png");
        assert!(judged(&png[..png.len() - 4], OutputKind::Image).is_err());
        let gif = b"GIF89a\x01\0\x01\0\0\0\0;,\0\0\0\0\x01\0\x01\0\0\x02\x02L\x01\0;";
        assert!(judged(&[&gif[..], b"\0\n"].concat(), OutputKind::Image).unwrap().complete);
        assert!(!judged(&gif[..gif.len() - 1], OutputKind::Image).unwrap().complete);
        let wav = b"RIFF\x04\0\0\0WAVE";
        assert_eq!(judged(wav, OutputKind::Audio).unwrap().mime, "audio/x-wav");
        let cut = b"RIFF\x40\0\0\0WAVEfmt ";
        assert!(judged(cut, OutputKind::Audio).is_err());
    }
}
