//! Checks whether the provider can fetch a media input (docs/provider.md#submit-request).

use std::net::{Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Why a media input is not a public http(s) URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkFault {
    /// The media itself, as a `data:` URI.
    DataUri,
    /// The media itself, in base64.
    Base64,
    /// A file of the user's machine.
    LocalPath,
    /// Another scheme than http and https.
    OtherScheme,
    /// Not a URL.
    NoUrl,
    /// An address of a private network.
    NotPublic,
    /// White space or control characters, which a URL parser would silently drop.
    Blanks,
}

impl LinkFault {
    /// The message, to follow the input's name. Never contains the URL, which may carry secrets.
    pub fn message(self) -> &'static str {
        match self {
            Self::DataUri => "is a data URI: the provider takes public http(s) URLs only",
            Self::Base64 => "looks like base64: the provider takes public http(s) URLs only",
            Self::LocalPath => "is a path on this machine: the provider takes public http(s) URLs only",
            Self::OtherScheme => "must be an http(s) URL: the provider knows no other scheme",
            Self::NoUrl => "must be a public http(s) URL, such as `https://example.com/a.png`",
            Self::NotPublic => "is an address of a private network: the provider cannot fetch from there",
            Self::Blanks => {
                "has blanks or control characters at its ends or inside: write them as `%20` or remove them"
            }
        }
    }

    /// Whether no model can use such an input. A model that is not in the table may understand the others.
    pub fn is_never_fetchable(self) -> bool {
        match self {
            Self::DataUri | Self::Base64 | Self::LocalPath => true,
            Self::OtherScheme | Self::NoUrl | Self::NotPublic | Self::Blanks => false,
        }
    }
}

/// The fault of a media input; `None` for a public http(s) URL.
pub fn fault(input: &str) -> Option<LinkFault> {
    let trimmed = input.trim();
    let scheme = scheme(trimmed);
    match scheme.as_deref() {
        Some("http" | "https") => {}
        Some("data") => return Some(LinkFault::DataUri),
        Some("file") => return Some(LinkFault::LocalPath),
        // `C:\`: no scheme has one letter.
        Some(drive) if drive.len() == 1 => return Some(LinkFault::LocalPath),
        Some(_) => return Some(LinkFault::OtherScheme),
        None if is_base64(trimmed) => return Some(LinkFault::Base64),
        None if is_local_path(trimmed) => return Some(LinkFault::LocalPath),
        None => return Some(LinkFault::NoUrl),
    }
    if input.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Some(LinkFault::Blanks);
    }
    // A URL parser reads `https:a.png` and `https:///a.png` as `https://a.png`; a fetcher may not.
    let after_scheme = trimmed.split_once("://").map(|(_, rest)| rest);
    if after_scheme.is_none_or(|rest| rest.starts_with('/')) {
        return Some(LinkFault::NoUrl);
    }
    match Url::parse(input).ok().as_ref().and_then(Url::host) {
        None => Some(LinkFault::NoUrl),
        Some(host) if is_public(&host) => None,
        Some(_) => Some(LinkFault::NotPublic),
    }
}

/// RFC 3986, section 3.1, in lower case.
fn scheme(input: &str) -> Option<String> {
    let (scheme, _) = input.split_once(':')?;
    let fits = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    fits.then(|| scheme.to_ascii_lowercase())
}

