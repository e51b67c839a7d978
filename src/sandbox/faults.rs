//! The vocabulary of a plan: closed lists of words, with a sentence of help each.

use std::time::Duration;

use crate::sandbox::value::{Argument, Bytes, Choice, Target, Text, Value};

/// One closed list of words: text and variant side by side, so that reading, showing and help cannot disagree.
/// Words with an argument stand behind a `+`.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident {
        $($unit:ident = $text:literal, $help:literal;)*
        $(+ $held:ident($kind:ty) = $word:literal, $sentence:literal;)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $name { $(#[doc = $help] $unit,)* $(#[doc = $sentence] $held($kind),)* }

        impl Value for $name {
            fn choices() -> Vec<Choice> {
                vec![
                    $(Choice { text: $text.to_owned(), help: $help },)*
                    $(Choice {
                        text: format!("{}:{}", $word, <$kind as Argument>::CALLED),
                        help: $sentence,
                    },)*
                ]
            }
            fn read(text: &str) -> Option<Self> {
                $(if text == $text { return Some(Self::$unit); })*
                $(if let Some(held) = text.strip_prefix(concat!($word, ":")) {
                    return <$kind as Argument>::read(held).map(Self::$held);
                })*
                None
            }
            fn show(&self) -> String {
                match self {
                    $(Self::$unit => $text.to_owned(),)*
                    $(Self::$held(held) => format!("{}:{}", $word, Argument::show(held)),)*
                }
            }
        }
    };
}

words! {
    /// How a call of the API goes wrong. Where nothing else is said, the provider has done nothing.
    Fault {
        BadRequest = "400", "400, the body is refused";
        BadKey = "401", "401, the key is refused";
        NoMoney = "402", "402, the balance is empty";
        Forbidden = "403", "403";
        NotFound = "404", "404 task_not_found";
        Conflict = "409", "409, a call with this key is under way";
        SlowDown = "429", "429 with Retry-After: 1";
        Window = "429-reset", "429 quota_window_exceeded with a reset_at in 2 s";
        Internal = "500", "500, internal error";
        BadGateway = "502", "502";
        Unavailable = "503", "503";
        GatewayTimeout = "504", "504";
        Capability = "capability", "400 capability_violation of `extra`";
        Price = "price", "500 price_not_configured, which is final";
        Stored500 = "stored500", "500, kept under the idempotency key and replayed for ever (submit)";
        SameId = "same-id", "hands out the id of an earlier task (submit)";
        Html200 = "html200", "200 with an HTML page";
        Html502 = "html502", "502 with an HTML page";
        Empty = "empty", "200 with no body";
        Cut = "cut", "done, but half of the answer is missing";
        Huge = "huge", "200 with 4 MiB of JSON";
        Redirect = "redirect", "302 to another path";
        Reset = "reset", "connection reset before an answer, nothing done";
        Lost = "lost", "done, but the connection is reset instead of answered";
        + SlowDownFor(Duration) = "429", "429 with this Retry-After";
        + WindowFor(Duration) = "429-reset", "429 quota_window_exceeded with a reset_at so far away";
        + Slow(Duration) = "slow", "done at once, answered late";
        + Drip(Bytes) = "drip", "done, and answered so many bytes a second";
    }
}

words! {
    /// How a download goes wrong.
    MediaFault {
        BadRequest = "400", "400 with JSON: not ready yet";
        BadKey = "401", "401";
        Forbidden = "403", "403 with JSON: not ready yet";
        NotFound = "404", "404 with JSON: not ready yet";
        Gone = "410", "410";
        BadRange = "416", "416, whatever was asked";
        SlowDown = "429", "429 with Retry-After: 1";
        Internal = "500", "500";
        BadGateway = "502", "502 with an HTML page";
        Unavailable = "503", "503";
        Short = "short", "the length of the whole, half of it sent, closed";
        Cut = "cut", "no length, half of it sent, closed as if whole";
        ChunkCut = "chunk-cut", "chunked, closed in the middle of a chunk";
        Long = "long", "more bytes than the length says";
        Html = "html200", "an HTML page as video/mp4";
        Magic = "magic", "first bytes of no known kind";
        NoMoov = "no-moov", "an MP4 without its index";
        Half = "half", "half a file, honestly announced as that";
        Zero = "zero", "no bytes at all, with 200";
        Gzip = "gzip", "Content-Encoding: gzip";
        + Reset(Bytes) = "reset", "connection reset after so many bytes; 0: before the answer";
        + Stall(Bytes) = "stall", "so many bytes, then silence";
        + Drip(Bytes) = "drip", "so many bytes a second";
        + Slow(Duration) = "slow", "nothing for so long, then as usual";
        + Redirect(Target) = "redirect", "302 to: same, loop, private, metadata, file, userinfo, port, or a URL";
    }
}

words! {
    /// What happens to the callbacks of a task. Several may be given, each with its own `callback=`.
    CallbackFault {
        Lost = "lost", "none is ever sent";
        Early = "early", "the task ends at once, and the callback is sent before the submit is answered";
        Progress = "progress", "one more when processing begins";
        Stale = "stale", "one that says `processing` follows the last";
        Shuffled = "shuffled", "each up to 5 s late, in any order";
        Garbage = "garbage", "the body is no JSON";
        Empty = "empty", "the body is empty";
        Huge = "huge", "the body has 1 MiB";
        Forged = "forged", "before it one that lies, under a wrong token";
        + Late(Duration) = "late", "so much later";
        + Copies(u32) = "copies", "so many times";
    }
}

