//! The operator's price file (`budget.prices`): `[[price]]` entries in TOML.

use std::path::Path;

use config::{Map, Value, ValueKind};

use crate::money::{QUOTA_PER_USD, Quota};
use crate::pricing::price_book::{OperatorPrice, Price};
use crate::settings::keys::{nearest, parse};
use crate::settings::problem::Origin;

const KEYS: [&str; 4] = ["model", "resolution", "usd_per_second", "usd"];
const EXAMPLE: &str = "as in `[[price]]` with `model = \"wan2.5-t2v\"` and `usd_per_second = 0.05` below it";

/// Reads the file. The error names the file, the entry and the key.
pub(super) fn read(path: &Path) -> Result<Vec<OperatorPrice>, String> {
    let in_file = |why: String| format!("{}: {why}", path.display());
    let text = std::fs::read_to_string(path)
        .map_err(|error| in_file(format!("cannot read the price file: {error}")))?;
    let table = parse(&text, &Origin::File(path.to_owned())).map_err(|problem| problem.to_string())?;
    read_entries(table).map_err(in_file)
}

fn read_entries(table: Map<String, Value>) -> Result<Vec<OperatorPrice>, String> {
    let mut prices: Vec<OperatorPrice> = Vec::new();
    for (key, value) in table {
        if key != "price" {
            return Err(format!("unknown key `{key}`; the only one is `price`, {EXAMPLE}"));
        }
        let ValueKind::Array(entries) = value.kind else {
            return Err(format!("`price` must be a list of entries, {EXAMPLE}"));
        };
        for (number, entry) in (1..).zip(entries) {
            let in_entry = |why: String| format!("price {number}: {why}");
            let ValueKind::Table(entry) = entry.kind else {
                return Err(in_entry(format!("must be an entry, {EXAMPLE}")));
            };
            let price = read_entry(entry).map_err(in_entry)?;
            if prices
                .iter()
                .any(|other| (&other.model, &other.resolution) == (&price.model, &price.resolution))
            {
                let which =
                    price.resolution.map_or_else(String::new, |resolution| format!(" at {resolution}"));
                return Err(in_entry(format!("a second price of `{}`{which}; remove one", price.model)));
            }
            prices.push(price);
        }
    }
    Ok(prices)
}

fn read_entry(mut entry: Map<String, Value>) -> Result<OperatorPrice, String> {
    if let Some(key) = entry.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(format!(
            "unknown key `{key}`; the nearest valid key is `{}`",
            nearest(key, KEYS.into_iter())
        ));
    }
    let mut text = |key: &str| match entry.remove(key).map(|value| value.kind) {
        None => Ok(None),
        Some(ValueKind::String(text)) if !text.trim().is_empty() => Ok(Some(text.trim().to_owned())),
        Some(_) => Err(format!("`{key}` must be a text")),
    };
    let model = text("model")?.ok_or("`model` is missing")?;
    let resolution = text("resolution")?.map(|name| name.to_lowercase());
    let mut amount = |key: &str| match entry.remove(key).map(|value| value.kind) {
        None => Ok(None),
        Some(ValueKind::Float(usd)) => positive(key, Quota::from_usd(usd)),
        Some(ValueKind::I64(usd)) => positive(key, usd.checked_mul(QUOTA_PER_USD).map(Quota::new)),
        Some(_) => positive(key, None),
    };
    let price = match (amount("usd_per_second")?, amount("usd")?) {
        (Some(second), None) => Price::PerSecond(second),
        (None, Some(job)) => Price::PerJob(job),
        (None, None) => return Err("`usd_per_second` or `usd` is missing".to_owned()),
        (Some(_), Some(_)) => return Err("has `usd_per_second` and `usd`; remove one".to_owned()),
    };
    Ok(OperatorPrice { model, resolution, price })
}

fn positive(key: &str, amount: Option<Quota>) -> Result<Option<Quota>, String> {
    let amount = amount.filter(|quota| *quota > Quota::ZERO);
    amount.map(Some).ok_or_else(|| format!("`{key}` must be an amount in US dollars, at least 0.000001"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<OperatorPrice>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prices.toml");
        std::fs::write(&path, text).unwrap();
        let read = read(&path);
        assert!(read.as_ref().err().is_none_or(|why| why.contains("prices.toml")), "{read:?}");
        read
    }

    #[test]
    fn price_file_is_read_in_whole_quota() {
        let text = "[[price]]\nmodel = \"wan2.5-t2v\"\nresolution = \"720P\"\nusd_per_second = 0.0747\n\
                    [[price]]\nmodel = \"wan2.5-t2v\"\nusd_per_second = 1\n\
                    [[price]]\nmodel = \"painter\"\nusd = 0.04\n";
        let entry = |model: &str, resolution: Option<&str>, price| OperatorPrice {
            model: model.into(),
            resolution: resolution.map(str::to_owned),
            price,
        };
        let expected = vec![
            entry("wan2.5-t2v", Some("720p"), Price::PerSecond(Quota::new(37_350))),
            entry("wan2.5-t2v", None, Price::PerSecond(Quota::new(500_000))),
            entry("painter", None, Price::PerJob(Quota::new(20_000))),
        ];
        assert_eq!(read_text(text), Ok(expected));
        assert_eq!(read_text("# nothing yet\n"), Ok(Vec::new()));
    }

    #[test]
    fn problem_of_a_price_file_names_file_entry_and_key() {
        let cases = [
            ("[price]\nmodel = \"a\"", "`price` must be a list"),
            ("[[prices]]\nmodel = \"a\"", "unknown key `prices`"),
            ("price = [1]", "price 1: must be an entry"),
            ("[[price]]\nusd = 1", "price 1: `model` is missing"),
            ("[[price]]\nmodel = 7\nusd = 1", "price 1: `model` must be a text"),
            ("[[price]]\nmodel = \"a\"", "price 1: `usd_per_second` or `usd` is missing"),
            ("[[price]]\nmodel = \"a\"\nusd = 1\nusd_per_second = 1", "remove one"),
            ("[[price]]\nmodel = \"a\"\nusd = 0", "`usd` must be an amount"),
            ("[[price]]\nmodel = \"a\"\nusd = nan", "`usd` must be an amount"),
            ("[[price]]\nmodel = \"a\"\nusd = 9223372036854775807", "`usd` must be an amount"),
            ("[[price]]\nmodel = \"a\"\nusd_per_second = \"0.1\"", "`usd_per_second` must be an amount"),
            ("[[price]]\nmodel = \"a\"\nusd_per_secnd = 0.1", "the nearest valid key is `usd_per_second`"),
            (
                "[[price]]\nmodel = \"a\"\nusd = 1\n[[price]]\nmodel = \"a\"\nusd = 2",
                "price 2: a second price of `a`",
            ),
            ("price = ", "line 1"),
        ];
        for (text, problem) in cases {
            let error = read_text(text).expect_err(text);
            assert!(error.contains(problem), "{text}: {error}");
        }
        let missing = read(Path::new("/nowhere/prices.toml")).expect_err("no file");
        assert!(missing.contains("/nowhere/prices.toml: cannot read the price file"), "{missing}");
    }
}
