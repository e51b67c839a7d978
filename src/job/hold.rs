//! Why a job is held, and what the operator can do about it.

use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::job::JobId;

/// Why a job is held.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EnumString, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum HoldReason {
    /// The key is older than 23 hours and the outcome of the submit is unknown.
    OutcomeUnknown,
    /// The provider answers every resend of the key with the same stored error, or refuses to see it again.
    ErrorReplayed,
    /// The provider refused the submit, and yet runs a task for it: a delayed copy of the submit was executed.
    TaskAfterRefusal,
    /// The provider answered with a task that belongs to another job.
    DuplicateTask,
    /// Something that is not the provider has refused the submit for 20 minutes.
    SubmitBlocked,
    /// No submit of the job has worked for two hours.
    SubmitFailing,
    /// The estimate is above the job's `max_cost_usd`, or above a whole budget.
    TooExpensive,
    /// The provider's list of models lacks the job's model.
    UnknownModel,
    /// A local picture has not come through its public address for 20 minutes.
    PictureUnreachable,
    /// A local picture is lost: neither the copy nor the original is there.
    PictureMissing,
    /// The database was restored from an older copy: the key may have been used since.
    DatabaseRestored,
    /// Not finished within `polling.give_up`. Still polled slowly.
    TimedOut,
    /// The provider has not known the task for a quarter of an hour.
    TaskMissing,
    /// The status answers about its task have been unreadable for two hours. Still polled slowly.
    StatusUnreadable,
    /// Completed, but without any output.
    NoOutput,
    /// The media host has delivered nothing for too long. Still tried slowly.
    OutputUnreachable,
    /// The bucket has not taken a downloaded file for too long. Still tried slowly.
    UploadFailing,
    /// The link leads to an address that is not on the public internet.
    AddressForbidden,
    /// The link leads to a host that `downloads.hosts` does not list.
    HostNotAllowed,
    /// The link is on `http:`, and `downloads.plain_http` is off.
    PlainHttpForbidden,
    /// The link is no address that media can be downloaded from.
    LinkUnusable,
    /// The file is larger than `downloads.max_bytes`.
    FileTooLarge,
    /// Download after download was not the media it should be.
    InvalidOutput,
}

impl HoldReason {
    /// Whether `release` may be billed a second time.
    pub const fn release_may_pay(self) -> bool {
        matches!(self, Self::DatabaseRestored)
    }

