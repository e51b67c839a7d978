//! Reads the forms with one job per line or row, as a stream with at most one of them in memory.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::{self, BufRead, ErrorKind};

use serde_json::Value;

use crate::jobfile::csv_rows::{Header, QuoteState, declared_separator};
use crate::jobfile::encoding::DecodedText;
use crate::jobfile::expand::Expander;
use crate::jobfile::findings::{Findings, unlisted_problems};
use crate::jobfile::json;
use crate::jobfile::read::too_many_jobs;
use crate::jobfile::reader::JobFileReader;
use crate::jobfile::{
    Cause, Draft, Form, JobFileLimits, LineError, MAX_PROBLEMS, MAX_WARNINGS, Problem, Refusal, encoding,
    names,
};
use crate::rng::Rng;

impl JobFileReader {
    /// Reads a file of another form than a document as a stream, with at most one line or row in memory. Blank ones are
    /// skipped. Drafts are returned even if others are rejected: the caller accepts the file only if none is. After
    /// [`MAX_PROBLEMS`] problems the others are counted, and the last refusal reports the count.
    pub fn read_lines<R: BufRead>(&self, form: Form, file: R, stem: &str) -> Lines<R> {
        Lines::new(self.clone(), form, file, stem)
    }
}

/// [`JobFileReader::read_lines`] of objects on lines, without defaults.
pub fn read_lines<R: BufRead>(file: R, stem: &str, limits: &JobFileLimits, rng: &Rng) -> Lines<R> {
    JobFileReader::new(limits.clone(), rng.clone()).read_lines(Form::Lines, file, stem)
}

/// The drafts and refusals of a file, see [`JobFileReader::read_lines`].
pub struct Lines<R> {
    bytes_of_file: R,
    form: Form,
    stem: String,
    reader: JobFileReader,
    /// Of a CSV file, once it is read.
    header: Option<Header>,
    /// The separator that a line above the header has declared.
    separator: Option<u8>,
    /// Of the line read last, those not returned yet.
    drafts: VecDeque<Draft>,
    line: Vec<u8>,
    /// Of the last line that was read.
    number: u64,
    /// Of the line or row that is read.
    first_line: u64,
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
    /// The file ends inside quotes.
    Unclosed,
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
                Ok(LineRead::Unclosed) => {
                    let message =
                        "the row has a quote that is not closed: a quote inside quotes is written twice";
                    Err(self.refuse(String::new(), message.to_owned()))
                }
                Ok(LineRead::Line) if self.bytes > self.reader.limits.max_stream_bytes => {
                    Err(self.too_many_bytes())
                }
                Ok(LineRead::Line) if self.first_line == 1 && encoding::is_wide(&self.line) => {
                    self.progress = Progress::Closing;
                    Err(Refusal::new(Cause::Unparsable, encoding::wide_problem()))
                }
                Ok(LineRead::Line) if self.line.trim_ascii().is_empty() || self.is_comment() => continue,
                Ok(LineRead::Line) if self.form == Form::Csv && self.header.is_none() => self.read_header(),
                Ok(LineRead::Line) if self.jobs >= self.reader.limits.max_jobs => Err(self.too_many_jobs()),
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
    fn new(reader: JobFileReader, form: Form, bytes_of_file: R, stem: &str) -> Self {
        Self {
            bytes_of_file,
            form,
            stem: stem.to_owned(),
            reader,
            header: None,
            separator: None,
            drafts: VecDeque::new(),
            line: Vec::new(),
            number: 0,
            first_line: 0,
            bytes: 0,
            objects: 0,
            jobs: 0,
            reported: 0,
            unlisted: 0,
            last: None,
            progress: Progress::Reading,
        }
    }

