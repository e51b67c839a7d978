//! Checks whether a file is a whole picture, by its structure alone: nothing is decoded, so that no picture, however large
//! it claims to be, costs more than its bytes.

use thiserror::Error;

use crate::jobfile::pictures::PictureType;

/// A whole picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// By its content, whatever its name ends in.
    pub picture_type: PictureType,
    /// In pixels, as it says.
    pub width: u32,
    /// The same.
    pub height: u32,
    /// Whether it has an alpha channel.
    pub alpha: bool,
}

/// Why a file is no picture for a video model.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ImageFault {
    /// Nothing, or only its beginning. It may still be being copied.
    #[error("is not complete: its end is missing")]
    Cut,
    /// Another type.
    #[error("is {0}, not a picture that video models take (JPEG, PNG, WebP, BMP)")]
    OtherType(&'static str),
    /// A picture without a size, or with an impossible structure.
    #[error("is damaged: {0}")]
    Damaged(&'static str),
}

/// Examines the bytes of a file.
///
/// # Errors
/// See [`ImageFault`].
pub fn examine(bytes: &[u8]) -> Result<Image, ImageFault> {
    let image = match bytes {
        [] => return Err(ImageFault::Cut),
        [0xFF, 0xD8, 0xFF, ..] => jpeg(bytes),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => png(bytes),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => webp(bytes),
        [b'B', b'M', ..] if bytes.len() < 26 || is_bmp_header(bytes) => bmp(bytes),
        _ if bytes.len() < 12
            && BEGINNINGS.iter().any(|known| known.starts_with(bytes) || bytes.starts_with(b"RIFF")) =>
        {
            return Err(ImageFault::Cut);
        }
        _ => return Err(ImageFault::OtherType(other_type(bytes))),
    }?;
    if image.width == 0 || image.height == 0 {
        return Err(ImageFault::Damaged("it has no pixels"));
    }
    Ok(image)
}

const BEGINNINGS: [&[u8]; 4] = [b"\xFF\xD8\xFF", b"\x89PNG\r\n\x1A\n", b"RIFF", b"BM"];

/// A type, for people.
fn other_type(bytes: &[u8]) -> &'static str {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(1024)]).to_ascii_lowercase();
    let begins = |with: &str| text.trim_start_matches('\u{FEFF}').trim_start().starts_with(with);
    if begins("<") && text.contains("<svg") {
        "an SVG drawing"
    } else if begins("<") {
        "a web page or XML"
    } else if begins("{") || begins("[") {
        "JSON"
    } else if begins("version https://git-lfs") {
        "a Git LFS pointer"
    } else {
        let kind = infer::get(bytes).map(|kind| kind.mime_type());
        // It begins like one, and nothing more.
        kind.filter(|kind| *kind != "image/bmp").unwrap_or("of no known type")
    }
}

fn png(bytes: &[u8]) -> Result<Image, ImageFault> {
    let header = bytes.get(8..33).ok_or(ImageFault::Cut)?;
    if &header[4..8] != b"IHDR" {
        return Err(ImageFault::Damaged("it does not begin with its size"));
    }
    let mut alpha = matches!(header[17], 4 | 6);
    let mut at = 8_usize;
    // Each step moves on by at least twelve bytes.
    loop {
        let length = be32(bytes, at).ok_or(ImageFault::Cut)? as usize;
        let kind = bytes.get(at + 4..at + 8).ok_or(ImageFault::Cut)?;
        let next = at.checked_add(12).and_then(|next| next.checked_add(length)).ok_or(ImageFault::Cut)?;
        if next > bytes.len() {
            return Err(ImageFault::Cut);
        }
        match kind {
            b"tRNS" => alpha = true,
            b"IEND" => break,
            _ => {}
        }
        at = next;
    }
    let (width, height) = (be32(header, 8).unwrap_or(0), be32(header, 12).unwrap_or(0));
    Ok(Image { picture_type: PictureType::Png, width, height, alpha })
}

