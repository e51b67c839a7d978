//! Links of any spelling. An allowed link never leads to an address outside the public internet, by tables that this target
//! has of its own.
//!
//! An input is a link, or `4` or `6` and the bytes of an address.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dropreel::media::guard::{Forbidden, Policy};
use libfuzzer_sys::fuzz_target;
use url::{Host, Url};

/// Addresses of this machine and of private networks (IANA special-purpose registries), and those that embed IPv4.
const PRIVATE: [&str; 8] = [
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "::1/128",
    "fc00::/7",
    "::ffff:0:0/96",
];
/// Addresses that are never allowed.
const NEVER: [&str; 26] = [
    "0.0.0.0/8",
    "169.254.0.0/16",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "255.255.255.255/32",
    "::/128",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/32",
    "2001:2::/48",
    "2001:10::/28",
    "2001:20::/28",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "5f00::/16",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
];

fuzz_target!(|bytes: &[u8]| {
    match bytes {
        [b'4', a, b, c, d] => check_address(IpAddr::from([*a, *b, *c, *d])),
        [b'6', rest @ ..] if rest.len() == 16 => {
            check_address(IpAddr::from(<[u8; 16]>::try_from(rest).expect("16 bytes")));
        }
        _ => {
            if let Ok(text) = std::str::from_utf8(bytes) {
                check_text(text);
            }
        }
    }
});

fn check_text(text: &str) {
    let base = Url::parse("https://cdn.example/a/b.mp4?sig=1").expect("a URL");
    for link in [Url::parse(text), base.join(text)].into_iter().flatten() {
        for policy in policies() {
            match policy.check_link(&link) {
                Ok(()) => check_allowed(&policy, &link),
                Err(forbidden) => check_refusal(&policy, &link, &forbidden),
            }
        }
    }
}

/// Public addresses only, on https; then with private ones and plain HTTP.
fn policies() -> [Policy; 2] {
    [false, true].map(|both| Policy { private_addresses: both, plain_http: both, hosts: Vec::new() })
}

fn check_allowed(policy: &Policy, link: &Url) {
    assert!(link.scheme() == "https" || (policy.plain_http && link.scheme() == "http"));
    assert!(link.username().is_empty() && link.password().is_none());
    assert!(!link.authority().contains('@') && !link.authority().contains('\\'));
    match link.host().expect("a host") {
        Host::Ipv4(address) => assert!(may(policy, address.into()), "{link}"),
        Host::Ipv6(address) => assert!(may(policy, address.into()), "{link}"),
        Host::Domain(name) => {
            assert!(!name.is_empty() && !name.contains(['/', '\\', '@', ':', '%', ' ', '[', ']']), "{name}");
            let name = name.strip_suffix('.').unwrap_or(name);
            assert!(name.parse::<Ipv4Addr>().is_err() && name.parse::<Ipv6Addr>().is_err(), "{name}");
        }
    }
    // A user name or a forbidden port is always noticed.
    let mut other = link.clone();
    if other.set_username("somebody").is_ok() {
        assert!(matches!(policy.check_link(&other), Err(Forbidden::UserInfo { .. })));
    }
    let mut other = link.clone();
    if other.set_port(Some(22)).is_ok() {
        assert!(matches!(policy.check_link(&other), Err(Forbidden::Port { port: 22, .. })));
    }
}

fn check_refusal(policy: &Policy, link: &Url, forbidden: &Forbidden) {
    if let Forbidden::Address { address, .. } = forbidden {
        assert!(!may(policy, *address), "{link} is refused, but {address} is public");
    }
    let mut canary = link.clone();
    canary.set_query(Some("c4n4ry"));
    canary.set_fragment(Some("c4n4ry"));
    if !canary.cannot_be_a_base() {
        canary.set_path("/c4n4ry");
    }
    let _ = canary.set_password(Some("c4n4ry"));
    let words = policy.check_link(&canary).expect_err("still refused").to_string();
    let host = link.host_str().unwrap_or_default();
    assert!(host.contains("c4n4ry") || !words.contains("c4n4ry"), "{words}");
    assert!(!words.chars().any(char::is_control), "{words:?}");
}

fn check_address(address: IpAddr) {
    for policy in policies() {
        let allowed = policy.check_address("host.example", address).is_ok();
        assert_eq!(allowed, may(&policy, address), "{address} {policy:?}");
    }
}

/// Whether the tables allow the address.
fn may(policy: &Policy, address: IpAddr) -> bool {
    if let IpAddr::V6(inner) = address
        && let Some(inner) = inner.to_ipv4_mapped()
    {
        // A private address may be written as mapped; a public one has no reason to be.
        let private = within(&PRIVATE, inner.into()) && !within(&NEVER, inner.into());
        return policy.private_addresses && private;
    }
    if within(&NEVER, address) {
        return false;
    }
    if within(&PRIVATE, address) {
        return policy.private_addresses;
    }
    match address {
        IpAddr::V4(_) => true,
        // No other block is assigned, and 2001::/23 is for protocols.
        IpAddr::V6(address) => {
            within(&["2000::/3"], address.into()) && !within(&["2001::/23"], address.into())
        }
    }
}

fn within(nets: &[&str], address: IpAddr) -> bool {
    nets.iter().any(|net| {
        let (net, bits) = net.split_once('/').expect("a network");
        let (net, bits): (IpAddr, u32) = (net.parse().expect("an address"), bits.parse().expect("bits"));
        match (net, address) {
            (IpAddr::V4(net), IpAddr::V4(address)) => {
                (net.to_bits() ^ address.to_bits()).checked_shr(32 - bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(net), IpAddr::V6(address)) => {
                (net.to_bits() ^ address.to_bits()).checked_shr(128 - bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    })
}
