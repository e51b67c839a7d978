//! The boxes of an ISO base media file (ISO/IEC 14496-12): do they prove that it is whole?

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

/// More boxes than any real file has beside each other.
const MOST_BOXES: usize = 10_000;
/// More tracks than any film has.
const MOST_TRACKS: usize = 64;

/// A box.
struct Found {
    kind: [u8; 4],
    /// Where its content lies.
    inner: Range<u64>,
    /// It says that it runs to the end, whatever that is.
    open_ended: bool,
}

/// Whether the boxes prove that the file is whole: they fill it exactly, the index (`moov`) is among them, and so is
/// the end of the data that it speaks of. In a film of fragments (`mvex`) only the list of fragments (`mfra`), written
/// last, shows that none is missing. What proves nothing may be whole all the same, if its length is right.
///
/// # Errors
/// `Ok(Err(_))` when it is damaged or cut; `Err` when it cannot be read.
pub(crate) fn prove_whole(
    file: &mut (impl Read + Seek),
    length: u64,
) -> io::Result<Result<bool, &'static str>> {
    let boxes = match boxes(file, 0..length)? {
        Ok(boxes) => boxes,
        Err(damage) => return Ok(Err(damage)),
    };
    let Some(index) = boxes.iter().find(|found| &found.kind == b"moov") else {
        return Ok(Err("its index (`moov`) is missing"));
    };
    let Some(data) = boxes.iter().rfind(|found| &found.kind == b"mdat") else {
        return Ok(Err("its data (`mdat`) is missing"));
    };
    let count = |kind: &[u8; 4]| boxes.iter().filter(|found| &found.kind == kind).count();
    if boxes.iter().any(|found| found.open_ended) || count(b"moov") > 1 {
        return Ok(Ok(false));
    }
    let Ok(inside) = self::boxes(file, index.inner.clone())? else {
        return Ok(Ok(false));
    };
    if inside.iter().any(|found| &found.kind == b"mvex") {
        let listed = boxes.last().is_some_and(|last| &last.kind == b"mfra") && count(b"mfra") == 1;
        return Ok(Ok(listed));
    }
    let last_chunk = last_chunk(file, &inside)?;
    Ok(Ok(count(b"moof") == 0 && last_chunk.is_some_and(|at| data.inner.contains(&at))))
}

/// The boxes that fill `within`, if they do, in their order.
fn boxes(file: &mut (impl Read + Seek), within: Range<u64>) -> io::Result<Result<Vec<Found>, &'static str>> {
    let (mut found, mut at) = (Vec::new(), within.start);
    while at < within.end {
        if found.len() == MOST_BOXES {
            return Ok(Err("it has too many boxes"));
        }
        let left = within.end - at;
        if left < 8 {
            return Ok(Err("it breaks off inside a box"));
        }
        file.seek(SeekFrom::Start(at))?;
        let (short, kind) = (u32::from_be_bytes(take(file)?), take(file)?);
        let (header, size) = match short {
            0 => (8, left),
            1 if left < 16 => return Ok(Err("it breaks off inside a box")),
            1 => (16, u64::from_be_bytes(take(file)?)),
            size => (8, u64::from(size)),
        };
        if size < header {
            return Ok(Err("a box has an impossible length"));
        }
        let Some(end) = at.checked_add(size).filter(|end| *end <= within.end) else {
            return Ok(Err("it breaks off inside a box"));
        };
        found.push(Found { kind, inner: at + header..end, open_ended: short == 0 });
        at = end;
    }
    Ok(Ok(found))
}

/// Where the chunk of data begins that lies furthest behind, by the tables of all tracks (8.7.5); `None` if the index
/// is not built as the standard says.
fn last_chunk(file: &mut (impl Read + Seek), index: &[Found]) -> io::Result<Option<u64>> {
    let tracks: Vec<_> = index.iter().filter(|found| &found.kind == b"trak").collect();
    if tracks.len() > MOST_TRACKS {
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
            match last_of_table(file, table)? {
                Ok(at) => last = last.max(at),
                Err(Misbuilt) => return Ok(None),
            }
        }
    }
    Ok(last)
}

