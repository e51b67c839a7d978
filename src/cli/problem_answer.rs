//! Errors that the daemon answers, for people.

use reqwest::{Response, StatusCode};

use crate::api::problem::ProblemDetails;
use crate::cli::exit::{CliError, Exit};
use crate::cli::format::printable;

/// The error of an answer with problem details. `file` is the job file it is about.
pub(crate) async fn problem(response: Response, file: Option<&str>) -> CliError {
    let status = response.status();
    let text = response.text().await.unwrap_or_default();
    let exit = if status == StatusCode::UNAUTHORIZED { Exit::Usage } else { Exit::Failed };
    let message = match serde_json::from_str(&text) {
        Ok(problem) => describe_problem(&problem, file),
        Err(_) => in_file(file, &format!("the daemon answered HTTP {status}")),
    };
    CliError::new(exit, message)
}

/// Each problem of a job file on a line of its own with its place; else the detail, and the jobs that may be meant.
fn describe_problem(problem: &ProblemDetails, file: Option<&str>) -> String {
    if let Some(errors) = problem.errors.as_ref().filter(|errors| !errors.is_empty()) {
        let lines = errors.iter().map(|error| {
            let described = printable(&error.describe(""));
            file.map_or_else(|| described.trim_start().to_owned(), |file| format!("{file}:{described}"))
        });
        return lines.collect::<Vec<_>>().join("\n");
    }
    let mut text = in_file(file, &printable(&problem.detail));
    for candidate in problem.candidates.iter().flatten() {
        text += &format!("\n{}  {} ({})", candidate.id, printable(&candidate.name), candidate.state);
    }
    text
}

/// [`printable`], line by line.
pub(crate) fn printable_lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}

fn in_file(file: Option<&str>, message: &str) -> String {
    file.map_or_else(|| message.to_owned(), |file| format!("{file}: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::problem::{Candidate, JobFileProblem};
    use crate::job::JobId;
    use crate::job::state::StateName;

    #[test]
    fn problems_are_printed_with_their_places_or_as_a_sentence() {
        let error = |pointer: &str, message: &str, line, column| JobFileProblem {
            pointer: pointer.into(),
            message: message.into(),
            line,
            column,
        };
        let invalid = ProblemDetails {
            detail: "x".into(),
            errors: Some(vec![error("", "is empty", 1, 1), error("/seed", "a \u{1b}", 3, 9)]),
            ..ProblemDetails::default()
        };
        let expected = "a.json: is empty\na.json:3:9: /seed: a ·";
        assert_eq!(describe_problem(&invalid, Some("a.json")), expected);

        let duplicate = ProblemDetails { detail: "accepted before".into(), ..ProblemDetails::default() };
        assert_eq!(describe_problem(&duplicate, Some("a.json")), "a.json: accepted before");

        let id = JobId::parse("01a2069b-5192-7000-8002-4ba8a661699c").unwrap();
        let candidate = Candidate { id, name: "n".into(), state: StateName::Held };
        let ambiguous = ProblemDetails {
            detail: "several".into(),
            candidates: Some(vec![candidate]),
            ..ProblemDetails::default()
        };
        assert_eq!(describe_problem(&ambiguous, None), format!("several\n{id}  n (held)"));
    }
}
