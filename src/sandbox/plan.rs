//! Faults and shapes as text.
//!
//! A plan is words, parted by white space or commas; from `#` to the end of the line is a remark:
//!
//! ```text
//! submit=503x3 submit=lost        # three times 503, then done but unanswered, then as it should be
//! status-shape=wrapped progress=empty
//! media=short etag=weak link=30s
//! callback=copies:10 callback=late:5s
//! ```
//!
//! *Faults* (`submit=`, `status=`, `cancel=`, `balance=`, `models=`, `media=`) strike instead of the usual answer, one
//! after another in the order written: `xN` says how often, `xall` for ever. Without either, accidents (`503`,
//! `reset`, ...) strike once and lasting states (`401`, `402`, `no-moov`, ...) for ever. They are counted for each
//! idempotency key, task or file by itself. `-done` (`submit=504-done`) does the work all the same and only spoils the answer.
//! *Shapes* (all other names) hold always.
//!
//! A plan is given for the whole run, and for one task inside its prompt: `[sandbox: submit=503x3 run=1s]`. A name
//! given in the prompt replaces what the run says under that name.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use crate::sandbox::faults::{
    CallbackFault, CallbackShape, End, Etag, Expired, FailShape, Flag, IdShape, Kind, Length, Links,
    MediaFault, Progress, Ranges, ResultShape, StatusShape, SubmitShape, Times, UrlShape, WordChoice,
};
use crate::sandbox::scheduled_fault::{ApiFault, ScheduledFault};
use crate::sandbox::value::{Bytes, Choice, Text, Value};

/// Why a text is no plan. The message names the nearest valid word.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlanError {
    /// No such name.
    #[error("`{name}` is no word of a sandbox plan; the nearest is `{nearest}`")]
    UnknownName {
        /// As written.
        name: String,
        /// The valid name most like it.
        nearest: String,
    },
    /// The name is known, the value is not.
    #[error("`{name}={value}` is not known to the sandbox; the nearest is `{name}={nearest}`")]
    UnknownValue {
        /// The name.
        name: &'static str,
        /// As written.
        value: String,
        /// The valid value most like it; arguments in capitals.
        nearest: String,
    },
    /// A name without `=VALUE`.
    #[error("`{name}` needs a value, such as `{name}={example}`")]
    NoValue {
        /// The name.
        name: &'static str,
        /// One of its values.
        example: String,
    },
    /// `[sandbox:` without its `]`.
    #[error("the prompt has `[sandbox:` without a closing `]`")]
    Unclosed,
}

/// Where the values of one name are kept: one (the last counts) or a list (all count).
trait Slot {
    fn put(&mut self, text: &str) -> Option<()>;
    fn shown(&self) -> Vec<String>;
    fn choices() -> Vec<Choice>;
}

impl<V: Value> Slot for Option<V> {
    fn put(&mut self, text: &str) -> Option<()> {
        *self = Some(V::read(text)?);
        Some(())
    }

    fn shown(&self) -> Vec<String> {
        self.iter().map(Value::show).collect()
    }

    fn choices() -> Vec<Choice> {
        V::choices()
    }
}

impl<V: Value> Slot for Vec<V> {
    fn put(&mut self, text: &str) -> Option<()> {
        self.push(V::read(text)?);
        Some(())
    }

    fn shown(&self) -> Vec<String> {
        self.iter().map(Value::show).collect()
    }

    fn choices() -> Vec<Choice> {
        V::choices()
    }
}

/// One name of the grammar, for help texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Before the `=`.
    pub name: &'static str,
    /// What it is about.
    pub help: &'static str,
    /// What may stand behind the `=`.
    pub choices: Vec<Choice>,
}

macro_rules! plan {
    ($($field:ident: $kind:ty = $name:literal, $help:literal;)+) => {
        /// What the simulated provider does besides working as it should. See the file's head for the grammar.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Plan { $(#[doc = $help] pub $field: $kind,)+ }

        impl Plan {
            /// Every name with its values: the help texts are made from this, and nothing else is accepted.
            pub fn vocabulary() -> Vec<Entry> {
                vec![$(Entry { name: $name, help: $help, choices: <$kind as Slot>::choices() },)+]
            }

            /// This plan, and `run`'s under every name this one does not give.
            pub fn over(&self, run: &Self) -> Self {
                Self { $($field: if self.$field.shown().is_empty() { &run.$field } else { &self.$field }.clone(),)+ }
            }

            fn put(&mut self, name: &str, value: Option<&str>) -> Result<(), PlanError> {
                match name {
                    $($name => {
                        let Some(value) = value else {
                            return Err(no_value($name, &<$kind as Slot>::choices()));
                        };
                        self.$field.put(value).ok_or_else(|| unknown_value($name, value, &<$kind as Slot>::choices()))
                    })+
                    _ => Err(unknown_name(name)),
                }
            }

            fn words(&self) -> Vec<String> {
                let mut words = Vec::new();
                $(words.extend(self.$field.shown().into_iter().map(|value| format!("{}={value}", $name)));)+
                words
            }
        }
    };
}

