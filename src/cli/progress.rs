//! Jobs as they change: bars on a terminal, lines elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use crate::api::job::JobView;
use crate::cli::exit::CliError;
use crate::cli::format::{printable, state_word};
use crate::cli::terminal::{colours, eprint_line, print_line, stderr_is_terminal, stdout_is_terminal};
use crate::cli::usual::{progress_of, state_and_time, usual_note};
use crate::clock::{Clock, Timestamp};
use crate::job::JobId;
use crate::job::state::StateName;

/// Up to this many known jobs keep a bar each from first to last; of more, only running ones have one.
const MAX_LASTING_BARS: usize = 40;
/// Most bars at one time when only running jobs have one.
const MAX_RUNNING_BARS: usize = 20;

/// Shows changes of jobs.
pub(crate) struct Progress {
    output: Output,
    bars: BTreeMap<JobId, ProgressBar>,
    /// The last line printed for each job, so that none is printed twice in a row.
    last_lines: BTreeMap<JobId, String>,
    /// Whether the bars of settled jobs stay.
    lasting: bool,
    /// How many of the jobs are settled, where not each has a bar.
    total: Option<Total>,
    /// The bar below the others: the places at the provider.
    slots: Option<ProgressBar>,
    clock: Clock,
}

struct Total {
    bar: ProgressBar,
    settled: BTreeSet<JobId>,
}

impl Total {
    fn new(bars: &MultiProgress, jobs: usize) -> Self {
        let bar = bars.add(ProgressBar::new(jobs as u64));
        let style = ProgressStyle::with_template("{pos} of {len} jobs are done");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, settled: BTreeSet::new() }
    }

    fn update(&mut self, job: &JobView) {
        // A held job may be released.
        if job.is_settled() {
            self.settled.insert(job.id);
        } else {
            self.settled.remove(&job.id);
        }
        self.bar.set_position(self.settled.len() as u64);
    }
}

enum Output {
    /// On standard error, which is a terminal.
    Bars(MultiProgress),
    /// Lines on standard error, while standard output waits for the outcome.
    Messages,
    /// Lines on standard output with the time: the changes are the command's result.
    Results,
}

impl Progress {
    /// The progress of `jobs` jobs, beside the result that the command prints at its end.
    pub fn beside_result(jobs: usize, clock: &Clock) -> Self {
        let bars = stderr_is_terminal();
        Self::new(if bars { Output::Bars(MultiProgress::new()) } else { Output::Messages }, jobs, clock)
    }

    /// The changes of `jobs` jobs (0: of all) as the command's result.
    pub fn as_result(jobs: usize, clock: &Clock) -> Self {
        let bars = stderr_is_terminal() && stdout_is_terminal();
        Self::new(if bars { Output::Bars(MultiProgress::new()) } else { Output::Results }, jobs, clock)
    }

    fn new(output: Output, jobs: usize, clock: &Clock) -> Self {
        let lasting = (1..=MAX_LASTING_BARS).contains(&jobs);
        let total = match &output {
            Output::Bars(bars) if jobs > MAX_LASTING_BARS => Some(Total::new(bars, jobs)),
            _ => None,
        };
        let (bars, last_lines) = (BTreeMap::new(), BTreeMap::new());
        Self { output, bars, last_lines, lasting, total, slots: None, clock: clock.clone() }
    }

    /// Shows a job as it is now.
    ///
    /// # Errors
    /// When standard output is closed: nobody watches any more.
    pub fn update(&mut self, job: &JobView) -> Result<(), CliError> {
        if let Some(total) = &mut self.total {
            total.update(job);
        }
        if let Output::Bars(bars) = &self.output {
            let bars = bars.clone();
            self.update_bar(&bars, job);
            return Ok(());
        }
        let line = format!(
            "{} {} {}%{}{}",
            printable(&job.name),
            job.state,
            job.progress,
            usual_suffix(job, self.clock.now()),
            reason_suffix(job)
        );
        if self.last_lines.get(&job.id) == Some(&line) {
            return Ok(());
        }
        self.write_line(&line)?;
        if job.is_settled() && !self.lasting {
            self.last_lines.remove(&job.id);
        } else {
            self.last_lines.insert(job.id, line);
        }
        Ok(())
    }

    /// Shows a line that is not about one job.
    ///
    /// # Errors
    /// As [`Progress::update`].
    pub fn write_note(&self, note: &str) -> Result<(), CliError> {
        match &self.output {
            // Printed past the bars, which would be torn apart otherwise.
            Output::Bars(bars) => Ok(bars.println(note)?),
            Output::Messages | Output::Results => self.write_line(note),
        }
    }

    /// Shows the places at the provider: below the bars, or once as a line.
    ///
    /// # Errors
    /// As [`Progress::update`].
    pub fn show_slots(&mut self, line: &str) -> Result<(), CliError> {
        match (&self.output, &self.slots) {
            (_, Some(bar)) => bar.set_message(line.to_owned()),
            (Output::Bars(bars), None) => {
                let style = ProgressStyle::with_template("{wide_msg:.dim}");
                let bar = bars.add(ProgressBar::new(1));
                bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
                bar.set_message(line.to_owned());
                self.slots = Some(bar);
            }
            (Output::Messages | Output::Results, None) => eprint_line(line),
        }
        Ok(())
    }

