//! Permits for calls to the provider, and what they were for.

use crate::job::JobId;
use crate::provider::neutral::NeutralCall;

/// Permission for one submit. Only [`crate::provider::gate::Gate::admit_submit`] makes one, and the client consumes it.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct SubmitPermit(Permit);

/// Permission for one status query or cancel call. Only [`crate::provider::gate::Gate::admit_query`] makes one, and the
/// client consumes it.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct QueryPermit(Permit);

/// Permission for one neutral call. Only [`crate::provider::gate::Gate::admit_neutral`] makes one, and the client consumes
/// it.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct NeutralPermit(Permit, NeutralCall);

/// Permission for one query of the balance for people. Only [`crate::provider::gate::Gate::admit_balance`] makes one, and
/// the client consumes it.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct BalancePermit(());

impl BalancePermit {
    pub(super) const fn new() -> Self {
        Self(())
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Permit {
    pub(super) number: u64,
    pub(super) subject: Subject,
    pub(super) probe: bool,
}

/// What a call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// A job that is submitted.
    Submit(JobId),
    /// The task of a job.
    Query(JobId),
    /// The account.
    Neutral(NeutralCall),
}

/// A call that was sent, for [`crate::provider::gate::Gate::settle`].
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct SentCall {
    pub(super) number: u64,
    pub(super) subject: Subject,
}

impl SentCall {
    /// The job that the call was about.
    pub fn job(&self) -> Option<JobId> {
        match self.subject {
            Subject::Submit(job) | Subject::Query(job) => Some(job),
            Subject::Neutral(_) => None,
        }
    }
}

impl Permit {
    fn consume(self) -> SentCall {
        SentCall { number: self.number, subject: self.subject }
    }
}

impl SubmitPermit {
    pub(super) fn new(permit: Permit) -> Self {
        Self(permit)
    }

    /// Whether the call is a probe of suspended calls.
    pub fn is_probe(&self) -> bool {
        self.0.probe
    }

    pub(in crate::provider) fn consume(self) -> SentCall {
        self.0.consume()
    }
}

impl QueryPermit {
    pub(super) fn new(permit: Permit) -> Self {
        Self(permit)
    }

    /// Whether the call is a probe of suspended calls.
    pub fn is_probe(&self) -> bool {
        self.0.probe
    }

    pub(in crate::provider) fn consume(self) -> SentCall {
        self.0.consume()
    }
}

impl NeutralPermit {
    pub(super) fn new(permit: Permit, call: NeutralCall) -> Self {
        Self(permit, call)
    }

    /// The call that it permits.
    pub fn call(&self) -> NeutralCall {
        self.1
    }

    /// Whether the call is a probe of suspended calls.
    pub fn is_probe(&self) -> bool {
        self.0.probe
    }

    pub(in crate::provider) fn consume(self) -> SentCall {
        self.0.consume()
    }
}
