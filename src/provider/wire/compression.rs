//! Bodies that come compressed although no compression was accepted.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::{GzDecoder, ZlibDecoder};

/// The longest body that is read, in bytes.
pub const BODY_LIMIT: usize = 1024 * 1024;

/// The body without its gzip or zlib compression, which its first bytes show; no JSON begins like that. At most `limit`
/// bytes long: one that would be longer, or that is damaged, is returned as it is.
pub fn decompressed(body: &[u8], limit: usize) -> Cow<'_, [u8]> {
    let plain = match body {
        [0x1f, 0x8b, 8, ..] => read_at_most(GzDecoder::new(body), limit),
        // RFC 1950, section 2.2: deflate, and a header that is a multiple of 31.
        [0x78, flags, ..] if (0x7800 + u16::from(*flags)).is_multiple_of(31) => {
            read_at_most(ZlibDecoder::new(body), limit)
        }
        _ => None,
    };
    plain.map_or(Cow::Borrowed(body), Cow::Owned)
}

fn read_at_most(decoder: impl Read, limit: usize) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    decoder.take(limit as u64 + 1).read_to_end(&mut plain).ok()?;
    (plain.len() <= limit).then_some(plain)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    fn gzipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).expect("written");
        encoder.finish().expect("an end")
    }

    #[test]
    fn compressed_body_is_recognised_by_its_first_bytes() {
        let json = br#"{"task_id":"t-1"}"#;
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(json).expect("written");
        for body in [gzipped(json), zlib.finish().expect("an end"), json.to_vec()] {
            assert_eq!(decompressed(&body, 100).as_ref(), json);
        }
    }

    #[test]
    fn damaged_or_endless_body_stays_as_it_is() {
        let bomb = gzipped(&[b' '; 100_000]);
        let cut = &gzipped(b"{}")[..12];
        for body in [bomb.as_slice(), cut, b"x\x9c", b"", b"xylophone"] {
            assert_eq!(decompressed(body, 1000).as_ref(), body);
        }
    }
}
