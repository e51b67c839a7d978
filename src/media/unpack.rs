//! Decompresses a download that a host sent compressed although the request forbids it.

use std::io::{self, Read, Seek, SeekFrom};

use flate2::read::{MultiGzDecoder, ZlibDecoder};

/// A reader of the file inside, if the first bytes say that this one is compressed. What the host's headers say does not
/// count: they are often wrong, in both ways.
///
/// # Errors
/// When the file cannot be read.
pub fn unpack<'a>(file: &'a mut (impl Read + Seek)) -> io::Result<Option<Box<dyn Read + 'a>>> {
    let mut begin = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(3).read_to_end(&mut begin)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(match begin[..] {
        [0x1F, 0x8B, 0x08] => Some(Box::new(MultiGzDecoder::new(file))),
        // RFC 1950, section 2.2: deflate, and a header that is a multiple of 31. No medium begins like this.
        [0x78, flags, _] if (0x7800 + u16::from(flags)).is_multiple_of(31) => {
            Some(Box::new(ZlibDecoder::new(file)))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    fn unpacked(bytes: &[u8]) -> Option<io::Result<Vec<u8>>> {
        let mut file = Cursor::new(bytes);
        let mut reader = unpack(&mut file).unwrap()?;
        let mut found = Vec::new();
        Some(reader.read_to_end(&mut found).map(|_| found))
    }

    #[test]
    fn compressed_file_is_known_by_its_first_bytes() {
        let clip = b"\0\0\0\x18ftypisom and so on";
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(clip).unwrap();
        let gzip = gzip.finish().unwrap();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(clip).unwrap();
        assert_eq!(unpacked(&gzip).unwrap().unwrap(), clip);
        assert_eq!(unpacked(&[gzip.clone(), gzip.clone()].concat()).unwrap().unwrap(), clip.repeat(2));
        assert_eq!(unpacked(&zlib.finish().unwrap()).unwrap().unwrap(), clip);
        assert!(unpacked(&gzip[..gzip.len() - 9]).unwrap().is_err(), "cut");
        assert!(unpacked(clip).is_none() && unpacked(b"").is_none());
    }
}
