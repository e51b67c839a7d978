//! The provider's words for the status of a task.

use crate::job::event::Phase;

/// The phase of a status word, in any case (docs/provider.md#status-answers). Unknown words count as running.
pub(crate) fn read_phase(word: &str) -> Phase {
    let plain = word.trim().to_ascii_lowercase().replace(['-', ' '], "_");
    match plain.as_str() {
        "queued" | "not_start" | "not_started" | "submitted" | "pending" => Phase::Queued,
        "processing" | "in_progress" | "running" => Phase::Processing,
        "completed" | "complete" | "succeeded" | "succeed" | "success" | "done" | "finished" => {
            Phase::Completed
        }
        "failed" | "error" | "failure" => Phase::Failed,
        "cancelled" | "canceled" => Phase::Cancelled,
        _ => Phase::Unclear(word.trim().to_owned()),
    }
}

/// Whether the task has ended.
pub(crate) fn is_end(phase: &Phase) -> bool {
    match phase {
        Phase::Completed | Phase::Failed | Phase::Cancelled => true,
        Phase::Queued | Phase::Processing | Phase::Unclear(_) => false,
    }
}