fn is_base64(input: &str) -> bool {
    // The first bytes of PNG, JPEG, GIF and WebP; or any long text of that alphabet, unless it is a path.
    const BEGINNINGS: [&str; 4] = ["iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR"];
    BEGINNINGS.iter().any(|beginning| input.starts_with(beginning))
        || (input.len() >= 64
            && !input.starts_with('/')
            && input.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=\r\n".contains(&byte)))
}

fn is_local_path(input: &str) -> bool {
    let lower = input.to_ascii_lowercase();
    let by_start = ["/", "./", "../", "~/", "~\\", ".\\", "..\\", "\\\\"];
    let by_end = [".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".heic", ".tif", ".tiff", ".mp4", ".mov"];
    by_start.iter().any(|start| lower.starts_with(start)) || by_end.iter().any(|end| lower.ends_with(end))
}

/// Catches typos; not a security check: names are not resolved, and the provider fetches, not dropreel.
fn is_public(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            let inner = ["localhost", "local", "internal", "lan", "home.arpa"];
            name.contains('.')
                && !inner.iter().any(|inner| name.strip_suffix(inner).is_some_and(|rest| rest.ends_with('.')))
        }
        Host::Ipv4(address) => is_public_v4(*address),
        Host::Ipv6(address) => is_public_v6(*address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.octets()[0] == 0)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return is_public_v4(mapped);
    }
    !(address.is_loopback()
        || address.is_unspecified()
        || address.is_unique_local()
        || address.is_unicast_link_local()
        || address.is_multicast())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_inputs_are_public_urls_or_have_a_fault() {
        use LinkFault::{Base64, Blanks, DataUri, LocalPath, NoUrl, NotPublic, OtherScheme};
        let long_base64 = "QUJD".repeat(30);
        let cases = [
            ("https://example.com/a.png", None),
            ("HTTP://Example.com:8080/a?sig=1#x", None),
            ("https://图片.example/春.png", None),
            ("https://8.8.8.8/a.png", None),
            ("https://[2606:4700::1111]/a.png", None),
            ("data:image/png;base64,iVBORw0KGgo=", Some(DataUri)),
            (" DATA:image/png;base64,iVBORw0KGgo=", Some(DataUri)),
            ("iVBORw0KGgoAAAANSUhEUgAA", Some(Base64)),
            ("/9j/4AAQSkZJRgABAQ", Some(Base64)),
            (&long_base64, Some(Base64)),
            ("/home/li/a.png", Some(LocalPath)),
            ("./a", Some(LocalPath)),
            ("~/a", Some(LocalPath)),
            ("a.PNG", Some(LocalPath)),
            ("图/春.jpg", Some(LocalPath)),
            ("C:\\a.bmp", Some(LocalPath)),
            ("\\\\nas\\a", Some(LocalPath)),
            ("file:///a.png", Some(LocalPath)),
            ("ftp://example.com/a.png", Some(OtherScheme)),
            ("oss://bucket/a.png", Some(OtherScheme)),
            ("", Some(NoUrl)),
            ("example", Some(NoUrl)),
            ("https://", Some(NoUrl)),
            ("https:///a.png", Some(NoUrl)),
            ("https:example.com/a.png", Some(NoUrl)),
            ("//example.com/a", Some(LocalPath)),
            ("https://example.com/a b.png", Some(Blanks)),
            ("https://example.com/a\n", Some(Blanks)),
            ("http://localhost/a", Some(NotPublic)),
            ("http://nas/a", Some(NotPublic)),
            ("http://printer.local/a", Some(NotPublic)),
            ("http://127.0.0.1/a", Some(NotPublic)),
            ("http://2130706433/a", Some(NotPublic)),
            ("http://10.1.2.3/a", Some(NotPublic)),
            ("http://169.254.169.254/a", Some(NotPublic)),
            ("http://[::1]/a", Some(NotPublic)),
            ("http://[::ffff:192.168.0.1]/a", Some(NotPublic)),
            ("http://[fd00::1]/a", Some(NotPublic)),
        ];
        for (input, expected) in cases {
            assert_eq!(fault(input), expected, "{input}");
        }
    }

    #[test]
    fn only_local_and_inline_media_are_never_fetchable() {
        for fault in [LinkFault::DataUri, LinkFault::Base64, LinkFault::LocalPath] {
            assert!(fault.is_never_fetchable());
        }
        for fault in [LinkFault::OtherScheme, LinkFault::NoUrl, LinkFault::NotPublic, LinkFault::Blanks] {
            assert!(!fault.is_never_fetchable());
        }
    }
}
