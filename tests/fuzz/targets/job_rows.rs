//! Tables and lists of prompts of any bytes. Read in chunks of any size, they give the same jobs and problems; each problem is
//! on a line of the file, and each job is also one as JSON.
//!
//! The first two bytes choose the form, the size of the chunks and the limits.
#![no_main]

use std::io::{BufReader, Cursor};

use dropreel::jobfile::{
    Draft, Form, JobFileLimits, JobFileReader, LineError, MAX_PROBLEMS, Refusal, read_document,
};
use dropreel::rng::Rng;
use libfuzzer_sys::fuzz_target;

type Item = Result<Draft, Refusal>;

fuzz_target!(|bytes: &[u8]| {
    let [form, size, bytes @ ..] = bytes else { return };
    let limits = match form % 3 {
        0 => JobFileLimits { max_bytes: 64, max_stream_bytes: 512, max_jobs: 5, ..JobFileLimits::default() },
        _ => JobFileLimits::default(),
    };
    let form = if form & 4 == 0 { Form::Csv } else { Form::Prompts };
    let reader = JobFileReader::new(limits, Rng::seeded(1));
    let whole: Vec<Item> = reader.read_lines(form, bytes, "a-file").map(readable).collect();
    let chunks = BufReader::with_capacity(usize::from(*size) + 1, Cursor::new(bytes));
    let in_chunks: Vec<Item> = reader.read_lines(form, chunks, "a-file").map(readable).collect();
    assert!(whole == in_chunks, "{whole:?}\nin chunks: {in_chunks:?}");
    let lines = bytes.split(|byte| *byte == b'\n').count() as u64;
    let problems: Vec<_> =
        whole.iter().filter_map(|item| item.as_ref().err()).flat_map(|r| &r.problems).collect();
    assert!(problems.len() <= MAX_PROBLEMS + 1);
    assert!(problems.iter().all(|problem| (1..=lines).contains(&problem.line)));
    assert!(problems.is_sorted_by_key(|problem| problem.line));
    for draft in whole.iter().flatten() {
        assert!((1..=lines).contains(&draft.place.line) && draft.place.pointer.is_empty());
        let document =
            read_document(draft.body.as_bytes(), "a-file", &JobFileLimits::default(), &Rng::seeded(1));
        assert!(
            document.is_ok_and(|drafts| drafts[0].body == draft.body && drafts[0].prompt == draft.prompt)
        );
    }
});

fn readable(item: Result<Draft, LineError>) -> Item {
    item.map_err(|error| match error {
        LineError::Refused(refusal) => refusal,
        LineError::Unreadable(error) => panic!("memory can be read: {error}"),
    })
}
