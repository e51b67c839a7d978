//! The values that a fault plan accepts under each name, with a sentence of help for each.

use std::time::Duration;

use crate::sandbox::plan_value::{Argument, ByteCount, Choice, PlanValue, RedirectTarget, Text};

/// A closed list of values. Text and variant stand side by side, so that parsing, printing and help cannot disagree.
/// A `+` marks values that take an argument.
macro_rules! plan_values {
    ($(#[$doc:meta])* $name:ident {
        $($unit:ident = $text:literal, $help:literal;)*
        $(+ $with_argument:ident($kind:ty) = $word:literal, $sentence:literal;)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $name { $(#[doc = $help] $unit,)* $(#[doc = $sentence] $with_argument($kind),)* }

        impl PlanValue for $name {
            fn choices() -> Vec<Choice> {
                vec![
                    $(Choice { text: $text.to_owned(), help: $help },)*
                    $(Choice {
                        text: format!("{}:{}", $word, <$kind as Argument>::PLACEHOLDER),
                        help: $sentence,
                    },)*
                ]
            }
            fn parse(text: &str) -> Option<Self> {
                $(if text == $text { return Some(Self::$unit); })*
                $(if let Some(argument) = text.strip_prefix(concat!($word, ":")) {
                    return <$kind as Argument>::parse(argument).map(Self::$with_argument);
                })*
                None
            }
            fn to_text(&self) -> String {
                match self {
                    $(Self::$unit => $text.to_owned(),)*
                    $(Self::$with_argument(argument) => format!("{}:{}", $word, Argument::to_text(argument)),)*
                }
            }
        }
    };
}

plan_values! {
    /// How an API call goes wrong. The call is not executed unless the help says so.
    Fault {
        BadRequest = "400", "400 invalid_request";
        Unauthorized = "401", "401, the key is refused";
        PaymentRequired = "402", "402, the balance is empty";
        Forbidden = "403", "403";
        NotFound = "404", "404 task_not_found";
        Conflict = "409", "409, a call with this key is in progress";
        TooManyRequests = "429", "429 with Retry-After: 1";
        QuotaWindow = "429-reset", "429 quota_window_exceeded with a reset_at in 2 s";
        Internal = "500", "500, internal error";
        BadGateway = "502", "502";
        Unavailable = "503", "503";
        GatewayTimeout = "504", "504";
        Capability = "capability", "400 capability_violation of `extra`";
        Price = "price", "500 price_not_configured, which is final";
        Stored500 = "stored500", "500, stored under the idempotency key and replayed for ever (submit)";
        SameId = "same-id", "executed, answered with the id of an earlier task (submit)";
        Html200 = "html200", "200 with an HTML page";
        Html403 = "html403", "403 with an HTML page, as of a firewall";
        Html502 = "html502", "502 with an HTML page";
        NoModel = "no-model", "404 without a code, about the model";
        Detail = "detail", "422 with `detail`, as other frameworks refuse";
        Endless = "429-endless", "429 without a word about its end";
        Silence = "silence", "no response for an hour";
        Empty = "empty", "200 without a body";
        Cut = "cut", "executed, half of the response is missing";
        Huge = "huge", "200 with 4 MiB of JSON";
        Redirect = "redirect", "302 to another path";
        Reset = "reset", "connection reset before a response";
        Lost = "lost", "executed, then the connection is reset";
        + TooManyRequestsFor(Duration) = "429", "429 with this Retry-After";
        + QuotaWindowFor(Duration) = "429-reset", "429 quota_window_exceeded with a reset_at in this time";
        + Slow(Duration) = "slow", "executed at once, answered after this time";
        + Drip(ByteCount) = "drip", "executed, answered at this many bytes a second";
    }
}

plan_values! {
    /// How a download goes wrong.
    MediaFault {
        BadRequest = "400", "400 with JSON: not ready yet";
        Unauthorized = "401", "401";
        Forbidden = "403", "403 with JSON: not ready yet";
        NotFound = "404", "404 with JSON: not ready yet";
        Gone = "410", "410";
        BadRange = "416", "416, whatever range is requested";
        TooManyRequests = "429", "429 with Retry-After: 1";
        Internal = "500", "500";
        BadGateway = "502", "502 with an HTML page";
        Unavailable = "503", "503";
        Short = "short", "closed after half of the announced length";
        Cut = "cut", "no length announced, closed after half as if complete";
        ChunkCut = "chunk-cut", "chunked, closed in the middle of a chunk";
        Long = "long", "more bytes than announced";
        Html = "html200", "an HTML page as video/mp4";
        Magic = "magic", "first bytes of no known kind";
        NoMoov = "no-moov", "an MP4 without its index";
        Half = "half", "the first half, announced as the whole";
        Zero = "zero", "200 without a body";
        Gzip = "gzip", "Content-Encoding: gzip";
        + Reset(ByteCount) = "reset", "connection reset after this many bytes; 0: before the response";
        + Stall(ByteCount) = "stall", "silence after this many bytes";
        + Drip(ByteCount) = "drip", "this many bytes a second";
        + Slow(Duration) = "slow", "the usual answer after this time";
        + Redirect(RedirectTarget) = "redirect", "302 to: same, loop, private, metadata, file, userinfo, port, or a URL";
    }
}

plan_values! {
    /// What happens to the callbacks of a task. Several may be given, each with its own `callback=`.
    CallbackFault {
        Lost = "lost", "none is sent";
        Early = "early", "the task ends at once, and its callback precedes the answer to the submit";
        Progress = "progress", "one more when processing begins";
        Stale = "stale", "one that says `processing` follows the last";
        Shuffled = "shuffled", "each up to 5 s late, in any order";
        Garbage = "garbage", "the body is not JSON";
        Empty = "empty", "the body is empty";
        Huge = "huge", "the body has 1 MiB";
        Forged = "forged", "one with a wrong token and a false status comes first";
        + Late(Duration) = "late", "later by this time";
        + Copies(u32) = "copies", "this many copies";
    }
}

plan_values! {
    /// How a task ends.
    TaskEnd {
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

plan_values! {
    /// Yes or no.
    YesNo { Yes = "yes", "true"; No = "no", "false"; }
}

plan_values! {
    /// Which generation of the service answers (docs/provider.md#the-simulated-service).
    Generation {
        Old = "old", "the service of the first pages: takes `extra`, quotes no prices";
        New = "new", "the service of late 2026: refuses undeclared keys, quotes, settles a little later";
    }
}

plan_values! {
    /// The JSON of the answer to a submit.
    SubmitShape {
        Plain = "plain", "the object (default)";
        Wrapped = "wrapped", "the object in {\"code\",\"data\"}";
        Old = "old", "{\"code\":\"success\",\"data\":\"task-wave...\"}";
    }
}

plan_values! {
    /// The JSON of a status.
    StatusShape {
        Plain = "plain", "the object (default)";
        Wrapped = "wrapped", "the object in {\"code\",\"data\"}";
        Output = "output", "{\"output\":{\"task_id\",\"task_status\",\"video_url\"}}, as the maker of the models";
        Video = "video", "{\"id\",\"status\",\"metadata\":{\"url\"}}, as other relays";
    }
}

plan_values! {
    /// The JSON of a callback.
    CallbackShape {
        Bare = "bare", "the status object (default)";
        Event = "event", "{\"event\",\"data\"}";
        Task = "task", "{\"task\":{...}}";
        Data = "data", "{\"code\",\"data\"}";
    }
}

plan_values! {
    /// Which ids tasks get.
    IdShape {
        Plain = "plain", "like the provider's (default)";
        Hostile = "hostile", "an id that climbs out of a URL's path";
        Long = "long", "one of 220 characters, with `/ = + ~`";
        Absent = "absent", "none in the answer to the submit";
    }
}

plan_values! {
    /// Which words name the five statuses.
    StatusWords {
        Plain = "plain", "the documented ones (default)";
        Any = "any", "synonyms met in practice, in any case";
    }
}

plan_values! {
    /// How progress is written.
    ProgressFormat {
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

plan_values! {
    /// How times are written.
    TimeFormat {
        Seconds = "s", "Unix seconds (default, except in the answer to a submit)";
        Millis = "ms", "Unix milliseconds";
        Micros = "us", "Unix microseconds";
        Text = "string", "Unix seconds in a string";
        Iso = "iso", "RFC 3339";
        Absent = "absent", "no key";
        Zero = "zero", "0";
        Negative = "negative", "-1";
        Far = "far", "the year 9999";
    }
}

plan_values! {
    /// How the URL of an output is written.
    UrlShape {
        Array = "array", "[\"https://...\"] (default)";
        Text = "string", "\"https://...\"";
        Merged = "merged", "one entry with the URLs of all outputs";
        Relative = "relative", "\"/output/...\"";
    }
}

plan_values! {
    /// When the result of a completed task appears.
    ResultShape {
        Full = "full", "at once (default)";
        None = "none", "never: no `result` key";
        + Empty(u32) = "empty", "the first N answers have empty lists";
        + Absent(u32) = "absent", "the first N answers have no `result`";
        + Null(u32) = "null", "the first N answers have a null `result`";
    }
}

plan_values! {
    /// Which links a status has.
    LinkPolicy {
        Renew = "renew", "the same until it expires, then a fresh one (default)";
        Fresh = "fresh", "a fresh one each time; earlier ones keep working";
        Same = "same", "always the first, expired or not";
    }
}

plan_values! {
    /// When a task that ended is settled.
    SettlementTime {
        Never = "never", "never: billing_status stays `pending`";
        + After(Duration) = "after", "this long after its end (default 0s; 2s in the new generation)";
    }
}

plan_values! {
    /// The cost in a final status before the task is settled.
    PendingCost {
        Frozen = "frozen", "what was frozen (default)";
        Absent = "absent", "no key";
        Zero = "zero", "0";
    }
}

plan_values! {
    /// How the list of models is wrong. Several may be given.
    CatalogueFault {
        Empty = "empty", "it is empty";
        + Lacks(Text) = "lacks", "this model is missing";
        + Also(Text) = "also", "it has this model too";
    }
}

plan_values! {
    /// The `price_config` of a model in the list.
    PriceConfigShape {
        Tiers = "tiers", "the tiers (default in the new generation)";
        Absent = "absent", "no key (default in the old one)";
        Null = "null", "null";
        Text = "string", "the tiers as JSON in a string";
        Odd = "odd", "an object of another form";
        Wrong = "wrong", "tiers whose prices are no numbers";
        Zero = "zero", "tiers that cost nothing";
    }
}

plan_values! {
    /// The JSON of a quote.
    QuoteShape {
        Envelope = "envelope", "{\"code\",\"message\",\"data\"} (default)";
        Refused = "refused", "200 with an errorKey and without data";
        Bare = "bare", "the data without the envelope";
        Text = "string", "total_usd is a string";
        Absent = "absent", "no total_usd";
        Null = "null", "total_usd is null";
        Negative = "negative", "total_usd is negative";
        List = "list", "a list instead of an object";
    }
}

plan_values! {
    /// Where a failed status says why.
    FailureShape {
        Error = "error", "{\"error\":{\"message\",\"code\"}} (default)";
        Reason = "reason", "fail_reason";
        Text = "text", "\"error\":\"words\"";
        None = "none", "nowhere";
    }
}

plan_values! {
    /// The kind of an output.
    MediaKind {
        Video = "video", "MP4";
        Image = "image", "JPEG";
        Audio = "audio", "MP3";
    }
}

plan_values! {
    /// The entity tag of a file.
    EtagKind {
        Strong = "strong", "(default)";
        Weak = "weak", "W/\"...\"";
        Absent = "none", "no ETag";
        Changes = "changes", "another file, and tag, at each request";
    }
}

plan_values! {
    /// How range requests are answered.
    RangeSupport {
        Yes = "yes", "206 (default)";
        Ignored = "ignored", "200 with everything";
        Wrong = "wrong", "206, but Content-Range and bytes begin elsewhere";
        Blind = "blind", "206 even where If-Range does not match";
        Refused = "refused", "416";
    }
}

plan_values! {
    /// How the length of a file is announced.
    LengthKind {
        Given = "given", "Content-Length (default)";
        Chunked = "chunked", "chunked";
        Close = "close", "not at all: the body ends with the connection";
    }
}

plan_values! {
    /// What an expired link answers.
    ExpiredLink {
        Forbidden = "403", "403 (default)";
        BadRequest = "400", "400";
        NotFound = "404", "404";
        Gone = "410", "410";
    }
}
