//! The media: real, playable files small enough to live in the binary (made by `clips/make.sh`), and the ways to
//! spoil them. A large file is never held in memory: it is a clip and, behind it, a `free` box of zeros.

use std::ops::Range;

use bytes::Bytes;

use crate::sandbox::faults::Kind;
use crate::sha256::sha256_hex;

const WIDE: [&[u8]; 2] = [include_bytes!("clips/wide-dawn.mp4"), include_bytes!("clips/wide-waves.mp4")];
const TALL: [&[u8]; 2] = [include_bytes!("clips/tall-reef.mp4"), include_bytes!("clips/tall-ember.mp4")];
const SQUARE: [&[u8]; 2] =
    [include_bytes!("clips/square-ember.mp4"), include_bytes!("clips/square-dawn.mp4")];
const PICTURE: &[u8] = include_bytes!("clips/picture.jpg");
const CHORD: &[u8] = include_bytes!("clips/chord.mp3");

/// How many bytes [`Clip::piece`] gives at most.
const PIECE: u64 = 64 * 1024;

/// One file: its first bytes, and zeros up to its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clip {
    head: Bytes,
    len: u64,
}

/// The extension and media type of a kind.
pub fn names(kind: &Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Video => ("mp4", "video/mp4"),
        Kind::Image => ("jpg", "image/jpeg"),
        Kind::Audio => ("mp3", "audio/mpeg"),
    }
}

impl Clip {
    /// The file for an output: `aspect` as in the request (`9:16`), `choice` picks one of several. A video is padded
    /// to `size` bytes, if it is shorter, and stays playable.
    pub fn choose(kind: &Kind, aspect: &str, choice: u64, size: Option<u64>) -> Self {
        let clips = match kind {
            Kind::Image => return Self::whole(Bytes::from_static(PICTURE)),
            Kind::Audio => return Self::whole(Bytes::from_static(CHORD)),
            Kind::Video => match aspect {
                "9:16" | "3:4" => TALL,
                "1:1" => SQUARE,
                _ => WIDE,
            },
        };
        let clip = if choice.is_multiple_of(2) { clips[0] } else { clips[1] };
        Self::padded(clip, size)
    }

    /// A file of just these bytes.
    pub fn whole(head: Bytes) -> Self {
        Self { len: head.len() as u64, head }
    }

    fn padded(clip: &'static [u8], size: Option<u64>) -> Self {
        let len = size.unwrap_or(0).max(clip.len() as u64);
        // A box cannot be shorter than its own header, so less than 16 bytes of padding are none.
        let padding = len - clip.len() as u64;
        if padding < 16 {
            return Self::whole(Bytes::from_static(clip));
        }
        // ISO/IEC 14496-12, section 4.2: size 1 means that 64 bits of it follow the type.
        let mut head = clip.to_vec();
        head.extend_from_slice(&1_u32.to_be_bytes());
        head.extend_from_slice(b"free");
        head.extend_from_slice(&padding.to_be_bytes());
        Self { head: head.into(), len }
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The beginning of `range`, at most 64 KiB of it; empty once `range` is.
    pub fn piece(&self, range: &Range<u64>) -> Bytes {
        let end = range.end.min(self.len).min(range.start.saturating_add(PIECE));
        if range.start >= end {
            return Bytes::new();
        }
        let head = self.head.len() as u64;
        if range.start < head {
            let (from, to) = (range.start as usize, end.min(head) as usize);
            return self.head.slice(from..to);
        }
        Bytes::from_static(&ZEROS[..(end - range.start) as usize])
    }

    /// All of it, in memory.
    pub fn bytes(&self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let piece = self.piece(&(all.len() as u64..self.len));
            if piece.is_empty() {
                return all;
            }
            all.extend_from_slice(&piece);
        }
    }

    /// An entity tag of its first bytes and its length, without quotes.
    pub fn tag(&self) -> String {
        let sha256 = sha256_hex(&self.head);
        format!("{}-{:x}", &sha256[..16], self.len)
    }

    /// The same film without an index: its `moov` box is called `free`.
    pub fn without_moov(&self) -> Self {
        let mut head = self.head.to_vec();
        if let Some(at) = head.windows(4).position(|name| name == b"moov") {
            head[at..at + 4].copy_from_slice(b"free");
        }
        Self { head: head.into(), len: self.len }
    }

