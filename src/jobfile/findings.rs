//! Collects the problems of a text, each with its line and column.

use std::cell::Cell;
use std::collections::BTreeSet;

use crate::jobfile::{MAX_PROBLEMS, Problem};

/// Longest pointer in a problem, in bytes. The user chooses the keys, and a thousand problems may repeat a long one.
const MAX_POINTER: usize = 1000;

/// Longest quote of the user's text in a message, in characters.
const MAX_QUOTE: usize = 40;

/// The problems of one text: at most [`MAX_PROBLEMS`], the others are counted.
pub struct Findings<'a> {
    text: &'a str,
    first_line: u64,
    line_starts: Vec<usize>,
    problems: Vec<Problem>,
    more: u64,
    warnings: Vec<Problem>,
    more_warnings: u64,
    /// A byte and the characters before it on its line: places are often near each other, and lines long.
    last: Cell<(usize, usize)>,
}

impl<'a> Findings<'a> {
    /// `first_line` is the number of the text's first line in its file.
    pub fn new(text: &'a str, first_line: u64) -> Self {
        let after_breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(after_breaks).collect();
        Self {
            text,
            first_line,
            line_starts,
            problems: Vec::new(),
            more: 0,
            warnings: Vec::new(),
            more_warnings: 0,
            last: Cell::new((0, 0)),
        }
    }

    /// Adds a problem at byte `at`.
    pub fn add(&mut self, pointer: &str, at: usize, message: impl Into<String>) {
        let (line, column) = self.place(at);
        self.add_problem(Problem { pointer: shortened(pointer), message: message.into(), line, column });
    }

    /// Adds a problem that already has its line and column.
    pub fn add_problem(&mut self, problem: Problem) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        } else {
            self.more += 1;
        }
    }

    /// Adds a warning about byte `at`: it rejects nothing.
    pub fn warn(&mut self, pointer: &str, at: usize, message: impl Into<String>) {
        if self.warnings.len() >= MAX_PROBLEMS {
            self.more_warnings += 1;
            return;
        }
        let (line, column) = self.place(at);
        self.warnings.push(Problem { pointer: shortened(pointer), message: message.into(), line, column });
    }

    /// Takes the warnings in the order of the file, at most `most`; a last one then says how many more there are.
    pub fn take_warnings(&mut self, most: usize) -> Vec<Problem> {
        let more = std::mem::take(&mut self.more_warnings);
        limit_warnings(std::mem::take(&mut self.warnings), more, most)
    }

    /// Takes back warnings that were taken, each once.
    pub fn return_warnings(&mut self, warnings: impl Iterator<Item = Problem>) {
        let warnings: BTreeSet<Problem> = warnings.collect();
        self.more_warnings += warnings.len().saturating_sub(MAX_PROBLEMS) as u64;
        self.warnings.extend(warnings.into_iter().take(MAX_PROBLEMS));
    }

    /// The problems that `work` adds, which are not added here.
    pub fn apart(&mut self, work: impl FnOnce(&mut Self)) -> Vec<Problem> {
        let (problems, more) = (std::mem::take(&mut self.problems), std::mem::take(&mut self.more));
        work(self);
        self.more = more;
        std::mem::replace(&mut self.problems, problems)
    }

    /// How many problems and warnings are listed so far.
    pub fn listed(&self) -> (usize, usize) {
        (self.problems.len(), self.warnings.len())
    }

    /// Adds to the messages listed since `before` the file that the value at their pointer is from, if it is from another.
    pub fn name_files<'f>(&mut self, before: (usize, usize), file_of: impl Fn(&str) -> Option<&'f str>) {
        let problems = self.problems.iter_mut().skip(before.0);
        for problem in problems.chain(self.warnings.iter_mut().skip(before.1)) {
            if let Some(file) = file_of(&problem.pointer) {
                problem.message += &format!(" (from {file})");
            }
        }
    }

    /// How many problems there were.
    pub fn count(&self) -> u64 {
        self.more.saturating_add(self.problems.len() as u64)
    }

    /// The line of the byte at `at`, from 1.
    pub fn line(&self, at: usize) -> u64 {
        let line = self.line_starts.partition_point(|start| *start <= at).saturating_sub(1);
        self.first_line + line as u64
    }

    /// Line and column (in characters) of the byte at `at`, both from 1.
    pub fn place(&self, at: usize) -> (u64, u64) {
        let line = self.line_starts.partition_point(|start| *start <= at).saturating_sub(1);
        let start = self.line_starts.get(line).copied().unwrap_or(0);
        let end = self.line_starts.get(line + 1).copied().unwrap_or(usize::MAX);
        let chars = |from, to| self.text.get(from..to).map_or(0, |text| text.chars().count());
        let before = match self.last.get() {
            (last, before) if start <= last && last <= at => before + chars(last, at),
            (last, before) if at < last && last < end && last - at < at - start => before - chars(at, last),
            _ => chars(start, at),
        };
        self.last.set((at, before));
        (self.first_line + line as u64, before as u64 + 1)
    }

    /// The problems in the order of the file, and how many more there were.
    pub fn finish(mut self) -> (Vec<Problem>, u64) {
        self.problems.sort_by_key(|problem| (problem.line, problem.column));
        (self.problems, self.more)
    }
}