struct Misbuilt;

fn last_of_table(file: &mut (impl Read + Seek), table: &Found) -> io::Result<Result<Option<u64>, Misbuilt>> {
    let width = if &table.kind == b"co64" { 8 } else { 4 };
    let length = table.inner.end - table.inner.start;
    if length < 8 {
        return Ok(Err(Misbuilt));
    }
    file.seek(SeekFrom::Start(table.inner.start + 4))?;
    let count = u64::from(u32::from_be_bytes(take(file)?));
    if count * width != length - 8 {
        return Ok(Err(Misbuilt));
    }
    let mut entries = io::BufReader::new(file.take(count * width));
    let mut last = None;
    for _ in 0..count {
        let at = match width {
            8 => u64::from_be_bytes(take(&mut entries)?),
            _ => u64::from(u32::from_be_bytes(take(&mut entries)?)),
        };
        last = last.max(Some(at));
    }
    Ok(Ok(last))
}

fn take<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
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

    /// An index of one track, whose chunks lie at these places.
    pub(crate) fn moov(chunks: &[u32]) -> Vec<u8> {
        let mut table = vec![0; 4];
        table.extend(u32::try_from(chunks.len()).unwrap().to_be_bytes());
        table.extend(chunks.iter().flat_map(|at| at.to_be_bytes()));
        let inner = boxed(b"stbl", &boxed(b"stco", &table));
        boxed(b"moov", &boxed(b"trak", &boxed(b"mdia", &boxed(b"minf", &inner))))
    }

    fn proved(file: &[u8]) -> Result<bool, &'static str> {
        prove_whole(&mut Cursor::new(file), file.len() as u64).unwrap()
    }

    #[test]
    fn no_part_of_a_film_in_two_pieces_of_data_is_taken_for_the_whole() {
        let head = [ftyp(), moov(&[0, 0])].concat();
        let first = u32::try_from(head.len() + 8).unwrap();
        let second = first + 40 + 8;
        let film =
            [ftyp(), moov(&[second, first]), boxed(b"mdat", &[1; 40]), boxed(b"mdat", &[2; 40])].concat();
        assert_eq!(proved(&film), Ok(true));
        for cut in 0..film.len() {
            assert_ne!(proved(&film[..cut]), Ok(true), "cut at {cut}");
        }
        assert_eq!(proved(&[film, boxed(b"free", b"")].concat()), Ok(true));
    }

    #[test]
    fn fragments_are_whole_only_with_the_list_that_is_written_last() {
        let parts = [
            ftyp(),
            boxed(b"moov", &boxed(b"mvex", b"")),
            boxed(b"moof", &[1; 20]),
            boxed(b"mdat", &[2; 20]),
            boxed(b"moof", &[3; 20]),
            boxed(b"mdat", &[4; 20]),
            boxed(b"mfra", &[0; 16]),
        ];
        assert_eq!(proved(&parts.concat()), Ok(true));
        for count in 0..parts.len() {
            assert_ne!(proved(&parts[..count].concat()), Ok(true), "the first {count} parts");
        }
        assert_eq!(proved(&parts[..3].concat()), Err("its data (`mdat`) is missing"));
        assert_eq!(proved(&parts[..4].concat()), Ok(false));
    }

    #[test]
    fn an_index_that_makes_no_sense_proves_nothing() {
        let mdat = boxed(b"mdat", &[1; 40]);
        let bare = boxed(b"moov", &[7; 60]);
        let wrong_count = {
            let mut index = moov(&[100]);
            let at = index.len() - 5;
            index[at] = 9;
            index
        };
        for index in [bare, wrong_count, moov(&[]), moov(&[1 << 30]), boxed(b"moov", b"")] {
            assert_eq!(proved(&[ftyp(), index, mdat.clone()].concat()), Ok(false));
        }
    }
}
