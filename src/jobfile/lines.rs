//! Reads a line file: one object per line, as a stream with at most one line in memory.

use std::collections::VecDeque;
use std::io::{self, BufRead, ErrorKind};

use crate::jobfile::expand::Expander;
use crate::jobfile::findings::{Findings, unlisted_problems};
use crate::jobfile::json;
use crate::jobfile::read::too_many_jobs;
use crate::jobfile::{
    Cause, Draft, Form, JobFileLimits, LineError, MAX_PROBLEMS, MAX_WARNINGS, Problem, Refusal, encoding,
    names,
};
use crate::rng::Rng;

/// Reads a line file whose name without ending is `stem`. Blank lines are skipped. Drafts are returned even if other
/// lines are rejected: the caller accepts the file only if no line is. After [`MAX_PROBLEMS`] problems the others are
/// counted, and the last refusal reports the count. `rng` draws the seeds of `repeat`.
pub fn read_lines<R: BufRead>(reader: R, stem: &str, limits: &JobFileLimits, rng: &Rng) -> Lines<R> {
    Lines {
        reader,
        stem: stem.to_owned(),
        limits: limits.clone(),
        rng: rng.clone(),
        drafts: VecDeque::new(),
        line: Vec::new(),
        number: 0,
        bytes: 0,
        objects: 0,
        jobs: 0,
        reported: 0,
        unlisted: 0,
        last: None,
        progress: Progress::Reading,
    }
}

/// The drafts and refusals of a line file, see [`read_lines`].
pub struct Lines<R> {
    reader: R,
    stem: String,
    limits: JobFileLimits,
    rng: Rng,
    /// Of the line read last, those not returned yet.
    drafts: VecDeque<Draft>,
    line: Vec<u8>,
    number: u64,
    bytes: u64,
    objects: u64,
    jobs: u64,
    reported: usize,
    unlisted: u64,
    last: Option<Problem>,
    progress: Progress,
}

enum Progress {
    Reading,
    /// Reads no more lines, and still reports how many problems are not listed.
    Closing,
    Over,
}

/// What was read as the next line.
enum LineRead {
    Line,
    TooLong,
    End,
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<Draft, LineError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(draft) = self.drafts.pop_front() {
                return Some(Ok(draft));
            }
            let outcome = match self.read_line() {
                Err(error) => {
                    self.progress = Progress::Over;
                    return Some(Err(LineError::Unreadable(error)));
                }
                Ok(LineRead::End) => return self.close(),
                Ok(LineRead::TooLong) => Err(self.too_long()),
                Ok(LineRead::Line) if self.bytes > self.limits.max_stream_bytes => Err(self.too_many_bytes()),
                Ok(LineRead::Line) if self.number == 1 && encoding::is_wide(&self.line) => {
                    self.progress = Progress::Closing;
                    Err(Refusal::new(Cause::Unparsable, encoding::wide_problem()))
                }
                Ok(LineRead::Line) if self.line.trim_ascii().is_empty() => continue,
                Ok(LineRead::Line) if self.jobs >= self.limits.max_jobs => Err(self.too_many_jobs()),
                Ok(LineRead::Line) => self.read_object(),
            };
            match outcome.map_err(|refusal| self.limit_problems(refusal)) {
                Ok(drafts) => self.drafts = drafts.into(),
                Err(Some(refusal)) => return Some(Err(refusal.into())),
                Err(None) => {}
            }
        }
    }
}

impl<R: BufRead> Lines<R> {
    /// Reads the next line into `self.line`, or skips it if it is longer than allowed.
    fn read_line(&mut self) -> io::Result<LineRead> {
        match self.progress {
            Progress::Reading => {}
            Progress::Closing | Progress::Over => return Ok(LineRead::End),
        }
        self.line.clear();
        let (mut too_long, mut any) = (false, false);
        loop {
            let buffer = match self.reader.fill_buf() {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                buffer => buffer?,
            };
            if buffer.is_empty() {
                break;
            }
            any = true;
            let (part, used, ended) = match buffer.iter().position(|byte| *byte == b'\n') {
                Some(at) => (&buffer[..at], at + 1, true),
                None => (buffer, buffer.len(), false),
            };
            too_long |= (self.line.len() + part.len()) as u64 > self.limits.max_bytes;
            if too_long {
                self.line.clear();
            } else {
                self.line.extend_from_slice(part);
            }
            self.bytes = self.bytes.saturating_add(used as u64);
            self.reader.consume(used);
            if ended || self.bytes > self.limits.max_stream_bytes {
                break;
            }
        }
        self.number += u64::from(any);
        Ok(match (any, too_long && self.bytes <= self.limits.max_stream_bytes) {
            (false, _) => LineRead::End,
            (true, true) => LineRead::TooLong,
            (true, false) => LineRead::Line,
        })
    }

