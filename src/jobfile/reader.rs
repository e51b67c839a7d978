//! Reads job files of every form by the same rules.

use std::io::BufRead;
use std::sync::Arc;

use crate::jobfile::defaults::Defaults;
use crate::jobfile::lines::Lines;
use crate::jobfile::{Draft, Form, JobFileLimits, Refusal, read};
use crate::rng::Rng;

/// What job files are held to, and what is added to their jobs.
#[derive(Clone)]
pub struct JobFileReader {
    pub limits: JobFileLimits,
    /// Draws the seeds of `repeat`.
    pub rng: Rng,
    pub defaults: Arc<Defaults>,
}

impl JobFileReader {
    /// A reader that adds no defaults.
    pub fn new(limits: JobFileLimits, rng: Rng) -> Self {
        Self { limits, rng, defaults: Arc::default() }
    }

    /// The same with these defaults.
    #[must_use]
    pub fn with_defaults(&self, defaults: Arc<Defaults>) -> Self {
        Self { defaults, ..self.clone() }
    }

    /// Reads a document whose name without ending is `stem`: the jobs of its objects, in order, at least one.
    ///
    /// # Errors
    /// Every problem of the document; none of its jobs may be accepted then.
    pub fn read_document(&self, bytes: &[u8], stem: &str) -> Result<Vec<Draft>, Refusal> {
        read::read(self, bytes, stem)
    }

    /// Reads a file of another form as a stream, with at most one line or row in memory. Blank ones are skipped. Drafts are
    /// returned even if others are rejected: the caller accepts the file only if none is. After
    /// [`MAX_PROBLEMS`](crate::jobfile::MAX_PROBLEMS) problems the others are counted, and the last refusal reports the
    /// count.
    pub fn read_lines<R: BufRead>(&self, form: Form, reader: R, stem: &str) -> Lines<R> {
        Lines::new(self.clone(), form, reader, stem)
    }
}

/// [`JobFileReader::read_document`] without defaults.
///
/// # Errors
/// As there.
pub fn read_document(
    bytes: &[u8],
    stem: &str,
    limits: &JobFileLimits,
    rng: &Rng,
) -> Result<Vec<Draft>, Refusal> {
    JobFileReader::new(limits.clone(), rng.clone()).read_document(bytes, stem)
}

/// [`JobFileReader::read_lines`] of objects on lines, without defaults.
pub fn read_lines<R: BufRead>(reader: R, stem: &str, limits: &JobFileLimits, rng: &Rng) -> Lines<R> {
    JobFileReader::new(limits.clone(), rng.clone()).read_lines(Form::Lines, reader, stem)
}
