//! For the crash lab only: named places where the process can be made to die, and bugs planted to see whether the
//! harnesses notice. In a build without the feature `lab` nothing of it exists: every call is empty, every question
//! is answered with no.
//!
//! `REELLAB_DIE_AT=submit-sent:3` kills the process (SIGKILL, no time for anything) when the site is reached for the
//! third time; `REELLAB_STOP_AT` stops it there instead (SIGSTOP), so that the disk can be looked at as a power cut
//! would leave it. `REELLAB_BUG=commit-without-flush` plants a bug.

/// Names for things that only the lab asks for.
macro_rules! names {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its name.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

names! {
    /// A place in the work where a sudden death is worth a test.
    Site {
        /// The first pass of the intake stage begins.
        IntakeBegan = "intake-began",
        /// The intent of a submit is committed and nothing sent yet.
        SubmitFrozen = "submit-frozen",
        /// The answer to a submit is here and nothing of it is kept yet.
        SubmitAnswered = "submit-answered",
    }
}

names! {
    /// A mistake that a harness must notice.
    Bug {
        /// The database is opened with `synchronous=NORMAL`.
        CommitWithoutFlush = "commit-without-flush",
    }
}

/// Dies or stops here if the lab says so.
#[cfg(not(feature = "lab"))]
#[inline(always)]
pub fn reach(_site: Site) {}

/// Whether this bug is planted.
#[cfg(not(feature = "lab"))]
#[inline(always)]
pub const fn planted(_bug: Bug) -> bool {
    false
}

#[cfg(feature = "lab")]
pub use planned::{planted, reach};

#[cfg(feature = "lab")]
#[expect(clippy::disallowed_methods, reason = "the lab's own variables, which are no settings")]
mod planned {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::{Bug, Site};

    struct Plan {
        signal: rustix::process::Signal,
        site: String,
        /// Counts down to the time that counts.
        left: AtomicU32,
    }

    fn plans() -> &'static [Plan] {
        static PLANS: OnceLock<Vec<Plan>> = OnceLock::new();
        PLANS.get_or_init(|| {
            let kinds = [
                ("REELLAB_DIE_AT", rustix::process::Signal::KILL),
                ("REELLAB_STOP_AT", rustix::process::Signal::STOP),
            ];
            let read = |(name, signal)| {
                let text = std::env::var(name).ok()?;
                let (site, nth) = text.split_once(':').unwrap_or((&text, "1"));
                let left = AtomicU32::new(nth.parse().unwrap_or(1));
                Some(Plan { signal, site: site.to_owned(), left })
            };
            kinds.into_iter().filter_map(read).collect()
        })
    }

    /// Dies or stops here if the lab says so.
    pub fn reach(site: Site) {
        for plan in plans().iter().filter(|plan| plan.site == site.as_str()) {
            if plan.left.fetch_sub(1, Ordering::SeqCst) != 1 {
                continue;
            }
            eprintln!("lab: {:?} at {}", plan.signal, site.as_str());
            // A signal to oneself is delivered before the call returns to us, or at once after.
            let _ = rustix::process::kill_process(rustix::process::getpid(), plan.signal);
        }
    }

    /// Whether this bug is planted.
    pub fn planted(bug: Bug) -> bool {
        static PLANTED: OnceLock<Option<String>> = OnceLock::new();
        let planted = PLANTED.get_or_init(|| std::env::var("REELLAB_BUG").ok());
        planted.as_deref() == Some(bug.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_there_once() {
        let sites: std::collections::BTreeSet<_> = Site::ALL.iter().map(|site| site.as_str()).collect();
        assert_eq!(sites.len(), Site::ALL.len());
        let bugs: std::collections::BTreeSet<_> = Bug::ALL.iter().map(|bug| bug.as_str()).collect();
        assert_eq!(bugs.len(), Bug::ALL.len());
    }
}
