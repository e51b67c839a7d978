//! Root keys that are nearly documented ones: most are typing mistakes, which the provider ignores or refuses.

use crate::jobfile::field::{FIELDS, MEDIA_KEYS};
use crate::jobfile::findings::{Findings, below, quoted};
use crate::jobfile::json::Member;

/// Longer keys, in bytes, resemble no documented one.
const MAX_RESEMBLING: usize = 24;
/// Keys shorter than this, such as `seed`, resemble too many keys of other models.
const MIN_RESEMBLING: usize = 5;

/// Adds a warning for each undocumented key that is one letter away from a known one which is not given itself.
pub(super) fn warn_about_resembling(
    members: &[Member<'_>],
    known: &[&[&str]],
    is_known_model: bool,
    pointer: &str,
    findings: &mut Findings<'_>,
) {
    let is_documented = |key: &str| {
        known.iter().any(|keys| keys.contains(&key))
            || FIELDS.iter().any(|field| field.key == key)
            || MEDIA_KEYS.contains(&key)
    };
    for member in members.iter().filter(|member| !is_documented(&member.key)) {
        // A document may have a hundred thousand keys.
        if member.key.len() > MAX_RESEMBLING {
            continue;
        }
        let spelled = member.key.to_lowercase().replace(['-', ' '], "_");
        let meant = known.iter().copied().flatten().find(|candidate| {
            resembles(&spelled, candidate, is_known_model)
                && !members.iter().any(|member| member.key == **candidate)
        });
        if let Some(meant) = meant {
            let message = format!(
                "{} is no documented key, and sent as it is: did you mean `{meant}`?",
                quoted(&member.key)
            );
            findings.warn(&below(pointer, &member.key), member.key_at, message);
        }
    }
}

/// Whether a key is the candidate with one letter wrong, missing, added or moved, or in another spelling, such as
/// `aspectRatio`.
fn resembles(spelled: &str, candidate: &str, is_known_model: bool) -> bool {
    if spelled.len().abs_diff(candidate.len()) > 4 {
        return false;
    }
    spelled == candidate
        || (is_known_model || candidate.len() >= MIN_RESEMBLING)
            && strsim::osa_distance(spelled, candidate) <= 1
}
