//! Line files of any bytes. Read in chunks of any size, at once, or line by line, they give the same jobs and problems, and
//! each line gives the same as a document of that line.
//!
//! The first two bytes choose the size of the chunks and the limits.
#![no_main]

use std::io::{BufReader, Cursor};

use dropreel::jobfile::{
    Draft, JobFileLimits, LineError, MAX_PROBLEMS, ObjectPlace, Problem, Refusal, read_document, read_lines,
};
use dropreel::rng::Rng;
use libfuzzer_sys::fuzz_target;

type Item = Result<Draft, Refusal>;

fuzz_target!(|bytes: &[u8]| {
    let [size, narrow, bytes @ ..] = bytes else { return };
    let limits = match narrow % 4 {
        0 => JobFileLimits { max_bytes: 96, max_stream_bytes: 256, ..JobFileLimits::default() },
        1 => JobFileLimits {
            max_bytes: u64::from(*narrow),
            max_stream_bytes: 1 << 20,
            ..JobFileLimits::default()
        },
        _ => JobFileLimits::default(),
    };
    let whole: Vec<Item> = read_lines(bytes, "a-file", &limits, &Rng::seeded(1)).map(readable).collect();
    let chunks = BufReader::with_capacity(usize::from(*size) + 1, Cursor::new(bytes));
    let in_chunks: Vec<Item> = read_lines(chunks, "a-file", &limits, &Rng::seeded(1)).map(readable).collect();
    assert!(whole == in_chunks, "{whole:?}\nin chunks of {}: {in_chunks:?}", u32::from(*size) + 1);
    check_places(bytes, &whole);
    if limits == JobFileLimits::default() {
        check_lines(bytes, &whole, &limits);
    }
});

fn readable(item: Result<Draft, LineError>) -> Item {
    item.map_err(|error| match error {
        LineError::Refused(refusal) => refusal,
        LineError::Unreadable(error) => panic!("memory can be read: {error}"),
    })
}

fn check_places(bytes: &[u8], items: &[Item]) {
    let lines = bytes.split(|byte| *byte == b'\n').count() as u64;
    let problems: Vec<_> =
        items.iter().filter_map(|item| item.as_ref().err()).flat_map(|r| &r.problems).collect();
    assert!(!items.is_empty() || !problems.is_empty(), "an empty file is refused");
    assert!(problems.len() <= MAX_PROBLEMS + 1);
    assert!(problems.iter().all(|problem| (1..=lines).contains(&problem.line)));
    assert!(problems.is_sorted_by_key(|problem| problem.line));
    assert!(items.iter().all(|item| item.as_ref().err().is_none_or(|refusal| !refusal.problems.is_empty())));
}

/// Each line alone, at its own place in the file.
fn check_lines(bytes: &[u8], whole: &[Item], limits: &JobFileLimits) {
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let problems: usize = whole.iter().filter_map(|item| item.as_ref().err()).map(|r| r.problems.len()).sum();
    // A byte-order mark of UTF-16 or UTF-32 ends the reading.
    let wide = matches!(bytes, [one, other, ..] if (*one == 0) != (*other == 0) || one.min(other) >= &0xFE);
    if lines.len() > 40 || problems >= MAX_PROBLEMS || wide {
        return;
    }
    let mut expected = whole.iter();
    let mut any = false;
    for (index, line) in lines.iter().enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        any = true;
        let placed = [&vec![b'\n'; index], *line].concat();
        let alone: Vec<Item> =
            read_lines(&placed[..], "a-file", limits, &Rng::seeded(1)).map(readable).collect();
        assert!(!alone.is_empty(), "one line gives jobs or one refusal");
        let drafts: Vec<Draft> = alone.iter().filter_map(|item| item.as_ref().ok().map(unplaced)).collect();
        if !drafts.is_empty() {
            let document = read_document(line, "a-file", limits, &Rng::seeded(1));
            assert!(document.is_ok_and(|read| read.iter().map(unplaced).eq(drafts)));
        }
        for alone in &alone {
            match (alone, expected.next().expect("as many items as the lines alone give")) {
                (Ok(alone), Ok(among)) => {
                    assert!(unnamed(alone) == unnamed(among), "{alone:?} {among:?}");
                }
                (alone, among) => assert!(alone == among, "{alone:?} {among:?}"),
            }
        }
    }
    assert!(!any || expected.next().is_none());
}

/// Without what depends on the lines before it: the name, and seeds that were drawn.
fn unnamed(draft: &Draft) -> Draft {
    Draft { name: String::new(), body: String::new(), ..draft.clone() }
}

/// Without its line in the file.
fn unplaced(draft: &Draft) -> Draft {
    let warnings = draft.warnings.iter().map(|warning| Problem { line: 1, ..warning.clone() }).collect();
    Draft { place: ObjectPlace::default(), warnings, ..draft.clone() }
}
