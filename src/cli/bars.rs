//! Jobs as they move: bars on a terminal, lines elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::cli::Failure;
use crate::cli::show::rests;
use crate::cli::term::{self, say, tell, text};
use crate::clock::Clock;

/// So many known jobs have a bar each from first to last; of more, only those that run.
const EACH: usize = 40;
/// So many bars at one time when there are more jobs than that.
const MOST: usize = 20;

/// Shows jobs as they are told of.
pub(super) struct Show {
    form: Form,
    shown: BTreeMap<String, ProgressBar>,
    /// What was last said of a job, so that nothing is said twice.
    said: BTreeMap<String, String>,
    /// Ended jobs keep their bar where all jobs are known beforehand and are few.
    keeps: bool,
}

enum Form {
    /// On stderr, which is a terminal.
    Bars(MultiProgress),
    /// Progress for people, while stdout waits for the outcome.
    Asides,
    /// What moves is itself the result: on stdout, with the time.
    Lines(Clock),
}

impl Show {
    /// The progress of so many jobs, beside what the command prints at its end.
    pub fn aside(jobs: usize) -> Self {
        let form = if term::draws() { Form::Bars(MultiProgress::new()) } else { Form::Asides };
        Self::new(form, jobs > 0 && jobs <= EACH)
    }

    /// Jobs as they move are what the command is for; `jobs` of them, 0: whatever comes.
    pub fn itself(jobs: usize, clock: &Clock) -> Self {
        let person = term::draws() && std::io::stdout().is_terminal();
        let form = if person { Form::Bars(MultiProgress::new()) } else { Form::Lines(clock.clone()) };
        Self::new(form, jobs > 0 && jobs <= EACH)
    }

    fn new(form: Form, keeps: bool) -> Self {
        Self { form, shown: BTreeMap::new(), said: BTreeMap::new(), keeps }
    }

    /// Shows a job as it is now.
    ///
    /// # Errors
    /// When stdout is closed: nobody watches any more.
    pub fn job(&mut self, job: &Value) -> Result<(), Failure> {
        if let Form::Bars(bars) = &self.form {
            let bars = bars.clone();
            self.bar(&bars, job);
            return Ok(());
        }
        let line =
            format!("{} {} {}%{}", text(job, "name"), text(job, "state"), text(job, "progress"), reason(job));
        let id = text(job, "id");
        if self.said.get(&id) == Some(&line) {
            return Ok(());
        }
        self.line(&line)?;
        if rests(job) && !self.keeps {
            self.said.remove(&id);
        } else {
            self.said.insert(id, line);
        }
        Ok(())
    }

    /// Says something that is not about one job.
    ///
    /// # Errors
    /// As [`Show::job`].
    pub fn note(&self, note: &str) -> Result<(), Failure> {
        match &self.form {
            // What is printed here must not tear the bars apart.
            Form::Bars(bars) => Ok(bars.println(note)?),
            _ => self.line(note),
        }
    }

    /// The bars stay as they are.
    pub fn end(&self) {
        for bar in self.shown.values() {
            bar.abandon();
        }
    }

    fn line(&self, line: &str) -> Result<(), Failure> {
        match &self.form {
            Form::Lines(clock) => say(&format!("{} {line}", clock.now())),
            _ => {
                tell(line);
                Ok(())
            }
        }
    }

    fn bar(&mut self, bars: &MultiProgress, job: &Value) {
        let (id, state) = (text(job, "id"), text(job, "state"));
        let over = rests(job);
        if !self.keeps && !self.shown.contains_key(&id) {
            if over {
                let _ = bars.println(outcome(job));
                return;
            }
            if state == "pending" || self.shown.len() >= MOST {
                return;
            }
        }
        let bar = self.shown.entry(id.clone()).or_insert_with(|| {
            let bar = bars.add(ProgressBar::new(100));
            bar.set_style(style());
            bar.set_prefix(text(job, "name"));
            bar
        });
        bar.set_position(if state == "succeeded" { 100 } else { job["progress"].as_u64().unwrap_or(0) });
        bar.set_message(format!("{state}{}", reason(job)));
        if over && self.keeps {
            bar.abandon();
        } else if over {
            bar.finish_and_clear();
            let _ = bars.println(outcome(job));
            self.shown.remove(&id);
        }
    }
}

/// How a job ended, or what it waits for, in a line.
pub(super) fn outcome(job: &Value) -> String {
    let (name, state) = (text(job, "name"), term::state(&text(job, "state")));
    let files: Vec<String> =
        job["files"].as_array().into_iter().flatten().map(|file| text(file, "path")).collect();
    if job["state"] == "succeeded" && !files.is_empty() {
        return format!("{name}  {state}  {}", files.join("  "));
    }
    format!("{name}  {state}{}", reason(job))
}

fn reason(job: &Value) -> String {
    if job["state"] == "succeeded" {
        return String::new();
    }
    let why = [text(&job["error"], "message"), text(job, "reason")].into_iter().find(|why| !why.is_empty());
    why.map_or_else(String::new, |why| format!("  {why}"))
}

fn style() -> ProgressStyle {
    // 24 columns for a name, however wide its letters; the rest is cut.
    ProgressStyle::with_template("{prefix:24!} {bar:30.cyan/dim} {pos:>3}%  {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_outcome_tells_where_the_files_are_or_why_there_are_none() {
        let file = json!([{"path": "/videos/a.mp4"}]);
        let cases = [
            (json!({"name": "a", "state": "succeeded", "files": file}), "a  succeeded  /videos/a.mp4"),
            (
                json!({"name": "a", "state": "failed", "error": {"message": "no"}, "reason": "x"}),
                "a  failed  no",
            ),
            // One of two files is no success: what it waits for matters more.
            (json!({"name": "a\u{1b}", "state": "held", "reason": "wait", "files": file}), "a·  held  wait"),
            (json!({"name": "a", "state": "cancelled"}), "a  cancelled"),
        ];
        for (job, expected) in cases {
            assert_eq!(outcome(&job), expected);
        }
    }
}
