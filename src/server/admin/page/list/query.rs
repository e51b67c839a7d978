//! The filter and the order of the list of jobs: from the address, and back into addresses.

use actix_web::HttpRequest;

use crate::api::list::{JobFilter, JobOrder};
use crate::server::admin::page::messages::Messages;
use crate::server::admin::page::videos::filter::rating_text;
use crate::server::admin::problem::Problem;
use crate::server::admin::query::Query;
use crate::server::admin::selection::{FILTER_PARAMETERS, parse_filter, parse_order};

/// What the address asks for.
pub(super) struct ListQuery {
    pub filter: JobFilter,
    pub order: JobOrder,
    pub cursor: Option<i64>,
    /// The parameters of the filter as given.
    given: Vec<(&'static str, String)>,
}

/// A condition of the filter, which its link removes.
pub(super) struct Chip {
    pub text: String,
    pub without: String,
}

impl ListQuery {
    pub(super) fn parse(request: &HttpRequest) -> Result<Self, Problem> {
        let known: Vec<&str> = FILTER_PARAMETERS.into_iter().chain(["sort", "cursor"]).collect();
        let query = Query::parse_form(request, &known)?;
        let mut given = Vec::new();
        for name in FILTER_PARAMETERS {
            given.extend(query.values(name).map(|value| (name, value.to_owned())));
        }
        let (filter, order) = (parse_filter(&query)?, parse_order(&query)?);
        Ok(Self { filter, order, cursor: query.number("cursor")?, given })
    }

    pub(super) fn is_filtered(&self) -> bool {
        self.filter != JobFilter::default()
    }

    /// The value of a field of the form; empty without one.
    pub(super) fn value(&self, name: &str) -> &str {
        self.given.iter().find(|(given, _)| *given == name).map_or("", |(_, value)| value)
    }

    /// What the form has no field for.
    pub(super) fn hidden(&self) -> Vec<(&'static str, &str)> {
        let labels = self.given.iter().filter(|(name, _)| *name == "label").skip(1);
        let others = self
            .given
            .iter()
            .filter(|(name, _)| matches!(*name, "file" | "folder" | "batch" | "needs" | "cause" | "model"));
        labels.chain(others).map(|(name, value)| (*name, value.as_str())).collect()
    }

    pub(super) fn address_of_page(&self, cursor: i64) -> String {
        self.address(self.given.iter(), self.order, Some(cursor))
    }

    /// The address of the first page in another order.
    pub(super) fn address_in_order(&self, order: JobOrder) -> String {
        self.address(self.given.iter(), order, None)
    }

    /// `file_name` is that of the batch of the first job.
    pub(super) fn chips(&self, m: &Messages, file_name: Option<&str>) -> Vec<Chip> {
        let chip = |(at, (name, value)): (usize, &(&'static str, String))| {
            let others = self.given.iter().enumerate().filter(|(other, _)| *other != at);
            Chip {
                text: chip_text(m, name, value, file_name),
                without: self.address(others.map(|(_, pair)| pair), self.order, None),
            }
        };
        self.given.iter().enumerate().map(chip).collect()
    }

    fn address<'a>(
        &self,
        pairs: impl Iterator<Item = &'a (&'static str, String)>,
        order: JobOrder,
        cursor: Option<i64>,
    ) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(pairs.map(|(name, value)| (name, value)));
        if order != JobOrder::default() {
            query.append_pair("sort", order.into_str());
        }
        if let Some(cursor) = cursor {
            query.append_pair("cursor", &cursor.to_string());
        }
        let query = query.finish();
        if query.is_empty() { "/jobs".to_owned() } else { format!("/jobs?{query}") }
    }
}

fn chip_text(m: &Messages, name: &str, value: &str, file_name: Option<&str>) -> String {
    match name {
        "state" => value.parse().map_or_else(|_| value.to_owned(), |state| m.state(state).to_owned()),
        "rating" => rating_text(m.videos, value),
        "needs" => m.needs_attention.to_owned(),
        "q" => format!("“{value}”"),
        "folder" => format!("{value}/"),
        "file" => format!("{} {value}", m.list.batch),
        "batch" => format!("{} {}", m.list.batch, file_name.unwrap_or(value)),
        _ => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;
    use crate::server::admin::page::messages::english::ENGLISH;

    fn parse(query: &str) -> Result<ListQuery, Problem> {
        ListQuery::parse(&TestRequest::get().uri(&format!("/jobs?{query}")).to_http_request())
    }

    #[test]
    fn each_condition_is_a_chip_that_removes_it() {
        let query = parse(
            "state=failed&label=a%3Db&label=c%3Dd&q=&rating=4%2B&batch=b2&folder=ads&sort=cost&cursor=7",
        )
        .unwrap();
        let chips = query.chips(&ENGLISH, Some("ads/shots.csv"));
        let texts: Vec<&str> = chips.iter().map(|chip| chip.text.as_str()).collect();
        assert_eq!(texts, ["failed", "a=b", "c=d", "4 or more", "ads/", "Job file ads/shots.csv"]);
        let rest = "label=c%3Dd&rating=4%2B&folder=ads&batch=b2&sort=cost";
        assert_eq!(chips[1].without, format!("/jobs?state=failed&{rest}"));
        assert_eq!(query.hidden(), [("label", "c=d"), ("folder", "ads"), ("batch", "b2")]);
        assert!(query.address_of_page(9).ends_with("&sort=cost&cursor=9"));
        assert!(!query.address_in_order(JobOrder::Created).contains("sort"));
        assert!(!parse("q=&state=").unwrap().is_filtered());
    }
}