    /// What happened, in a sentence without a full stop.
    pub const fn description(self) -> &'static str {
        match self {
            Self::OutcomeUnknown => {
                "the outcome of the submit is unknown, and its key is too old to be sent again"
            }
            Self::ErrorReplayed => "the provider answers every repeat of this submit with the same error",
            Self::TaskAfterRefusal => {
                "the provider refused the submit, but a callback says that it runs a task for it"
            }
            Self::DuplicateTask => {
                "the provider answered with a task that it has already made for another submit"
            }
            Self::SubmitBlocked => {
                "something on the way to the provider, such as a firewall, has refused this submit for 20 minutes"
            }
            Self::SubmitFailing => "no submit of this job has worked for two hours",
            Self::TooExpensive => "the job costs more than it may, so it was not submitted",
            Self::UnknownModel => "the provider does not list the model of this job, so it was not submitted",
            Self::PictureUnreachable => {
                "a local picture of this job cannot be fetched from its public address, so the job was not submitted"
            }
            Self::PictureMissing => "a local picture of this job is gone, so the job was not submitted",
            Self::DatabaseRestored => {
                "the database was restored from an older copy, so this job may have been submitted since"
            }
            Self::TimedOut => "the task did not finish in time; dropreel still polls it every 15 minutes",
            Self::TaskMissing => {
                "the provider no longer knows the task; dropreel still polls it every 15 minutes"
            }
            Self::StatusUnreadable => {
                "the answers about the task have been unreadable for two hours; dropreel still polls it every 15 \
                 minutes"
            }
            Self::NoOutput => {
                "the task completed without any output; dropreel still polls it every 15 minutes"
            }
            Self::OutputUnreachable => {
                "an output could not be downloaded in time; dropreel still tries every 15 minutes"
            }
            Self::UploadFailing => {
                "an output is downloaded, but not in the bucket yet; dropreel still tries every 15 minutes"
            }
            Self::AddressForbidden => "the link leads to an address that is not allowed",
            Self::HostNotAllowed => "the link leads to a host that is not in `downloads.hosts`",
            Self::PlainHttpForbidden => "the link is on `http:`, and `downloads.plain_http` is off",
            Self::LinkUnusable => "the link is not an address that can be downloaded from",
            Self::FileTooLarge => "the file is larger than `downloads.max_bytes`",
            Self::InvalidOutput => "the link returned something else than the expected media",
        }
    }

    /// The commands to choose from. An adopted job cannot be retried (`can_retry`): there is no request to submit.
    pub fn remedy(self, id: JobId, can_retry: bool) -> String {
        let retry =
            if can_retry { format!(", `dropreel retry {id}` pays for a new one") } else { String::new() };
        match self {
            Self::OutcomeUnknown | Self::ErrorReplayed | Self::DuplicateTask => format!(
                "look for it in the provider's task list; if it is there, `dropreel adopt TASK_ID` fetches it; if not, \
                 `dropreel retry {id}` submits it under a new key and may be billed a second time; `dropreel release \
                 {id}` repeats the same submit while its key is valid, `dropreel cancel {id}` gives it up"
            ),
            Self::TaskAfterRefusal => format!(
                "`dropreel adopt TASK_ID` fetches its video; `dropreel release {id}` repeats the same submit while its key is \
                 valid, which leads to the same task, billed once; `dropreel cancel {id}` gives it up"
            ),
            Self::SubmitBlocked | Self::SubmitFailing => format!(
                "`dropreel release {id}` repeats the same submit, billed once, `dropreel cancel {id}` gives it up; \
                 `dropreel again {id} --set prompt=TEXT` tries another prompt, as a new job"
            ),
            Self::TooExpensive => format!(
                "`dropreel release {id}` submits it once in spite of its `max_cost_usd`, within the budgets; `dropreel \
                 edit {id}` makes it cheaper; to raise a budget, change [budget] in the configuration and reload; \
                 `dropreel cancel {id}` gives it up"
            ),
            Self::UnknownModel => format!(
                "`dropreel edit {id} --set model=MODEL` changes the model (`dropreel models` lists them), `dropreel \
                 release {id}` submits it once all the same, `dropreel cancel {id}` gives it up"
            ),
            Self::PictureUnreachable => {
                let check = if can_retry {
                    format!("`dropreel retry {id}` checks it again, ")
                } else {
                    String::new()
                };
                format!(
                    "`dropreel doctor` checks the way to it; {check}`dropreel release {id}` submits the job without that \
                     check, `dropreel cancel {id}` gives it up"
                )
            }
            Self::PictureMissing => format!(
                "put the picture back where it was, then `dropreel release {id}`; `dropreel cancel {id}` gives it up"
            ),
            Self::DatabaseRestored => format!(
                "look for it in the provider's task list; if it is there, `dropreel adopt TASK_ID` fetches it; if not, \
                 `dropreel release {id}` submits it, `dropreel cancel {id}` gives it up"
            ),
            Self::TimedOut | Self::StatusUnreadable => format!(
                "`dropreel release {id}` gives it more time, `dropreel cancel {id}` cancels it at the provider{retry}"
            ),
            Self::TaskMissing | Self::NoOutput => {
                format!("`dropreel release {id}` polls it again{retry}")
            }
            Self::UploadFailing => format!(
                "`dropreel doctor` says what is wrong with the bucket, and which daemons are there; `dropreel release \
                 {id}` uploads again; the file is safe meanwhile on the machine that downloaded it"
            ),
            Self::AddressForbidden => format!(
                "if the host really is on your own network, set `downloads.allow_private_addresses`; \
                 `dropreel release {id}` downloads again"
            ),
            Self::HostNotAllowed => format!(
                "if you trust that host, add it to `downloads.hosts`; `dropreel release {id}` downloads again"
            ),
            Self::PlainHttpForbidden => format!(
                "if the file may come without TLS, set `downloads.plain_http`; `dropreel release {id}` downloads again"
            ),
            Self::LinkUnusable => format!(
                "`dropreel release {id}` tries again, which helps once the provider names another link{retry}"
            ),
            Self::FileTooLarge => {
                format!("raise `downloads.max_bytes` and restart; `dropreel release {id}` downloads again")
            }
            Self::OutputUnreachable | Self::InvalidOutput => {
                format!("`dropreel release {id}` downloads again{retry}")
            }
        }
    }
}
