//! Downloads of any bytes. A file counts as complete only if its boxes prove it and its end is there, and the inspection
//! reads little and only within the file.
//!
//! An input is `v`, `i` or `a` for the kind expected, and the file; or `R` and a `Content-Range`.
#![no_main]

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use dropreel::job::output::OutputKind;
use dropreel::media::range::total_length;
use dropreel::media::inspect::{InvalidMedia, Verified, inspect};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (kind, file) = match bytes {
        [b'R', range @ ..] => return check_range(&String::from_utf8_lossy(range)),
        [b'i', file @ ..] => (OutputKind::Image, file),
        [b'a', file @ ..] => (OutputKind::Audio, file),
        [b'v', file @ ..] => (OutputKind::Video, file),
        _ => return,
    };
    let Ok(verified) = inspected(file, kind) else { return };
    assert!(
        !verified.extension.is_empty() && verified.extension.bytes().all(|byte| byte.is_ascii_alphanumeric())
    );
    let boxed = matches!(verified.extension, "mp4" | "m4v" | "mov" | "m4a" | "3gp");
    if !(boxed && verified.complete) {
        return;
    }
    let boxes = boxes(file).expect("the boxes of a complete file fill it");
    assert!(boxes.iter().any(|(name, _)| name == b"moov"));
    let step = (file.len() / 64).max(1);
    let ends = boxes.iter().flat_map(|(_, end)| [end.saturating_sub(1), *end, end + 1, end + 8]);
    for cut in (0..file.len()).step_by(step).chain(ends).filter(|cut| *cut < file.len()) {
        let whole = inspected(&file[..cut], kind).is_ok_and(|verified| verified.complete);
        // Other boxes than index and data may be missing: players skip them.
        let lost = |(name, end): &([u8; 4], usize)| *end > cut && matches!(name, b"moov" | b"moof" | b"mdat");
        assert!(!whole || !boxes.iter().any(lost), "cut at {cut} of {}: {boxes:?}", file.len());
    }
});

fn inspected(file: &[u8], kind: OutputKind) -> Result<Verified, InvalidMedia> {
    let mut watched = Watched { file: Cursor::new(file), read: 0 };
    let verified = inspect(&mut watched, kind).expect("memory can be read");
    // The inspection reads the head, the tail, and the headers of each level of boxes.
    assert!(watched.read <= 8192 + 64 + 2 * file.len(), "{} bytes read", watched.read);
    verified
}

/// The top-level boxes with their ends, if they fill the file and none has an open end.
fn boxes(file: &[u8]) -> Option<Vec<([u8; 4], usize)>> {
    let (mut boxes, mut at) = (Vec::new(), 0_usize);
    while at < file.len() {
        let size = u32::from_be_bytes(file.get(at..at + 4)?.try_into().ok()?);
        let name = file.get(at + 4..at + 8)?.try_into().ok()?;
        let size = match size {
            0 => return None,
            1 => usize::try_from(u64::from_be_bytes(file.get(at + 8..at + 16)?.try_into().ok()?)).ok()?,
            size => usize::try_from(size).ok()?,
        };
        at = at.checked_add(size).filter(|end| size >= 8 && *end <= file.len())?;
        boxes.push((name, at));
    }
    Some(boxes)
}

fn check_range(text: &str) {
    let (offset, range) = text.split_once('\n').unwrap_or(("0", text));
    let offset = offset.parse::<u64>().unwrap_or(0);
    let Some(whole) = total_length(range, offset) else { return };
    assert!(whole > offset);
    let spelled = range.trim().trim_start_matches("bytes ");
    let numbers: Vec<&str> = spelled.split(['-', '/']).collect();
    assert!(numbers.iter().all(|number| number.bytes().all(|byte| byte.is_ascii_digit())), "{range:?}");
    let numbers: Vec<u64> = numbers.iter().map(|number| number.parse().expect("a number")).collect();
    assert_eq!(numbers, [offset, whole - 1, whole]);
}

/// A file that counts the bytes read and forbids seeking beyond its end.
struct Watched<'a> {
    file: Cursor<&'a [u8]>,
    read: usize,
}

impl Read for Watched<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        self.read += read;
        Ok(read)
    }
}

impl Seek for Watched<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = self.file.seek(to)?;
        assert!(at <= self.file.get_ref().len() as u64, "sought to {at}");
        Ok(at)
    }
}
