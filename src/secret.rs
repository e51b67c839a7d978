//! Text that cannot be printed, and the tokens that admit a callback.

use std::fmt;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A secret text: the API key, a callback secret, a token, a URL that carries one. It has no `Display`, its `Debug`
/// shows nothing, and its memory is zeroed when it is dropped. [`Secret::expose`] is the one way to the text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// 32 bytes from the operating system's generator, as base64url text.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn generate() -> std::io::Result<Self> {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        let mut filled = 0;
        while filled < bytes.len() {
            filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
        }
        Ok(Self::new(BASE64URL_NOPAD.encode(&*bytes)))
    }

    /// The text itself, for the one place that must send or write it. Never for a log, an error or a record.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// A number by which the same secret is known again, and nothing else about it: 40 bits of a MAC under it.
    pub fn print(&self) -> i64 {
        let mac = mac_under(self, b"dropreel: the same key?");
        mac.iter().take(5).fold(0, |number, byte| (number << 8) | i64::from(*byte))
    }

    /// Whether `presented` is this secret, in time that depends on the lengths alone.
    pub fn admits(&self, presented: &str) -> bool {
        self.0.as_bytes().ct_eq(presented.as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// The secrets behind callback tokens: new tokens are made under the first, tokens under the earlier ones
/// stay valid through a rotation (docs/reference.md#http).
#[derive(Clone, Debug)]
pub struct CallbackSecrets {
    current: Secret,
    earlier: Vec<Secret>,
}

impl CallbackSecrets {
    /// `current` makes tokens; `earlier` only admits them.
    pub fn new(current: Secret, earlier: Vec<Secret>) -> Self {
        Self { current, earlier }
    }

    /// The token of a job's callback URL: HMAC-SHA256 over the job id, base64url without padding (43 characters).
    pub fn token(&self, job_id: &str) -> Secret {
        token_under(&self.current, job_id)
    }

    /// Whether `presented` is the token of `job_id` under any of the secrets. Every secret is tried whatever the
    /// others said, and compared as text, so that only the one canonical spelling of a token is admitted.
    pub fn admit(&self, job_id: &str, presented: &str) -> bool {
        std::iter::once(&self.current)
            .chain(&self.earlier)
            .fold(false, |admitted, secret| admitted | token_under(secret, job_id).admits(presented))
    }
}

fn token_under(secret: &Secret, job_id: &str) -> Secret {
    Secret::new(BASE64URL_NOPAD.encode(&mac_under(secret, job_id.as_bytes())))
}

fn mac_under(secret: &Secret, message: &[u8]) -> [u8; 32] {
    let mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes());
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length (RFC 2104, section 3)")]
    let mut mac = mac.expect("HMAC takes any key");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// The SHA-256 of `bytes` in lower-case hexadecimal: how files, bodies and requests are told apart everywhere.
pub fn sha256_hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(current: &str, earlier: &[&str]) -> CallbackSecrets {
        CallbackSecrets::new(Secret::new(current), earlier.iter().map(|text| Secret::new(*text)).collect())
    }

    #[test]
    fn a_secret_prints_nothing() {
        let secret = Secret::new("sk-canary");
        assert_eq!(
            format!("{secret:?} {:#?}", secrets("sk-canary", &["old-canary"])).matches("canary").count(),
            0
        );
    }

    #[test]
    fn a_token_is_the_hmac_of_the_job_id() {
        // RFC 4231, test case 2: key "Jefe".
        let token = secrets("Jefe", &[]).token("what do ya want for nothing?");
        let expected = HEXLOWER
            .decode(b"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
            .expect("hexadecimal");
        assert_eq!(token.expose(), BASE64URL_NOPAD.encode(&expected));
    }

    #[test]
    fn a_token_is_admitted_for_its_own_job_and_through_a_rotation_only() {
        let old = secrets("old", &[]);
        let token = old.token("job-1");
        assert!(old.admit("job-1", token.expose()));
        assert!(!old.admit("job-2", token.expose()));
        assert!(secrets("new", &["old"]).admit("job-1", token.expose()));
        assert!(!secrets("new", &[]).admit("job-1", token.expose()));
        assert!(!old.admit("job-1", &token.expose()[1..]));
        assert!(!old.admit("job-1", &format!("{}=", token.expose())));
        assert!(!old.admit("job-1", ""));
    }

    #[test]
    fn generated_secrets_differ() {
        let one = Secret::generate().expect("randomness");
        assert_eq!(one.expose().len(), 43);
        assert_ne!(one, Secret::generate().expect("randomness"));
    }

    #[test]
    fn how_much_of_a_token_is_right_does_not_show_in_the_time() {
        let secrets = secrets("current", &["previous"]);
        let right = secrets.token("job-1").expose().to_owned();
        let wrong_at = |place: usize| {
            let mut bytes = right.clone().into_bytes();
            bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
            String::from_utf8(bytes).expect("ASCII")
        };
        let presented = [wrong_at(0), wrong_at(right.len() - 1), right.clone()];
        let round = || {
            let mut times = [Vec::new(), Vec::new(), Vec::new()];
            // In turns, so that whatever else the machine does falls on all of them.
            for _ in 0..2000 {
                for (token, times) in presented.iter().zip(&mut times) {
                    let began = std::time::Instant::now();
                    let admitted = secrets.admit("job-1", std::hint::black_box(token));
                    times.push(began.elapsed());
                    assert_eq!(admitted, *token == right);
                }
            }
            let medians = times.map(|mut times| {
                times.sort();
                times[times.len() / 2].as_secs_f64()
            });
            medians.iter().copied().fold(0.0_f64, f64::max) / medians.iter().copied().fold(f64::MAX, f64::min)
        };
        // A difference that is there shows in every round; a busy machine spoils some.
        let spread = (0..10).map(|_| round()).fold(f64::MAX, f64::min);
        assert!(spread < 1.1, "the slowest takes {spread} times as long as the fastest");
    }
}
