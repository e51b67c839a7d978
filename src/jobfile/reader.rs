//! What reads job files: the rules that it holds them to, and what it adds to their jobs.

use std::sync::Arc;

use crate::jobfile::JobFileLimits;
use crate::jobfile::defaults::Defaults;
use crate::rng::Rng;

/// See the module. `read` reads documents with it, `lines` all other forms.
#[derive(Clone)]
pub struct JobFileReader {
    pub limits: JobFileLimits,
    /// Draws the seeds of `repeat`.
    pub rng: Rng,
    pub defaults: Arc<Defaults>,
}

impl JobFileReader {
    /// A reader that adds no defaults.
    pub fn new(limits: JobFileLimits, rng: Rng) -> Self {
        Self { limits, rng, defaults: Arc::default() }
    }

    /// The same with these defaults.
    #[must_use]
    pub fn with_defaults(&self, defaults: Arc<Defaults>) -> Self {
        Self { defaults, ..self.clone() }
    }
}
