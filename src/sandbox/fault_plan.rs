//! Fault plans: what the simulated provider does besides working correctly, as text.
//!
//! A plan is a list of `NAME=VALUE`, separated by white space or commas; `#` begins a comment:
//!
//! ```text
//! submit=503x3 submit=lost        # three times 503, then executed but unanswered, then correct
//! status-shape=wrapped progress=empty
//! media=short etag=weak link=30s
//! callback=copies:10 callback=late:5s
//! ```
//!
//! *Faults* (`submit=`, `status=`, `cancel=`, `balance=`, `models=`, `quote=`, `media=`) replace the usual answer, one
//! after another in the order written: `xN` says how often, `xall` always. Without a count, transient faults (`503`,
//! `reset`, ...) happen once and permanent ones (`401`, `402`, `no-moov`, ...) always. Calls are counted for each
//! idempotency key, task, file or quoted body. `-done` (`submit=504-done`) executes the call nevertheless and changes only the answer.
//! *Shapes* (all other names) always apply.
//!
//! One plan applies to the whole run. A task can have its own, inside its prompt: `[sandbox: submit=503x3 run=1s]`. A
//! name in the prompt replaces all values that the run's plan has under that name.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use crate::sandbox::faults::{
    CallbackFault, CallbackShape, CatalogueFault, EtagKind, ExpiredLink, FailureShape, Generation, IdShape,
    LengthKind, LinkPolicy, MediaFault, MediaKind, PendingCost, PriceConfigShape, ProgressFormat, QuoteShape,
    RangeSupport, ResultShape, SettlementTime, StatusShape, StatusWords, SubmitShape, TaskEnd, TimeFormat,
    UrlShape, YesNo,
};
use crate::sandbox::plan_value::{ByteCount, Choice, PlanValue, Text};
use crate::sandbox::scheduled_fault::{ApiFault, ScheduledFault};

/// Why a text is not a fault plan. The message names the nearest valid spelling.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FaultPlanError {
    /// No such name.
    #[error("the sandbox has no fault `{name}`; the nearest is `{nearest}`")]
    UnknownName {
        /// As written.
        name: String,
        /// The most similar valid name.
        nearest: String,
    },
    /// The name is valid, the value is not.
    #[error("the sandbox does not know `{name}={value}`; the nearest is `{name}={nearest}`")]
    UnknownValue {
        name: &'static str,
        /// As written.
        value: String,
        /// The most similar valid value; arguments in capitals.
        nearest: String,
    },
    /// A name without `=VALUE`.
    #[error("`{name}` needs a value, such as `{name}={example}`")]
    NoValue {
        name: &'static str,
        /// One of its values.
        example: String,
    },
    /// `[sandbox:` without its `]`.
    #[error("the prompt has `[sandbox:` without a closing `]`")]
    Unclosed,
}

/// The values of one name: one, where the last counts, or a list, where all count.
trait Values {
    fn add(&mut self, text: &str) -> Option<()>;
    fn texts(&self) -> Vec<String>;
    fn choices() -> Vec<Choice>;
}

impl<V: PlanValue> Values for Option<V> {
    fn add(&mut self, text: &str) -> Option<()> {
        *self = Some(V::parse(text)?);
        Some(())
    }

    fn texts(&self) -> Vec<String> {
        self.iter().map(PlanValue::to_text).collect()
    }

    fn choices() -> Vec<Choice> {
        V::choices()
    }
}

impl<V: PlanValue> Values for Vec<V> {
    fn add(&mut self, text: &str) -> Option<()> {
        self.push(V::parse(text)?);
        Some(())
    }

    fn texts(&self) -> Vec<String> {
        self.iter().map(PlanValue::to_text).collect()
    }

    fn choices() -> Vec<Choice> {
        V::choices()
    }
}

/// One name that a plan may use, for help texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultName {
    /// Before the `=`.
    pub name: &'static str,
    /// What it is about.
    pub help: &'static str,
    /// What may follow the `=`.
    pub choices: Vec<Choice>,
}

