//! Job files: parses and checks the bytes of a dropped file (docs/reference.md#job-files). The result is a [`Draft`]
//! for each object, or every problem in the file.
//!
//! Pure: nothing here opens a file or reads a clock. The user's text of an object is kept byte for byte; only the
//! `dropreel` member is cut out of it.

mod body;
mod check;
mod copies;
mod csv_rows;
mod cursor;
mod defaults;
pub mod dropreel_member;
mod encoding;
mod expand;
mod field;
mod findings;
mod inputs;
mod inspection;
mod json;
mod lines;
mod links;
mod matrix;
mod names;
mod node;
pub mod pictures;
mod read;
mod reader;
mod records;
mod resembling;
pub mod rewrite;
mod schema;
mod strings;
mod syntax_hints;
mod warnings;

use std::collections::BTreeMap;
use std::{fmt, io};

use serde::Serialize;

use crate::clock::Timestamp;
use crate::job::UsedDefault;
use crate::money::Quota;

pub use body::with_callback;
pub use copies::{are_same_or_copy, base_name, nfc, refused_name};
pub use defaults::{Defaults, DefaultsFile, MAX_DEFAULTS_BYTES, bad_defaults};
pub use expand::numbered_name;
pub(crate) use findings::quoted;
pub use inputs::inputs_sha256;
pub use inspection::Inspection;
pub use lines::{Lines, read_lines};
pub use names::{DEFAULTS_NAME, is_defaults_name, is_job_file_name, is_unfinished, split_path, stem};
pub use pictures::{LocalPictures, NamedPicture};
pub use read::read_document;
pub use reader::JobFileReader;
pub use schema::schema;

/// How many problems of a file are listed; a last one then says how many more there are.
pub const MAX_PROBLEMS: usize = 1000;

/// How many warnings about a job are listed; a last one then says how many more there are.
pub const MAX_WARNINGS: usize = 20;
/// The longest name of a job, in characters.
pub const MAX_NAME_CHARS: usize = 200;
/// The longest id of a model, in characters.
pub const MAX_MODEL_CHARS: usize = 150;

/// The greatest `inbox.max_expansion`: every job is billed, and all of one object's are in memory at once.
pub const MAX_EXPANSION: u32 = 1_000;

/// How deeply arrays and objects may be nested, the outermost one included.
pub const MAX_DEPTH: usize = 128;

/// A job that an object of a job file stands for, checked but not yet committed.
#[derive(Clone, PartialEq)]
pub struct Draft {
    /// At most 200 characters, without control characters. Not yet safe as a file name.
    pub name: String,
    /// -100 to 100, higher goes first.
    pub priority: i8,
    /// Not submitted if the estimated cost is above this.
    pub max_cost: Option<Quota>,
    /// At most 50, with keys of 1 to 64 characters.
    pub labels: BTreeMap<String, String>,
    /// The user's own key: a job whose key was seen before is never run again.
    pub key: Option<String>,
    /// The key of its object, if the object stands for several jobs and this is the first of them: it is used up too.
    pub object_key: Option<String>,
    /// Run the job although the same file was dropped within 24 hours.
    pub again: bool,
    /// Not submitted before this time.
    pub not_before: Option<Timestamp>,
    /// The provider's id of the model.
    pub model: String,
    /// The decoded prompt, for lists and search.
    pub prompt: Option<String>,
    /// The request body: the user's text of the object without the `dropreel` member, still one JSON object. It may be
    /// nested [`MAX_DEPTH`] deep, one level more than `serde_json` reads into a `Value` by default.
    pub body: String,
    /// The local pictures that it names, each once.
    pub pictures: Vec<NamedPicture>,
    /// What the provider would refuse unbilled, ignore, cut or bill for nothing.
    pub warnings: Vec<Problem>,
    /// Which of the jobs of its object it is, in words for the history, if `repeat` or `matrix` made it.
    pub variation: Option<String>,
    /// What it has from defaults.
    pub defaults: Vec<UsedDefault>,
    /// Its object.
    pub place: ObjectPlace,
}

/// Where in its file an object is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectPlace {
    /// JSON pointer into the document, empty for its root and for an object on a line.
    pub pointer: String,
    /// Line in the file, from 1.
    pub line: u64,
}

impl Draft {
    /// The keys that the job uses up.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.key.iter().chain(&self.object_key).map(String::as_str)
    }
}

impl fmt::Debug for Draft {
    /// Leaves out prompt and body: media URLs in them may carry secrets.
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

/// One problem of a job file, or a warning about it, as `NAME.reason.json` lists it (docs/reference.md#folders).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// JSON pointer (RFC 6901) into the document or, in a line file, into the line's object. A missing input has the
    /// pointer where it should be. Pointers over 1,000 bytes are cut at an outer level.
    pub pointer: String,
    /// What is wrong and what to do. Never contains a URL or a prompt.
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

/// Why a job file is rejected, as far as it decides whether to wait for its writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No content yet: many writers create the file first and fill it later.
    Empty,
    /// Does not parse, or is too long to parse: a writer may still be at work.
    Unparsable,
    /// Parses, and breaks a rule: waiting does not help.
    Wrong,
}

/// A job file, or a line of one, that is rejected, with every problem found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Whether waiting may help.
    pub cause: Cause,
    /// At least one, in the order of the file.
    pub problems: Vec<Problem>,
    /// The warnings about it.
    pub warnings: Vec<Problem>,
}

impl Refusal {
    fn new(cause: Cause, problem: Problem) -> Self {
        Self { cause, problems: vec![problem], warnings: Vec::new() }
    }

    /// Whether a writer may still be at work: validate the file again once it has not changed for a while.
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
            None => f.write_str("rejected"),
            Some((first, [])) => first.fmt(f),
            Some((first, rest)) => write!(f, "{first} (and {} more)", rest.len()),
        }
    }
}

/// Why a line of a line file has no draft.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The line is rejected; the lines after it are still read.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Reading failed: a fault of this machine, not of the file. Nothing follows.
    #[error("the job file could not be read to its end")]
    Unreadable(#[from] io::Error),
}

/// What a job file is held to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFileLimits {
    /// Bytes of a document, and of one line of a line file (`inbox.max_bytes`).
    pub max_bytes: u64,
    /// Bytes of a whole line file.
    pub max_stream_bytes: u64,
    /// Jobs of a file (`inbox.max_jobs`).
    pub max_jobs: u64,
    /// Whether it goes to the newest of the provider's hosts, which takes parameters at the root and refuses `extra`.
    pub newest_host: bool,
    /// Jobs of one object with `repeat` and `matrix` (`inbox.max_expansion`).
    pub max_expansion: u32,
    /// Whether requests may name pictures by their paths.
    pub pictures: LocalPictures,
}

impl Default for JobFileLimits {
    /// 1 MiB, 256 MiB, 100,000 jobs, and 50 of one object (docs/reference.md#job-files).
    fn default() -> Self {
        Self {
            max_bytes: 1 << 20,
            max_stream_bytes: 256 << 20,
            max_jobs: 100_000,
            newest_host: false,
            max_expansion: 50,
            pictures: LocalPictures::Off,
        }
    }
}

/// How the jobs are arranged in a job file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One object, or an array of them: `.json`.
    Document,
    /// One object per line: `.jsonl`, `.ndjson`.
    Lines,
    /// One job per row: `.csv`.
    Csv,
    /// One prompt per line: `.prompts.txt`.
    Prompts,
}
