//! What can stand behind `NAME=` in a plan, and behind the colon of a word that takes an argument: durations (`500ms`,
//! `30s`, `5m`, `24h`), sizes (`1000`, `64KiB`, `4MiB`), numbers, texts, and where a redirect leads.

use std::time::Duration;

/// Something that can stand behind `NAME=`.
pub trait Value: Sized {
    /// What may be written, for help and for finding the nearest valid word. An argument is in capitals: `slow:TIME`.
    fn choices() -> Vec<Choice>;
    /// Reads one value; `None` if it is none.
    fn read(text: &str) -> Option<Self>;
    /// The value in its one canonical spelling: [`Value::read`] gives it back.
    fn show(&self) -> String;
}

/// One thing that may be written, and what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// As written in a plan.
    pub text: String,
    /// One sentence of help; empty where the name says it all.
    pub help: &'static str,
}

/// An argument of a word: how it is called in help texts, and how it is read.
pub trait Argument: Sized {
    /// In capitals.
    const CALLED: &'static str;
    /// Reads one; `None` if it is none.
    fn read(text: &str) -> Option<Self>;
    /// As [`Argument::read`] reads it.
    fn show(&self) -> String;
}

impl Argument for Duration {
    const CALLED: &'static str = "TIME";

    fn read(text: &str) -> Option<Self> {
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

    fn show(&self) -> String {
        let millis = self.as_millis();
        [("h", 3_600_000), ("m", 60_000), ("s", 1000)]
            .into_iter()
            .find(|(_, unit)| millis > 0 && millis.is_multiple_of(*unit))
            .map_or_else(|| format!("{millis}ms"), |(name, unit)| format!("{}{name}", millis / unit))
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

const SIZES: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl Argument for Bytes {
    const CALLED: &'static str = "SIZE";

    fn read(text: &str) -> Option<Self> {
        let (number, unit) = SIZES
            .into_iter()
            .find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))
            .unwrap_or((text, 1));
        number.parse::<u64>().ok()?.checked_mul(unit).map(Self)
    }

    fn show(&self) -> String {
        SIZES
            .into_iter()
            .find(|(_, unit)| self.0 > 0 && self.0.is_multiple_of(*unit))
            .map_or_else(|| self.0.to_string(), |(name, unit)| format!("{}{name}", self.0 / unit))
    }
}

impl Argument for u32 {
    const CALLED: &'static str = "N";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Any text without white space, commas and brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(pub String);

impl Argument for Text {
    const CALLED: &'static str = "TEXT";

    fn read(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// Where a redirect leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To a place that answers, on the same host.
    Same,
    /// To itself, for ever.
    Loop,
    /// Somewhere a client must not go: a URL.
    Elsewhere(String),
}

const FORBIDDEN: [(&str, &str); 5] = [
    ("private", "http://10.0.0.1/output.mp4"),
    ("metadata", "http://169.254.169.254/latest/meta-data/"),
    ("file", "file:///etc/passwd"),
    ("userinfo", "https://user:word@example.com/output.mp4"),
    ("port", "http://127.0.0.1:22/output.mp4"),
];

impl Argument for Target {
    const CALLED: &'static str = "WHERE";

    fn read(text: &str) -> Option<Self> {
        match text {
            "same" => Some(Self::Same),
            "loop" => Some(Self::Loop),
            _ if text.contains("://") => Some(Self::Elsewhere(text.to_owned())),
            _ => {
                let (_, url) = FORBIDDEN.into_iter().find(|(word, _)| *word == text)?;
                Some(Self::Elsewhere(url.to_owned()))
            }
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Same => "same".to_owned(),
            Self::Loop => "loop".to_owned(),
            Self::Elsewhere(url) => {
                let word = FORBIDDEN.into_iter().find(|(_, known)| known == url).map(|(word, _)| word);
                word.unwrap_or(url).to_owned()
            }
        }
    }
}

macro_rules! also_whole_values {
    ($($kind:ty),+) => { $(
        impl Value for $kind {
            fn choices() -> Vec<Choice> {
                vec![Choice { text: <$kind as Argument>::CALLED.to_owned(), help: "" }]
            }
            fn read(text: &str) -> Option<Self> {
                <$kind as Argument>::read(text)
            }
            fn show(&self) -> String {
                <$kind as Argument>::show(self)
            }
        }
    )+ };
}
also_whole_values!(Duration, Bytes, u32, Text);
