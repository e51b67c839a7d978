//! `[storage]`: the bucket of the library.

use url::Url;

use crate::secret::Secret;
use crate::settings::Purpose;
use crate::settings::parse::optional_path;
use crate::settings::problem::{Origin, SettingsProblem};
use crate::settings::reader::{Reader, Unusable};
use crate::settings::secret_file::{parse_secret, read_credential, read_secret};

const LIBRARY: &str = "storage.library";
const SECRET_FILE: &str = "storage.secret_key_file";
/// The names that the tools of S3 read.
const ID_VARIABLE: &str = "AWS_ACCESS_KEY_ID";
const SECRET_VARIABLE: &str = "AWS_SECRET_ACCESS_KEY";
const TOKEN_VARIABLE: &str = "AWS_SESSION_TOKEN";

/// A bucket of an S3-compatible store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketSettings {
    /// As set, without a slash at its end: `s3://reels/spring`.
    pub address: String,
    /// Its name.
    pub bucket: String,
    /// What all keys begin with; may be empty.
    pub prefix: String,
    /// The store; `None`: AWS.
    pub endpoint: Option<Url>,
    pub region: String,
    /// `None` if none are set, or the [`Purpose`] needs none.
    pub keys: Option<BucketKeys>,
}

/// What requests to a bucket are signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketKeys {
    /// The id of the access key.
    pub id: String,
    /// The secret access key.
    pub secret: Secret,
    /// Of temporary keys.
    pub session_token: Option<Secret>,
}

impl Reader<'_> {
    /// The bucket of the library, if it has one.
    pub(super) fn bucket(&mut self) -> Result<Option<BucketSettings>, Unusable> {
        let place =
            self.text(LIBRARY, |text| if text.is_empty() { Ok(None) } else { parse(text).map(Some) })?;
        let endpoint = self.text("storage.endpoint", endpoint)?;
        let region = self.text("storage.region", |text| match parse_secret(text) {
            Some(_) => Ok(text.to_owned()),
            None => Err("must be the name of a region, such as eu-central-1".to_owned()),
        })?;
        let id = self.text("storage.access_key_id", |text| match text {
            "" => Ok(None),
            text if parse_secret(text).is_some() => Ok(Some(text.to_owned())),
            _ => Err("must be the id of an access key: visible ASCII characters without spaces".to_owned()),
        })?;
        let file = self.text(SECRET_FILE, optional_path)?;
        let Some((bucket, prefix)) = place else { return Ok(None) };
        let keys = if self.purpose == Purpose::Daemon { self.bucket_keys(id, file)? } else { None };
        let address =
            if prefix.is_empty() { format!("s3://{bucket}") } else { format!("s3://{bucket}/{prefix}") };
        Ok(Some(BucketSettings { address, bucket, prefix, endpoint, region, keys }))
    }

    fn bucket_keys(
        &mut self,
        id: Option<String>,
        file: Option<std::path::PathBuf>,
    ) -> Result<Option<BucketKeys>, Unusable> {
        let id = id.map(Secret::new).or_else(|| self.variable(ID_VARIABLE, LIBRARY));
        let (secret, session_token) = if let Some(credential) = self.credential("storage_secret_key") {
            (self.secret("systemd credential storage_secret_key", read_credential(&credential)), None)
        } else if let Some(file) = file {
            (self.secret(SECRET_FILE, read_secret(&file)), None)
        } else {
            (self.variable(SECRET_VARIABLE, LIBRARY), self.variable(TOKEN_VARIABLE, LIBRARY))
        };
        let keys = id.zip(secret);
        Ok(keys.map(|(id, secret)| BucketKeys { id: id.expose().to_owned(), secret, session_token }))
    }

    /// The value of a variable that is no key of ours, but belongs to `key`. A bad one is recorded.
    pub(super) fn variable(&mut self, name: &str, key: &str) -> Option<Secret> {
        let text = self.environment.get(name).filter(|text| !text.is_empty())?;
        let secret = text.to_str().and_then(parse_secret);
        if secret.is_none() {
            self.problems.push(SettingsProblem::BadValue {
                key: key.to_owned(),
                origin: Origin::Variable(name.to_owned()),
                why: "must be the value alone: visible ASCII characters without spaces".to_owned(),
            });
        }
        secret
    }
}

/// The name of the bucket, and the prefix.
fn parse(text: &str) -> Result<(String, String), String> {
    let wrong = || "must be `s3://BUCKET` or `s3://BUCKET/PREFIX`".to_owned();
    let rest = text.strip_prefix("s3://").ok_or_else(wrong)?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(is_name) {
        return Err(format!("{}; a bucket's name has 3 to 63 of a-z, 0-9, `-` and `.`", wrong()));
    }
    let is_part = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(char::is_control);
    if !prefix.is_empty() && !prefix.split('/').all(is_part) {
        return Err(format!("{}, without empty parts, `.` and `..`", wrong()));
    }
    Ok((bucket.to_owned(), prefix.to_owned()))
}

fn endpoint(text: &str) -> Result<Option<Url>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let url = Url::parse(text).ok().filter(|url| {
        let is_web = matches!(url.scheme(), "http" | "https") && url.has_host();
        is_web && url.username().is_empty() && url.password().is_none() && url.query().is_none()
    });
    url.map(Some).ok_or_else(|| {
        "must be the address of the store, `https://HOST` or `http://HOST:PORT`, without user name or query".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_has_a_name_and_perhaps_a_prefix() {
        for (text, bucket, prefix) in [
            ("s3://reels", "reels", ""),
            ("s3://reels/", "reels", ""),
            ("s3://my.reels-2/spring/2026/", "my.reels-2", "spring/2026"),
            ("s3://reels/春天", "reels", "春天"),
        ] {
            assert_eq!(parse(text).unwrap(), (bucket.to_owned(), prefix.to_owned()), "{text}");
        }
        for text in [
            "reels",
            "/videos",
            "s3:reels",
            "s3://",
            "s3://re",
            "s3://Reels",
            "s3://reels//a",
            "s3://reels/../a",
            "https://reels",
        ] {
            assert!(parse(text).unwrap_err().contains("s3://BUCKET"), "{text}");
        }
    }

    #[test]
    fn endpoint_is_an_address_without_secrets() {
        assert_eq!(endpoint("").unwrap(), None);
        assert!(endpoint("http://127.0.0.1:9000").unwrap().is_some());
        for text in ["minio:9000", "ftp://minio", "https://user:pw@minio", "https://minio/?a=b", "/srv"] {
            let why = endpoint(text).unwrap_err();
            assert!(why.contains("address of the store") && !why.contains("pw"), "{text}");
        }
    }
}
