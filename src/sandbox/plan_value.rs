//! The values of a fault plan: what may follow `NAME=`, and the arguments that may follow a colon. Arguments are
//! durations (`500ms`, `30s`, `5m`, `24h`), sizes (`1000`, `64KiB`, `4MiB`), numbers, texts and redirect targets.

use std::time::Duration;

/// What may follow `NAME=`.
pub trait PlanValue: Sized {
    /// The valid values, for help and to find the nearest valid one. Arguments are in capitals: `slow:TIME`.
    fn choices() -> Vec<Choice>;
    /// Parses one value; `None` if it is not valid.
    fn parse(text: &str) -> Option<Self>;
    /// The canonical spelling, which [`PlanValue::parse`] accepts.
    fn to_text(&self) -> String;
}

/// A valid value and what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// As written in a plan.
    pub text: String,
    /// One sentence; empty where the name says it all.
    pub help: &'static str,
}

/// What may follow the colon of a value.
pub trait Argument: Sized {
    /// Stands for the argument in help texts, in capitals.
    const PLACEHOLDER: &'static str;
    /// Parses one argument; `None` if it is not valid.
    fn parse(text: &str) -> Option<Self>;
    /// The canonical spelling, which [`Argument::parse`] accepts.
    fn to_text(&self) -> String;
}

impl Argument for Duration {
    const PLACEHOLDER: &'static str = "TIME";

    fn parse(text: &str) -> Option<Self> {
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let count: u64 = text[..digits].parse().ok()?;
        let millis = match &text[digits..] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        count.checked_mul(millis).map(Self::from_millis)
    }

    fn to_text(&self) -> String {
        let millis = self.as_millis();
        [("h", 3_600_000), ("m", 60_000), ("s", 1000)]
            .into_iter()
            .find(|(_, unit)| millis > 0 && millis.is_multiple_of(*unit))
            .map_or_else(|| format!("{millis}ms"), |(name, unit)| format!("{}{name}", millis / unit))
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteCount(pub u64);

const SIZES: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl Argument for ByteCount {
    const PLACEHOLDER: &'static str = "SIZE";

    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = SIZES
            .into_iter()
            .find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))
            .unwrap_or((text, 1));
        number.parse::<u64>().ok()?.checked_mul(unit).map(Self)
    }

    fn to_text(&self) -> String {
        SIZES
            .into_iter()
            .find(|(_, unit)| self.0 > 0 && self.0.is_multiple_of(*unit))
            .map_or_else(|| self.0.to_string(), |(name, unit)| format!("{}{name}", self.0 / unit))
    }
}

impl Argument for u32 {
    const PLACEHOLDER: &'static str = "N";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

/// Any text without white space, commas and brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(pub String);

impl Argument for Text {
    const PLACEHOLDER: &'static str = "TEXT";

    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    fn to_text(&self) -> String {
        self.0.clone()
    }
}

/// Where a redirect of the media server leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedirectTarget {
    /// A path of the same host that serves the file.
    Same,
    /// The same address again, for ever.
    Loop,
    /// Any URL, among them those that a client must refuse.
    Url(String),
}

/// Names for URLs that a client must refuse.
const FORBIDDEN: [(&str, &str); 5] = [
    ("private", "http://10.0.0.1/output.mp4"),
    ("metadata", "http://169.254.169.254/latest/meta-data/"),
    ("file", "file:///etc/passwd"),
    ("userinfo", "https://user:word@example.com/output.mp4"),
    ("port", "http://127.0.0.1:22/output.mp4"),
];

impl Argument for RedirectTarget {
    const PLACEHOLDER: &'static str = "WHERE";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "same" => Some(Self::Same),
            "loop" => Some(Self::Loop),
            _ if text.contains("://") => Some(Self::Url(text.to_owned())),
            _ => {
                let (_, url) = FORBIDDEN.into_iter().find(|(name, _)| *name == text)?;
                Some(Self::Url(url.to_owned()))
            }
        }
    }

    fn to_text(&self) -> String {
        match self {
            Self::Same => "same".to_owned(),
            Self::Loop => "loop".to_owned(),
            Self::Url(url) => {
                let name = FORBIDDEN.into_iter().find(|(_, known)| known == url).map(|(name, _)| name);
                name.unwrap_or(url).to_owned()
            }
        }
    }
}

/// These arguments are also values of their own, as in `run=1s`.
macro_rules! plan_values {
    ($($kind:ty),+) => { $(
        impl PlanValue for $kind {
            fn choices() -> Vec<Choice> {
                vec![Choice { text: <$kind as Argument>::PLACEHOLDER.to_owned(), help: "" }]
            }
            fn parse(text: &str) -> Option<Self> {
                <$kind as Argument>::parse(text)
            }
            fn to_text(&self) -> String {
                <$kind as Argument>::to_text(self)
            }
        }
    )+ };
}
plan_values!(Duration, ByteCount, u32, Text);
