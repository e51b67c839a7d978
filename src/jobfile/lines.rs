//! A line file: one object per line, read as a stream with no more than one line in memory.

use std::io::{self, BufRead, ErrorKind};

use crate::jobfile::findings::{Findings, untold};
use crate::jobfile::json;
use crate::jobfile::{
    Cause, Draft, Form, Limits, LineError, MAX_PROBLEMS, Problem, Refusal, check, cursor, names,
};

/// Reads a line file whose name without ending is `stem`. Blank lines are skipped. Every draft comes even if other
/// lines are wrong: the caller accepts the file only if none is. After [`MAX_PROBLEMS`] problems the rest is only
/// counted; the count comes as the last refusal.
pub fn read_lines<R: BufRead>(reader: R, stem: &str, limits: &Limits) -> Lines<R> {
    Lines {
        reader,
        stem: stem.to_owned(),
        limits: limits.clone(),
        line: Vec::new(),
        number: 0,
        bytes: 0,
        objects: 0,
        told: 0,
        untold: 0,
        last: None,
        stage: Stage::Reading,
    }
}

/// The drafts and refusals of a line file, see [`read_lines`].
pub struct Lines<R> {
    reader: R,
    stem: String,
    limits: Limits,
    line: Vec<u8>,
    number: u64,
    bytes: u64,
    objects: u64,
    told: usize,
    untold: u64,
    last: Option<Problem>,
    stage: Stage,
}

enum Stage {
    Reading,
    /// No more lines are wanted; what was left untold is still to be counted up.
    Closing,
    Over,
}

/// What stands on the next line.
enum Got {
    Line,
    TooLong,
    End,
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<Draft, LineError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let outcome = match self.read_line() {
                Err(error) => {
                    self.stage = Stage::Over;
                    return Some(Err(LineError::Unreadable(error)));
                }
                Ok(Got::End) => return self.close(),
                Ok(Got::TooLong) => Err(self.too_long()),
                Ok(Got::Line) if self.bytes > self.limits.max_stream_bytes => Err(self.too_many_bytes()),
                Ok(Got::Line) if self.number == 1 && cursor::is_wide(&self.line) => {
                    self.stage = Stage::Closing;
                    Err(refusal(Cause::Unparsable, cursor::wide_problem()))
                }
                Ok(Got::Line) if self.line.trim_ascii().is_empty() => continue,
                Ok(Got::Line) => self.read_object(),
            };
            match outcome.map_err(|refusal| self.within_the_cap(refusal)) {
                Ok(draft) => return Some(Ok(draft)),
                Err(Some(refusal)) => return Some(Err(refusal.into())),
                Err(None) => {}
            }
        }
    }
}

impl<R: BufRead> Lines<R> {
    /// Takes the next line into `self.line`, or passes over it if it is longer than allowed.
    fn read_line(&mut self) -> io::Result<Got> {
        match self.stage {
            Stage::Reading => {}
            Stage::Closing | Stage::Over => return Ok(Got::End),
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
            (false, _) => Got::End,
            (true, true) => Got::TooLong,
            (true, false) => Got::Line,
        })
    }

    fn read_object(&mut self) -> Result<Draft, Refusal> {
        self.objects += 1;
        let read =
            cursor::read(&self.line, self.number).map_err(|problem| refusal(Cause::Unparsable, problem))?;
        let mut findings = Findings::new(read.text, self.number);
        if let Some(mark) = read.mark {
            findings.put(mark);
        }
        let name = names::default_name(&self.stem, self.objects);
        let (draft, cause) = match json::read(read.text, Form::Lines, &mut findings) {
            Ok(node) => (check::job(&node, "", name, &mut findings), Cause::Wrong),
            Err(json::Broken) => (None, Cause::Unparsable),
        };
        let (problems, more) = findings.finish();
        self.untold = self.untold.saturating_add(more);
        match draft {
            Some(draft) if problems.is_empty() => Ok(draft),
            _ => Err(Refusal { cause, problems }),
        }
    }

    fn too_long(&mut self) -> Refusal {
        self.objects += 1;
        let message =
            format!("the line is longer than the {} bytes allowed (inbox.max_bytes)", self.limits.max_bytes);
        refusal(Cause::Unparsable, here(self.number, message))
    }

    fn too_many_bytes(&mut self) -> Refusal {
        self.stage = Stage::Closing;
        let message =
            format!("the file is longer than the {} bytes allowed: split it", self.limits.max_stream_bytes);
        refusal(Cause::Unparsable, here(self.number, message))
    }

    /// Cuts off the problems beyond the most that one file is told; `None` if nothing is left.
    fn within_the_cap(&mut self, mut refusal: Refusal) -> Option<Refusal> {
        let room = MAX_PROBLEMS - self.told;
        let cut = refusal.problems.len().saturating_sub(room);
        refusal.problems.truncate(room);
        self.told += refusal.problems.len();
        self.untold = self.untold.saturating_add(cut as u64);
        self.last = refusal.problems.last().cloned().or_else(|| self.last.take());
        (!refusal.problems.is_empty()).then_some(refusal)
    }

    fn close(&mut self) -> Option<Result<Draft, LineError>> {
        if matches!(std::mem::replace(&mut self.stage, Stage::Over), Stage::Over) {
            return None;
        }
        if self.untold > 0 {
            return Some(Err(refusal(Cause::Wrong, untold(self.untold, self.last.as_ref())).into()));
        }
        if self.objects == 0 && self.told == 0 {
            return Some(Err(refusal(Cause::Empty, here(1, "the file is empty".to_owned())).into()));
        }
        None
    }
}

fn here(line: u64, message: String) -> Problem {
    Problem { pointer: String::new(), message, line, column: 1 }
}

fn refusal(cause: Cause, problem: Problem) -> Refusal {
    Refusal { cause, problems: vec![problem] }
}
