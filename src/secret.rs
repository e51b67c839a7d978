//! Secret texts that cannot be printed, and the tokens of callback URLs.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A secret text: the API key, a callback secret, a token, a URL that contains one. It has no `Display`, its `Debug`
/// hides the text, and its memory is zeroed on drop. Only [`Secret::expose`] returns the text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// A secret with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// Generates 32 random bytes as base64url text.
    ///
    /// # Errors
    /// When the operating system has no random bytes.
    pub fn generate() -> std::io::Result<Self> {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        let mut filled = 0;
        while filled < bytes.len() {
            filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
        }
        Ok(Self::new(BASE64URL_NOPAD.encode(&*bytes)))
    }

    /// The text, for code that sends or stores it. Never for a log, an error or a record.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Recognises the same secret later without revealing it: 40 bits of a MAC under it.
    pub fn fingerprint(&self) -> i64 {
        let mac = mac_under(self, b"dropreel: the same key?");
        mac.iter().take(5).fold(0, |number, byte| (number << 8) | i64::from(*byte))
    }

    /// Whether `presented` is this secret. The time depends on the lengths only.
    pub fn matches(&self, presented: &str) -> bool {
        self.0.as_bytes().ct_eq(presented.as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// The secrets of callback tokens (docs/reference.md#http). The current one makes new tokens; tokens of earlier ones stay
/// valid after a rotation.
#[derive(Clone, Debug)]
pub struct CallbackSecrets {
    current: Secret,
    earlier: Vec<Secret>,
}

impl CallbackSecrets {
    /// `current` makes tokens; those of `earlier` stay valid.
    pub fn new(current: Secret, earlier: Vec<Secret>) -> Self {
        Self { current, earlier }
    }

    /// The token of a job's callback URL: HMAC-SHA256 of the job id, base64url without padding (43 characters).
    pub fn token(&self, job_id: &str) -> Secret {
        token_under(&self.current, job_id)
    }

    /// Whether `presented` is the token of `job_id` under any of the secrets. It tries all of them, so that the time does
    /// not tell which one matches, and compares texts, so that only the canonical encoding of a token is valid.
    pub fn verify(&self, job_id: &str, presented: &str) -> bool {
        std::iter::once(&self.current)
            .chain(&self.earlier)
            .fold(false, |valid, secret| valid | token_under(secret, job_id).matches(presented))
    }

    /// Recognises the secret that makes tokens ([`Secret::fingerprint`]).
    pub fn fingerprint(&self) -> i64 {
        self.current.fingerprint()
    }

    /// Whether tokens of the secret with this fingerprint are valid.
    pub fn include(&self, fingerprint: i64) -> bool {
        std::iter::once(&self.current).chain(&self.earlier).any(|secret| secret.fingerprint() == fingerprint)
    }

    /// The token of a picture's address: HMAC-SHA256 over a text that is no job id, so that no token is valid as the
    /// other kind.
    pub fn picture_token(&self, job_id: &str, name: &str) -> Secret {
        token_under(&self.current, &picture_message(job_id, name))
    }

    /// Whether `presented` is the token of this picture's address, under any of the secrets; as [`verify`](Self::verify).
    pub fn verify_picture(&self, job_id: &str, name: &str, presented: &str) -> bool {
        self.verify(&picture_message(job_id, name), presented)
    }
}

fn picture_message(job_id: &str, name: &str) -> String {
    format!("picture\n{job_id}\n{name}")
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

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    fn secrets(current: &str, earlier: &[&str]) -> CallbackSecrets {
        CallbackSecrets::new(Secret::new(current), earlier.iter().map(|text| Secret::new(*text)).collect())
    }

    #[test]
    fn debug_output_hides_the_secret() {
        let secret = Secret::new("sk-canary");
        assert_eq!(
            format!("{secret:?} {:#?}", secrets("sk-canary", &["old-canary"])).matches("canary").count(),
            0
        );
    }

    #[test]
    fn token_is_the_hmac_of_the_job_id() {
        // RFC 4231, test case 2: key "Jefe".
        let token = secrets("Jefe", &[]).token("what do ya want for nothing?");
        let expected = HEXLOWER
            .decode(b"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
            .expect("hexadecimal");
        assert_eq!(token.expose(), BASE64URL_NOPAD.encode(&expected));
    }

    #[test]
    fn token_is_valid_for_its_job_and_after_a_rotation_only() {
        let old = secrets("old", &[]);
        let token = old.token("job-1");
        assert!(old.verify("job-1", token.expose()));
        assert!(!old.verify("job-2", token.expose()));
        assert!(secrets("new", &["old"]).verify("job-1", token.expose()));
        assert!(!secrets("new", &[]).verify("job-1", token.expose()));
        assert!(!old.verify("job-1", &token.expose()[1..]));
        assert!(!old.verify("job-1", &format!("{}=", token.expose())));
        assert!(!old.verify("job-1", ""));
    }

    #[test]
    fn generated_secrets_differ() {
        let one = Secret::generate().expect("randomness");
        assert_eq!(one.expose().len(), 43);
        assert_ne!(one, Secret::generate().expect("randomness"));
    }

    #[test]
    fn token_check_takes_the_same_time_for_any_token() {
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
            // In turns, so that other load on the machine affects all of them.
            for _ in 0..2000 {
                for (token, times) in presented.iter().zip(&mut times) {
                    let began = std::time::Instant::now();
                    let admitted = secrets.verify("job-1", std::hint::black_box(token));
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
        // A real difference shows in every round; a busy machine disturbs some.
        let spread = (0..10).map(|_| round()).fold(f64::MAX, f64::min);
        assert!(spread < 1.1, "the slowest takes {spread} times as long as the fastest");
    }
}