plan! {
    submit: Vec<ScheduledFault<ApiFault>> = "submit", "how submits go wrong";
    status: Vec<ScheduledFault<ApiFault>> = "status", "how status queries go wrong";
    cancel: Vec<ScheduledFault<ApiFault>> = "cancel", "how cancels go wrong";
    balance: Vec<ScheduledFault<ApiFault>> = "balance", "how balance queries go wrong";
    models: Vec<ScheduledFault<ApiFault>> = "models", "how model lists go wrong";
    media: Vec<ScheduledFault<MediaFault>> = "media", "how downloads go wrong";
    callback: Vec<CallbackFault> = "callback", "what happens to the callbacks; several may be given";
    callback_shape: Option<CallbackShape> = "callback-shape", "how a callback body is built";
    callback_tries: Option<u32> = "callback-tries", "how often a callback is sent until it is answered 2xx (default 3)";
    submit_shape: Option<SubmitShape> = "submit-shape", "how a submit is answered";
    status_shape: Option<StatusShape> = "status-shape", "how a status is answered";
    pre_cost: Option<Flag> = "pre-cost", "whether the submit answer has pre_consumed_cost (default yes)";
    extra: Option<Flag> = "extra", "whether a non-empty `extra` is accepted (default yes; no: 400 capability_violation)";
    id: Option<IdShape> = "id", "which ids tasks get";
    queue: Option<Duration> = "queue", "how long a task is queued";
    run: Option<Duration> = "run", "how long a task runs";
    end: Option<End> = "end", "how a task ends";
    fail_shape: Option<FailShape> = "fail-shape", "how a failure tells why";
    refund: Option<Flag> = "refund", "whether failed and cancelled tasks are refunded (default yes)";
    cost: Option<u32> = "cost", "the final cost in quota, whatever was frozen";
    show_cost: Option<Flag> = "show-cost", "whether the status tells the cost (default yes)";
    dies: Option<Duration> = "dies", "how long after its end the task id answers 404";
    words: Option<WordChoice> = "words", "which words stand for the states";
    queued: Option<Text> = "queued", "the word for `queued`";
    processing: Option<Text> = "processing", "the word for `processing`";
    completed: Option<Text> = "completed", "the word for `completed`";
    failed: Option<Text> = "failed", "the word for `failed`";
    cancelled: Option<Text> = "cancelled", "the word for `cancelled`";
    progress: Option<Progress> = "progress", "how progress is written";
    times: Option<Times> = "times", "how created_at and completed_at are written";
    expires: Option<Times> = "expires", "how expires_at is written";
    result: Option<ResultShape> = "result", "when the result of a completed task can be seen";
    url: Option<UrlShape> = "url", "how the URL of an output is written";
    outputs: Option<u32> = "outputs", "how many outputs a task has (default 1; 2 for models named `...-multi`)";
    twice: Option<Flag> = "twice", "whether each output is listed twice (default no)";
    kind: Option<Kind> = "kind", "what an output is (default: by the model's name)";
    size: Option<Bytes> = "size", "how large a video is: padded with a `free` box";
    link: Option<Duration> = "link", "how long a link lives (default 24h)";
    links: Option<Links> = "links", "which links a status query hands out";
    expired: Option<Expired> = "expired", "what a dead link answers";
    ready: Option<Duration> = "ready", "how long after the end a link answers 404, not ready";
    media_key: Option<Flag> = "media-key", "whether downloads need the API key (default no)";
    etag: Option<Etag> = "etag", "the entity tag of a file";
    ranges: Option<Ranges> = "ranges", "how ranges are answered";
    length: Option<Length> = "length", "how the length of a file is told";
    media_type: Option<Text> = "media-type", "the Content-Type of a file, such as application/octet-stream";
}

