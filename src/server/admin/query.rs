//! Query parameters. Unknown names are rejected: a misspelt filter would silently select everything.

use crate::server::admin::problem::Problem;
use actix_web::HttpRequest;

/// The decoded parameters, in order.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Parses the query of a request that may have these parameters.
    pub(super) fn parse(request: &HttpRequest, known: &[&str]) -> Result<Self, Problem> {
        let pairs = url::form_urlencoded::parse(request.query_string().as_bytes()).into_owned();
        let pairs: Vec<(String, String)> = pairs.collect();
        match pairs.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            None => Ok(Self(pairs)),
            Some((name, _)) => Err(Problem::bad_request(format!(
                "unknown parameter `{name}`; this address takes {}",
                if known.is_empty() { "none".to_owned() } else { known.join(", ") }
            ))),
        }
    }

    /// Parses what a form sent. A form names every field, so an empty value counts as absent; from a program
    /// an empty filter is a mistake that would select everything.
    pub(super) fn parse_form(request: &HttpRequest, known: &[&str]) -> Result<Self, Problem> {
        let mut query = Self::parse(request, known)?;
        query.0.retain(|(_, value)| !value.is_empty());
        Ok(query)
    }

    /// All values of a parameter.
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that may occur once.
    pub(super) fn single(&self, name: &str) -> Result<Option<&str>, Problem> {
        let mut values = self.0.iter().filter(|(given, _)| given == name).map(|(_, value)| value.as_str());
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(Problem::bad_request(format!("`{name}` may occur only once"))),
        }
    }

    /// The length of a page: `limit`, of at most `max`.
    pub(super) fn limit(&self, default: u32, max: u32) -> Result<u32, Problem> {
        match self.number("limit")? {
            None => Ok(default),
            Some(0) => Err(Problem::bad_request("`limit` must be 1 or more")),
            Some(limit) => Ok(u32::try_from(limit).unwrap_or(max).min(max)),
        }
    }

    /// The value of a parameter that may occur once and is a whole number, zero or more.
    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, Problem> {
        let Some(text) = self.single(name)? else { return Ok(None) };
        let number = text.parse().ok().filter(|number| *number >= 0);
        number
            .map(Some)
            .ok_or_else(|| Problem::bad_request(format!("`{name}` must be a whole number, not `{text}`")))
    }
}