macro_rules! fault_plan {
    ($($field:ident: $kind:ty = $name:literal, $help:literal;)+) => {
        /// What the simulated provider does besides working correctly. The module's documentation has the grammar.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct FaultPlan { $(#[doc = $help] pub $field: $kind,)+ }

        impl FaultPlan {
            /// Every valid name with its values, and nothing else is valid. The help text is made from this.
            pub fn names() -> Vec<FaultName> {
                vec![$(FaultName { name: $name, help: $help, choices: <$kind as Values>::choices() },)+]
            }

            /// This plan, with `run`'s values under every name that this one does not use.
            pub fn over(&self, run: &Self) -> Self {
                Self { $($field: if self.$field.texts().is_empty() { &run.$field } else { &self.$field }.clone(),)+ }
            }

            fn add(&mut self, name: &str, value: Option<&str>) -> Result<(), FaultPlanError> {
                match name {
                    $($name => {
                        let Some(value) = value else {
                            return Err(no_value($name, &<$kind as Values>::choices()));
                        };
                        self.$field.add(value).ok_or_else(|| unknown_value($name, value, &<$kind as Values>::choices()))
                    })+
                    _ => Err(unknown_name(name)),
                }
            }

            fn words(&self) -> Vec<String> {
                let mut words = Vec::new();
                $(words.extend(self.$field.texts().into_iter().map(|value| format!("{}={value}", $name)));)+
                words
            }
        }
    };
}

fault_plan! {
    generation: Option<Generation> = "generation", "which generation of the service answers (default: as started)";
    submit: Vec<ScheduledFault<ApiFault>> = "submit", "how submits go wrong";
    status: Vec<ScheduledFault<ApiFault>> = "status", "how status queries go wrong";
    cancel: Vec<ScheduledFault<ApiFault>> = "cancel", "how cancels go wrong";
    balance: Vec<ScheduledFault<ApiFault>> = "balance", "how balance queries go wrong";
    models: Vec<ScheduledFault<ApiFault>> = "models", "how model lists go wrong";
    catalogue: Vec<CatalogueFault> = "catalogue", "which models the list of models has; several may be given";
    price_config: Option<PriceConfigShape> = "price-config", "the price_config of a model in the list";
    unlisted: Option<YesNo> = "unlisted", "whether models are run that the list lacks (default yes; in the new generation no: 404 model_not_found)";
    quote: Vec<ScheduledFault<ApiFault>> = "quote", "how quotes go wrong";
    quote_shape: Option<QuoteShape> = "quote-shape", "the JSON of a quote";
    quote_percent: Option<u32> = "quote-percent", "the quoted price in percent of the true one (default 100)";
    media: Vec<ScheduledFault<MediaFault>> = "media", "how downloads go wrong";
    callback: Vec<CallbackFault> = "callback", "what happens to the callbacks; several may be given";
    callback_shape: Option<CallbackShape> = "callback-shape", "the JSON of a callback";
    callback_tries: Option<u32> = "callback-tries", "how often a callback is sent until it is answered 2xx (default 3)";
    submit_shape: Option<SubmitShape> = "submit-shape", "the JSON of the answer to a submit";
    status_shape: Option<StatusShape> = "status-shape", "the JSON of a status";
    pre_cost: Option<YesNo> = "pre-cost", "whether the answer to a submit has pre_consumed_cost (default yes)";
    extra: Option<YesNo> = "extra", "whether a non-empty `extra` is accepted (default yes; in the new generation no: 400 capability_violation)";
    id: Option<IdShape> = "id", "which ids tasks get";
    queue: Option<Duration> = "queue", "how long a task is queued";
    run: Option<Duration> = "run", "how long a task is processed";
    end: Option<TaskEnd> = "end", "how a task ends";
    fail_shape: Option<FailureShape> = "fail-shape", "where a failed status says why";
    refund: Option<YesNo> = "refund", "whether failed and cancelled tasks are refunded (default yes)";
    cost: Option<u32> = "cost", "the final cost in quota, whatever was frozen";
    cost_percent: Option<u32> = "cost-percent", "the final cost in percent of what was frozen (default 100)";
    settle: Option<SettlementTime> = "settle", "when a task that ended is settled: charged, and refunded the rest";
    pending_cost: Option<PendingCost> = "pending-cost", "the cost in a final status before the task is settled";
    show_cost: Option<YesNo> = "show-cost", "whether the status has the cost (default yes)";
    dies: Option<Duration> = "dies", "how long after its end the task id answers 404";
    words: Option<StatusWords> = "words", "which words name the statuses";
    queued: Option<Text> = "queued", "the word for `queued`";
    processing: Option<Text> = "processing", "the word for `processing`";
    completed: Option<Text> = "completed", "the word for `completed`";
    failed: Option<Text> = "failed", "the word for `failed`";
    cancelled: Option<Text> = "cancelled", "the word for `cancelled`";
    progress: Option<ProgressFormat> = "progress", "how progress is written";
    times: Option<TimeFormat> = "times", "how created_at and completed_at are written";
    expires: Option<TimeFormat> = "expires", "how expires_at is written";
    result: Option<ResultShape> = "result", "when the result of a completed task appears";
    url: Option<UrlShape> = "url", "how the URL of an output is written";
    outputs: Option<u32> = "outputs", "how many outputs a task has (default 1; 2 for models named `...-multi`)";
    twice: Option<YesNo> = "twice", "whether each output is listed twice (default no)";
    kind: Option<MediaKind> = "kind", "the kind of an output (default: by the model's name)";
    size: Option<ByteCount> = "size", "the size of a video, padded with a `free` box";
    link: Option<Duration> = "link", "how long a link is valid (default 24h; in the new generation 168h from the end of the task)";
    links: Option<LinkPolicy> = "links", "which links a status has";
    expired: Option<ExpiredLink> = "expired", "what an expired link answers";
    ready: Option<Duration> = "ready", "how long after the end a link answers 404, not ready";
    media_host: Option<Text> = "media-host", "the host and port in the links, such as 127.0.0.1:9000 (default: the sandbox itself)";
    media_output: Option<u32> = "media-output", "the only output that `media=` and `media-host=` concern, from 0 (default: all)";
    media_key: Option<YesNo> = "media-key", "whether downloads need the API key (default no)";
    etag: Option<EtagKind> = "etag", "the entity tag of a file";
    ranges: Option<RangeSupport> = "ranges", "how range requests are answered";
    length: Option<LengthKind> = "length", "how the length of a file is announced";
    media_type: Option<Text> = "media-type", "the Content-Type of a file, such as application/octet-stream";
}

