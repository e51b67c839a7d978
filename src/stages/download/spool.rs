//! Whole outputs that wait in the spool: their names, and how they are found again after a crash.

use url::Url;

use crate::job::JobId;
use crate::job::output::{Output, OutputKey, OutputState, Waiting};
use crate::library::Library;
use crate::library::part::Part;
use crate::media::inspect::{Verified, inspect};
use crate::stages::download::DownloadTools;
use crate::store::downloads::Plan;

/// The name of the part that a compressed one becomes.
pub(super) fn unpacked_name(name: &str) -> String {
    format!("{name}-unpacked")
}

/// The part that was planned, if it is whole, with what its inspection found.
pub(super) fn find_planned_part(
    library: &Library,
    job: JobId,
    key: OutputKey,
    plan: &Plan,
) -> Option<(Part, Verified)> {
    let name = DownloadTools::part_name(job, key);
    let found = |name: &str| library.find_complete_part(name, plan.bytes, &plan.sha256);
    let part = found(&name).or_else(|| found(&unpacked_name(&name)))?;
    let verified = inspect(&mut part.reader().ok()?, key.kind).ok()?.ok()?;
    Some((part, verified))
}

/// Whether an output's link is on `http:`.
pub(super) fn is_plain_http(output: &Output) -> bool {
    match &output.state {
        OutputState::Waiting(Waiting { link, .. }) => {
            Url::parse(link.expose()).is_ok_and(|url| url.scheme() == "http")
        }
        OutputState::Stored(_) | OutputState::Lost => false,
    }
}
