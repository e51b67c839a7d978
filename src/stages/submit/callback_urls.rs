//! Makes the callback URL of each attempt, under the secret in force.

use std::sync::Arc;

use parking_lot::RwLock;
use url::Url;

use crate::job::JobId;
use crate::secret::{CallbackSecrets, Secret};

/// The callback URLs of new attempts: `{public_url}/callbacks/{job_id}/{token}` (docs/reference.md#http).
///
/// The token is made for each attempt, so that a rotated secret is used from the next attempt on.
#[derive(Clone)]
pub struct CallbackUrls {
    /// Without a final slash.
    base: Option<String>,
    secrets: Arc<RwLock<CallbackSecrets>>,
}

impl CallbackUrls {
    /// `None` for `public_url` means that there are no callbacks.
    pub fn new(public_url: Option<&Url>, secrets: Arc<RwLock<CallbackSecrets>>) -> Self {
        let base = public_url.map(|url| url.as_str().trim_end_matches('/').to_owned());
        Self { base, secrets }
    }

    pub(super) fn url(&self, job: JobId) -> Option<Secret> {
        let base = self.base.as_ref()?;
        let secrets = self.secrets.read();
        let token = secrets.token(&job.to_string());
        Some(Secret::new(format!("{base}/callbacks/{job}/{}", token.expose())))
    }
}