words! {
    /// How a task ends.
    End {
        Completed = "completed", "with its outputs (default)";
        Cancelled = "cancelled", "cancelled by the provider";
        Never = "never", "stays `processing` for ever";
        Unavailable = "upstream_unavailable", "failed with this code";
        RateLimited = "upstream_rate_limited", "failed with this code";
        BadRequest = "upstream_bad_request", "failed with this code";
        TaskFailed = "task_failed", "failed with this code";
        + Failed(Text) = "failed", "failed with a code of your own";
    }
}

words! {
    /// Yes or no.
    Flag { Yes = "yes", "so it is"; No = "no", "it is not"; }
}

words! {
    /// How a submit is answered.
    SubmitShape {
        Plain = "plain", "the object (default)";
        Wrapped = "wrapped", "the object in {\"code\",\"data\"}";
        Old = "old", "{\"code\":\"success\",\"data\":\"task-wave...\"}";
    }
}

words! {
    /// How a status is answered.
    StatusShape {
        Plain = "plain", "the object (default)";
        Wrapped = "wrapped", "the object in {\"code\",\"data\"}";
    }
}

words! {
    /// How a callback body is built.
    CallbackShape {
        Bare = "bare", "the status object (default)";
        Event = "event", "{\"event\",\"data\"}";
        Task = "task", "{\"task\":{...}}";
        Data = "data", "{\"code\",\"data\"}";
    }
}

words! {
    /// Which ids tasks get.
    IdShape {
        Plain = "plain", "as the provider's (default)";
        Hostile = "hostile", "an id that climbs out of a URL's path";
        Absent = "absent", "the submit answer names none";
    }
}

words! {
    /// Which words stand for the five states.
    WordChoice {
        Plain = "plain", "the documented ones (default)";
        Any = "any", "synonyms met in the wild, in any case";
    }
}

words! {
    /// How progress is written.
    Progress {
        Percent = "percent", "\"45%\" (default)";
        Int = "int", "45";
        Float = "float", "45.0";
        Empty = "empty", "\"\"";
        Absent = "absent", "no key";
        Null = "null", "null";
        Over = "101", "101";
        Under = "-1", "-1";
    }
}

words! {
    /// How times are written.
    Times {
        Seconds = "s", "Unix seconds (default, but for the submit answer)";
        Millis = "ms", "Unix milliseconds";
        Micros = "us", "Unix microseconds";
        Text = "string", "Unix seconds in a string";
        Iso = "iso", "RFC 3339";
        Absent = "absent", "none";
        Zero = "zero", "0";
        Negative = "negative", "-1";
        Far = "far", "the year 9999";
    }
}

words! {
    /// How the URL of an output is written.
    UrlShape {
        Array = "array", "[\"https://...\"] (default)";
        Text = "string", "\"https://...\"";
        Merged = "merged", "one entry with the URLs of all outputs";
    }
}

words! {
    /// When the result of a completed task can be seen.
    ResultShape {
        Full = "full", "at once (default)";
        None = "none", "never: no `result` key";
        + Empty(u32) = "empty", "the first so many answers have empty lists";
        + Absent(u32) = "absent", "the first so many answers have no `result`";
        + Null(u32) = "null", "the first so many answers say null";
    }
}

words! {
    /// Which links a status query hands out.
    Links {
        Renew = "renew", "the same while it lives, then a fresh one (default)";
        Fresh = "fresh", "a fresh one each time; earlier ones live on";
        Same = "same", "always the first, dead or alive";
    }
}

words! {
    /// How a failure tells why.
    FailShape {
        Error = "error", "{\"error\":{\"message\",\"code\"}} (default)";
        Reason = "reason", "fail_reason";
        Text = "text", "\"error\":\"words\"";
        None = "none", "not at all";
    }
}

words! {
    /// What an output is.
    Kind {
        Video = "video", "MP4";
        Image = "image", "JPEG";
        Audio = "audio", "MP3";
    }
}

words! {
    /// The entity tag of a file.
    Etag {
        Strong = "strong", "(default)";
        Weak = "weak", "W/\"...\"";
        Absent = "none", "no ETag";
        Changes = "changes", "another file, and tag, at each request";
    }
}

words! {
    /// How ranges are answered.
    Ranges {
        Yes = "yes", "206 (default)";
        Ignored = "ignored", "200 with everything";
        Wrong = "wrong", "206, but its Content-Range and bytes begin elsewhere";
        Blind = "blind", "206 even where If-Range does not agree";
        Refused = "refused", "416";
    }
}

words! {
    /// How the length of a file is told.
    Length {
        Given = "given", "Content-Length (default)";
        Chunked = "chunked", "chunked";
        Close = "close", "not at all: the connection ends";
    }
}

words! {
    /// What a dead link answers.
    Expired {
        Forbidden = "403", "(default)";
        BadRequest = "400", "as the name says";
        NotFound = "404", "as the name says";
        Gone = "410", "as the name says";
    }
}
