//! Validation of one file of the inbox: it is read once, and the result says what to do with it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::time::Duration;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::fs::{FsError, open_for_writing};
use crate::inbox::{FileVersion, Inbox, InboxEntry, OpenInbox};
use crate::jobfile::{self, Cause, Draft, Form, JobFileLimits, LineError, Problem};
use crate::rng::Rng;
use crate::sha256::sha256_hex;
use crate::store::job_files::Drafts;

/// An empty file is rejected after this time: its writer may not have begun yet.
const EMPTY_SETTLE: Duration = Duration::from_secs(60);
/// A file that is unchanged for this long and still open for writing is reported.
const OPEN_REPORT: Duration = Duration::from_secs(60);
/// Line files up to this size are held in memory, like documents.
const MAX_BUFFERED_LINES_BYTES: u64 = 64 << 10;
/// Read buffer for larger ones.
const BUFFER_BYTES: usize = 64 << 10;
/// The most bytes of requests that the files validated together keep in memory. Files need more than they have themselves
/// only where `repeat` and `matrix` make many jobs of one object; those beyond are read again while they are committed.
const MAX_KEPT_BYTES: usize = 2 << 20;
/// The most problems reported for one line file.
const MAX_PROBLEMS: usize = jobfile::MAX_PROBLEMS + 1;

/// A file to validate.
#[derive(Debug)]
pub(super) struct Candidate {
    pub entry: InboxEntry,
    /// How long it has been unchanged.
    pub unchanged_for: Duration,
}

impl Candidate {
    /// Whether it is a line file too large to be held in memory.
    pub fn is_streamed(&self) -> bool {
        let is_large = self.entry.version.bytes > MAX_BUFFERED_LINES_BYTES;
        is_large && Form::of_name(&self.entry.name) == Some(Form::Lines)
    }
}

/// The result of a validation.
#[derive(Debug)]
pub(super) enum Validation {
    /// Validate it again once it has been unchanged for this long.
    Postpone(Duration),
    /// It cannot be processed and stays in the inbox, with this warning.
    Stay(String),
    /// Reject it with these problems.
    Reject(Vec<Problem>, FileVersion),
    /// Its jobs can be ingested.
    Valid(ValidFile),
}

impl Validation {
    /// Whether the file is ingested or rejected.
    fn is_final(&self) -> bool {
        match self {
            Self::Valid(_) | Self::Reject(..) => true,
            Self::Postpone(_) | Self::Stay(_) => false,
        }
    }
}

/// A file whose every object is a job.
#[derive(Debug)]
pub(super) struct ValidFile {
    pub version: FileVersion,
    pub sha256: String,
    /// Its content, in case it is edited before it is moved; `None` if it is streamed.
    pub bytes: Option<Vec<u8>>,
    /// Its jobs; none if it is streamed or to be read again, see [`Validator::drafts_again`].
    pub drafts: Vec<Draft>,
}

/// Validates files of the inbox.
#[derive(Clone)]
pub(super) struct Validator {
    pub inbox: Inbox,
    pub settle: Duration,
    pub limits: JobFileLimits,
    /// Draws the seeds of `repeat`.
    pub rng: Rng,
}

impl Validator {
    /// Validates files. Blocks.
    pub fn validate_all(&self, candidates: Vec<Candidate>) -> Vec<(String, Validation)> {
        let opened = self.inbox.open();
        let mut kept = 0;
        let validated = candidates.into_iter().map(|candidate| {
            let mut validation = match &opened {
                Ok(inbox) => self.validate(inbox, &candidate),
                Err(error) => self.after_read_error(error),
            };
            if let Validation::Valid(file) = &mut validation {
                let bytes: usize = file.drafts.iter().map(|draft| draft.body.len()).sum();
                if kept + bytes > MAX_KEPT_BYTES && bytes as u64 > file.version.bytes {
                    file.drafts = Vec::new();
                } else {
                    kept += bytes;
                }
            }
            (candidate, validation)
        });
        self.postpone_open_files(validated.collect())
    }

