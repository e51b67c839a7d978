//! Everything that the checks find in a job file: how many jobs it makes, its errors and its warnings.

use std::collections::BTreeSet;
use std::io::{self, BufRead};

use crate::job::UsedDefault;
use crate::jobfile::findings::limit_warnings;
use crate::jobfile::{Draft, Form, JobFileReader, LineError, MAX_PROBLEMS, ObjectPlace, Problem, Refusal};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// How many jobs it makes.
    pub jobs: usize,
    /// Fewer than the jobs where `repeat` or `matrix` is used.
    pub objects: usize,
    /// What is wrong. Empty: the file would be accepted.
    pub errors: Vec<Problem>,
    /// What its jobs have from defaults, each once.
    pub defaults: Vec<UsedDefault>,
    last_object: Option<ObjectPlace>,
    warnings: BTreeSet<Problem>,
    /// Warnings beyond [`MAX_PROBLEMS`].
    more_warnings: u64,
}

impl Inspection {
    /// Of a document; each of its jobs goes to `each`, which may add warnings.
    pub fn of_document(
        reader: &JobFileReader,
        bytes: &[u8],
        stem: &str,
        mut each: impl FnMut(&mut Draft),
    ) -> Self {
        let mut found = Self::default();
        match reader.read_document(bytes, stem) {
            Ok(drafts) => drafts.into_iter().for_each(|mut draft| {
                each(&mut draft);
                found.add_job(draft);
            }),
            Err(refusal) => found.add_refusal(refusal),
        }
        found
    }

    /// Of a file of another form.
    ///
    /// # Errors
    /// If reading fails.
    pub fn of_lines(
        reader: &JobFileReader,
        form: Form,
        file: impl BufRead,
        stem: &str,
        mut each: impl FnMut(&mut Draft),
    ) -> io::Result<Self> {
        let mut found = Self::default();
        for line in reader.read_lines(form, file, stem) {
            match line {
                Ok(mut draft) => {
                    each(&mut draft);
                    found.add_job(draft);
                }
                Err(LineError::Refused(refusal)) => found.add_refusal(refusal),
                Err(LineError::Unreadable(error)) => return Err(error),
            }
        }
        if found.jobs == 0 && found.errors.is_empty() {
            return Ok(Self::rejected("the file contains no job"));
        }
        Ok(found)
    }

    /// A file that is rejected as a whole.
    pub fn rejected(message: &str) -> Self {
        Self::of_problems(vec![Problem {
            pointer: String::new(),
            message: message.to_owned(),
            line: 1,
            column: 1,
        }])
    }

    /// The same with these problems.
    pub fn of_problems(errors: Vec<Problem>) -> Self {
        Self { errors, ..Self::default() }
    }

    /// Its warnings, each once; the jobs of an object have many in common.
    pub fn warnings(&self) -> Vec<Problem> {
        limit_warnings(self.warnings.iter().cloned().collect(), self.more_warnings, MAX_PROBLEMS)
    }

    fn add_job(&mut self, draft: Draft) {
        self.jobs += 1;
        for used in draft.defaults {
            if self.defaults.len() < MAX_PROBLEMS && !self.defaults.contains(&used) {
                self.defaults.push(used);
            }
        }
        // The jobs of an object follow each other.
        if self.last_object.as_ref() != Some(&draft.place) {
            self.objects += 1;
            self.last_object = Some(draft.place);
        }
        self.add_warnings(draft.warnings);
    }

    fn add_refusal(&mut self, refusal: Refusal) {
        self.errors.extend(refusal.problems);
        self.add_warnings(refusal.warnings);
    }

    fn add_warnings(&mut self, warnings: Vec<Problem>) {
        for warning in warnings {
            if self.warnings.len() < MAX_PROBLEMS {
                self.warnings.insert(warning);
            } else if !self.warnings.contains(&warning) {
                self.more_warnings += 1;
            }
        }
    }
}
