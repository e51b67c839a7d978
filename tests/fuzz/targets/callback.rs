//! Callback paths, tokens and bodies of any bytes. Only the right token is accepted, which this target computes by itself;
//! a body is never more than a hint.
//!
//! An input is a path on its first line and a body. `TOKEN!`, `OLD!` and `STRANGE!` in the path are replaced by the job's
//! token under the current, the earlier and an unknown secret.
#![no_main]

use std::sync::LazyLock;

use dropreel::clock::Timestamp;
use dropreel::server::public::split_callback_path;
use dropreel::job::{JobId, TaskId};
use dropreel::provider::wire::{read_status, task_hint};
use dropreel::secret::{CallbackSecrets, Secret};
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};

const CURRENT: &str = "the current secret";
const EARLIER: &str = "an earlier secret, longer than one block of the hash, which is sixty-four bytes long";
const STRANGE: &str = "a stranger's secret";
const NOW: Timestamp = Timestamp::from_millis(1_775_285_160_000);

static SECRETS: LazyLock<CallbackSecrets> =
    LazyLock::new(|| CallbackSecrets::new(Secret::new(CURRENT), vec![Secret::new(EARLIER)]));

fuzz_target!(|bytes: &[u8]| {
    let (path, body) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &b""[..]),
    };
    if let Ok(path) = std::str::from_utf8(path) {
        check_path(path);
    }
    check_body(body);
});

fn check_path(path: &str) {
    let Some((id, token)) = split_callback_path(path) else {
        assert!(!path.starts_with("/callbacks/") || !path["/callbacks/".len()..].contains('/'));
        return;
    };
    assert_eq!(format!("/callbacks/{id}/{token}"), path);
    assert!(!id.contains('/'));
    let token = token
        .replace("TOKEN!", &token_of(CURRENT, id))
        .replace("OLD!", &token_of(EARLIER, id))
        .replace("STRANGE!", &token_of(STRANGE, id));
    let right = [CURRENT, EARLIER].iter().any(|secret| token_of(secret, id) == token);
    assert_eq!(SECRETS.verify(id, &token), right);
    assert_eq!(SECRETS.token(id).expose(), token_of(CURRENT, id));
    if let Some(job) = JobId::parse(id) {
        assert_eq!(job.to_string(), id);
        assert!(id.len() == 36 && id.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit()));
    }
}

fn check_body(body: &[u8]) {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/=+~".contains(&byte);
    if let Some(hint) = task_hint(body) {
        assert!((1..=512).contains(&hint.as_str().len()) && hint.as_str().bytes().all(safe), "{hint}");
        assert!(hint.as_str().bytes().any(|byte| byte.is_ascii_alphanumeric()), "{hint}");
        // Reading it as a status answer about that task or another must not panic.
        let other = TaskId::parse("surely-another-task").expect("an id");
        let _ = read_status(body, &hint, NOW, None);
        let _ = read_status(body, &other, NOW, None);
    }
}

/// The token, by RFC 2104 and RFC 4648, without the crates that the daemon uses.
fn token_of(secret: &str, id: &str) -> String {
    let mut key = [0_u8; 64];
    if secret.len() > key.len() {
        key[..32].copy_from_slice(&Sha256::digest(secret));
    } else {
        key[..secret.len()].copy_from_slice(secret.as_bytes());
    }
    let inner = Sha256::new().chain_update(key.map(|byte| byte ^ 0x36)).chain_update(id).finalize();
    let outer = Sha256::new().chain_update(key.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize();
    let mut text = String::new();
    for bytes in outer.chunks(3) {
        let bits =
            bytes.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - bytes.len()));
        for place in 0..=bytes.len() {
            let six = usize::try_from(bits >> (18 - 6 * place) & 0x3f).expect("six bits");
            text.push(char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[six]));
        }
    }
    text
}
