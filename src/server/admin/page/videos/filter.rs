//! The filter and the order of the grid: from the address, and back into addresses.

use actix_web::HttpRequest;

use crate::api::list::RatingFilter;
use crate::clock::calendar::Zone;
use crate::job::label::LabelError;
use crate::job::output::OutputKind;
use crate::server::admin::page::messages::videos::VideoMessages;
use crate::server::admin::problem::Problem;
use crate::server::admin::query::Query;
use crate::server::admin::selection::parse_batch;
use crate::store::library_outputs::{OutputCursor, OutputFilter, OutputOrder};

const PARAMETERS: [&str; 11] =
    ["kind", "model", "label", "folder", "batch", "since", "until", "rating", "q", "sort", "cursor"];

/// What the address asks for.
pub(super) struct VideoQuery {
    pub filter: OutputFilter,
    pub order: OutputOrder,
    pub cursor: Option<OutputCursor>,
    /// The parameters as given, without the cursor.
    given: Vec<(&'static str, String)>,
}

/// A condition of the filter, which its link removes.
pub(super) struct Chip {
    pub text: String,
    pub without: String,
}

impl VideoQuery {
    /// Parses the query of a request; dates are those of `zone`.
    pub(super) fn parse(request: &HttpRequest, zone: &Zone) -> Result<Self, Problem> {
        let query = Query::parse_form(request, &PARAMETERS)?;
        let text = |name| Ok::<_, Problem>(query.single(name)?.map(str::to_owned));
        let order = match query.single("sort")? {
            None | Some("date") => OutputOrder::Newest,
            Some("rating") => OutputOrder::BestRated,
            Some("cost") => OutputOrder::MostExpensive,
            Some(other) => return Err(unknown("sort", other, "date, rating, cost")),
        };
        let day = |name| match query.single(name)? {
            None => Ok(None),
            Some(date) => match zone.day(date) {
                Some(day) => Ok(Some(day)),
                None => Err(unknown(name, date, "a date such as 2026-04-04")),
            },
        };
        let labels = query.values("label").map(str::parse).collect::<Result<_, LabelError>>();
        let rating = query.single("rating")?.map(str::parse::<RatingFilter>).transpose();
        let filter = OutputFilter {
            kind: query.single("kind")?.map(parse_kind).transpose()?,
            model: text("model")?,
            labels: labels.map_err(|error| Problem::bad_request(error.to_string()))?,
            folder: text("folder")?.map(|folder| folder.trim_matches('/').to_owned()),
            batch: query.single("batch")?.map(parse_batch).transpose()?,
            since: day("since")?.map(|day| day.start),
            until: day("until")?.map(|day| day.end),
            rating: rating.map_err(|error| Problem::bad_request(error.to_string()))?,
            text: text("q")?,
        };
        let cursor = query.single("cursor")?.map(|text| {
            OutputCursor::parse(text, order).ok_or_else(|| unknown("cursor", text, "that of the page before"))
        });
        let mut given = Vec::new();
        for name in PARAMETERS.into_iter().filter(|name| *name != "cursor") {
            given.extend(query.values(name).map(|value| (name, value.to_owned())));
        }
        Ok(Self { filter, order, cursor: cursor.transpose()?, given })
    }

    pub(super) fn is_filtered(&self) -> bool {
        self.filter != OutputFilter::default()
    }

    /// The value of a field of the form; empty without one.
    pub(super) fn value(&self, name: &str) -> &str {
        self.given.iter().find(|(given, _)| *given == name).map_or("", |(_, value)| value)
    }

    /// What the form has no field for: further labels, and the batch.
    pub(super) fn hidden(&self) -> Vec<(&'static str, &str)> {
        let labels = self.given.iter().filter(|(name, _)| *name == "label").skip(1);
        let others = self.given.iter().filter(|(name, _)| *name == "batch");
        labels.chain(others).map(|(name, value)| (*name, value.as_str())).collect()
    }

    /// Whether the form's less common fields are in use.
    pub(super) fn has_more_filters(&self) -> bool {
        ["kind", "model", "label", "folder", "since", "until"].iter().any(|name| !self.value(name).is_empty())
    }

    pub(super) fn address_of_page(&self, cursor: &OutputCursor) -> String {
        let cursor = ("cursor", cursor.to_string());
        address(self.given.iter().chain(std::iter::once(&cursor)))
    }

