//! Which addresses may be called: the public ones, and what the operator allows besides.
//!
//! A queue's endpoint is chosen over the wire, and the broker stands inside a network that trusts
//! it. So it calls no address that is not public, by whatever name or notation it is reached.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use url::{Host, Url};

/// What is not public of IPv4, by the IANA special-purpose registry, and where a cloud answers its
/// machines.
const CLOSED_V4: &[(Ipv4Addr, u32)] = &[
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // Multicast, reserved and broadcast.
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// All that is public of IPv6.
const OPEN_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// What is not, of that: protocols (Teredo among them), documentation and 6to4, which lead to IPv4
/// addresses by ways of their own.
const CLOSED_V6: &[(Ipv6Addr, u32)] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// The prefix by which a network translates to IPv4 (RFC 6052).
const NAT64: (Ipv6Addr, u32) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// The words that stand for networks in the settings.
const WORDS: &[(&str, &[&str])] = &[
    ("loopback", &["127.0.0.0/8", "::1/128"]),
    ("private", &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"]),
];

/// Where clouds tell their machines secrets, within a private network.
const METADATA: &str = "fd00:ec2::254/128";

/// What may be called besides public addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    nets: Vec<IpNet>,
    /// `METADATA` was allowed, not only what it lies in.
    metadata: bool,
}

/// Why an address is not called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It belongs to a network of its own.
    #[error("{0} is not a public address, and push.allow does not have it")]
    Internal(IpAddr),
    /// It is reached over an unprotected connection.
    #[error("http: is for addresses of push.allow only, and {0} is none")]
    Plain(IpAddr),
}

impl Allowed {
    /// Reads networks such as `10.0.0.0/8`, and the words `loopback` and `private`.
    pub fn parse<'e>(entries: impl IntoIterator<Item = &'e str>) -> Result<Self, String> {
        let mut allowed = Self::default();
        for entry in entries {
            if let Some((_, nets)) = WORDS.iter().find(|(word, _)| *word == entry) {
                allowed.nets.extend(nets.iter().filter_map(|net| net.parse::<IpNet>().ok()));
                continue;
            }
            let single = || entry.parse::<IpAddr>().map(IpNet::from);
            let net = entry.parse::<IpNet>().or_else(|_| single()).map_err(|_| {
                format!("has {entry:?}; it takes networks such as 10.0.0.0/8, loopback and private")
            })?;
            allowed.metadata |= METADATA.parse() == Ok(net);
            allowed.nets.push(net.trunc());
        }
        Ok(allowed)
    }

    /// Whether an address may be called, with or without protection.
    pub fn check(&self, address: IpAddr, is_plain: bool) -> Result<(), Refused> {
        let address = true_form(address);
        if self.has(address) {
            return Ok(());
        }
        match (is_public(address), is_plain) {
            (true, false) => Ok(()),
            (true, true) => Err(Refused::Plain(address)),
            (false, _) => Err(Refused::Internal(address)),
        }
    }

    fn has(&self, address: IpAddr) -> bool {
        let is_metadata = METADATA.parse::<IpNet>().is_ok_and(|net| net.contains(&address));
        (self.metadata || !is_metadata) && self.nets.iter().any(|net| net.contains(&address))
    }

    /// Checks the URL of an endpoint as far as can be known without a look at its name, and answers
    /// it in its normal form.
    pub fn check_url(&self, text: &str) -> Result<String, String> {
        let url = Url::parse(text).map_err(|why| format!("is not a URL: {why}"))?;
        let is_plain = match url.scheme() {
            "https" => false,
            "http" if self.nets.is_empty() => {
                return Err("must be an https: URL, for push.allow is empty".to_owned());
            }
            "http" => true,
            _ => return Err("must be an https: or http: URL".to_owned()),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not have a user or password: use a header".to_owned());
        }
        if url.fragment().is_some() {
            return Err("must not have a fragment".to_owned());
        }
        if url.port() == Some(0) {
            return Err("must not have port 0".to_owned());
        }
        let address = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(name)) => {
                let name = name.trim_end_matches('.');
                let is_here = name == "localhost" || name.ends_with(".localhost");
                is_here.then_some(IpAddr::V4(Ipv4Addr::LOCALHOST))
            }
            None => return Err("must have a host".to_owned()),
        };
        if let Some(address) = address {
            self.check(address, is_plain).map_err(|why| format!("is refused: {why}"))?;
        }
        Ok(url.into())
    }
}

