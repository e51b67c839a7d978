//! The provider's words for the status of a task.

use crate::job::event::Phase;

/// The phase of a status word, in any case and also as `TASK_STATUS_...` (docs/provider.md#status-answers). Unknown
/// words count as running.
pub(crate) fn read_phase(word: &str) -> Phase {
    let plain = word.trim().to_ascii_lowercase().replace(['-', ' '], "_");
    let plain = plain.trim_start_matches("task_").trim_start_matches("status_");
    match plain {
        "queued" | "not_start" | "not_started" | "submitted" | "pending" => Phase::Queued,
        "processing" | "in_progress" | "running" => Phase::Processing,
        "completed" | "complete" | "succeeded" | "succeed" | "success" | "successful" | "done"
        | "finished" => Phase::Completed,
        "failed" | "fail" | "failure" | "error" | "expired" | "timeout" | "timed_out" | "time_out"
        | "rejected" => Phase::Failed,
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