/// Follows the segments to the end of the picture. Cameras append more behind it, and put a small picture with an end of
/// its own into a segment.
fn jpeg(bytes: &[u8]) -> Result<Image, ImageFault> {
    let (mut at, mut size) = (2_usize, None);
    loop {
        // Between a scan's data and the next marker; inside the data, FF is followed by 00 or a restart marker.
        let skipped = bytes.get(at..).ok_or(ImageFault::Cut)?;
        let marker = skipped
            .windows(2)
            .position(|pair| pair[0] == 0xFF && !matches!(pair[1], 0x00 | 0x01 | 0xD0..=0xD7 | 0xFF))
            .ok_or(ImageFault::Cut)?;
        at += marker + 2;
        match bytes[at - 1] {
            0xD9 => break,
            0xD8 => return Err(ImageFault::Damaged("a second picture begins inside it")),
            // The sizes of all kinds of frames; C4, C8 and CC are no frames.
            0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF if size.is_none() => {
                let height = be16(bytes, at + 3).ok_or(ImageFault::Cut)?;
                let width = be16(bytes, at + 5).ok_or(ImageFault::Cut)?;
                size = Some((width, height));
            }
            _ => {}
        }
        let length = be16(bytes, at).ok_or(ImageFault::Cut)?;
        at += usize::from(length.max(2));
    }
    let (width, height) = size.ok_or(ImageFault::Damaged("it has no size"))?;
    Ok(Image { picture_type: PictureType::Jpg, width: width.into(), height: height.into(), alpha: false })
}

fn webp(bytes: &[u8]) -> Result<Image, ImageFault> {
    let length = le32(bytes, 4).ok_or(ImageFault::Cut)?;
    if u64::from(length) + 8 > bytes.len() as u64 {
        return Err(ImageFault::Cut);
    }
    let (kind, body) = (bytes.get(12..16).ok_or(ImageFault::Cut)?, bytes.get(20..30).ok_or(ImageFault::Cut)?);
    let (width, height, alpha) = match kind {
        b"VP8X" => (le24(body, 4) + 1, le24(body, 7) + 1, body[0] & 0x10 != 0),
        b"VP8L" => {
            let bits = le32(body, 1).unwrap_or(0);
            ((bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1, bits & 0x1000_0000 != 0)
        }
        b"VP8 " => (le16(body, 6) & 0x3FFF, le16(body, 8) & 0x3FFF, false),
        _ => return Err(ImageFault::Damaged("it has no size")),
    };
    Ok(Image { picture_type: PictureType::Webp, width, height, alpha })
}

fn is_bmp_header(bytes: &[u8]) -> bool {
    matches!(le32(bytes, 14), Some(40 | 52 | 56 | 64 | 108 | 124))
}

fn bmp(bytes: &[u8]) -> Result<Image, ImageFault> {
    let length = le32(bytes, 2).ok_or(ImageFault::Cut)?;
    if bytes.len() < 54 || u64::from(length) > bytes.len() as u64 {
        return Err(ImageFault::Cut);
    }
    let side = |at| le32(bytes, at).map_or(0, |side| side.cast_signed().unsigned_abs());
    Ok(Image { picture_type: PictureType::Bmp, width: side(18), height: side(22), alpha: false })
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

fn le16(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_le_bytes).into()
}

fn le24(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 3).map_or(0, |bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]))
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

/// Small pictures for tests.
#[cfg(test)]
pub(crate) mod samples {
    /// A PNG that claims this size; `content` makes it differ from others.
    pub fn png(width: u32, height: u32, content: &[u8]) -> Vec<u8> {
        let chunk = |kind: &[u8], body: &[u8]| {
            let length = u32::try_from(body.len()).unwrap().to_be_bytes();
            [&length[..], kind, body, &[0; 4]].concat()
        };
        let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
        [&b"\x89PNG\r\n\x1A\n"[..], &chunk(b"IHDR", &header), &chunk(b"IDAT", content), &chunk(b"IEND", b"")]
            .concat()
    }