    /// Leaves the bars as they are.
    pub fn finish(&self) {
        if let Some(total) = &self.total {
            total.bar.finish_and_clear();
        }
        for bar in self.bars.values() {
            bar.abandon();
        }
    }

    fn write_line(&self, line: &str) -> Result<(), CliError> {
        match &self.output {
            Output::Results => print_line(&format!("{} {line}", self.clock.now())),
            Output::Bars(_) | Output::Messages => {
                eprint_line(line);
                Ok(())
            }
        }
    }

    fn update_bar(&mut self, bars: &MultiProgress, job: &JobView) {
        let settled = job.is_settled();
        if !self.lasting && !self.bars.contains_key(&job.id) {
            if settled {
                let _ = bars.println(outcome(job));
                return;
            }
            if job.state == StateName::Pending || self.bars.len() >= MAX_RUNNING_BARS {
                return;
            }
        }
        let bar = self.bars.entry(job.id).or_insert_with(|| {
            let bar = ProgressBar::new(100);
            // The total and the slots stay the last line.
            let last = self.total.as_ref().map(|total| &total.bar).or(self.slots.as_ref());
            let bar = match last {
                Some(last) => bars.insert_before(last, bar),
                None => bars.add(bar),
            };
            bar.set_prefix(printable(&job.name));
            bar.enable_steady_tick(Duration::from_secs(1));
            bar
        });
        let (percent, is_estimate) = progress_of(job, self.clock.now());
        bar.set_style(bar_style(job, is_estimate, &self.clock));
        bar.set_position(if job.state == StateName::Succeeded { 100 } else { percent.into() });
        bar.set_message(reason_suffix(job));
        if settled && self.lasting {
            bar.abandon();
        } else if settled {
            bar.finish_and_clear();
            let _ = bars.println(outcome(job));
            self.bars.remove(&job.id);
        }
    }
}

/// How a job ended, or what it waits for, in a line.
pub(crate) fn outcome(job: &JobView) -> String {
    let (name, state) = (printable(&job.name), state_word(job.state, colours()));
    let files: Vec<String> = job.files.iter().map(|file| printable(&file.path)).collect();
    if job.state == StateName::Succeeded && !files.is_empty() {
        return format!("{name}  {state}  {}", files.join("  "));
    }
    format!("{name}  {state}{}", reason_suffix(job))
}

/// Why the job failed or what it waits for, behind two spaces.
fn reason_suffix(job: &JobView) -> String {
    let error = job.error.as_ref().map(|error| error.message.as_str());
    match error.or(job.reason.as_deref()) {
        Some(reason) if job.state != StateName::Succeeded && !reason.is_empty() => {
            format!("  {}", printable(reason))
        }
        _ => String::new(),
    }
}

/// How long such tasks usually take, without the time so far, which would make each line a new one.
fn usual_suffix(job: &JobView, now: Timestamp) -> String {
    usual_note(job, now).map_or_else(String::new, |note| format!("  {note}"))
}

fn bar_style(job: &JobView, is_estimate: bool, clock: &Clock) -> ProgressStyle {
    // 20 columns for a name, however wide its characters; the rest is cut. `~` marks an estimate.
    let template = match is_estimate {
        true => "{prefix:20!} {bar:12.blue/dim} ~{pos:>2}%  {state}{wide_msg}",
        false => "{prefix:20!} {bar:12.cyan/dim} {pos:>3}%  {state}{wide_msg}",
    };
    let (job, clock) = (job.clone(), clock.clone());
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─")
        .with_key("state", move |_: &ProgressState, out: &mut dyn fmt::Write| {
            // A terminal that is gone has shown all it can.
            let _ = out.write_str(&state_and_time(&job, clock.now()));
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixtures::{file, job};
    use crate::job::JobError;

    #[test]
    fn outcome_names_the_files_or_the_reason() {
        let named = |state| JobView { name: "a".into(), reason: None, files: Vec::new(), ..job(state) };
        let succeeded = JobView { files: vec![file()], ..named(StateName::Succeeded) };
        assert_eq!(outcome(&succeeded), "a  succeeded  /videos/a.mp4");

        let error = Some(JobError { code: "task_failed".into(), message: "no".into() });
        let failed = JobView { error, reason: Some("x".into()), ..named(StateName::Failed) };
        assert_eq!(outcome(&failed), "a  failed  no");

        // One of two files is no success: what the job waits for matters more.
        let reason = Some("wait".into());
        let held = JobView { name: "a\u{1b}".into(), reason, files: vec![file()], ..named(StateName::Held) };
        assert_eq!(outcome(&held), "a·  held  wait");
        assert_eq!(outcome(&named(StateName::Cancelled)), "a  cancelled");
    }
}