    /// Postpones files that a process has open for writing: what is read of them may be the first part only. After they
    /// are read, so that a writer that opened one before that is seen.
    fn postpone_open_files(&self, validated: Vec<(Candidate, Validation)>) -> Vec<(String, Validation)> {
        let judged = validated.iter().filter(|(_, validation)| validation.is_final());
        let open_files =
            open_for_writing(&judged.map(|(candidate, _)| candidate.entry.version.id()).collect());
        let postponed = validated.into_iter().map(|(candidate, validation)| {
            let is_open = validation.is_final() && open_files.contains(&candidate.entry.version.id());
            let validation = match is_open {
                false => validation,
                true if candidate.unchanged_for < OPEN_REPORT => {
                    Validation::Postpone(candidate.unchanged_for + self.settle)
                }
                true => Validation::Stay("another program has it open for writing".into()),
            };
            (candidate.entry.name, validation)
        });
        postponed.collect()
    }

    fn validate(&self, inbox: &OpenInbox<'_>, candidate: &Candidate) -> Validation {
        let entry = &candidate.entry;
        if let Some(kind) = entry.irregular_kind {
            return Validation::Stay(format!("a {kind} is never opened; remove it from the inbox"));
        }
        if !entry.is_utf8 {
            return Validation::Stay("its name is not valid UTF-8; rename it".into());
        }
        if jobfile::is_conflict_copy(&entry.name) {
            let message = "this looks like a conflict copy of a sync tool and is not submitted; rename it if you want it";
            return Validation::Reject(vec![file_problem(message)], entry.version);
        }
        let validated = match Form::of_name(&entry.name) {
            Some(Form::Lines) => self.validate_lines(inbox, candidate),
            Some(Form::Document) | None => self.validate_document(inbox, candidate),
        };
        validated.unwrap_or_else(|error| self.after_read_error(&error))
    }

    fn after_read_error(&self, error: &FsError) -> Validation {
        match error {
            // Somebody is still writing it.
            FsError::Changed(_) | FsError::NotFound(_) => Validation::Postpone(self.settle),
            other => Validation::Stay(other.to_string()),
        }
    }

    fn validate_document(&self, inbox: &OpenInbox<'_>, candidate: &Candidate) -> Result<Validation, FsError> {
        let name = &candidate.entry.name;
        let max_bytes = self.limits.max_bytes;
        if candidate.entry.version.bytes > max_bytes {
            return Ok(self.too_large(candidate, max_bytes, "inbox.max_bytes"));
        }
        let (bytes, version, file) = inbox.read_file(name, max_bytes)?;
        match jobfile::read_document(&bytes, jobfile::stem(name), &self.limits, &self.rng) {
            Ok(drafts) => {
                let (version, sha256) = (version.make_private(&file), sha256_hex(&bytes));
                Ok(Validation::Valid(ValidFile { version, sha256, bytes: Some(bytes), drafts }))
            }
            Err(refusal) => {
                let settle = match refusal.cause {
                    Cause::Empty => EMPTY_SETTLE.max(self.settle),
                    Cause::Unparsable => self.settle,
                    Cause::Wrong => Duration::ZERO,
                };
                Ok(if candidate.unchanged_for >= settle {
                    Validation::Reject(refusal.problems, version)
                } else {
                    Validation::Postpone(settle)
                })
            }
        }
    }

    /// Reads a line file only after it has settled: one that is cut at the end of a line looks complete.
    fn validate_lines(&self, inbox: &OpenInbox<'_>, candidate: &Candidate) -> Result<Validation, FsError> {
        let entry = &candidate.entry;
        let settle = if entry.version.bytes == 0 { EMPTY_SETTLE.max(self.settle) } else { self.settle };
        if candidate.unchanged_for < settle {
            return Ok(Validation::Postpone(settle));
        }
        let max_bytes = self.limits.max_stream_bytes;
        if entry.version.bytes > max_bytes {
            return Ok(self.too_large(candidate, max_bytes, "the limit of line files"));
        }
        if candidate.is_streamed() {
            return self.validate_stream(inbox, &entry.name);
        }
        let (bytes, version, file) = match inbox.read_file(&entry.name, MAX_BUFFERED_LINES_BYTES) {
            // It has grown since the scan.
            Err(FsError::TooLarge { path, .. }) => return Err(FsError::Changed(path)),
            read => read?,
        };
        let mut drafts = Vec::new();
        let problems = self.read_lines(&entry.name, &bytes[..], |draft| drafts.push(draft))?;
        if !problems.is_empty() {
            return Ok(Validation::Reject(problems, version));
        }
        let (version, sha256) = (version.make_private(&file), sha256_hex(&bytes));
        Ok(Validation::Valid(ValidFile { version, sha256, bytes: Some(bytes), drafts }))
    }