impl Plan {
    /// Reads a plan.
    ///
    /// # Errors
    /// At the first word that is none, naming the nearest.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let mut plan = Self::default();
        let remarkless = text.lines().map(|line| line.split('#').next().unwrap_or_default());
        let words =
            remarkless.flat_map(|line| line.split([' ', '\t', '\r', ','])).filter(|word| !word.is_empty());
        for word in words {
            match word.split_once('=') {
                Some((name, value)) => plan.put(name, Some(value))?,
                None => plan.put(word, None)?,
            }
        }
        Ok(plan)
    }

    /// The plan inside a prompt, `[sandbox: ...]`; empty if there is none.
    ///
    /// # Errors
    /// As [`Plan::parse`], and when the bracket is never closed.
    pub fn in_prompt(prompt: &str) -> Result<Self, PlanError> {
        let Some((_, rest)) = prompt.split_once("[sandbox:") else { return Ok(Self::default()) };
        let (words, _) = rest.split_once(']').ok_or(PlanError::Unclosed)?;
        Self::parse(words)
    }

    /// The whole vocabulary as text, for `--help` and `GET /sandbox/words`.
    pub fn help() -> String {
        let mut text = String::new();
        for entry in Self::vocabulary() {
            text.push_str(&format!("{}=  {}\n", entry.name, entry.help));
            for choice in entry.choices {
                text.push_str(format!("    {:<24}{}", choice.text, choice.help).trim_end());
                text.push('\n');
            }
        }
        text
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join(" "))
    }
}

impl std::str::FromStr for Plan {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        Self::parse(text)
    }
}

fn no_value(name: &'static str, choices: &[Choice]) -> PlanError {
    PlanError::NoValue {
        name,
        example: choices.first().map(|choice| choice.text.clone()).unwrap_or_default(),
    }
}

fn unknown_value(name: &'static str, value: &str, choices: &[Choice]) -> PlanError {
    // The word is compared without its count and its argument: those are seldom what is misspelt.
    let bare = value.split(':').next().unwrap_or_default();
    let choices = choices.iter().map(|choice| choice.text.as_str());
    let nearest = nearest(bare, choices, |choice| choice.split(':').next().unwrap_or_default());
    PlanError::UnknownValue { name, value: value.to_owned(), nearest }
}

fn unknown_name(name: &str) -> PlanError {
    let names: Vec<_> = Plan::vocabulary().into_iter().map(|entry| entry.name).collect();
    PlanError::UnknownName { name: name.to_owned(), nearest: nearest(name, names.into_iter(), |name| name) }
}

fn nearest<'a>(
    to: &str,
    words: impl Iterator<Item = &'a str>,
    compared: impl Fn(&'a str) -> &'a str,
) -> String {
    words.min_by_key(|word| strsim::damerau_levenshtein(to, compared(word))).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_the_vocabulary_reads_back_as_written() {
        for entry in Plan::vocabulary() {
            for choice in &entry.choices {
                let value = choice
                    .text
                    .replace("TIME", "30s")
                    .replace("SIZE", "64KiB")
                    .replace(":N", ":3")
                    .replace("TEXT", "odd")
                    .replace("WHERE", "metadata");
                let value = if value == "N" { "3".to_owned() } else { value };
                let text = format!("{}={value}", entry.name);
                let plan = Plan::parse(&text).unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(plan.to_string(), text);
                assert_eq!(Plan::parse(&plan.to_string()), Ok(plan));
            }
        }
    }

    #[test]
    fn a_plan_is_read_across_lines_commas_and_remarks() {
        let plan = Plan::parse(
            "submit=503x3,submit=504-done # first\n\n  size=64MiB\tlink=90s media=reset:1KiBx2\r\n",
        );
        let text = plan.expect("a plan").to_string();
        assert_eq!(text, "submit=503x3 submit=504-done media=reset:1KiBx2 size=64MiB link=90s");
    }

    #[test]
    fn what_is_no_plan_is_told_with_the_nearest_word() {
        for (text, message) in [
            ("sumbit=503", "`sumbit` is no word of a sandbox plan; the nearest is `submit`"),
            (
                "submit=htlm200",
                "`submit=htlm200` is not known to the sandbox; the nearest is `submit=html200`",
            ),
            ("media=sort", "`media=sort` is not known to the sandbox; the nearest is `media=short`"),
            (
                "submit=slow:soon",
                "`submit=slow:soon` is not known to the sandbox; the nearest is `submit=slow:TIME`",
            ),
            ("link=1week", "`link=1week` is not known to the sandbox; the nearest is `link=TIME`"),
            ("submit", "`submit` needs a value, such as `submit=400`"),
            ("submit=503x", "`submit=503x` is not known to the sandbox; the nearest is `submit=503`"),
        ] {
            assert_eq!(Plan::parse(text).expect_err(text).to_string(), message);
        }
        assert_eq!(Plan::in_prompt("a cat [sandbox: run=1s"), Err(PlanError::Unclosed));
    }

    #[test]
    fn the_prompt_wins_name_by_name() {
        let run = Plan::parse("submit=429 run=1s").expect("a plan");
        let own = Plan::in_prompt("樱花 [sandbox: submit=503x2 submit=lost] petals").expect("a plan");
        assert_eq!(own.over(&run).to_string(), "submit=503x2 submit=lost run=1s");
        assert_eq!(Plan::in_prompt("樱花").expect("a plan").over(&run), run);
    }
}
