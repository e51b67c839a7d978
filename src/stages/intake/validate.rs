//! What is to be done with one file of the inbox: read it once, and say.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::time::Duration;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::fs::FsError;
use crate::inbox::{FileVersion, Inbox, InboxEntry, OpenInbox};
use crate::jobfile::{self, Cause, Draft, Form, Limits, LineError, Problem};
use crate::secret::sha256_hex;
use crate::stages::intake::ingest::Chosen;
use crate::store::intake::Drafts;

/// An empty file may be one whose writer has not begun: it is judged after this.
const EMPTY_PATIENCE: Duration = Duration::from_secs(60);
/// A line file up to this size is held in memory whole, like a document.
const SHORT: u64 = 64 << 10;
/// A longer one is read in pieces of this size.
const READ_BYTES: usize = 64 << 10;
/// The most problems told of one line file.
const MOST_PROBLEMS: usize = jobfile::MAX_PROBLEMS + 1;

/// What is to be done with a file.
#[derive(Debug)]
pub(super) enum Judgement {
    /// Look again once it has been still for so long altogether.
    Wait(Duration),
    /// It cannot be dealt with; tell, and leave it where it is.
    Trouble(String),
    /// It is bad: reject it with these problems.
    Reject(Vec<Problem>, FileVersion),
    /// Its jobs can be taken in.
    Ready(Ready),
}

/// A file whose every object is a job.
#[derive(Debug)]
pub(super) struct Ready {
    pub version: FileVersion,
    pub sha256: String,
    /// Its bytes, in case it is edited before it is moved; none of a long line file.
    pub bytes: Option<Vec<u8>>,
    /// Its jobs; none of a long line file, see [`Judge::drafts`].
    pub drafts: Vec<Draft>,
}

/// Whether it is a line file that is not to be held in memory whole.
pub(super) fn is_long(entry: &InboxEntry) -> bool {
    entry.version.bytes > SHORT && Form::of_name(&entry.name) == Some(Form::Lines)
}

/// How files are judged.
#[derive(Clone, Debug)]
pub(super) struct Judge {
    pub inbox: Inbox,
    pub settle: Duration,
    pub limits: Limits,
}

impl Judge {
    /// Judges files, each with how long it has been still. Blocks.
    pub fn judge_all(&self, files: Vec<Chosen>) -> Vec<(InboxEntry, Judgement)> {
        let opened = self.inbox.open();
        let judged = files.into_iter().map(|(entry, still)| {
            let judgement = match &opened {
                Ok(inbox) => self.judge(inbox, &entry, still),
                Err(error) => self.unread(error),
            };
            (entry, judgement)
        });
        judged.collect()
    }

    fn judge(&self, inbox: &OpenInbox<'_>, entry: &InboxEntry, still: Duration) -> Judgement {
        if let Some(kind) = entry.irregular_kind {
            return Judgement::Trouble(format!("a {kind} is never opened; remove it from the inbox"));
        }
        if !entry.is_utf8 {
            return Judgement::Trouble("its name is not valid UTF-8; rename it".into());
        }
        if jobfile::conflict_copy(&entry.name) {
            let message =
                "a copy made by a sync tool in a conflict is never bought; if it is wanted, rename it";
            return Judgement::Reject(vec![whole(message)], entry.version);
        }
        let judged = match Form::of_name(&entry.name) {
            Some(Form::Lines) => self.judge_lines(inbox, entry, still),
            Some(Form::Document) | None => self.judge_document(inbox, entry, still),
        };
        judged.unwrap_or_else(|error| self.unread(&error))
    }

    fn unread(&self, error: &FsError) -> Judgement {
        match error {
            // Its writer is at it: look again when it is still.
            FsError::Changed(_) | FsError::NotFound(_) => Judgement::Wait(self.settle),
            other => Judgement::Trouble(other.to_string()),
        }
    }

    fn judge_document(
        &self,
        inbox: &OpenInbox<'_>,
        entry: &InboxEntry,
        still: Duration,
    ) -> Result<Judgement, FsError> {
        let limit = self.limits.max_bytes;
        if entry.version.bytes > limit {
            return Ok(self.too_long(entry, still, limit, "inbox.max_bytes"));
        }
        let (bytes, version, file) = inbox.read_file(&entry.name, limit)?;
        match jobfile::read_document(&bytes, jobfile::stem(&entry.name), &self.limits) {
            Ok(drafts) => {
                let (version, sha256) = (version.make_private(&file), sha256_hex(&bytes));
                Ok(Judgement::Ready(Ready { version, sha256, bytes: Some(bytes), drafts }))
            }
            Err(refusal) => {
                let patience = match refusal.cause {
                    Cause::Empty => EMPTY_PATIENCE.max(self.settle),
                    Cause::Unparsable => self.settle,
                    Cause::Wrong => Duration::ZERO,
                };
                Ok(if still >= patience {
                    Judgement::Reject(refusal.problems, version)
                } else {
                    Judgement::Wait(patience)
                })
            }
        }
    }

