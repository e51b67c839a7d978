//! Media files: playable clips that are small enough for the binary (`clips/make.sh` makes them), and ways to corrupt
//! them. A large file needs no memory: it is a clip followed by a `free` box of zeros.

use std::ops::Range;

use bytes::Bytes;

use crate::sandbox::faults::MediaKind;
use crate::sha256::sha256_hex;

const WIDE: [&[u8]; 2] = [include_bytes!("clips/wide-dawn.mp4"), include_bytes!("clips/wide-waves.mp4")];
const TALL: [&[u8]; 2] = [include_bytes!("clips/tall-reef.mp4"), include_bytes!("clips/tall-ember.mp4")];
const SQUARE: [&[u8]; 2] =
    [include_bytes!("clips/square-ember.mp4"), include_bytes!("clips/square-dawn.mp4")];
const PICTURE: &[u8] = include_bytes!("clips/picture.jpg");
const CHORD: &[u8] = include_bytes!("clips/chord.mp3");

/// Largest chunk that [`Clip::chunk`] returns, in bytes.
const CHUNK: u64 = 64 * 1024;

/// A file: its first bytes, then zeros up to its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clip {
    head: Bytes,
    len: u64,
}

pub fn extension_and_type(kind: &MediaKind) -> (&'static str, &'static str) {
    match kind {
        MediaKind::Video => ("mp4", "video/mp4"),
        MediaKind::Image => ("jpg", "image/jpeg"),
        MediaKind::Audio => ("mp3", "audio/mpeg"),
    }
}

impl Clip {
    /// The file of an output: `aspect` as in the request (`9:16`), `choice` selects one of two clips. A video shorter
    /// than `size` bytes is padded to that size, and stays playable.
    pub fn choose(kind: &MediaKind, aspect: &str, choice: u64, size: Option<u64>) -> Self {
        let clips = match kind {
            MediaKind::Image => return Self::from_bytes(Bytes::from_static(PICTURE)),
            MediaKind::Audio => return Self::from_bytes(Bytes::from_static(CHORD)),
            MediaKind::Video => match aspect {
                "9:16" | "3:4" => TALL,
                "1:1" => SQUARE,
                _ => WIDE,
            },
        };
        let clip = if choice.is_multiple_of(2) { clips[0] } else { clips[1] };
        Self::padded(clip, size)
    }

    /// A file of these bytes.
    pub fn from_bytes(head: Bytes) -> Self {
        Self { len: head.len() as u64, head }
    }

    fn padded(clip: &'static [u8], size: Option<u64>) -> Self {
        let len = size.unwrap_or(0).max(clip.len() as u64);
        // A box is never shorter than its header of 16 bytes.
        let padding = len - clip.len() as u64;
        if padding < 16 {
            return Self::from_bytes(Bytes::from_static(clip));
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

    /// The beginning of `range`, at most 64 KiB; empty if `range` is.
    pub fn chunk(&self, range: &Range<u64>) -> Bytes {
        let end = range.end.min(self.len).min(range.start.saturating_add(CHUNK));
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
            let chunk = self.chunk(&(all.len() as u64..self.len));
            if chunk.is_empty() {
                return all;
            }
            all.extend_from_slice(&chunk);
        }
    }

    /// An entity tag, without quotes.
    pub fn tag(&self) -> String {
        let sha256 = sha256_hex(&self.head);
        format!("{}-{:x}", &sha256[..16], self.len)
    }

    /// The clip without an index: its `moov` box is named `free`.
    pub fn without_moov(&self) -> Self {
        let mut head = self.head.to_vec();
        if let Some(at) = head.windows(4).position(|name| name == b"moov") {
            head[at..at + 4].copy_from_slice(b"free");
        }
        Self { head: head.into(), len: self.len }
    }

    /// The clip with first bytes of no known kind.
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

    /// The clip inside a gzip member (RFC 1952) of stored blocks (RFC 1951, section 3.2.4).
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
        Self::from_bytes(packed.into())
    }
}

static ZEROS: [u8; CHUNK as usize] = [0; CHUNK as usize];

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

    /// The names of the top-level boxes; `None` if they do not fill the file exactly.
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
    fn every_video_clip_begins_with_its_index() {
        for aspect in ["16:9", "9:16", "1:1"] {
            let both: Vec<_> =
                (0..2).map(|n| Clip::choose(&MediaKind::Video, aspect, n, None).bytes()).collect();
            assert_ne!(both[0], both[1]);
            for clip in both {
                assert_eq!(boxes(&clip).expect("tiled")[..2], ["ftyp", "moov"]);
            }
        }
        assert!(PICTURE.starts_with(&[0xff, 0xd8, 0xff]) && PICTURE.ends_with(&[0xff, 0xd9]));
        assert_eq!((CHORD[0], CHORD[1] & 0xe0), (0xff, 0xe0), "an MPEG audio frame");
    }

    #[test]
    fn large_clip_is_padded_with_a_free_box() {
        let clip = Clip::choose(&MediaKind::Video, "16:9", 0, Some(1 << 20));
        let bytes = clip.bytes();
        assert_eq!((bytes.len(), clip.len()), (1 << 20, 1 << 20));
        assert_eq!(boxes(&bytes).expect("tiled").last().map(String::as_str), Some("free"));
        let small = Clip::choose(&MediaKind::Video, "16:9", 0, Some(5));
        assert_eq!(small.bytes(), WIDE[0]);
        assert_eq!(clip.chunk(&(clip.len() - 3..clip.len())).len(), 3);
    }

    #[test]
    fn corrupt_clips_are_corrupt_as_named() {
        let clip = Clip::choose(&MediaKind::Video, "1:1", 0, None);
        assert!(!boxes(&clip.without_moov().bytes()).expect("tiled").contains(&"moov".to_owned()));
        assert_ne!(&clip.without_magic().bytes()[4..8], b"ftyp");
        assert_eq!(boxes(&clip.half().bytes()), None);
        assert_eq!(clip.half().len(), clip.len() / 2);
        let packed = clip.gzipped().bytes();
        assert_eq!(packed[10], 1, "a single, last block");
        assert_eq!(&packed[15..packed.len() - 8], clip.bytes());
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