    /// A JPEG with a thumbnail in a segment of its own.
    pub fn jpeg(width: u16, height: u16) -> Vec<u8> {
        let (width, height) = (width.to_be_bytes(), height.to_be_bytes());
        let thumbnail = b"\xFF\xE1\x00\x08\xFF\xD8\xFF\xD9\x00\x00";
        let frame = [&b"\xFF\xC2\x00\x0B\x08"[..], &height, &width, b"\x01\x00\x11\x00"].concat();
        let scan = b"\xFF\xDA\x00\x08\x01\x01\x00\x00\x3F\x00data\xFF\x00data\xFF\xD0data";
        [&b"\xFF\xD8"[..], thumbnail, &frame, scan, scan, b"\xFF\xD9"].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webp(kind: &[u8; 4], body: &[u8; 10]) -> Vec<u8> {
        [&b"RIFF\x16\0\0\0WEBP"[..], kind, &[10, 0, 0, 0], body].concat()
    }

    fn bmp(width: i32, height: i32) -> Vec<u8> {
        let rest = [&width.to_le_bytes()[..], &height.to_le_bytes(), &[0; 40]].concat();
        let mut bytes = [&b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0"[..], &rest].concat();
        let length = u32::try_from(bytes.len()).unwrap();
        bytes[2..6].copy_from_slice(&length.to_le_bytes());
        bytes
    }

    #[test]
    fn size_type_and_alpha_are_those_of_the_content() {
        use PictureType::{Bmp, Jpg, Png, Webp};
        let mut transparent = samples::png(7, 5, b"x");
        transparent[25] = 6;
        let cases = [
            (samples::png(640, 480, b"x"), Png, 640, 480, false),
            (transparent, Png, 7, 5, true),
            (samples::jpeg(1920, 1080), Jpg, 1920, 1080, false),
            (webp(b"VP8X", &[0x10, 0, 0, 0, 0x7F, 2, 0, 0xDF, 1, 0]), Webp, 640, 480, true),
            (webp(b"VP8 ", &[0, 0, 0, 0x9D, 1, 0x2A, 0x80, 2, 0xE0, 1]), Webp, 640, 480, false),
            (bmp(640, -480), Bmp, 640, 480, false),
        ];
        for (bytes, picture_type, width, height, alpha) in cases {
            assert_eq!(examine(&bytes), Ok(Image { picture_type, width, height, alpha }));
        }
    }

    #[test]
    fn cut_picture_is_recognised_at_every_byte() {
        let pictures =
            [samples::png(2, 2, b"pixels"), samples::jpeg(2, 2), webp(b"VP8 ", &[9; 10]), bmp(2, 2)];
        for picture in pictures {
            for cut in 0..picture.len() {
                assert_eq!(examine(&picture[..cut]), Err(ImageFault::Cut), "{picture:?} cut at {cut}");
            }
            assert!(examine(&[&picture[..], b"PK\x03\x04 or whatever a camera appends"].concat()).is_ok());
        }
    }

    #[test]
    fn other_files_are_named_and_no_size_is_believed_blindly() {
        let cases: [(&[u8], &str); 9] = [
            (b"<svg xmlns='http://www.w3.org/2000/svg'></svg>", "SVG"),
            (b"<?xml version='1.0'?><svg></svg>", "SVG"),
            (b"<!DOCTYPE html><title>404</title>", "web page"),
            (b"{\"error\": 1}", "JSON"),
            (b"GIF89a\x01\0\x01\0\0\0\0;", "image/gif"),
            (b"version https://git-lfs.github.com/spec/v1", "LFS"),
            (b"BM is only the beginning of a text here", "no known type"),
            (b"just words", "no known type"),
            (b"RIFF\x04\0\0\0WAVE", "audio"),
        ];
        for (bytes, word) in cases {
            let fault = examine(bytes).expect_err(word).to_string();
            assert!(fault.contains(word), "{word}: {fault}");
        }
        let bomb = examine(&samples::png(u32::MAX, u32::MAX, b"")).expect("a picture, by its structure");
        assert_eq!((bomb.width, bomb.height), (u32::MAX, u32::MAX));
        assert!(matches!(examine(&samples::png(0, 5, b"")), Err(ImageFault::Damaged(_))));
        let mut endless = samples::png(1, 1, b"");
        endless[33..37].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(examine(&endless), Err(ImageFault::Cut));
    }
}