/// The first `most` of the warnings in the order of the file, and an entry that counts the others and `more`.
pub fn limit_warnings(mut warnings: Vec<Problem>, more: u64, most: usize) -> Vec<Problem> {
    warnings.sort_by_key(|warning| (warning.line, warning.column));
    let more = more.saturating_add(warnings.len().saturating_sub(most) as u64);
    warnings.truncate(most);
    if more > 0 {
        warnings.push(unlisted(more, "warnings", warnings.last()));
    }
    warnings
}

/// The entry that counts the problems that are not listed, placed where the last listed one is.
pub fn unlisted_problems(more: u64, last: Option<&Problem>) -> Problem {
    unlisted(more, "problems", last)
}

fn unlisted(more: u64, what: &str, last: Option<&Problem>) -> Problem {
    let (line, column) = last.map_or((1, 1), |problem| (problem.line, problem.column));
    let message = format!("and {more} more {what}, not listed");
    Problem { pointer: String::new(), message, line, column }
}

/// The pointer to the member `key` of what `pointer` points at (RFC 6901).
pub fn below(pointer: &str, key: &str) -> String {
    let mut longer = pointer.to_owned();
    push_below(&mut longer, key);
    longer
}

/// Lengthens `pointer` by the member `key` (RFC 6901, section 3).
pub fn push_below(pointer: &mut String, key: &str) {
    pointer.push('/');
    for c in key.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            c => pointer.push(c),
        }
    }
}

fn shortened(pointer: &str) -> String {
    let mut pointer = pointer;
    while pointer.len() > MAX_POINTER {
        pointer = pointer.rsplit_once('/').map_or("", |(outer, _)| outer);
    }
    pointer.to_owned()
}

/// Quotes a piece of the user's text: shortened, and without characters that control a terminal.
pub fn quoted(text: &str) -> String {
    if text.is_empty() {
        return "`\"\"`".to_owned();
    }
    let mut quoted = String::from("`");
    let mut chars = text.chars();
    for c in chars.by_ref().take(MAX_QUOTE) {
        match c {
            '"' | '\'' | '\\' => quoted.push(c),
            c => quoted.extend(c.escape_debug()),
        }
    }
    if chars.next().is_some() {
        quoted.push('…');
    }
    quoted.push('`');
    quoted
}

/// Joins words for a sentence: "`a`, `b` or `c`".
pub fn list_words(words: &[&str], and: &str) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((last, before)) => format!("{} {and} {last}", before.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_lines_start_at_the_given_one() {
        let findings = Findings::new("春天\n 的🌸x", 7);
        assert_eq!(findings.place(0), (7, 1));
        assert_eq!(findings.place("春".len()), (7, 2));
        assert_eq!(findings.place("春天\n 的🌸".len()), (8, 4));
        assert_eq!(findings.place("春天\n 的🌸x".len()), (8, 5));
    }

    #[test]
    fn place_is_the_same_after_any_other() {
        let text = "春天的 🌸x\n\ny 樱花树下春天的\nz";
        let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        for first in &places {
            for second in &places {
                let findings = Findings::new(text, 1);
                findings.place(*first);
                assert_eq!(
                    findings.place(*second),
                    Findings::new(text, 1).place(*second),
                    "{first} {second}"
                );
            }
        }
    }

    #[test]
    fn problems_are_sorted_and_those_over_the_limit_are_counted() {
        let text = "x".repeat(2000);
        let mut findings = Findings::new(&text, 1);
        for at in (0..1003).rev() {
            findings.add("", at, "wrong");
        }
        assert_eq!(findings.count(), 1003);
        let (problems, more) = findings.finish();
        assert_eq!((problems.len(), more), (1000, 3));
        assert!(problems.is_sorted_by_key(|problem| problem.column));
        assert_eq!(unlisted_problems(3, problems.last()).message, "and 3 more problems, not listed");
    }

    #[test]
    fn pointers_are_escaped_and_shortened() {
        assert_eq!(below("/2", "a/b~c"), "/2/a~1b~0c");
        assert_eq!(shortened(&below("/2/x", &"k".repeat(2000))), "/2/x");
    }

    #[test]
    fn quotes_are_shortened_and_escaped() {
        assert_eq!(quoted("it's 春\u{1b}[2J\u{202e}"), "`it's 春\\u{1b}[2J\\u{202e}`");
        assert_eq!(quoted(""), "`\"\"`");
        assert_eq!(quoted(&"a".repeat(41)), format!("`{}…`", "a".repeat(40)));
    }
}
