//! The query of a request: known names only, for a misspelt filter would silently show everything.

use actix_web::HttpRequest;

use crate::server::problem::Problem;

/// The decoded names and values, in order.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads it; `known` are the names it may have.
    pub(super) fn read(request: &HttpRequest, known: &[&str]) -> Result<Self, Problem> {
        let pairs = url::form_urlencoded::parse(request.query_string().as_bytes()).into_owned();
        let pairs: Vec<(String, String)> = pairs.collect();
        match pairs.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            None => Ok(Self(pairs)),
            Some((name, _)) => Err(Problem::bad_request(format!(
                "there is no parameter `{name}` here; there are: {}",
                if known.is_empty() { "none".to_owned() } else { known.join(", ") }
            ))),
        }
    }

    /// Reads what a form sent, which names every field: one left empty counts as none. A program that sends an empty
    /// filter has made a mistake, and would be shown everything.
    pub(super) fn of_form(request: &HttpRequest, known: &[&str]) -> Result<Self, Problem> {
        let mut query = Self::read(request, known)?;
        query.0.retain(|(_, value)| !value.is_empty());
        Ok(query)
    }

    /// All values of a name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// The value of a name that may be given once.
    pub(super) fn one(&self, name: &str) -> Result<Option<&str>, Problem> {
        let mut values = self.0.iter().filter(|(given, _)| given == name).map(|(_, value)| value.as_str());
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(Problem::bad_request(format!("`{name}` is given twice"))),
        }
    }

    /// The whole number, not below zero, of a name that may be given once.
    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, Problem> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        let number = text.parse().ok().filter(|number| *number >= 0);
        number
            .map(Some)
            .ok_or_else(|| Problem::bad_request(format!("`{name}` is a whole number, not `{text}`")))
    }
}
