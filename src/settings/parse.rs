//! Parsers of single values. Their errors are worded for people and never show an address: it can hold a secret in its
//! user, path or query.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use config::{Map, Value, ValueKind};
use url::{Host, Url};

use crate::job::label::Label;
use crate::money::{QUOTA_PER_USD, Quota};
use crate::settings::MediaHost;

/// A count from `min` to `max`.
pub(super) fn within(count: i64, min: u32, max: u32) -> Result<u32, String> {
    match u32::try_from(count) {
        Ok(count) if (min..=max).contains(&count) => Ok(count),
        _ => Err(format!("is {count}; must be {min} to {max}")),
    }
}

pub(super) fn per_model(models: Map<String, Value>) -> Result<BTreeMap<String, u32>, String> {
    let parse = |(model, value): (String, Value)| match value.kind {
        ValueKind::I64(count) => match within(count, 1, 10_000) {
            Ok(count) => Ok((model, count)),
            Err(why) => Err(format!("`{model}` {why}")),
        },
        _ => Err(format!("`{model}` must be a whole number, as in {{ \"wan2.5-t2v\" = 2 }}")),
    };
    models.into_iter().map(parse).collect()
}

/// A limit in US dollars; 0: none.
pub(super) fn limit_in_usd(usd: f64) -> Result<Option<Quota>, String> {
    match Quota::from_usd(usd) {
        Some(_) if usd == 0.0 => Ok(None),
        // What rounds to nothing must not become no limit.
        Some(limit) if limit > Quota::ZERO => Ok(Some(limit)),
        _ => Err(format!("is {usd}; must be an amount in US dollars, at least 0.000001, or 0: no limit")),
    }
}

pub(super) fn per_label(labels: Map<String, Value>) -> Result<BTreeMap<Label, Quota>, String> {
    let parse = |(text, value): (String, Value)| {
        let label: Label = text
            .parse()
            .map_err(|_| format!("`{text}` must name a label, as in {{ \"project=spring\" = 50.0 }}"))?;
        let limit = match value.kind {
            ValueKind::Float(usd) => Quota::from_usd(usd),
            ValueKind::I64(usd) => usd.checked_mul(QUOTA_PER_USD).map(Quota::new),
            _ => None,
        };
        match limit {
            Some(limit) if limit > Quota::ZERO => Ok((label, limit)),
            _ => Err(format!("`{text}` must have an amount in US dollars above 0")),
        }
    };
    labels.into_iter().map(parse).collect()
}

pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    if text.starts_with('~') {
        return Err("`~` is not expanded here; write the folder out".to_owned());
    }
    if text.contains('\0') {
        return Err("a path cannot hold a NUL character".to_owned());
    }
    std::path::absolute(text).map_err(|error| format!("cannot be resolved from the current folder: {error}"))
}

pub(super) fn optional_path(text: &str) -> Result<Option<PathBuf>, String> {
    if text.is_empty() { Ok(None) } else { path(text).map(Some) }
}

/// `label.KEY`, or nothing.
pub(super) fn fair_by(text: &str) -> Result<Option<String>, String> {
    match text.strip_prefix("label.") {
        _ if text.is_empty() => Ok(None),
        Some(key) if !key.is_empty() => Ok(Some(key.to_owned())),
        _ => Err(format!("is `{text}`; must name a label, as in \"label.project\", or be empty")),
    }
}

pub(super) fn layout(text: &str) -> Result<String, String> {
    let outside = text.starts_with('/') || text.split('/').any(|part| part == "..");
    if text.is_empty() || text.ends_with('/') || outside {
        return Err("must name a file inside the library, such as {date}/{name}.{ext}".to_owned());
    }
    Ok(text.to_owned())
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!(
            "`{text}` is not a numeric address and port such as 127.0.0.1:8787, 0.0.0.0:8787 or [::1]:8787"
        )
    })
}

