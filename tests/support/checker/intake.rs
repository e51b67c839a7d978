//! I1 and I2: every dropped file is either in the inbox, or all its jobs exist, or it is rejected with a reason.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dropreel::sha256::sha256_hex;

use super::database::Snapshot;
use super::{Evidence, Findings, When};

pub fn check(evidence: &Evidence<'_>, snapshot: &Snapshot, found: &mut Findings) {
    let inbox = relative(&evidence.data_dir.join("inbox"));
    let rejected = relative(&evidence.data_dir.join("rejected"));
    let mut drops: BTreeMap<(&str, &str), (usize, Option<u32>)> = BTreeMap::new();
    for drop in &evidence.log.drops {
        drops.entry((&drop.name, &drop.sha256)).or_insert((0, drop.jobs)).0 += 1;
    }
    for ((name, sha256), (times, jobs)) in &drops {
        let rows: Vec<_> = snapshot
            .batches
            .iter()
            .filter(|row| row.text("file_name") == *name && row.text("sha256") == *sha256)
            .collect();
        let unmoved = rows.iter().filter(|row| row.number("moved_at").is_none()).count();
        let in_inbox = inbox.iter().filter(|(path, hash)| path == Path::new(name) && hash == sha256).count();
        let stem = name.rsplit_once('.').map_or(*name, |(stem, _)| stem);
        let refused = rejected
            .iter()
            .filter(|(path, hash)| {
                path.to_string_lossy().starts_with(stem) && hash == sha256 && !is_reason(path)
            })
            .count();
        // Until its move is recorded, a file can be in the inbox and have a row.
        let waiting = in_inbox.saturating_sub(unmoved);
        let kept = rows.len() + waiting + refused;
        found.unless(kept == *times, 1, || {
            format!(
                "{name} was dropped {times} times: {} rows, {in_inbox} in the inbox, {refused} rejected",
                rows.len()
            )
        });
        found.unless(rows.len() <= *times, 2, || format!("{name} was ingested {} times", rows.len()));
        match jobs {
            None => found.unless(rows.is_empty(), 1, || format!("{name} is invalid and was ingested")),
            Some(wanted) => {
                for row in rows {
                    let existing =
                        snapshot.jobs.iter().filter(|job| job.number("batch") == row.number("nr")).count();
                    let reported = row.count("jobs");
                    found.unless(reported == i64::from(*wanted) && existing as i64 == reported, 2, || {
                        format!("{name} has {wanted} jobs; its row says {reported}, and {existing} exist")
                    });
                }
            }
        }
        found.unless(evidence.when == When::Always || in_inbox == 0, 12, || {
            format!("{name} is still in the inbox")
        });
    }
    for (path, hash) in below(&evidence.data_dir.join("accepted")) {
        // A trial of what the folder can do, left by a removal that failed.
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".dropreel-probe-")) {
            continue;
        }
        let known = snapshot.batches.iter().any(|row| row.text("sha256") == hash);
        found.unless(known, 1, || format!("{} has no row", path.display()));
    }
    check_reasons(&below(&evidence.data_dir.join("rejected")), found);
}

fn check_reasons(rejected: &[(PathBuf, String)], found: &mut Findings) {
    // A hidden file is a reason that is being written.
    let hidden = |path: &Path| file_name(path).starts_with('.');
    for (path, _) in rejected.iter().filter(|(path, _)| !is_reason(path) && !hidden(path)) {
        let reason = PathBuf::from(format!("{}.reason.json", path.display()));
        let reported = std::fs::read(&reason)
            .ok()
            .and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok())
            .and_then(|reason| Some(!reason["errors"].as_array()?.is_empty()));
        found.unless(reported == Some(true), 1, || {
            format!("{} has no readable reason beside it", path.display())
        });
    }
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn is_reason(path: &Path) -> bool {
    file_name(path).ends_with(".reason.json")
}

/// The regular files directly in a folder, with their hashes.
fn hashes(folder: &Path) -> Vec<(PathBuf, String)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    files.filter_map(|entry| Some((entry.path(), sha256_hex(&std::fs::read(entry.path()).ok()?)))).collect()
}

/// The regular files in a folder and below, by their paths from there.
fn relative(folder: &Path) -> Vec<(PathBuf, String)> {
    let files = below(folder).into_iter();
    files.filter_map(|(path, hash)| Some((path.strip_prefix(folder).ok()?.to_owned(), hash))).collect()
}

/// The regular files in a folder and below.
fn below(folder: &Path) -> Vec<(PathBuf, String)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.flat_map(|entry| below(&entry.path())).chain(hashes(folder)).collect()
}
