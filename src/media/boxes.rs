//! Checks by its boxes whether an ISO base media file (ISO/IEC 14496-12) is complete.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

/// Most boxes at one level; real files have far fewer.
const MAX_BOXES: usize = 10_000;
/// Most tracks; real files have far fewer.
const MAX_TRACKS: usize = 64;
const ENDS_INSIDE: &str = "the file ends inside a box";

struct FoundBox {
    kind: [u8; 4],
    /// The content's place in the file.
    inner: Range<u64>,
    /// Its length is given as "to the end of the file".
    open_ended: bool,
}

/// The kinds of box that a file may end in the middle of; any other rest is something else that follows the file.
const TOP_LEVEL: [&[u8; 4]; 18] = [
    b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"mfra", b"free", b"skip", b"wide", b"uuid", b"sidx",
    b"ssix", b"emsg", b"prft", b"meta", b"udta", b"pdin", b"imda",
];

/// What follows the last whole box.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    Nothing,
    /// The beginning of a box.
    CutBox(&'static str),
    /// No box, or too short to tell.
    Unknown,
}

/// Whether the boxes prove that the file is complete: the index (`moov`) and the last data that it refers to are there,
/// and no box is cut. Something else may follow. In a fragmented file (`mvex`) only the list of fragments (`mfra`),
/// which is written last, shows that none is missing. A file without this proof may still be complete, if its length
/// is right.
///
/// # Errors
/// `Ok(Err(_))` when the file is damaged or cut; `Err` when it cannot be read.
pub(crate) fn is_provably_complete(
    file: &mut (impl Read + Seek),
    length: u64,
) -> io::Result<Result<bool, &'static str>> {
    let (boxes, rest) = match boxes_and_rest(file, 0..length)? {
        Ok(found) => found,
        Err(damage) => return Ok(Err(damage)),
    };
    if let Rest::CutBox(damage) = rest {
        return Ok(Err(damage));
    }
    let Some(index) = boxes.iter().find(|found| &found.kind == b"moov") else {
        return Ok(Err("the index (`moov`) is missing"));
    };
    let Some(data) = boxes.iter().rfind(|found| &found.kind == b"mdat") else {
        return Ok(Err("the data (`mdat`) is missing"));
    };
    let count = |kind: &[u8; 4]| boxes.iter().filter(|found| &found.kind == kind).count();
    if boxes.iter().any(|found| found.open_ended) || count(b"moov") > 1 {
        return Ok(Ok(false));
    }
    let Ok(inside) = self::boxes(file, index.inner.clone())? else {
        return Ok(Ok(false));
    };
    if inside.iter().any(|found| &found.kind == b"mvex") || count(b"moof") > 0 {
        let listed = boxes.last().is_some_and(|last| &last.kind == b"mfra") && count(b"mfra") == 1;
        return Ok(match rest {
            // It may be the beginning of the next fragment.
            Rest::Unknown if !listed => Err(ENDS_INSIDE),
            _ => Ok(listed),
        });
    }
    let last_chunk = last_chunk(file, &inside)?;
    Ok(Ok(last_chunk.is_some_and(|at| data.inner.contains(&at))))
}

/// The boxes that fill `within`, in order.
fn boxes(
    file: &mut (impl Read + Seek),
    within: Range<u64>,
) -> io::Result<Result<Vec<FoundBox>, &'static str>> {
    Ok(match boxes_and_rest(file, within)? {
        Ok((found, Rest::Nothing)) => Ok(found),
        Ok((_, Rest::CutBox(_) | Rest::Unknown)) => Err(ENDS_INSIDE),
        Err(damage) => Err(damage),
    })
}

/// The whole boxes of `within`, in order, and what follows them.
fn boxes_and_rest(
    file: &mut (impl Read + Seek),
    within: Range<u64>,
) -> io::Result<Result<(Vec<FoundBox>, Rest), &'static str>> {
    let (mut found, mut at) = (Vec::new(), within.start);
    while at < within.end {
        if found.len() == MAX_BOXES {
            return Ok(Err("there are too many boxes"));
        }
        let left = within.end - at;
        if left < 8 {
            return Ok(Ok((found, Rest::Unknown)));
        }
        file.seek(SeekFrom::Start(at))?;
        let (short, kind) = (u32::from_be_bytes(read_bytes(file)?), read_bytes(file)?);
        let known = TOP_LEVEL.contains(&&kind);
        let (header, size) = match short {
            0 if !known && !found.is_empty() => return Ok(Ok((found, Rest::Unknown))),
            0 => (8, left),
            1 if left < 16 => (16, u64::MAX),
            1 => (16, u64::from_be_bytes(read_bytes(file)?)),
            size => (8, u64::from(size)),
        };
        let end = at.checked_add(size).filter(|end| size >= header && *end <= within.end);
        let Some(end) = end else {
            let rest = match (known, size < header) {
                (false, _) => Rest::Unknown,
                (true, true) => Rest::CutBox("a box has an impossible length"),
                (true, false) => Rest::CutBox(ENDS_INSIDE),
            };
            return Ok(Ok((found, rest)));
        };
        found.push(FoundBox { kind, inner: at + header..end, open_ended: short == 0 });
        at = end;
    }
    Ok(Ok((found, Rest::Nothing)))
}

