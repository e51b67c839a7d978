//! What the quarantine keeps of one job, read back: a person sees why its downloads were rejected, and which answer of the
//! provider could not be used.

use std::io::Read;
use std::path::Path;

use serde::Deserialize;

use crate::clock::Timestamp;
use crate::fs::open_file_below;
use crate::job::JobId;
use crate::library::quarantine::EVIDENCE;
use crate::library::safe_name;

/// Longer evidence is not ours.
const MAX_EVIDENCE_BYTES: u64 = 256 << 10;
/// The most files that are shown of a job.
const MAX_FILES: usize = 20;
/// How much of the name of its job the name of a file certainly has, in characters; long ones are cut.
const NAME_KEPT: usize = 16;
/// The file name of an answer of the provider is this, the job's id and `.json`.
pub const ANSWER: &str = "answer-";

/// A download in quarantine, with its evidence.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct QuarantinedFile {
    /// Its name in the quarantine.
    #[serde(skip)]
    pub file_name: String,
    job: String,
    pub output: String,
    pub at: Timestamp,
    /// Why it was rejected.
    pub why: String,
    pub url_host: String,
    /// What the host answered.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// As downloaded; of a large file only the beginning may be kept.
    pub bytes: u64,
    pub sha256: String,
}

/// The files of `job`, whose name is `name`, in the quarantine `folder`: the newest first. What cannot be read is left out.
pub fn quarantined_files(folder: &Path, job: JobId, name: &str) -> Vec<QuarantinedFile> {
    let Ok(listed) = std::fs::read_dir(folder) else { return Vec::new() };
    let begin: String = safe_name(name).chars().take(NAME_KEPT).collect();
    let names = listed.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let candidates = names.filter(|name| name.starts_with(&begin) && name.ends_with(EVIDENCE));
    let mut files: Vec<_> = candidates.filter_map(|name| read_evidence(folder, &name)).collect();
    files.retain(|file| file.job == job.to_string());
    files.sort_by(|a, b| b.at.cmp(&a.at).then_with(|| b.file_name.cmp(&a.file_name)));
    files.truncate(MAX_FILES);
    files
}

fn read_evidence(folder: &Path, evidence: &str) -> Option<QuarantinedFile> {
    let file_name = evidence.strip_suffix(EVIDENCE)?.to_owned();
    open_file_below(folder, Path::new(&file_name)).ok()?;
    Some(QuarantinedFile { file_name, ..serde_json::from_slice(&read(folder, evidence)?).ok()? })
}

fn read(folder: &Path, name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let opened = open_file_below(folder, Path::new(name)).ok()?;
    opened.take(MAX_EVIDENCE_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The latest answer of the provider about a job that could not be used.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct KeptAnswer {
    /// Its name in the quarantine.
    #[serde(skip)]
    pub file_name: String,
    #[serde(skip)]
    pub bytes: u64,
    pub at: Timestamp,
    /// Its status, some of its headers, and the beginning of its body, without addresses.
    pub answer: String,
}

/// The name in the quarantine of the latest unusable answer about a job.
pub fn answer_name(job: JobId) -> String {
    format!("{ANSWER}{job}.json")
}

/// The unusable answer about `job` in the quarantine `folder`, if one is kept.
pub fn kept_answer(folder: &Path, job: JobId) -> Option<KeptAnswer> {
    let file_name = answer_name(job);
    let content = read(folder, &file_name)?;
    Some(KeptAnswer { file_name, bytes: content.len() as u64, ..serde_json::from_slice(&content).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "sakura";

    fn put(folder: &Path, name: &str, job: &str) {
        let evidence = serde_json::json!({
            "job": job, "output": "video-0", "at": "2026-01-02T03:04:05.000Z", "why": "it is HTML", "url_host": "cdn.example",
            "headers": [["content-type", "text/html"]], "bytes": 6, "sha256": "00",
        });
        std::fs::write(folder.join(name), "<html>").unwrap();
        std::fs::write(folder.join(format!("{name}{EVIDENCE}")), evidence.to_string()).unwrap();
    }

    #[test]
    fn files_of_one_job_are_listed_without_those_of_others_and_links() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let [job, other] = ["018f0000-0000-7000-8000-000000000001", "018f0000-0000-7000-8000-000000000002"];
        put(path, "sakura-video-0.bin", job);
        put(path, "sakura-video-0-1.bin", job);
        put(path, "sakura-video-0-2.bin", other);
        put(path, "rain-video-0.bin", job);
        put(path, "sakura-linked.bin", job);
        std::fs::remove_file(path.join("sakura-linked.bin")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", path.join("sakura-linked.bin")).unwrap();
        put(path, "sakura-broken.bin", job);
        std::fs::write(path.join(format!("sakura-broken.bin{EVIDENCE}")), "{").unwrap();
        put(path, "sakura-gone.bin", job);
        std::fs::remove_file(path.join("sakura-gone.bin")).unwrap();
        let files = quarantined_files(path, JobId::parse(job).unwrap(), NAME);
        let names: Vec<_> = files.iter().map(|file| file.file_name.as_str()).collect();
        assert_eq!(names, ["sakura-video-0.bin", "sakura-video-0-1.bin"]);
        assert_eq!(files[0].headers, [("content-type".to_owned(), "text/html".to_owned())]);
        assert_eq!(quarantined_files(&path.join("none"), JobId::parse(job).unwrap(), NAME), []);
    }

    #[test]
    fn answer_is_read_if_it_is_a_whole_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let job = JobId::parse("018f0000-0000-7000-8000-000000000001").unwrap();
        let file = path.join(answer_name(job));
        assert_eq!(kept_answer(path, job), None);
        let content = r#"{"job": "x", "at": "2026-01-02T03:04:05.000Z", "answer": "HTTP 200"}"#;
        std::fs::write(&file, content).unwrap();
        let kept = kept_answer(path, job).unwrap();
        assert_eq!((kept.answer.as_str(), kept.bytes), ("HTTP 200", content.len() as u64));
        std::fs::write(&file, &content[..20]).unwrap();
        assert_eq!(kept_answer(path, job), None, "it is cut");
        std::fs::remove_file(&file).unwrap();
        std::fs::write(path.join("other.json"), content).unwrap();
        std::os::unix::fs::symlink(path.join("other.json"), &file).unwrap();
        assert_eq!(kept_answer(path, job), None, "a link may lead anywhere");
    }
}
