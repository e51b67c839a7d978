//! I14: secrets appear nowhere where people can see them. I15: files are private.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use data_encoding::{BASE64, BASE64URL, HEXLOWER};
use rusqlite::types::Value;

use super::database::{Row, Snapshot};
use super::{Evidence, Findings};

/// The columns that may hold a secret: bodies to send, links, received bodies.
const SECRET_COLUMNS: &[(&str, &str)] = &[("attempts", "body"), ("outputs", "link"), ("deliveries", "body")];

pub fn check(evidence: &Evidence<'_>, snapshot: &Snapshot, found: &mut Findings) {
    check_modes(evidence.data_dir, evidence.data_dir, found);
    let canaries: Vec<(String, Vec<String>)> =
        evidence.log.canaries.iter().map(|(name, secret)| (name.clone(), spellings(secret))).collect();
    let mut search = |place: &str, text: &str| {
        for (name, spellings) in &canaries {
            if spellings.iter().any(|spelling| text.contains(spelling.as_str())) {
                found.add(14, format!("{name} is in {place}"));
            }
        }
    };
    search("the daemon's output", evidence.output);
    for folder in ["rejected", "videos", "quarantine"] {
        texts_below(&evidence.data_dir.join(folder), &mut search);
    }
    let tables: [(&str, &[Row]); 7] = [
        ("jobs", &snapshot.jobs),
        ("batches", &snapshot.batches),
        ("attempts", &snapshot.attempts),
        ("outputs", &snapshot.outputs),
        ("history", &snapshot.history),
        ("deliveries", &snapshot.deliveries),
        ("suspensions", &snapshot.suspensions),
    ];
    let named = tables.iter().flat_map(|(name, rows)| rows.iter().map(move |row| (*name, row)));
    let others = snapshot.others.iter().map(|(name, row)| (name.as_str(), row));
    for (table, row) in named.chain(others) {
        for (column, value) in &row.0 {
            if SECRET_COLUMNS.contains(&(table, column.as_str())) {
                continue;
            }
            match value {
                Value::Text(text) => search(&format!("{table}.{column}"), text),
                Value::Blob(bytes) => search(&format!("{table}.{column}"), &String::from_utf8_lossy(bytes)),
                _ => {}
            }
        }
    }
}

/// The encodings in which a secret may appear.
fn spellings(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let percent: String = bytes.iter().map(|byte| format!("%{byte:02X}")).collect();
    let mut all = vec![secret.to_owned(), HEXLOWER.encode(bytes), percent];
    // Inside a longer text, base64 has one of three alignments. Characters at the edges also encode other bytes.
    for skip in 0..3 {
        let inner = bytes.get(skip..).unwrap_or_default();
        let whole = inner.len() / 3 * 3;
        for encoding in [BASE64, BASE64URL] {
            all.push(encoding.encode(inner.get(..whole).unwrap_or_default()));
        }
    }
    all.retain(|spelling| spelling.len() >= 8);
    all
}

fn texts_below(folder: &Path, search: &mut impl FnMut(&str, &str)) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            texts_below(&path, search);
        } else if path.extension().is_some_and(|ending| ending == "json") {
            let text = std::fs::read(&path).unwrap_or_default();
            search(&path.display().to_string(), &String::from_utf8_lossy(&text));
        }
    }
}

/// Files have mode 0600, folders 0700, or stricter. Files in the inbox have the mode that their writer chose.
fn check_modes(data_dir: &Path, folder: &Path, found: &mut Findings) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.path().symlink_metadata() else { continue };
        // What a link leads to has a mode of its own.
        if metadata.is_symlink() {
            continue;
        }
        let (path, mode) = (entry.path(), metadata.permissions().mode() & 0o7777);
        if metadata.is_dir() {
            // A person may create the inbox and let others drop files there.
            let is_inbox = path == data_dir.join("inbox");
            found.unless(mode & 0o077 == 0 || is_inbox, 15, || {
                format!("{} has mode {mode:o}", path.display())
            });
            if !is_inbox && entry.file_name() != "lost+found" {
                check_modes(data_dir, &path, found);
            }
        } else {
            // The mode of another user's file cannot be changed; its folder keeps that user out.
            let is_own = metadata.uid() == rustix::process::getuid().as_raw();
            found
                .unless(mode & 0o177 == 0 || !is_own, 15, || format!("{} has mode {mode:o}", path.display()));
        }
    }
}