    /// `file_name` is that of the batch of the first output.
    pub(super) fn chips(&self, t: &VideoMessages, file_name: Option<&str>) -> Vec<Chip> {
        let conditions = self.given.iter().enumerate().filter(|(_, (name, _))| *name != "sort");
        let chip = |(at, (name, value)): (usize, &(&'static str, String))| {
            let others = self.given.iter().enumerate().filter(|(other, _)| *other != at);
            Chip {
                text: chip_text(t, name, value, file_name),
                without: address(others.map(|(_, pair)| pair)),
            }
        };
        conditions.map(chip).collect()
    }
}

fn chip_text(t: &VideoMessages, name: &str, value: &str, file_name: Option<&str>) -> String {
    match name {
        "kind" => kind_text(t, value).to_owned(),
        "label" => value.to_owned(),
        "folder" => format!("{value}/"),
        "batch" => format!("{} {}", t.file, file_name.unwrap_or(value)),
        "since" => format!("{} {value}", t.since),
        "until" => format!("{} {value}", t.until),
        "rating" => rating_text(t, value),
        "q" => format!("“{value}”"),
        _ => value.to_owned(),
    }
}

fn kind_text<'a>(t: &'a VideoMessages, word: &'a str) -> &'a str {
    match word {
        "video" => t.video,
        "image" => t.image,
        "audio" => t.audio,
        other => other,
    }
}

pub(in crate::server::admin::page) fn rating_text(t: &VideoMessages, word: &str) -> String {
    match word {
        "none" => t.unrated.to_owned(),
        "0" => t.rejected.to_owned(),
        word => match word.strip_suffix('+') {
            Some(stars) => t.at_least.replace("{n}", stars),
            None => t.stars.replace("{n}", word),
        },
    }
}

fn address<'a>(pairs: impl Iterator<Item = &'a (&'static str, String)>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs.map(|(name, value)| (name, value)));
    let query = query.finish();
    if query.is_empty() { "/videos".to_owned() } else { format!("/videos?{query}") }
}

fn parse_kind(word: &str) -> Result<OutputKind, Problem> {
    word.parse().map_err(|_| unknown("kind", word, "video, image, audio"))
}

fn unknown(name: &str, value: &str, known: &str) -> Problem {
    Problem::bad_request(format!("unknown {name} `{value}`; use {known}"))
}

#[cfg(test)]
mod tests {
    use actix_web::ResponseError;
    use actix_web::test::TestRequest;

    use super::*;
    use crate::server::admin::page::messages::videos::VIDEO_ENGLISH;

    fn parse(query: &str) -> Result<VideoQuery, Problem> {
        let request = TestRequest::get().uri(&format!("/videos?{query}")).to_http_request();
        VideoQuery::parse(&request, &Zone::UTC)
    }

    #[test]
    fn each_condition_is_a_chip_that_removes_it() {
        let query =
            parse("label=a%3Db&label=c%3Dd&rating=4%2B&q=&sort=rating&since=2026-04-04&batch=b2").unwrap();
        let chips = query.chips(&VIDEO_ENGLISH, Some("shots.json"));
        let texts: Vec<&str> = chips.iter().map(|chip| chip.text.as_str()).collect();
        assert_eq!(texts, ["a=b", "c=d", "Job file shots.json", "From 2026-04-04", "4 or more"]);
        assert_eq!(chips[0].without, "/videos?label=c%3Dd&batch=b2&since=2026-04-04&rating=4%2B&sort=rating");
        assert_eq!(query.hidden(), [("label", "c=d"), ("batch", "b2")]);
        assert_eq!(query.filter.until, None);
        let day = parse("until=2026-04-04").unwrap().filter.until.unwrap();
        assert_eq!(day.to_string(), "2026-04-05T00:00:00.000Z");
        assert!(!parse("q=&kind=").unwrap().is_filtered());
    }

    #[test]
    fn unknown_condition_is_refused_with_what_is_known() {
        for query in [
            "kind=movie",
            "sort=age",
            "rating=6",
            "rating=4%2B%2B",
            "batch=7",
            "since=today",
            "label=x",
            "cursor=7",
            "colour=red",
            "model=a&model=b",
        ] {
            let problem = parse(query).err().unwrap_or_else(|| panic!("{query} is accepted"));
            assert_eq!(problem.status_code(), 400, "{query}");
        }
    }
}