    /// A cut line file still parses: it is read only once it has been still.
    fn judge_lines(
        &self,
        inbox: &OpenInbox<'_>,
        entry: &InboxEntry,
        still: Duration,
    ) -> Result<Judgement, FsError> {
        let patience = if entry.version.bytes == 0 { EMPTY_PATIENCE.max(self.settle) } else { self.settle };
        if still < patience {
            return Ok(Judgement::Wait(patience));
        }
        let limit = self.limits.max_stream_bytes;
        if entry.version.bytes > limit {
            return Ok(self.too_long(entry, still, limit, "the limit of line files"));
        }
        let unreadable = |error| FsError::new(&self.inbox.path().join(&entry.name), error);
        if !is_long(entry) {
            let (bytes, version, file) = match inbox.read_file(&entry.name, SHORT) {
                // It was shorter just now.
                Err(FsError::TooLarge { path, .. }) => return Err(FsError::Changed(path)),
                read => read?,
            };
            let mut drafts = Vec::new();
            let problems = self.read_lines(&entry.name, &bytes[..], |draft| drafts.push(draft));
            let problems = problems.map_err(unreadable)?;
            if !problems.is_empty() {
                return Ok(Judgement::Reject(problems, version));
            }
            let (version, sha256) = (version.make_private(&file), sha256_hex(&bytes));
            return Ok(Judgement::Ready(Ready { version, sha256, bytes: Some(bytes), drafts }));
        }
        let (file, version) = inbox.open_file(&entry.name)?;
        let mut hashed = Hashed { from: file, hash: Sha256::new() };
        let problems = self.read_lines(&entry.name, BufReader::with_capacity(READ_BYTES, &mut hashed), drop);
        let problems = problems.map_err(unreadable)?;
        if !problems.is_empty() {
            return Ok(Judgement::Reject(problems, version));
        }
        // The reader stops at the end of the last line; the hash is of the whole file.
        io::copy(&mut hashed, &mut io::sink()).map_err(unreadable)?;
        let sha256 = HEXLOWER.encode(&hashed.hash.finalize());
        Ok(Judgement::Ready(Ready { version, sha256, bytes: None, drafts: Vec::new() }))
    }

    /// Reads a line file to its end. What is wrong with it.
    fn read_lines(
        &self,
        name: &str,
        from: impl BufRead,
        mut each: impl FnMut(Draft),
    ) -> io::Result<Vec<Problem>> {
        let mut problems = Vec::new();
        let mut jobs = 0_u64;
        for line in jobfile::read_lines(from, jobfile::stem(name), &self.limits) {
            match line {
                Ok(draft) => {
                    jobs += 1;
                    each(draft);
                }
                Err(LineError::Refused(refusal)) => {
                    let room = MOST_PROBLEMS.saturating_sub(problems.len());
                    problems.extend(refusal.problems.into_iter().take(room));
                }
                Err(LineError::Unreadable(error)) => return Err(error),
            }
        }
        if jobs == 0 && problems.is_empty() {
            problems.push(whole("there is no job in it"));
        }
        Ok(problems)
    }

    fn too_long(&self, entry: &InboxEntry, still: Duration, limit: u64, which: &str) -> Judgement {
        if still < self.settle {
            return Judgement::Wait(self.settle);
        }
        let message =
            format!("the file has {} bytes, and {which} allows {limit}; split it", entry.version.bytes);
        Judgement::Reject(vec![whole(message)], entry.version)
    }

    /// The jobs of a long line file that was judged ready: it is read again while they are written, and is taken only if
    /// it is still the same file at its end.
    pub fn drafts(&self, name: &str, ready: &Ready) -> Result<Drafts, FsError> {
        let (file, found) = self.inbox.open_file(name)?;
        if found != ready.version {
            return Err(FsError::Changed(self.inbox.path().join(name)));
        }
        let from = BufReader::with_capacity(READ_BYTES, file);
        let lines = jobfile::read_lines(from, jobfile::stem(name), &self.limits)
            .map(|line| line.map_err(|error| error.to_string()));
        let (inbox, version, name) = (self.inbox.clone(), ready.version, name.to_owned());
        let unchanged = std::iter::once_with(move || match inbox.open_file(&name) {
            Ok((_, now)) if now == version => None,
            _ => Some(Err("it changed while it was read".to_owned())),
        });
        Ok(Box::new(lines.chain(unchanged.flatten())))
    }
}

/// A problem of the file as a whole.
pub(super) fn whole(message: impl Into<String>) -> Problem {
    Problem { pointer: String::new(), message: message.into(), line: 1, column: 1 }
}

struct Hashed {
    from: File,
    hash: Sha256,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}