impl FaultPlan {
    /// Parses a plan.
    ///
    /// # Errors
    /// At the first word that is not valid, with the nearest valid one.
    pub fn parse(text: &str) -> Result<Self, FaultPlanError> {
        let mut plan = Self::default();
        let without_comments = text.lines().map(|line| line.split('#').next().unwrap_or_default());
        let words = without_comments
            .flat_map(|line| line.split([' ', '\t', '\r', ',']))
            .filter(|word| !word.is_empty());
        for word in words {
            match word.split_once('=') {
                Some((name, value)) => plan.add(name, Some(value))?,
                None => plan.add(word, None)?,
            }
        }
        Ok(plan)
    }

    /// Parses the plan inside a prompt, `[sandbox: ...]`; empty if there is none.
    ///
    /// # Errors
    /// As [`FaultPlan::parse`], and when the bracket is never closed.
    pub fn from_prompt(prompt: &str) -> Result<Self, FaultPlanError> {
        let Some((_, rest)) = prompt.split_once("[sandbox:") else { return Ok(Self::default()) };
        let (words, _) = rest.split_once(']').ok_or(FaultPlanError::Unclosed)?;
        Self::parse(words)
    }

    /// All names and values, for `--list-faults` and `GET /sandbox/faults`.
    pub fn help() -> String {
        let mut text = String::new();
        for fault in Self::names() {
            text.push_str(&format!("{}=  {}\n", fault.name, fault.help));
            for choice in fault.choices {
                text.push_str(format!("    {:<24}{}", choice.text, choice.help).trim_end());
                text.push('\n');
            }
        }
        text
    }
}

impl fmt::Display for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join(" "))
    }
}

impl std::str::FromStr for FaultPlan {
    type Err = FaultPlanError;

    fn from_str(text: &str) -> Result<Self, FaultPlanError> {
        Self::parse(text)
    }
}

fn no_value(name: &'static str, choices: &[Choice]) -> FaultPlanError {
    let example = choices.first().map(|choice| choice.text.clone()).unwrap_or_default();
    FaultPlanError::NoValue { name, example }
}

fn unknown_value(name: &'static str, value: &str, choices: &[Choice]) -> FaultPlanError {
    // Without count and argument: those are seldom what is misspelt.
    let bare = value.split(':').next().unwrap_or_default();
    let choices = choices.iter().map(|choice| choice.text.as_str());
    let nearest = nearest(bare, choices, |choice| choice.split(':').next().unwrap_or_default());
    FaultPlanError::UnknownValue { name, value: value.to_owned(), nearest }
}

fn unknown_name(name: &str) -> FaultPlanError {
    let names = FaultPlan::names().into_iter().map(|fault| fault.name);
    FaultPlanError::UnknownName { name: name.to_owned(), nearest: nearest(name, names, |name| name) }
}

fn nearest<'a>(
    to: &str,
    words: impl Iterator<Item = &'a str>,
    compared: impl Fn(&'a str) -> &'a str,
) -> String {
    words.min_by_key(|word| strsim::damerau_levenshtein(to, compared(word))).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