    fn read_object(&mut self) -> Result<Vec<Draft>, Refusal> {
        self.objects += 1;
        self.jobs += 1;
        let read = encoding::read(&self.line, self.number)
            .map_err(|problem| Refusal::new(Cause::Unparsable, problem))?;
        let mut findings = Findings::new(read.text, self.number);
        if let Some(mark) = read.mark {
            findings.add_problem(mark);
        }
        let name = names::default_name(&self.stem, self.objects);
        let (drafts, cause) = match json::read(read.text, Form::Lines, &mut findings) {
            Ok(node) => {
                let mut expander = Expander::new(&self.limits, &self.rng);
                (expander.jobs(&node, "", name, &mut findings), Cause::Wrong)
            }
            Err(json::ParseError) => (Vec::new(), Cause::Unparsable),
        };
        let warnings = findings.take_warnings(MAX_WARNINGS);
        let (problems, more) = findings.finish();
        self.unlisted = self.unlisted.saturating_add(more);
        self.jobs += (drafts.len() as u64).saturating_sub(1);
        if !problems.is_empty() {
            return Err(Refusal { cause, problems, warnings });
        }
        if self.jobs > self.limits.max_jobs { Err(self.too_many_jobs()) } else { Ok(drafts) }
    }

    fn too_long(&mut self) -> Refusal {
        self.objects += 1;
        self.jobs += 1;
        let message =
            format!("the line is longer than the {} bytes allowed (inbox.max_bytes)", self.limits.max_bytes);
        Refusal::new(Cause::Unparsable, problem_on_line(self.number, message))
    }

    fn too_many_bytes(&mut self) -> Refusal {
        self.progress = Progress::Closing;
        let message =
            format!("the file is longer than the {} bytes allowed: split it", self.limits.max_stream_bytes);
        Refusal::new(Cause::Unparsable, problem_on_line(self.number, message))
    }

    fn too_many_jobs(&mut self) -> Refusal {
        self.progress = Progress::Closing;
        Refusal::new(Cause::Wrong, problem_on_line(self.number, too_many_jobs(self.limits.max_jobs)))
    }

    /// Drops the problems beyond the limit of a file; `None` if nothing is left.
    fn limit_problems(&mut self, mut refusal: Refusal) -> Option<Refusal> {
        let room = MAX_PROBLEMS - self.reported;
        let cut = refusal.problems.len().saturating_sub(room);
        refusal.problems.truncate(room);
        self.reported += refusal.problems.len();
        self.unlisted = self.unlisted.saturating_add(cut as u64);
        self.last = refusal.problems.last().cloned().or_else(|| self.last.take());
        (!refusal.problems.is_empty()).then_some(refusal)
    }

    fn close(&mut self) -> Option<Result<Draft, LineError>> {
        if matches!(std::mem::replace(&mut self.progress, Progress::Over), Progress::Over) {
            return None;
        }
        if self.unlisted > 0 {
            return Some(Err(Refusal::new(
                Cause::Wrong,
                unlisted_problems(self.unlisted, self.last.as_ref()),
            )
            .into()));
        }
        if self.objects == 0 && self.reported == 0 {
            return Some(Err(
                Refusal::new(Cause::Empty, problem_on_line(1, "the file is empty".to_owned())).into()
            ));
        }
        None
    }
}

fn problem_on_line(line: u64, message: String) -> Problem {
    Problem { pointer: String::new(), message, line, column: 1 }
}
