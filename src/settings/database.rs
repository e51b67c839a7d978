//! `[storage]`: the server of the database.

use std::borrow::Cow;
use std::net::IpAddr;

use url::Url;

use crate::secret::Secret;
use crate::settings::Purpose;
use crate::settings::parse::optional_path;
use crate::settings::reader::{Reader, Unusable};
use crate::settings::secret_file::{read_credential, read_secret};

const DATABASE: &str = "storage.database";
const PASSWORD_FILE: &str = "storage.database_password_file";
/// The name that the tools of PostgreSQL read.
const PASSWORD_VARIABLE: &str = "PGPASSWORD";
const CREDENTIAL: &str = "database_password";

/// A database on a PostgreSQL server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseServer {
    /// `postgres://USER@HOST/DATABASE`, without a password. It says whether the connection is encrypted.
    pub address: String,
    /// `None` if none is set, or the [`Purpose`] needs none.
    pub password: Option<Secret>,
}

impl Reader<'_> {
    /// The server of the database; `None`: it is a file.
    pub(super) fn database_server(&mut self) -> Result<Option<DatabaseServer>, Unusable> {
        let address =
            self.text(DATABASE, |text| if text.is_empty() { Ok(None) } else { parse(text).map(Some) })?;
        let file = self.text(PASSWORD_FILE, optional_path)?;
        let Some(address) = address else { return Ok(None) };
        let password = if self.purpose != Purpose::Daemon {
            None
        } else if let Some(credential) = self.credential(CREDENTIAL) {
            self.secret("systemd credential database_password", read_credential(&credential))
        } else if let Some(file) = file {
            self.secret(PASSWORD_FILE, read_secret(&file))
        } else {
            self.variable(PASSWORD_VARIABLE, DATABASE)
        };
        Ok(Some(DatabaseServer { address, password }))
    }
}

/// The address, with `sslmode`: without, a server on this machine is spoken to as it is, and any other over TLS.
fn parse(text: &str) -> Result<String, String> {
    const FORM: &str = "must be `postgres://USER@HOST/DATABASE`";
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "postgres" | "postgresql"));
    let mut url = url.ok_or_else(|| FORM.to_owned())?;
    let has = |url: &Url, name: &str| url.query_pairs().any(|(key, _)| key == name);
    if url.password().is_some() || has(&url, "password") {
        return Err(format!(
            "{FORM}, without the password: put that into {PASSWORD_FILE}, into the systemd credential {CREDENTIAL}, or \
             into {PASSWORD_VARIABLE}"
        ));
    }
    if url.path().trim_matches('/').is_empty() && !has(&url, "dbname") {
        return Err(format!("{FORM}; it names no database"));
    }
    if has(&url, "sslrootcert") {
        return Err("must not name a certificate: the system must trust it (docs/deploy.md)".to_owned());
    }
    let verifies =
        |(key, value): &(Cow<'_, str>, Cow<'_, str>)| key == "sslmode" && value.starts_with("verify-");
    if url.query_pairs().any(|pair| verifies(&pair)) {
        // Every certificate is verified, and the name in it: `require` is all that the client knows.
        let kept: Vec<_> = url.query_pairs().filter(|pair| !verifies(pair)).map(owned).collect();
        url.query_pairs_mut().clear().extend_pairs(kept).append_pair("sslmode", "require");
    }
    if !has(&url, "sslmode") {
        let is_here = url.host_str().is_none_or(|host| {
            let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
            // Without a name, `host` is the folder of a socket.
            matches!(host, "" | "localhost") || address.is_ok_and(|address| address.is_loopback())
        });
        url.query_pairs_mut().append_pair("sslmode", if is_here { "disable" } else { "require" });
    }
    Ok(url.into())
}

fn owned((key, value): (Cow<'_, str>, Cow<'_, str>)) -> (String, String) {
    (key.into_owned(), value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_machine_is_spoken_to_over_tls() {
        for (text, expected) in [
            ("postgres://me@db/reels", "postgres://me@db/reels?sslmode=require"),
            ("postgres://me@db/reels?sslmode=disable", "postgres://me@db/reels?sslmode=disable"),
            ("postgres://db/reels?sslmode=verify-full", "postgres://db/reels?sslmode=require"),
            ("postgresql://127.0.0.1:5433/reels", "postgresql://127.0.0.1:5433/reels?sslmode=disable"),
            ("postgres://localhost/reels", "postgres://localhost/reels?sslmode=disable"),
            (
                "postgres:///reels?host=/run/postgresql",
                "postgres:///reels?host=/run/postgresql&sslmode=disable",
            ),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn password_in_the_address_is_rejected_and_not_shown() {
        for text in ["postgres://me:canary@db/reels", "postgres://db/reels?password=canary"] {
            let why = parse(text).unwrap_err();
            assert!(why.contains("database_password_file") && !why.contains("canary"), "{why}");
        }
        for text in ["dropreel.db", "mysql://db/reels", "postgres://db", "postgres://db/"] {
            assert!(parse(text).unwrap_err().contains("postgres://USER@HOST/DATABASE"), "{text}");
        }
    }
}