pub(super) fn http_url(text: &str) -> Result<Url, String> {
    let url =
        Url::parse(text).map_err(|error| format!("is not a URL ({error}); write https://host.example"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must begin with https:// or http://".to_owned());
    }
    Ok(url)
}

/// The address of a proxy. SOCKS 4 knows neither passwords nor IPv6.
pub(super) fn proxy_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text)
        .map_err(|error| format!("is not a URL ({error}); write http://host.example:3128"))?;
    if !matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h") {
        return Err("must begin with http://, https://, socks5:// or socks5h://".to_owned());
    }
    if url.host().is_none() {
        return Err("must name the host of the proxy".to_owned());
    }
    Ok(url)
}

fn plain_url(text: &str) -> Result<Url, String> {
    let url = http_url(text)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not name a user or password".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not have anything from `?` or `#` on".to_owned());
    }
    Ok(url)
}

pub(super) fn base_url(text: &str) -> Result<Url, String> {
    let url = plain_url(text)?;
    if url.path() != "/" {
        return Err("must be scheme and host alone, without a path: https://host.example".to_owned());
    }
    if url.scheme() == "http" && !is_loopback(&url) {
        return Err("must begin with https://: the API key would cross the network readable".to_owned());
    }
    Ok(url)
}

pub(super) fn public_url(text: &str) -> Result<Option<Url>, String> {
    if text.is_empty() { Ok(None) } else { plain_url(text).map(Some) }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).to_canonical().is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Names of hosts, without scheme, port or path.