    fn validate_stream(&self, inbox: &OpenInbox<'_>, name: &str) -> Result<Validation, FsError> {
        let (file, version) = inbox.open_file(name)?;
        let mut reader = HashingReader { file, hash: Sha256::new() };
        let problems = self.read_lines(name, BufReader::with_capacity(BUFFER_BYTES, &mut reader), drop)?;
        if !problems.is_empty() {
            return Ok(Validation::Reject(problems, version));
        }
        // The lines may end before the file does; the hash covers all of it.
        io::copy(&mut reader, &mut io::sink()).map_err(|error| self.read_error(name, error))?;
        let sha256 = HEXLOWER.encode(&reader.hash.finalize());
        Ok(Validation::Valid(ValidFile { version, sha256, bytes: None, drafts: Vec::new() }))
    }

    /// Reads a line file to its end, passes its jobs to `each` and returns its problems.
    fn read_lines(
        &self,
        name: &str,
        from: impl BufRead,
        mut each: impl FnMut(Draft),
    ) -> Result<Vec<Problem>, FsError> {
        let mut problems = Vec::new();
        let mut jobs = 0_u64;
        for line in jobfile::read_lines(from, jobfile::stem(name), &self.limits, &self.rng) {
            match line {
                Ok(draft) => {
                    jobs += 1;
                    each(draft);
                }
                Err(LineError::Refused(refusal)) => {
                    let room = MAX_PROBLEMS.saturating_sub(problems.len());
                    problems.extend(refusal.problems.into_iter().take(room));
                }
                Err(LineError::Unreadable(error)) => return Err(self.read_error(name, error)),
            }
        }
        if jobs == 0 && problems.is_empty() {
            problems.push(file_problem("the file contains no job"));
        }
        Ok(problems)
    }

    fn too_large(&self, candidate: &Candidate, limit: u64, limit_name: &str) -> Validation {
        if candidate.unchanged_for < self.settle {
            return Validation::Postpone(self.settle);
        }
        let version = candidate.entry.version;
        let message =
            format!("the file has {} bytes, and {limit_name} allows {limit}; split it", version.bytes);
        Validation::Reject(vec![file_problem(message)], version)
    }

    /// The jobs of a valid line file that is streamed: it is read again while they are written. The last item is an
    /// error if the file changed meanwhile, so that none of its jobs is kept.
    pub fn stream_drafts(&self, name: &str, valid: &ValidFile) -> Result<Drafts, FsError> {
        let (file, found) = self.inbox.open_file(name)?;
        if found != valid.version {
            return Err(FsError::Changed(self.inbox.path().join(name)));
        }
        let from = BufReader::with_capacity(BUFFER_BYTES, file);
        let lines = jobfile::read_lines(from, jobfile::stem(name), &self.limits, &self.rng)
            .map(|line| line.map_err(|error| error.to_string()));
        let (inbox, version, name) = (self.inbox.clone(), valid.version, name.to_owned());
        let change = std::iter::once_with(move || match inbox.open_file(&name) {
            Ok((_, now)) if now == version => None,
            _ => Some(Err("it changed while it was read".to_owned())),
        });
        Ok(Box::new(lines.chain(change.flatten())))
    }

    /// The jobs of a valid file whose bytes are in memory, read once more. Its seeds are drawn again: none is stored yet.
    pub fn drafts_again(&self, name: &str, bytes: Vec<u8>) -> Drafts {
        let (stem, limits, rng) = (jobfile::stem(name).to_owned(), self.limits.clone(), self.rng.clone());
        if Form::of_name(name) == Some(Form::Lines) {
            let lines = jobfile::read_lines(io::Cursor::new(bytes), &stem, &limits, &rng);
            return Box::new(lines.map(|line| line.map_err(|error| error.to_string())));
        }
        let read = move || match jobfile::read_document(&bytes, &stem, &limits, &rng) {
            Ok(drafts) => drafts.into_iter().map(Ok).collect(),
            Err(refusal) => vec![Err(refusal.to_string())],
        };
        Box::new(std::iter::once_with(read).flatten())
    }

    fn read_error(&self, name: &str, error: io::Error) -> FsError {
        FsError::new(&self.inbox.path().join(name), error)
    }
}

/// A problem of the file as a whole.
pub(super) fn file_problem(message: impl Into<String>) -> Problem {
    Problem { pointer: String::new(), message: message.into(), line: 1, column: 1 }
}

struct HashingReader {
    file: File,
    hash: Sha256,
}

impl Read for HashingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}
