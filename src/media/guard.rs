//! Decides where a link may lead (SSRF protection): links come from others and must not reach the local network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;
use url::{Host, Url};

use crate::settings::MediaHost;

/// Ports where something else than HTTP listens: browsers block most of them too (the Fetch standard, section 2.9), the
/// others are those of databases and remote desktops.
const OTHER_PROTOCOLS: [u16; 95] = [
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103,
    104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 445, 465, 512, 513,
    514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1433, 1521,
    1719, 1720, 1723, 2049, 3306, 3389, 3659, 4045, 4190, 5060, 5061, 5432, 5672, 5900, 6000, 6379, 6566,
    6665, 6666, 6667, 6668, 6669, 6679, 6697, 9042, 10080, 11211, 27017,
];

/// Where media may be downloaded from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Also addresses of this machine and of private networks (`downloads.allow_private_addresses`).
    pub private_addresses: bool,
    /// Also without TLS (`downloads.plain_http`).
    pub plain_http: bool,
    /// If not empty, only these (`downloads.hosts`).
    pub hosts: Vec<MediaHost>,
}

/// Why a link must not be followed. Never contains the link itself.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Forbidden {
    /// Not a URL.
    #[error("the link is not a URL")]
    NotAUrl,
    /// `file:`, `ftp:`, ...
    #[error("the link of {host} is `{scheme}:`, not https")]
    Scheme { scheme: String, host: String },
    /// `http:`, and `downloads.plain_http` is off.
    #[error("the link of {host} is `http:`, not https")]
    PlainHttp { host: String },
    /// A user name or password before the host.
    #[error("the link to {host} carries a user name")]
    UserInfo { host: String },
    /// The port of another protocol.
    #[error("the link leads to port {port} of {host}, which is for another protocol")]
    Port { host: String, port: u16 },
    /// A host that `downloads.hosts` does not list.
    #[error("the link leads to {host}, port {port}")]
    Host { host: String, port: u16 },
    /// An address that is not on the public internet.
    #[error("{host} is at {address}, {what}")]
    Address {
        host: String,
        address: IpAddr,
        /// What the address is for.
        what: &'static str,
    },
}

impl Policy {
    /// Checks a link, except for the addresses that its host name resolves to.
    ///
    /// # Errors
    /// See [`Forbidden`].
    pub fn check_link(&self, link: &Url) -> Result<(), Forbidden> {
        let host = link.host_str().unwrap_or("unknown host").to_owned();
        match link.scheme() {
            "https" => {}
            "http" if self.plain_http => {}
            "http" => return Err(Forbidden::PlainHttp { host }),
            scheme => return Err(Forbidden::Scheme { scheme: scheme.to_owned(), host }),
        }
        if !link.username().is_empty() || link.password().is_some() {
            return Err(Forbidden::UserInfo { host });
        }
        let port = link.port_or_known_default().unwrap_or(0);
        if OTHER_PROTOCOLS.contains(&port) {
            return Err(Forbidden::Port { host, port });
        }
        let is_this = |listed: &MediaHost| listed.name == host && listed.port.is_none_or(|only| only == port);
        if !self.hosts.is_empty() && !self.hosts.iter().any(is_this) {
            return Err(Forbidden::Host { host, port });
        }
        match link.host() {
            Some(Host::Ipv4(address)) => self.check_address(&host, address.into()),
            Some(Host::Ipv6(address)) => self.check_address(&host, address.into()),
            Some(Host::Domain(_)) => Ok(()),
            None => Err(Forbidden::NotAUrl),
        }
    }

    /// Checks an address of `host`. All addresses of a host must pass.
    ///
    /// # Errors
    /// [`Forbidden::Address`].
    pub fn check_address(&self, host: &str, address: IpAddr) -> Result<(), Forbidden> {
        match use_of(address) {
            AddressUse::Global => Ok(()),
            AddressUse::Private(_) if self.private_addresses => Ok(()),
            AddressUse::Private(what) | AddressUse::Never(what) => {
                Err(Forbidden::Address { host: host.to_owned(), address, what })
            }
        }
    }
}

impl Default for Policy {
    /// As in the annotated configuration.
    fn default() -> Self {
        Self { private_addresses: false, plain_http: true, hosts: Vec::new() }
    }
}