    /// The same film with first bytes of no known kind.
    pub fn without_magic(&self) -> Self {
        let mut head = self.head.to_vec();
        head.iter_mut().take(16).for_each(|byte| *byte ^= 0x5a);
        Self { head: head.into(), len: self.len }
    }

    /// The first half.
    pub fn half(&self) -> Self {
        let len = self.len / 2;
        let head = self.head.slice(..self.head.len().min(len as usize));
        Self { head, len }
    }

    /// The film inside a gzip member (RFC 1952) of stored blocks (RFC 1951, section 3.2.4).
    pub fn gzipped(&self) -> Self {
        let plain = self.bytes();
        let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
        let mut blocks = plain.chunks(0xffff).peekable();
        while let Some(block) = blocks.next() {
            packed.push(u8::from(blocks.peek().is_none()));
            let len = block.len() as u16;
            packed.extend_from_slice(&len.to_le_bytes());
            packed.extend_from_slice(&(!len).to_le_bytes());
            packed.extend_from_slice(block);
        }
        packed.extend_from_slice(&crc32(&plain).to_le_bytes());
        packed.extend_from_slice(&(plain.len() as u32).to_le_bytes());
        Self::whole(packed.into())
    }
}

static ZEROS: [u8; PIECE as usize] = [0; PIECE as usize];

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| {
                if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 }
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of the top boxes, if they tile the file exactly.
    fn boxes(file: &[u8]) -> Option<Vec<String>> {
        let (mut at, mut names) = (0, Vec::new());
        while at < file.len() {
            let short = u32::from_be_bytes(file.get(at..at + 4)?.try_into().ok()?) as usize;
            names.push(String::from_utf8_lossy(file.get(at + 4..at + 8)?).into_owned());
            let long = || Some(u64::from_be_bytes(file.get(at + 8..at + 16)?.try_into().ok()?) as usize);
            at += if short == 1 { long()? } else { short };
        }
        (at == file.len()).then_some(names)
    }

    #[test]
    fn every_clip_is_an_mp4_with_its_index_first() {
        for aspect in ["16:9", "9:16", "1:1"] {
            let both: Vec<_> = (0..2).map(|n| Clip::choose(&Kind::Video, aspect, n, None).bytes()).collect();
            assert_ne!(both[0], both[1]);
            for clip in both {
                assert_eq!(boxes(&clip).expect("tiled")[..2], ["ftyp", "moov"]);
            }
        }
        assert!(PICTURE.starts_with(&[0xff, 0xd8, 0xff]) && PICTURE.ends_with(&[0xff, 0xd9]));
        assert_eq!((CHORD[0], CHORD[1] & 0xe0), (0xff, 0xe0), "an MPEG audio frame");
    }

    #[test]
    fn a_large_film_is_padded_with_a_free_box() {
        let film = Clip::choose(&Kind::Video, "16:9", 0, Some(1 << 20));
        let bytes = film.bytes();
        assert_eq!((bytes.len(), film.len()), (1 << 20, 1 << 20));
        assert_eq!(boxes(&bytes).expect("tiled").last().map(String::as_str), Some("free"));
        let small = Clip::choose(&Kind::Video, "16:9", 0, Some(5));
        assert_eq!(small.bytes(), WIDE[0]);
        assert_eq!(film.piece(&(film.len() - 3..film.len())).len(), 3);
    }

    #[test]
    fn spoilt_films_are_spoilt_as_named() {
        let film = Clip::choose(&Kind::Video, "1:1", 0, None);
        assert!(!boxes(&film.without_moov().bytes()).expect("tiled").contains(&"moov".to_owned()));
        assert_ne!(&film.without_magic().bytes()[4..8], b"ftyp");
        assert_eq!(boxes(&film.half().bytes()), None);
        assert_eq!(film.half().len(), film.len() / 2);
        let packed = film.gzipped().bytes();
        assert_eq!(packed[10], 1, "one last block");
        assert_eq!(&packed[15..packed.len() - 8], film.bytes());
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
