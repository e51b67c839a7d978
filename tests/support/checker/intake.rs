//! I1 and I2: every drop is a file in the inbox, or all its jobs, or a rejected file with its reason; once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dropreel::sha256::sha256_hex;

use super::database::Snapshot;
use super::{Evidence, Findings, When};

pub fn check(evidence: &Evidence<'_>, snapshot: &Snapshot, found: &mut Findings) {
    let inbox = hashes(&evidence.data_dir.join("inbox"));
    let rejected = hashes(&evidence.data_dir.join("rejected"));
    let mut drops: BTreeMap<(&str, &str), (usize, Option<u32>)> = BTreeMap::new();
    for drop in &evidence.log.drops {
        drops.entry((&drop.name, &drop.sha256)).or_insert((0, drop.jobs)).0 += 1;
    }
    for ((name, sha256), (times, jobs)) in &drops {
        let rows: Vec<_> = snapshot
            .intakes
            .iter()
            .filter(|row| row.text("file_name") == *name && row.text("sha256") == *sha256)
            .collect();
        let unmoved = rows.iter().filter(|row| row.number("moved_at").is_none()).count();
        let lying = inbox.iter().filter(|(path, hash)| named(path) == *name && hash == sha256).count();
        let stem = name.rsplit_once('.').map_or(*name, |(stem, _)| stem);
        let refused = rejected
            .iter()
            .filter(|(path, hash)| named(path).starts_with(stem) && hash == sha256 && !is_reason(path))
            .count();
        // While a file is moved, its row and its name in the inbox are both there.
        let waiting = lying.saturating_sub(unmoved);
        let kept = rows.len() + waiting + refused;
        found.unless(kept == *times, 1, || {
            format!(
                "{name} was dropped {times} times: {} rows, {lying} in the inbox, {refused} rejected",
                rows.len()
            )
        });
        found.unless(rows.len() <= *times, 2, || format!("{name} was taken in {} times", rows.len()));
        match jobs {
            None => found.unless(rows.is_empty(), 1, || format!("{name} is bad and was taken in")),
            Some(wanted) => {
                for row in rows {
                    let made =
                        snapshot.jobs.iter().filter(|job| job.number("intake") == row.number("nr")).count();
                    let reported = row.count("jobs");
                    found.unless(reported == i64::from(*wanted) && made as i64 == reported, 2, || {
                        format!("{name} has {wanted} jobs; its row says {reported}, and {made} are there")
                    });
                }
            }
        }
        found.unless(evidence.when == When::Always || lying == 0, 12, || {
            format!("{name} still lies in the inbox")
        });
    }
    for (path, hash) in below(&evidence.data_dir.join("accepted")) {
        let known = snapshot.intakes.iter().any(|row| row.text("sha256") == hash);
        found.unless(known, 1, || format!("{} has no row", path.display()));
    }
    check_reasons(&rejected, found);
}

fn check_reasons(rejected: &[(PathBuf, String)], found: &mut Findings) {
    // A hidden file there is a reason still being written.
    let hidden = |path: &Path| named(path).starts_with('.');
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

fn named(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn is_reason(path: &Path) -> bool {
    named(path).ends_with(".reason.json")
}

/// The regular files directly in a folder, with their hashes.
fn hashes(folder: &Path) -> Vec<(PathBuf, String)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    files.filter_map(|entry| Some((entry.path(), sha256_hex(&std::fs::read(entry.path()).ok()?)))).collect()
}

/// The regular files in a folder and below.
fn below(folder: &Path) -> Vec<(PathBuf, String)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.flat_map(|entry| below(&entry.path())).chain(hashes(folder)).collect()
}