/// Whether the link names an address of this machine or of a private network.
pub(super) fn is_private(link: &Url) -> bool {
    let is_global = |address| matches!(use_of(address), AddressUse::Global);
    match link.host() {
        Some(Host::Ipv4(address)) => !is_global(address.into()),
        Some(Host::Ipv6(address)) => !is_global(address.into()),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn use_of(address: IpAddr) -> AddressUse {
    match address {
        IpAddr::V4(address) => use_of_v4(address),
        IpAddr::V6(address) => use_of_v6(address),
    }
}

/// The use of an address (IANA special-purpose address registries).
enum AddressUse {
    /// On the public internet.
    Global,
    /// On this machine or a private network.
    Private(&'static str),
    /// No media host can have such an address.
    Never(&'static str),
}

fn use_of_v4(address: Ipv4Addr) -> AddressUse {
    match address.octets() {
        [0, ..] => AddressUse::Never("an address that means this host"),
        [10, ..] | [192, 168, ..] => AddressUse::Private("a private network"),
        [172, second, ..] if (16..32).contains(&second) => AddressUse::Private("a private network"),
        [127, ..] => AddressUse::Private("this machine itself"),
        [100, second, ..] if (64..128).contains(&second) => {
            AddressUse::Private("a carrier's internal network")
        }
        [169, 254, ..] => AddressUse::Never("a link-local address"),
        [192, 0, 0, _] | [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [192, 88, 99, _] => {
            AddressUse::Never("an address reserved for other purposes")
        }
        [198, 18 | 19, ..] => AddressUse::Never("an address reserved for benchmarks"),
        [224..=239, ..] => AddressUse::Never("a multicast address"),
        [240..=255, ..] => AddressUse::Never("a reserved address"),
        _ => AddressUse::Global,
    }
}

fn use_of_v6(address: Ipv6Addr) -> AddressUse {
    if let Some(inner) = address.to_ipv4_mapped() {
        return match use_of_v4(inner) {
            AddressUse::Global => AddressUse::Never("an IPv4-mapped address"),
            other => other,
        };
    }
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => AddressUse::Private("this machine itself"),
        [first, ..] if first & 0xFE00 == 0xFC00 => AddressUse::Private("a private network"),
        [first, ..] if first & 0xFFC0 == 0xFE80 => AddressUse::Never("a link-local address"),
        [first, ..] if first & 0xFF00 == 0xFF00 => AddressUse::Never("a multicast address"),
        // Only 2000::/3 is allocated; the cases below are reserved within it.
        [first, ..] if first & 0xE000 != 0x2000 => AddressUse::Never("a reserved address"),
        [0x2001, second, ..] if second < 0x0200 => AddressUse::Never("an address of a tunnel or protocol"),
        [0x2001, 0x0DB8, ..] => AddressUse::Never("an address for documentation"),
        [0x2002, ..] => AddressUse::Never("a 6to4 address, which hides an IPv4 one"),
        [0x3FFF, second, ..] if second < 0x1000 => AddressUse::Never("an address for documentation"),
        _ => AddressUse::Global,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Link; allowed with public addresses only; allowed with private ones too.
    const LINKS: &[(&str, bool, bool)] = &[
        ("https://cdn.example/output/a.mp4?sig=1", true, true),
        ("https://cdn.example:443/a.mp4", true, true),
        ("https://93.184.216.34/a.mp4", true, true),
        ("https://[2606:2800:220:1:248:1893:25c8:1946]/a.mp4", true, true),
        ("http://cdn.example/a.mp4", true, true),
        ("http://cdn.example:8080/a.mp4", true, true),
        ("https://cdn.example:8443/a.mp4", true, true),
        ("https://cdn.example:9000/a.mp4", true, true),
        // The ports of other protocols.
        ("https://cdn.example:22/a.mp4", false, false),
        ("http://cdn.example:25/a.mp4", false, false),
        ("http://cdn.example:6379/a.mp4", false, false),
        ("http://127.0.0.1:5432/a.mp4", false, false),
        ("https://cdn.example:0/a.mp4", false, false),
        ("https://user@cdn.example/a.mp4", false, false),
        ("https://user:pass@cdn.example/a.mp4", false, false),
        ("file:///etc/passwd", false, false),
        ("ftp://cdn.example/a.mp4", false, false),
        ("gopher://cdn.example/", false, false),
        ("data:video/mp4;base64,AAAA", false, false),
        // This machine, in every spelling.
        ("https://127.0.0.1/", false, true),
        ("https://127.1/", false, true),
        ("https://2130706433/", false, true),
        ("https://0x7f.1/", false, true),
        ("https://0177.0.0.1/", false, true),
        ("https://[::1]/", false, true),
        ("https://[::ffff:127.0.0.1]/", false, true),
        ("https://[::ffff:7f00:1]/", false, true),
        ("https://0/", false, false),
        ("https://0.0.0.0/", false, false),
        ("https://[::]/", false, false),
        // Private networks.
        ("https://10.0.0.1/", false, true),
        ("https://172.16.0.1/", false, true),
        ("https://172.31.255.255/", false, true),
        ("https://172.32.0.1/", true, true),
        ("https://192.168.1.1/", false, true),
        ("https://100.64.0.1/", false, true),
        ("https://100.128.0.1/", true, true),
        ("https://[fd00::1]/", false, true),
        ("https://[fc00::1]/", false, true),
        // Never allowed.
        ("https://169.254.169.254/latest/meta-data/", false, false),
        ("https://[::ffff:169.254.169.254]/", false, false),
        ("https://[fe80::1]/", false, false),
        ("https://[fec0::1]/", false, false),
        ("https://192.0.0.1/", false, false),
        ("https://192.0.2.1/", false, false),
        ("https://198.18.0.1/", false, false),
        ("https://198.19.255.255/", false, false),
        ("https://198.51.100.1/", false, false),
        ("https://203.0.113.1/", false, false),
        ("https://192.88.99.1/", false, false),
        ("https://224.0.0.1/", false, false),
        ("https://239.255.255.255/", false, false),
        ("https://240.0.0.1/", false, false),
        ("https://255.255.255.255/", false, false),
        ("https://[ff02::1]/", false, false),
        ("https://[::127.0.0.1]/", false, false),
        ("https://[64:ff9b::7f00:1]/", false, false),
        ("https://[64:ff9b:1::1]/", false, false),
        ("https://[100::1]/", false, false),
        ("https://[2001::1]/", false, false),
        ("https://[2001:2::1]/", false, false),
        ("https://[2001:db8::1]/", false, false),
        ("https://[2002:7f00:1::]/", false, false),
        ("https://[3fff::1]/", false, false),
        ("https://[::ffff:8.8.8.8]/", false, false),
    ];

    #[test]
    fn links_lead_to_the_public_internet_unless_allowed() {
        for (link, public, private) in LINKS {
            let url = Url::parse(link).expect(link);
            let allows = |private_addresses| {
                let policy = Policy { private_addresses, ..Policy::default() };
                policy.check_link(&url).is_ok()
            };
            assert_eq!((allows(false), allows(true)), (*public, *private), "{link}");
        }
    }

    #[test]
    fn only_listed_hosts_are_allowed() {
        let host = |name: &str, port| MediaHost { name: name.to_owned(), port };
        let hosts =
            vec![host("cdn.example", None), host("other.example", Some(8443)), host("[2606::1]", None)];
        let policy = Policy { hosts, ..Policy::default() };
        for (link, allowed) in [
            ("https://cdn.example/a", true),
            ("https://CDN.example:9000/a", true),
            ("http://cdn.example/a", true),
            ("https://other.example:8443/a", true),
            ("https://[2606::1]/a", true),
            ("https://other.example/a", false),
            ("https://a.cdn.example/a", false),
            ("https://cdn.example.evil.example/a", false),
        ] {
            let checked = policy.check_link(&Url::parse(link).expect(link));
            let refused = matches!(checked, Err(Forbidden::Host { .. }));
            assert_eq!((checked.is_ok(), refused), (allowed, !allowed), "{link}");
        }
    }

    #[test]
    fn refusals_name_the_host_but_not_the_link() {
        let url = Url::parse("http://cdn.example/secret-path?sig=secret").expect("a URL");
        let policy = Policy { plain_http: false, ..Policy::default() };
        let refusal = policy.check_link(&url).expect_err("plain http");
        assert!(matches!(refusal, Forbidden::PlainHttp { .. }), "{refusal:?}");
        let words = refusal.to_string();
        assert!(words.contains("cdn.example") && !words.contains("secret"), "{words}");
    }
}
