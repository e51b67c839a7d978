//! Random numbers from a seed, for jitter and ids. Never for secrets (see [`crate::secret`]).
#![expect(clippy::disallowed_methods, reason = "the one home of random numbers")]

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

/// A random number generator. Clones share one sequence; the same seed gives the same sequence.
#[derive(Clone)]
pub struct Rng(Arc<Mutex<fastrand::Rng>>);

impl Rng {
    /// Seeded by the system: a different sequence in each process.
    pub fn from_system() -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::new())))
    }

    /// The same sequence for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))))
    }

    /// Ten random bytes: the random part of a version 7 UUID (RFC 9562, section 5.7).
    pub fn id_bytes(&self) -> [u8; 10] {
        let mut bytes = [0; 10];
        self.with_generator(|rng| rng.fill(&mut bytes));
        bytes
    }

    /// A whole number from 0 up to, not including, `end`; 0 if `end` is 0.
    pub fn below(&self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.with_generator(|rng| rng.u64(0..end)) }
    }

    /// A number from 0 up to, not including, 1.
    pub fn fraction(&self) -> f64 {
        self.with_generator(fastrand::Rng::f64)
    }

    /// `duration` made longer or shorter by up to `share` of it (0.2: between 80 % and 120 %).
    pub fn jitter(&self, duration: Duration, share: f64) -> Duration {
        duration.mul_f64(1.0 + share * (2.0 * self.fraction() - 1.0))
    }

    fn with_generator<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.0.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_gives_the_same_numbers() {
        let (one, two) = (Rng::seeded(7), Rng::seeded(7));
        assert_eq!(one.id_bytes(), two.id_bytes());
        assert_eq!(one.below(1000), two.below(1000));
        assert_ne!(Rng::seeded(8).id_bytes(), Rng::seeded(7).id_bytes());
    }

    #[test]
    fn jitter_stays_within_its_share() {
        let rng = Rng::seeded(1);
        for _ in 0..1000 {
            let waited = rng.jitter(Duration::from_secs(10), 0.2);
            assert!(waited >= Duration::from_secs(8) && waited <= Duration::from_secs(12));
        }
    }
}
