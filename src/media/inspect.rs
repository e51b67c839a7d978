//! Is a download what it should be? Its first bytes tell its kind; its own structure tells whether it is whole.

use std::io::{self, Read, Seek, SeekFrom};

use thiserror::Error;

use crate::job::output::OutputKind;

/// So much of the beginning tells the kind.
const HEAD: u64 = 8192;
/// More boxes than any real file has at its top.
const MOST_BOXES: usize = 10_000;

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
    /// Media of another kind.
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
        "mp4" | "m4v" | "mov" | "m4a" | "3gp" => match walk_boxes(file, length)? {
            Ok(complete) => complete,
            Err(damage) => return Ok(Err(Unfit::Damaged(damage))),
        },
        "png" => ends_with(file, length, &[b"IEND\xAE\x42\x60\x82"])?,
        "jpg" => ends_with(file, length, &[b"\xFF\xD9"])?,
        "gif" => ends_with(file, length, &[b"\x3B"])?,
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

/// Walks the top boxes of an ISO base media file (ISO/IEC 14496-12, 4.2): they must fill the file exactly, and the
/// index (`moov`) and the data it speaks of must be among them. True if that proves the file whole; a last box that
/// runs "to the end" proves nothing.
fn walk_boxes(file: &mut (impl Read + Seek), length: u64) -> io::Result<Result<bool, &'static str>> {
    let mut at = 0;
    let (mut index, mut data, mut open_ended) = (false, false, false);
    for _ in 0..MOST_BOXES {
        if at == length {
            return Ok(match (index, data) {
                (false, _) => Err("its index (`moov`) is missing"),
                (true, false) => Err("its data (`mdat`) is missing"),
                (true, true) => Ok(!open_ended),
            });
        }
        let mut header = [0; 16];
        file.seek(SeekFrom::Start(at))?;
        if length - at < 8 {
            return Ok(Err("it breaks off inside a box"));
        }
        file.read_exact(&mut header[..8])?;
        let short = u64::from(u32::from_be_bytes([header[0], header[1], header[2], header[3]]));
        let kind = [header[4], header[5], header[6], header[7]];
        let size = match short {
            0 => {
                open_ended = true;
                length - at
            }
            1 => {
                if length - at < 16 {
                    return Ok(Err("it breaks off inside a box"));
                }
                file.read_exact(&mut header[8..])?;
                let long: [u8; 8] = std::array::from_fn(|place| header[8 + place]);
                u64::from_be_bytes(long)
            }
            size => size,
        };
        if size < if short == 1 { 16 } else { 8 } {
            return Ok(Err("a box has an impossible length"));
        }
        match &kind {
            b"moov" => index = true,
            b"mdat" | b"moof" => data = true,
            _ => {}
        }
        match at.checked_add(size).filter(|end| *end <= length) {
            Some(end) => at = end,
            None => return Ok(Err("it breaks off inside a box")),
        }
    }
    Ok(Err("it has too many boxes"))
}

fn ends_with(file: &mut (impl Read + Seek), length: u64, endings: &[&[u8]]) -> io::Result<bool> {
    // Some writers leave a little after the end.
    let tail = length.min(64);
    file.seek(SeekFrom::Start(length - tail))?;
    let mut bytes = Vec::new();
    file.take(tail).read_to_end(&mut bytes)?;
    Ok(endings.iter().any(|ending| bytes.windows(ending.len()).any(|window| window == *ending)))
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

    fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(content.len() + 8).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(kind);
        bytes.extend_from_slice(content);
        bytes
    }

    fn film() -> Vec<u8> {
        [boxed(b"ftyp", b"isom\0\0\x02\0isomiso2mp41"), boxed(b"moov", &[7; 60]), boxed(b"mdat", &[1; 200])]
            .concat()
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
        let ftyp = boxed(b"ftyp", b"isom\0\0\x02\0isomiso2mp41");
        let no_index = [ftyp.clone(), boxed(b"mdat", &[1; 200])].concat();
        assert_eq!(
            judged(&no_index, OutputKind::Video),
            Err(Unfit::Damaged("its index (`moov`) is missing"))
        );
        let mut open = [ftyp, boxed(b"moov", &[7; 60])].concat();
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
        let wav = b"RIFF\x04\0\0\0WAVE";
        assert_eq!(judged(wav, OutputKind::Audio).unwrap().mime, "audio/x-wav");
        let cut = b"RIFF\x40\0\0\0WAVEfmt ";
        assert!(judged(cut, OutputKind::Audio).is_err());
    }
}
