//! `list --csv`: jobs as rows for a spreadsheet.

use csv::{Terminator, WriterBuilder};

use crate::api::job::JobView;
use crate::cli::exit::CliError;
use crate::cli::received::ReceivedJob;

/// The columns; what a person looks for comes first.
const COLUMNS: [&str; 9] =
    ["name", "state", "cost_usd", "path", "reason", "model", "labels", "id", "created_at"];

/// The table (RFC 4180), one row for each of these jobs, of which the newest is the first. The oldest gets the first row, so
/// that rows are in the order of the job file. Several paths or labels are separated by `; `.
pub(crate) fn csv_table(jobs: &[ReceivedJob]) -> Result<Vec<u8>, CliError> {
    let failed = |error: csv::Error| CliError::failed(error.to_string());
    let mut writer = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new());
    writer.write_record(COLUMNS).map_err(failed)?;
    jobs.iter().rev().try_for_each(|job| writer.write_record(row(job)).map_err(failed))?;
    writer.into_inner().map_err(|error| CliError::failed(error.to_string()))
}

fn row(job: &JobView) -> [String; 9] {
    let paths: Vec<&str> = job.files.iter().map(|file| file.path.as_str()).collect();
    let labels: Vec<String> = job.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let reason = job.reason.clone().or_else(|| job.error.as_ref().map(|error| error.message.clone()));
    [
        job.name.clone(),
        job.state.to_string(),
        job.cost_usd.map(|usd| usd.to_string()).unwrap_or_default(),
        paths.join("; "),
        reason.unwrap_or_default(),
        job.model.clone(),
        labels.join("; "),
        job.id.to_string(),
        job.created_at.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixtures::job;
    use crate::job::state::StateName;

    #[test]
    fn job_is_a_row_with_its_outcome() {
        let job = JobView { name: "a, \"b\"".to_owned(), ..job(StateName::Held) };
        let received = serde_json::from_str(&serde_json::to_string(&job).unwrap()).unwrap();
        let table = String::from_utf8(csv_table(&[received]).unwrap()).unwrap();
        let (header, row) = table.split_once("\r\n").unwrap();
        assert_eq!(header, COLUMNS.join(","));
        assert!(row.starts_with("\"a, \"\"b\"\"\",held,"), "{row}");
        assert!(row.contains(&job.files[0].path), "{row}");
    }
}
