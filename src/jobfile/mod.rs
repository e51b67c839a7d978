//! Job files: the bytes of a dropped file become drafts of jobs, or every problem of it
//! (docs/reference.md#job-files).
//!
//! Pure: nothing here opens a file or looks at a clock. The user's own text of an object is passed on byte for byte,
//! only our `dropreel` member is cut out of it.

mod body;
mod check;
mod cursor;
mod dropreel_member;
mod field;
mod findings;
mod json;
mod lines;
mod links;
mod models;
mod names;
mod read;
mod schema;
mod strings;
mod syntax_hints;

use std::collections::BTreeMap;
use std::{fmt, io};

use serde::Serialize;

use crate::clock::Timestamp;

pub use body::with_callback;
pub use lines::{Lines, read_lines};
pub use names::{conflict_copy, is_job_file_name, leave_alone, stem};
pub use read::read_document;
pub use schema::schema;

/// The most problems that one file is told; a last one then says how many more there are.
pub const MAX_PROBLEMS: usize = 1000;

/// How deeply arrays and objects may be nested in a file, its outermost one counted.
pub const MAX_DEPTH: usize = 128;

/// A job that was read but not yet accepted: what one object of a job file asks for
/// (docs/reference.md#job-files).
#[derive(Clone, PartialEq)]
pub struct Draft {
    /// What the user calls it: at most 200 characters, none of them a control character. Not yet safe as a file name.
    pub name: String,
    /// -100 to 100, higher goes first.
    pub priority: i8,
    /// The user's own marks: at most 50, keys of 1 to 64 characters.
    pub labels: BTreeMap<String, String>,
    /// A job with a key already seen is never run again.
    pub key: Option<String>,
    /// Run it although the same file was dropped a moment ago.
    pub again: bool,
    /// Not to be submitted before this moment.
    pub not_before: Option<Timestamp>,
    /// The model's name as the provider knows it.
    pub model: String,
    /// The prompt, decoded, for lists and people.
    pub prompt: Option<String>,
    /// The request body: the user's own text of the object without our `dropreel` member, still one JSON object.
    /// It may be nested [`MAX_DEPTH`] deep, one level more than `serde_json` reads into a `Value` by default.
    pub body: String,
}

impl fmt::Debug for Draft {
    /// Without prompt and body: media addresses in there carry secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draft")
            .field("name", &self.name)
            .field("model", &self.model)
            .field("priority", &self.priority)
            .field("key", &self.key)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// One thing wrong with a job file, in the shape in which `NAME.reason.json` tells it
/// (docs/reference.md#folders).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where in the document (RFC 6901); in a line file, where in the line's object. An input that is missing is
    /// pointed at where it should be. Pointers of more than 1,000 bytes stop at an outer level.
    pub pointer: String,
    /// What is wrong and what to do, for people. Never shows an address or a prompt.
    pub message: String,
    /// Line in the file, from 1.
    pub line: u64,
    /// Column in that line, in characters, from 1.
    pub column: u64,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

/// What kind of refusal it is: whether time may yet mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nothing in it yet: many writers make the file first and fill it later.
    Empty,
    /// It does not parse, or is too long to be tried: somebody may still be writing it.
    Unparsable,
    /// It parses and is wrong: waiting will not mend it.
    Wrong,
}

/// A job file, or a line of one, that cannot be accepted, with every problem found in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Whether waiting may mend it.
    pub cause: Cause,
    /// At least one, in the order of the file.
    pub problems: Vec<Problem>,
}

impl Refusal {
    /// Whether the file may still be being written: to be judged only once it has been still for a while.
    pub fn unfinished(&self) -> bool {
        match self.cause {
            Cause::Empty | Cause::Unparsable => true,
            Cause::Wrong => false,
        }
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.split_first() {
            None => f.write_str("refused"),
            Some((first, [])) => first.fmt(f),
            Some((first, rest)) => write!(f, "{first} (and {} more)", rest.len()),
        }
    }
}

/// Why a line of a line file gave no draft.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The line is wrong; the lines after it are still read.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The file could not be read on: a fault of the machine, none of the file. Nothing follows.
    #[error("the job file could not be read to its end")]
    Unreadable(#[from] io::Error),
}

/// How long a job file may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a document, and of one line of a line file (`inbox.max_bytes`).
    pub max_bytes: u64,
    /// Bytes of a whole line file.
    pub max_stream_bytes: u64,
}

impl Default for Limits {
    /// 1 MiB and 256 MiB (docs/reference.md#job-files).
    fn default() -> Self {
        Self { max_bytes: 1 << 20, max_stream_bytes: 256 << 20 }
    }
}

/// The two forms of a job file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One object, or an array of them: `.json`.
    Document,
    /// One object per line: `.jsonl`, `.ndjson`.
    Lines,
}
