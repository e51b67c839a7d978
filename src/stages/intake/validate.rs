//! Validation of one file of the inbox: it is read once, and the result says what to do with it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::fs::FsError;
use crate::inbox::{FileVersion, Inbox, InboxEntry, OpenFolder};
use crate::jobfile::{
    self, Cause, Defaults, Draft, Form, JobFileReader, LineError, Lines, Problem, split_path,
};
use crate::sha256::sha256_hex;
use crate::stages::intake::folder_defaults::{DefaultsByFolder, DefaultsError, DefaultsReader};
use crate::stages::intake::pictures::{FilePictures, PictureFinder, Search};
use crate::store::job_files::Drafts;

/// An empty file is rejected after this time: its writer may not have begun yet.
const EMPTY_SETTLE: Duration = Duration::from_secs(60);
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
    fn form(&self) -> Form {
        Form::of_name(&self.entry.name).unwrap_or(Form::Document)
    }

    /// Whether it is a file too large to be held in memory.
    pub fn is_streamed(&self) -> bool {
        self.entry.version.bytes > MAX_BUFFERED_LINES_BYTES && self.form() != Form::Document
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
    /// The version that was read, if the file is to be ingested or rejected.
    pub fn judged(&self) -> Option<&FileVersion> {
        match self {
            Self::Valid(file) => Some(&file.version),
            Self::Reject(_, version) => Some(version),
            Self::Postpone(_) | Self::Stay(_) => None,
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
    /// What is added to them.
    pub defaults: Arc<Defaults>,
    /// The local pictures that they name.
    pub pictures: FilePictures,
}

/// Judged files, and the versions of the defaults that were used, by path.
pub(super) type ReadFiles = (Vec<(Candidate, Validation)>, BTreeMap<String, FileVersion>);

/// Validates files of the inbox.
#[derive(Clone)]
pub(super) struct Validator {
    pub inbox: Inbox,
    pub settle: Duration,
    /// Without defaults.
    pub reader: JobFileReader,
    /// Finds the local pictures that job files name.
    pub pictures: Arc<PictureFinder>,
}

impl Validator {
    /// Validates files with the defaults of their folders. Blocks.
    pub fn validate_all(
        &self,
        candidates: Vec<Candidate>,
        found: &DefaultsByFolder,
    ) -> Vec<(String, Validation)> {
        let (validated, used_defaults) = self.read_all(candidates, found);
        self.postpone_written(validated, &used_defaults)
    }

    /// Judges files as they are read, whoever still writes them.
    pub fn read_all(&self, candidates: Vec<Candidate>, found: &DefaultsByFolder) -> ReadFiles {
        let mut defaults = DefaultsReader::new(&self.inbox, self.settle, found);
        // The files of a folder follow each other.
        let mut opened: Option<(String, Result<OpenFolder, FsError>)> = None;
        let mut kept = 0;
        let validate = |candidate: Candidate| {
            let path = split_path(&candidate.entry.name).0;
            if opened.as_ref().is_none_or(|(opened, _)| opened != path) {
                opened = Some((path.to_owned(), self.inbox.open_below(path)));
            }
            let mut validation = match &opened {
                Some((_, Ok(folder))) => self.validate(folder, &candidate, &mut defaults),
                Some((_, Err(error))) => self.after_read_error(error),
                None => Validation::Postpone(self.settle),
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
        };
        let validated = candidates.into_iter().map(validate).collect();
        (validated, defaults.used())
    }

    fn validate(
        &self,
        folder: &OpenFolder,
        candidate: &Candidate,
        defaults: &mut DefaultsReader<'_>,
    ) -> Validation {
        let entry = &candidate.entry;
        if let Some(kind) = entry.irregular_kind {
            return Validation::Stay(format!("a {kind} is never opened; remove it from the inbox"));
        }
        if !entry.is_utf8 {
            return Validation::Stay("its name is not valid UTF-8; rename it".into());
        }
        if let Some(why) = jobfile::refused_name(&entry.name) {
            return Validation::Reject(vec![file_problem(why)], entry.version);
        }
        let defaults = match defaults.of_folder(split_path(&entry.name).0) {
            Ok(defaults) => defaults,
            Err(DefaultsError::Unfinished) => {
                return Validation::Postpone(candidate.unchanged_for + self.settle);
            }
            Err(DefaultsError::Unreadable(why)) => return Validation::Stay(why),
            Err(DefaultsError::Bad(problems)) => return Validation::Reject(problems, entry.version),
        };
        let reader = self.reader.with_defaults(defaults);
        let validated = match candidate.form() {
            Form::Document => self.validate_document(folder, candidate, &reader),
            form => self.validate_lines(folder, candidate, form, &reader),
        };
        let validated = validated.unwrap_or_else(|error| self.after_read_error(&error));
        match validated {
            Validation::Valid(file) => self.find_pictures(candidate, file),
            other => other,
        }
    }

    fn find_pictures(&self, candidate: &Candidate, mut file: ValidFile) -> Validation {
        let (name, unchanged_for) = (&candidate.entry.name, candidate.unchanged_for);
        match self.pictures.find_all(name, unchanged_for, &mut file.pictures) {
            Search::Done => {
                let resolve = |draft| file.pictures.resolve(draft);
                file.drafts = std::mem::take(&mut file.drafts).into_iter().map(resolve).collect();
                Validation::Valid(file)
            }
            Search::Wait(unchanged_for) => Validation::Postpone(unchanged_for),
            Search::Failed(problems) => Validation::Reject(problems, file.version),
            Search::Blocked(fault) => Validation::Stay(fault.to_string()),
        }
    }

    fn after_read_error(&self, error: &FsError) -> Validation {
        match error {
            // Somebody is still writing it.
            FsError::Changed(_) | FsError::NotFound(_) => Validation::Postpone(self.settle),
            other => Validation::Stay(other.to_string()),
        }
    }

    fn validate_document(
        &self,
        folder: &OpenFolder,
        candidate: &Candidate,
        reader: &JobFileReader,
    ) -> Result<Validation, FsError> {
        let name = &candidate.entry.name;
        let max_bytes = reader.limits.max_bytes;
        if candidate.entry.version.bytes > max_bytes {
            return Ok(self.too_large(candidate, max_bytes, "inbox.max_bytes"));
        }
        let (bytes, version, file) = folder.read_file(split_path(name).1, max_bytes)?;
        match reader.read_document(&bytes, jobfile::stem(name)) {
            Ok(drafts) => {
                let (version, sha256) = (version.make_private(&file), sha256_hex(&bytes));
                let defaults = reader.defaults.clone();
                let mut pictures = FilePictures::default();
                drafts.iter().for_each(|draft| pictures.add(draft));
                let bytes = Some(bytes);
                Ok(Validation::Valid(ValidFile { version, sha256, bytes, drafts, defaults, pictures }))
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
    fn validate_lines(
        &self,
        folder: &OpenFolder,
        candidate: &Candidate,
        form: Form,
        reader: &JobFileReader,
    ) -> Result<Validation, FsError> {
        let entry = &candidate.entry;
        let settle = if entry.version.bytes == 0 { EMPTY_SETTLE.max(self.settle) } else { self.settle };
        if candidate.unchanged_for < settle {
            return Ok(Validation::Postpone(settle));
        }
        let max_bytes = reader.limits.max_stream_bytes;
        if entry.version.bytes > max_bytes {
            return Ok(self.too_large(candidate, max_bytes, "the limit of line files"));
        }
        if candidate.is_streamed() {
            return self.validate_stream(folder, &entry.name, form, reader);
        }
        let name = split_path(&entry.name).1;
        let (bytes, version, file) = match folder.read_file(name, MAX_BUFFERED_LINES_BYTES) {
            // It has grown since the scan.
            Err(FsError::TooLarge { path, .. }) => return Err(FsError::Changed(path)),
            read => read?,
        };
        // Short lines with long defaults can make requests of many more bytes: those are read again.
        let (mut drafts, mut kept, mut pictures) = (Vec::new(), 0, FilePictures::default());
        let lines = reader.read_lines(form, &bytes[..], jobfile::stem(name));
        let problems = self.check_lines(&entry.name, lines, |draft| {
            pictures.add(&draft);
            kept += draft.body.len();
            if kept <= MAX_KEPT_BYTES { drafts.push(draft) } else { drafts = Vec::new() }
        })?;
        if !problems.is_empty() {
            return Ok(Validation::Reject(problems, version));
        }
        let (version, sha256) = (version.make_private(&file), sha256_hex(&bytes));
        let (defaults, bytes) = (reader.defaults.clone(), Some(bytes));
        Ok(Validation::Valid(ValidFile { version, sha256, bytes, drafts, defaults, pictures }))
    }

    fn validate_stream(
        &self,
        folder: &OpenFolder,
        name: &str,
        form: Form,
        reader: &JobFileReader,
    ) -> Result<Validation, FsError> {
        let (file, version) = folder.open_file(split_path(name).1)?;
        let mut hashed = HashingReader { file, hash: Sha256::new() };
        let from = BufReader::with_capacity(BUFFER_BYTES, &mut hashed);
        let mut pictures = FilePictures::default();
        let lines = reader.read_lines(form, from, jobfile::stem(name));
        let problems = self.check_lines(name, lines, |draft| pictures.add(&draft))?;
        if !problems.is_empty() {
            return Ok(Validation::Reject(problems, version));
        }
        // The lines may end before the file does; the hash covers all of it.
        io::copy(&mut hashed, &mut io::sink()).map_err(|error| self.read_error(name, error))?;
        let sha256 = HEXLOWER.encode(&hashed.hash.finalize());
        let (drafts, defaults) = (Vec::new(), reader.defaults.clone());
        Ok(Validation::Valid(ValidFile { version, sha256, bytes: None, drafts, defaults, pictures }))
    }

    /// Reads a line file to its end, passes its jobs to `each` and returns its problems.
    fn check_lines(
        &self,
        name: &str,
        lines: Lines<impl BufRead>,
        mut each: impl FnMut(Draft),
    ) -> Result<Vec<Problem>, FsError> {
        let mut problems = Vec::new();
        let mut jobs = 0_u64;
        for line in lines {
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
        let form = Form::of_name(name).unwrap_or(Form::Lines);
        let reader = self.reader.with_defaults(valid.defaults.clone());
        let lines = reader.read_lines(form, from, jobfile::stem(name));
        let pictures = valid.pictures.clone();
        let lines = lines
            .map(move |line| line.map(|draft| pictures.resolve(draft)).map_err(|error| error.to_string()));
        let (inbox, version, name) = (self.inbox.clone(), valid.version, name.to_owned());
        let change = std::iter::once_with(move || match inbox.open_file(&name) {
            Ok((_, now)) if now == version => None,
            _ => Some(Err("it changed while it was read".to_owned())),
        });
        Ok(Box::new(lines.chain(change.flatten())))
    }

    /// The jobs of a valid file whose bytes are in memory, read once more. Its seeds are drawn again: none is stored yet.
    pub fn drafts_again(&self, name: &str, bytes: Vec<u8>, defaults: Arc<Defaults>) -> Drafts {
        let (reader, stem) = (self.reader.with_defaults(defaults), jobfile::stem(name).to_owned());
        match Form::of_name(name).unwrap_or(Form::Document) {
            Form::Document => {
                let read = move || match reader.read_document(&bytes, &stem) {
                    Ok(drafts) => drafts.into_iter().map(Ok).collect(),
                    Err(refusal) => vec![Err(refusal.to_string())],
                };
                Box::new(std::iter::once_with(read).flatten())
            }
            form => {
                let lines = reader.read_lines(form, io::Cursor::new(bytes), &stem);
                Box::new(lines.map(|line| line.map_err(|error| error.to_string())))
            }
        }
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