/// The offset of the last chunk of data by the tables of all tracks (section 8.7.5); `None` if the index is malformed.
fn last_chunk(file: &mut (impl Read + Seek), index: &[FoundBox]) -> io::Result<Option<u64>> {
    let tracks: Vec<_> = index.iter().filter(|found| &found.kind == b"trak").collect();
    if tracks.len() > MAX_TRACKS {
        return Ok(None);
    }
    let mut last = None;
    for track in tracks {
        let mut inner = track.inner.clone();
        for kind in [b"mdia", b"minf", b"stbl"] {
            match boxes(file, inner)?.ok().and_then(|inside| inside.into_iter().find(|b| &b.kind == kind)) {
                Some(found) => inner = found.inner,
                None => return Ok(None),
            }
        }
        let Ok(tables) = boxes(file, inner)? else { return Ok(None) };
        for table in tables.iter().filter(|table| matches!(&table.kind, b"stco" | b"co64")) {
            match last_chunk_of_table(file, table)? {
                Ok(at) => last = last.max(at),
                Err(MalformedTable) => return Ok(None),
            }
        }
    }
    Ok(last)
}

struct MalformedTable;

fn last_chunk_of_table(
    file: &mut (impl Read + Seek),
    table: &FoundBox,
) -> io::Result<Result<Option<u64>, MalformedTable>> {
    let width = if &table.kind == b"co64" { 8 } else { 4 };
    let length = table.inner.end - table.inner.start;
    if length < 8 {
        return Ok(Err(MalformedTable));
    }
    file.seek(SeekFrom::Start(table.inner.start + 4))?;
    let count = u64::from(u32::from_be_bytes(read_bytes(file)?));
    if count * width != length - 8 {
        return Ok(Err(MalformedTable));
    }
    let mut entries = io::BufReader::new(file.take(count * width));
    let mut last = None;
    for _ in 0..count {
        let at = match width {
            8 => u64::from_be_bytes(read_bytes(&mut entries)?),
            _ => u64::from(u32::from_be_bytes(read_bytes(&mut entries)?)),
        };
        last = last.max(Some(at));
    }
    Ok(Ok(last))
}

fn read_bytes<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Cursor;

    use super::*;

    pub(crate) fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(content.len() + 8).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(kind);
        bytes.extend_from_slice(content);
        bytes
    }

    pub(crate) fn ftyp() -> Vec<u8> {
        boxed(b"ftyp", b"isom\0\0\x02\0isomiso2mp41")
    }

    /// An index of one track with chunks at these offsets.
    pub(crate) fn moov(chunks: &[u32]) -> Vec<u8> {
        let mut table = vec![0; 4];
        table.extend(u32::try_from(chunks.len()).unwrap().to_be_bytes());
        table.extend(chunks.iter().flat_map(|at| at.to_be_bytes()));
        let inner = boxed(b"stbl", &boxed(b"stco", &table));
        boxed(b"moov", &boxed(b"trak", &boxed(b"mdia", &boxed(b"minf", &inner))))
    }

    fn check(file: &[u8]) -> Result<bool, &'static str> {
        is_provably_complete(&mut Cursor::new(file), file.len() as u64).unwrap()
    }

    #[test]
    fn cut_clip_with_two_data_boxes_is_never_complete() {
        let head = [ftyp(), moov(&[0, 0])].concat();
        let first = u32::try_from(head.len() + 8).unwrap();
        let second = first + 40 + 8;
        let clip =
            [ftyp(), moov(&[second, first]), boxed(b"mdat", &[1; 40]), boxed(b"mdat", &[2; 40])].concat();
        assert_eq!(check(&clip), Ok(true));
        for cut in 0..clip.len() {
            assert_ne!(check(&clip[..cut]), Ok(true), "cut at {cut}");
        }
        assert_eq!(check(&[clip, boxed(b"free", b"")].concat()), Ok(true));
    }

    #[test]
    fn whole_clip_may_be_followed_by_something_else() {
        let head = [ftyp(), moov(&[0])].concat();
        let data = u32::try_from(head.len() + 8).unwrap();
        let clip = [ftyp(), moov(&[data]), boxed(b"mdat", &[1; 40])].concat();
        for rest in [&b"\0\0\0"[..], &[0; 200], b"<!-- served by cache 7 -->", &[b'x'; 200]] {
            assert_eq!(check(&[&clip[..], rest].concat()), Ok(true), "{rest:?}");
        }
        let cut_box = &boxed(b"mdat", &[1; 40])[..20];
        assert_eq!(check(&[&clip[..], cut_box].concat()), Err(ENDS_INSIDE));
        let fragments =
            [ftyp(), boxed(b"moov", &boxed(b"mvex", b"")), boxed(b"moof", b""), boxed(b"mdat", b"")];
        assert_eq!(check(&[&fragments.concat()[..], b"\0\0\0"].concat()), Err(ENDS_INSIDE));
    }

    #[test]
    fn fragmented_clip_is_complete_only_with_its_last_list() {
        let parts = [
            ftyp(),
            boxed(b"moov", &boxed(b"mvex", b"")),
            boxed(b"moof", &[1; 20]),
            boxed(b"mdat", &[2; 20]),
            boxed(b"moof", &[3; 20]),
            boxed(b"mdat", &[4; 20]),
            boxed(b"mfra", &[0; 16]),
        ];
        assert_eq!(check(&parts.concat()), Ok(true));
        for count in 0..parts.len() {
            assert_ne!(check(&parts[..count].concat()), Ok(true), "the first {count} parts");
        }
        assert_eq!(check(&parts[..3].concat()), Err("the data (`mdat`) is missing"));
        assert_eq!(check(&parts[..4].concat()), Ok(false));
    }

    #[test]
    fn malformed_index_proves_nothing() {
        let mdat = boxed(b"mdat", &[1; 40]);
        let bare = boxed(b"moov", &[7; 60]);
        let wrong_count = {
            let mut index = moov(&[100]);
            let at = index.len() - 5;
            index[at] = 9;
            index
        };
        for index in [bare, wrong_count, moov(&[]), moov(&[1 << 30]), boxed(b"moov", b"")] {
            assert_eq!(check(&[ftyp(), index, mdat.clone()].concat()), Ok(false));
        }
    }
}