pub(super) fn host_names(names: Vec<String>) -> Result<Vec<String>, String> {
    let is_name = |name: &String| {
        let label = |label: &str| {
            !label.is_empty()
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        name.split('.').all(label)
    };
    match names.iter().find(|name| !is_name(name)) {
        Some(bad) => Err(format!(
            "`{bad}` is not the name of a host alone, such as \"reel.example.com\": no port, no scheme"
        )),
        None => Ok(names),
    }
}

/// Media hosts, `HOST` or `HOST:PORT`, written as URLs write them.
pub(super) fn media_hosts(entries: Vec<String>) -> Result<Vec<MediaHost>, String> {
    let parse = |entry: &String| {
        let url = Url::parse(&format!("https://{entry}")).ok()?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if !bare || url.username() != "" || url.password().is_some() || entry.ends_with('/') {
            return None;
        }
        // The URL does not tell whether its default port was written.
        let port = entry.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        Some(MediaHost { name: url.host_str()?.to_owned(), port })
    };
    let parsed = |entry: &String| {
        parse(entry).ok_or_else(|| {
            format!("`{entry}` is not a host, such as \"cdn.example.com\" or \"cdn.example.com:8443\": no scheme, no path")
        })
    };
    entries.iter().map(parsed).collect()
}

/// The name of an HTTP header, in lower case.
pub(super) fn header_name(text: &str) -> Result<String, String> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || !text.bytes().all(token) {
        return Err(format!("`{text}` is not the name of an HTTP header"));
    }
    Ok(text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_that_rounds_to_nothing_is_rejected() {
        assert_eq!((limit_in_usd(0.0), limit_in_usd(-0.0)), (Ok(None), Ok(None)));
        assert_eq!(limit_in_usd(0.000_001), Ok(Some(Quota::new(1))));
        for usd in [0.000_000_1, 0.000_000_9, -0.000_000_1, -1.0, f64::NAN, f64::INFINITY] {
            assert!(limit_in_usd(usd).unwrap_err().contains("0: no limit"), "{usd}");
        }
    }

    #[test]
    fn media_host_is_a_host_with_an_optional_port() {
        for (entry, name, port) in [
            ("CDN.example", "cdn.example", None),
            ("cdn.example:8443", "cdn.example", Some(8443)),
            ("cdn.example:443", "cdn.example", Some(443)),
            ("10.0.0.7:9000", "10.0.0.7", Some(9000)),
            ("[2606::1]", "[2606::1]", None),
            ("[2606::1]:80", "[2606::1]", Some(80)),
        ] {
            let expected = MediaHost { name: name.to_owned(), port };
            assert_eq!(media_hosts(vec![entry.to_owned()]), Ok(vec![expected]), "{entry}");
        }
        for bad in
            ["", "https://cdn.example", "cdn.example/x", "cdn.example/", "me@cdn.example", "*.cdn.example:x"]
        {
            assert!(media_hosts(vec![bad.to_owned()]).is_err(), "{bad}");
        }
    }

    #[test]
    fn base_url_needs_https_except_on_loopback() {
        for good in [
            "https://qingbo.dev",
            "https://host:8443/",
            "http://127.0.0.1:9",
            "http://localhost:9",
            "http://[::1]",
        ] {
            assert!(base_url(good).is_ok(), "{good}");
        }
        let bad = [
            ("http://qingbo.dev", "https://"),
            ("http://localhost.evil.example", "https://"),
            ("http://128.0.0.1", "https://"),
            ("ftp://qingbo.dev", "https://"),
            ("qingbo.dev", "URL"),
            ("https://qingbo.dev/v1", "path"),
            ("https://qingbo.dev/?key=canary", "`?`"),
            ("https://qingbo.dev/#canary", "`#`"),
            ("https://canary@qingbo.dev", "user"),
            ("https://me:canary@qingbo.dev", "user"),
            ("", "URL"),
        ];
        for (text, word) in bad {
            let error = base_url(text).expect_err(text);
            assert!(error.contains(word) && !error.contains("canary"), "{text}: {error}");
        }
    }

    #[test]
    fn proxy_speaks_http_or_socks_5() {
        for good in ["http://proxy:3128", "https://me:pw@proxy", "socks5://127.0.0.1:1080", "socks5h://[::1]"]
        {
            assert!(proxy_url(good).is_ok(), "{good}");
        }
        for bad in ["proxy:3128", "socks4://proxy", "ftp://me:canary@proxy", "socks5://", "127.0.0.1:1080"] {
            let error = proxy_url(bad).expect_err(bad);
            assert!(!error.contains("canary"), "{bad}: {error}");
        }
    }

    #[test]
    fn public_url_may_have_a_path_but_no_query() {
        assert_eq!(public_url(""), Ok(None));
        assert!(public_url("https://hooks.example.com/reel").is_ok());
        assert!(public_url("http://203.0.113.9:8080").is_ok());
        assert!(public_url("https://hooks.example.com/?a=1").is_err());
        assert!(public_url("hooks.example.com").is_err());
    }

    #[test]
    fn listen_address_is_numeric_with_a_port() {
        for good in ["127.0.0.1:8787", "[::1]:8787", "0.0.0.0:0"] {
            assert!(address(good).is_ok(), "{good}");
        }
        for bad in ["", "8787", ":8787", "localhost:8787", "127.0.0.1", "127.0.0.1:99999"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn host_name_has_neither_scheme_nor_port() {
        let parse = |name: &str| host_names(vec![name.to_owned()]);
        for good in ["reel.example.com", "dropreel", "my_host", "xn--fiq228c.example"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in
            ["", "reel.example.com:8443", "https://reel.example.com", "a/b", "*", "*.example.com", "a..b"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn path_becomes_absolute_and_tilde_is_rejected() {
        assert_eq!(optional_path(""), Ok(None));
        assert_eq!(path("/srv/reel"), Ok(PathBuf::from("/srv/reel")));
        assert!(path("reel").expect("a relative path").is_absolute());
        assert!(path("~/reel").expect_err("a tilde").contains('~'));
        assert!(path("a\0b").is_err());
    }

    #[test]
    fn layout_stays_inside_the_library() {
        for good in ["{name}.{ext}", "{date}/{name}.{ext}", "a..b/{n}"] {
            assert!(layout(good).is_ok(), "{good}");
        }
        for bad in ["", "/{name}", "../{name}", "a/../../{name}", "{date}/"] {
            assert!(layout(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn count_outside_its_range_is_rejected() {
        assert_eq!(within(64, 1, 64), Ok(64));
        for bad in [0, 65, -1, i64::MAX, i64::MIN] {
            assert!(within(bad, 1, 64).expect_err("out of range").contains("1 to 64"), "{bad}");
        }
    }
}