/// The address that is reached in the end: an IPv6 address may stand for one of IPv4.
fn true_form(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if within_v6(address, NAT64) => {
            let [.., a, b, c, d] = address.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        address => address,
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !CLOSED_V4.iter().any(|net| within_v4(address, *net)),
        IpAddr::V6(address) => {
            within_v6(address, OPEN_V6) && !CLOSED_V6.iter().any(|net| within_v6(address, *net))
        }
    }
}

fn within_v4(address: Ipv4Addr, (net, bits): (Ipv4Addr, u32)) -> bool {
    (address.to_bits() ^ net.to_bits()).leading_zeros() >= bits
}

fn within_v6(address: Ipv6Addr, (net, bits): (Ipv6Addr, u32)) -> bool {
    (address.to_bits() ^ net.to_bits()).leading_zeros() >= bits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn allowed(entries: &[&str]) -> Allowed {
        Allowed::parse(entries.iter().copied()).unwrap()
    }

    #[test]
    fn what_is_not_public_is_refused() {
        let closed = [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.9.9.9",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ];
        for closed in closed {
            let refused = Allowed::default().check(address(closed), false);
            assert!(matches!(refused, Err(Refused::Internal(_))), "{closed}: {refused:?}");
        }
    }

    #[test]
    fn what_is_public_may_be_called_with_protection_only() {
        let open = [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "64:ff9b::101:101",
            "::ffff:1.1.1.1",
        ];
        for open in open {
            assert_eq!(Allowed::default().check(address(open), false), Ok(()), "{open}");
            let plain = Allowed::default().check(address(open), true);
            assert!(matches!(plain, Err(Refused::Plain(_))), "{open}: {plain:?}");
        }
    }

    #[test]
    fn what_is_allowed_may_be_called_in_any_notation() {
        let some = allowed(&["loopback", "10.1.0.0/16"]);
        for good in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.1.2.3", "64:ff9b::a01:203"] {
            assert_eq!(some.check(address(good), true), Ok(()), "{good}");
        }
        for bad in ["10.2.0.1", "192.168.0.1", "169.254.169.254", "fe80::1"] {
            assert!(some.check(address(bad), false).is_err(), "{bad}");
        }
    }

    #[test]
    fn private_networks_do_not_include_what_a_cloud_tells_its_machines() {
        let private = allowed(&["private"]);
        assert!(private.check(address("fd00::1"), true).is_ok());
        assert!(private.check(address("fd00:ec2::254"), true).is_err());
        assert!(private.check(address("169.254.169.254"), true).is_err());
        let meant = allowed(&["fd00:ec2::254", "169.254.169.254/32"]);
        assert!(meant.check(address("fd00:ec2::254"), true).is_ok());
        assert!(meant.check(address("169.254.169.254"), true).is_ok());
    }

    #[test]
    fn a_setting_that_means_no_network_is_named() {
        for bad in ["", "everything", "10.0.0.0/33", "example.com"] {
            assert!(Allowed::parse([bad]).unwrap_err().contains(&format!("{bad:?}")), "{bad}");
        }
    }

    #[test]
    fn urls_are_refused_that_can_not_be_meant() {
        let none = Allowed::default();
        let bad = [
            "",
            "example.com",
            "ftp://example.com",
            "http://example.com",
            "https://",
            "https://me@example.com",
            "https://me:it@example.com",
            "https://example.com/#a",
            "https://example.com:0/",
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://127.1/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://localhost/",
            "https://a.localhost./",
            "https://169.254.169.254/latest/meta-data",
            "https://１２７.0.0.1/",
        ];
        for bad in bad {
            assert!(none.check_url(bad).is_err(), "{bad}");
        }
        assert_eq!(none.check_url("https://Example.com").unwrap(), "https://example.com/");
        let here = allowed(&["loopback"]);
        assert_eq!(here.check_url("http://2130706433:80/a").unwrap(), "http://127.0.0.1/a");
        assert!(here.check_url("http://localhost:8080/jobs").is_ok());
        assert!(here.check_url("http://1.1.1.1/").is_err());
    }
}