    /// Reads the next line or row into `self.line`, or skips it if it is longer than allowed.
    fn read_line(&mut self) -> io::Result<LineRead> {
        match self.progress {
            Progress::Reading => {}
            Progress::Closing | Progress::Over => return Ok(LineRead::End),
        }
        self.line.clear();
        self.first_line = self.number + 1;
        let (mut too_long, mut any, mut state) = (false, false, QuoteState::default());
        let unclosed = loop {
            let begun = self.line.len();
            let (any_more, ended) = self.read_physical_line(&mut too_long)?;
            any |= any_more;
            // Of a row that is too long, the quotes are not known.
            if self.form != Form::Csv || too_long {
                break false;
            }
            let continues;
            (continues, state) = Header::continues(self.header.as_ref(), state, &self.line[begun..]);
            if !continues || !ended {
                break continues;
            }
            self.line.push(b'\n');
        };
        let is_too_large = self.bytes > self.reader.limits.max_stream_bytes;
        Ok(match any {
            false => LineRead::End,
            true if too_long && !is_too_large => LineRead::TooLong,
            true if unclosed && !is_too_large => LineRead::Unclosed,
            true => LineRead::Line,
        })
    }

    /// Appends the next line to `self.line`. Returns whether there was any byte, and whether it ended in a line break.
    fn read_physical_line(&mut self, too_long: &mut bool) -> io::Result<(bool, bool)> {
        let (mut any, mut ended) = (false, false);
        while !ended && self.bytes <= self.reader.limits.max_stream_bytes {
            let buffer = match self.bytes_of_file.fill_buf() {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                buffer => buffer?,
            };
            if buffer.is_empty() {
                break;
            }
            any = true;
            let (part, used) = match buffer.iter().position(|byte| *byte == b'\n') {
                Some(at) => (&buffer[..at], at + 1),
                None => (buffer, buffer.len()),
            };
            ended = used > part.len();
            *too_long |= (self.line.len() + part.len()) as u64 > self.reader.limits.max_bytes;
            if *too_long {
                self.line.clear();
            } else {
                self.line.extend_from_slice(part);
            }
            self.bytes = self.bytes.saturating_add(used as u64);
            self.bytes_of_file.consume(used);
        }
        self.number += u64::from(any);
        Ok((any, ended))
    }

    /// Whether it is a line of prompts that is skipped.
    fn is_comment(&self) -> bool {
        let line = self.line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&self.line).trim_ascii();
        self.form == Form::Prompts && (line.is_empty() || line.starts_with(b"#"))
    }

    fn read_object(&mut self) -> Result<Vec<Draft>, Refusal> {
        self.objects += 1;
        self.jobs += 1;
        let read = match self.form {
            Form::Lines | Form::Document => {
                let read = encoding::read(&self.line, self.first_line);
                read.map_err(|problem| Refusal::new(Cause::Unparsable, problem))?
            }
            Form::Csv | Form::Prompts => DecodedText { text: self.decode()?, mark: None },
        };
        let object = match (self.form, &self.header) {
            (Form::Csv, Some(header)) => match header.object(read.text) {
                Ok(object) => object.map(Cow::Owned),
                Err((pointer, message)) => return Err(self.refuse(pointer, message)),
            },
            (Form::Prompts, _) => Some(format!("{{\"prompt\":{}}}", Value::from(read.text.trim())).into()),
            _ => Some(Cow::Borrowed(read.text)),
        };
        let Some(object) = object else {
            self.objects -= 1;
            self.jobs -= 1;
            return Ok(Vec::new());
        };
        let mut findings = Findings::new(&object, self.first_line);
        if let Some(mark) = read.mark {
            findings.add_problem(mark);
        }
        let name = names::default_name(&self.stem, self.objects);
        let (mut drafts, cause) = match json::read(&object, Form::Lines, &mut findings) {
            Ok(node) => (Expander::new(&self.reader).jobs(&node, "", name, &mut findings), Cause::Wrong),
            Err(json::ParseError) => (Vec::new(), Cause::Unparsable),
        };
        let mut warnings = findings.take_warnings(MAX_WARNINGS);
        let (mut problems, more) = findings.finish();
        if matches!(object, Cow::Owned(_)) {
            // Their places are in the object that was made of the line.
            let first_line = self.first_line;
            let at_line = |problem: &mut Problem| (problem.line, problem.column) = (first_line, 1);
            drafts.iter_mut().for_each(|draft| draft.place.line = first_line);
            drafts.iter_mut().flat_map(|draft| &mut draft.warnings).for_each(at_line);
            problems.iter_mut().chain(&mut warnings).for_each(at_line);
        }
        self.unlisted = self.unlisted.saturating_add(more);
        self.jobs += (drafts.len() as u64).saturating_sub(1);
        if !problems.is_empty() {
            return Err(Refusal { cause, problems, warnings });
        }
        if self.jobs > self.reader.limits.max_jobs { Err(self.too_many_jobs()) } else { Ok(drafts) }
    }

    /// Reads the header of a CSV file. Without it no row can be read.
    fn read_header(&mut self) -> Result<Vec<Draft>, Refusal> {
        let declared = self.decode().map(declared_separator);
        if self.separator.is_none()
            && let Ok(Some(separator)) = declared
        {
            self.separator = Some(separator);
            return Ok(Vec::new());
        }
        let read = self.decode().map(|text| Header::read(text, self.separator));
        match read.inspect_err(|_| self.progress = Progress::Closing)? {
            Ok(header) => {
                self.header = Some(header);
                Ok(Vec::new())
            }
            Err(problems) => {
                let line = self.first_line;
                let place = |(pointer, message)| Problem { pointer, message, line, column: 1 };
                self.progress = Progress::Closing;
                Err(Refusal {
                    cause: Cause::Wrong,
                    problems: problems.into_iter().map(place).collect(),
                    warnings: Vec::new(),
                })
            }
        }
    }

    /// The text of a row or prompt; a byte order mark, which spreadsheets and editors write, is no problem.
    fn decode(&self) -> Result<&str, Refusal> {
        match encoding::read(&self.line, self.first_line) {
            Ok(read) => Ok(read.text),
            Err(mut problem) => {
                if self.form == Form::Csv {
                    problem.message += "; a spreadsheet program calls that `CSV UTF-8`";
                }
                Err(Refusal::new(Cause::Wrong, problem))
            }
        }
    }

    fn refuse(&self, pointer: String, message: String) -> Refusal {
        Refusal::new(Cause::Wrong, Problem { pointer, message, line: self.first_line, column: 1 })
    }

    fn too_long(&mut self) -> Refusal {
        self.objects += 1;
        self.jobs += 1;
        let message =
            format!("is longer than the {} bytes allowed (inbox.max_bytes)", self.reader.limits.max_bytes);
        if self.form == Form::Csv {
            // What follows may be the rest of it.
            self.progress = Progress::Closing;
            let message = format!("the row {message}; a quote at its end may be missing");
            return Refusal::new(Cause::Unparsable, problem_on_line(self.first_line, message));
        }
        let message = format!("the line {message}");
        Refusal::new(Cause::Unparsable, problem_on_line(self.number, message))
    }

    fn too_many_bytes(&mut self) -> Refusal {
        self.progress = Progress::Closing;
        let message = format!(
            "the file is longer than the {} bytes allowed: split it",
            self.reader.limits.max_stream_bytes
        );
        Refusal::new(Cause::Unparsable, problem_on_line(self.number, message))
    }

    fn too_many_jobs(&mut self) -> Refusal {
        self.progress = Progress::Closing;
        Refusal::new(Cause::Wrong, problem_on_line(self.number, too_many_jobs(self.reader.limits.max_jobs)))
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
            return Some(Err(Refusal::new(
                Cause::Empty,
                problem_on_line(1, self.empty_message().to_owned()),
            )
            .into()));
        }
        None
    }
}

impl<R> Lines<R> {
    fn empty_message(&self) -> &'static str {
        match (self.form, &self.header) {
            (Form::Csv, Some(_)) => "the file has a header and no row below it",
            (Form::Prompts, _) if self.number > 0 => "the file has no prompt: only empty lines and comments",
            _ => "the file is empty",
        }
    }
}

fn problem_on_line(line: u64, message: String) -> Problem {
    Problem { pointer: String::new(), message, line, column: 1 }
}
