//! Which addresses scripts may reach: the public internet, and what the operator opened. Pure.
//!
//! The tables follow IANA's registries of special-purpose addresses (RFC 6890;
//! <https://www.iana.org/assignments/iana-ipv4-special-registry>, <https://www.iana.org/assignments/iana-ipv6-special-registry>).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

/// Closed whatever the operator opens: no service of a rule lives there, and what does gives away the machine.
const NEVER: [(IpNet, &str); 18] = [
    (v4([0, 0, 0, 0], 8), "an unspecified address"),
    (v4([169, 254, 0, 0], 16), "a link-local address"),
    (v4([224, 0, 0, 0], 4), "a multicast address"),
    (v4([240, 0, 0, 0], 4), "a reserved address"),
    // Metadata services outside of the link-local block: Azure's, Alibaba's.
    (v4([168, 63, 129, 16], 32), "a metadata service"),
    (v4([100, 100, 100, 200], 32), "a metadata service"),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "an unspecified address"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "a link-local address"),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), "a site-local address"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "a multicast address"),
    // Metadata services of Amazon and Google in IPv6.
    (v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128), "a metadata service"),
    (v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128), "a metadata service"),
    // Behind each of these stands an IPv4 address that the tables for IPv4 would not see.
    (v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96), "a translated IPv4 address"),
    (v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96), "a translated IPv4 address"),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), "a translated IPv4 address"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), "a tunnelled IPv4 address"),
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), "a tunnelled IPv4 address"),
    (v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16), "a segment-routing address"),
];

/// Closed unless the operator opens them.
const SPECIAL: [(IpNet, &str); 17] = [
    (v4([10, 0, 0, 0], 8), "a private address"),
    (v4([100, 64, 0, 0], 10), "an address shared by a provider's customers"),
    (v4([127, 0, 0, 0], 8), "a loopback address"),
    (v4([172, 16, 0, 0], 12), "a private address"),
    (v4([192, 0, 0, 0], 24), "an address for protocols"),
    (v4([192, 0, 2, 0], 24), "an address for documentation"),
    (v4([192, 88, 99, 0], 24), "an address of tunnel relays"),
    (v4([192, 168, 0, 0], 16), "a private address"),
    (v4([198, 18, 0, 0], 15), "an address for benchmarks"),
    (v4([198, 51, 100, 0], 24), "an address for documentation"),
    (v4([203, 0, 113, 0], 24), "an address for documentation"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "a loopback address"),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), "a private address"),
    (v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64), "an address that discards"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), "an address for protocols"),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), "an address for documentation"),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), "an address for documentation"),
];

/// All that is given out in IPv6 as global unicast (RFC 4291 §2.4 and IANA's registry of the IPv6 address space).
const GLOBAL_V6: IpNet = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

const fn v4(octets: [u8; 4], prefix: u8) -> IpNet {
    IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3])), prefix)
}

const fn v6(s: [u16; 8], prefix: u8) -> IpNet {
    IpNet::new_assert(IpAddr::V6(Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7])), prefix)
}

/// The networks that an operator opened beyond the public internet.
#[derive(Debug, Clone, Default)]
pub struct Networks {
    opened: Vec<IpNet>,
}

/// An address that was checked; the only kind that is connected to.
// INVARIANT: made by `Networks::check` alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checked(SocketAddr);

impl Checked {
    pub(super) fn address(self) -> SocketAddr {
        self.0
    }
}

impl Networks {
    /// The public internet and `opened`. Link-local, multicast and reserved networks, metadata services and what
    /// wraps an IPv4 address stay closed even so.
    pub fn new(opened: Vec<IpNet>) -> Self {
        Self { opened }
    }

    /// Lets an address through.
    ///
    /// # Errors
    /// What the address is, for a sentence like "leads to ...".
    pub(super) fn check(&self, ip: IpAddr, port: u16) -> Result<Checked, &'static str> {
        // `::ffff:127.0.0.1` is 127.0.0.1 to the system, so it is here.
        let ip = ip.to_canonical();
        let kind =
            |table: &[(IpNet, &'static str)]| table.iter().find(|(net, _)| net.contains(&ip)).map(|(_, kind)| *kind);
        let checked = Ok(Checked(SocketAddr::new(ip, port)));
        if let Some(kind) = kind(&NEVER) {
            return Err(kind);
        }
        if self.opened.iter().any(|net| net.contains(&ip)) {
            return checked;
        }
        match kind(&SPECIAL) {
            Some(kind) => Err(kind),
            None if ip.is_ipv6() && !GLOBAL_V6.contains(&ip) => Err("no public address"),
            None => checked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn ip(text: &str) -> IpAddr {
        text.parse().expect("the test gives addresses")
    }

    /// First and last address of each network that RFC 6890's registries do not call globally reachable, and of
    /// what else must stay closed.
    const CLOSED: [(&str, &str); 42] = [
        ("0.0.0.0", "0.255.255.255"),
        ("10.0.0.0", "10.255.255.255"),
        ("100.64.0.0", "100.127.255.255"),
        ("127.0.0.0", "127.255.255.255"),
        ("169.254.0.0", "169.254.255.255"),
        ("169.254.169.254", "169.254.169.254"),
        ("172.16.0.0", "172.31.255.255"),
        ("192.0.0.0", "192.0.0.255"),
        ("192.0.2.0", "192.0.2.255"),
        ("192.88.99.0", "192.88.99.255"),
        ("192.168.0.0", "192.168.255.255"),
        ("198.18.0.0", "198.19.255.255"),
        ("198.51.100.0", "198.51.100.255"),
        ("203.0.113.0", "203.0.113.255"),
        ("224.0.0.0", "239.255.255.255"),
        ("240.0.0.0", "255.255.255.255"),
        ("168.63.129.16", "168.63.129.16"),
        ("::", "::"),
        ("::1", "::1"),
        ("::2", "::ffff"),
        ("::7f00:1", "::a9fe:a9fe"),
        ("::ffff:0.0.0.0", "::ffff:0.255.255.255"),
        ("::ffff:127.0.0.1", "::ffff:127.255.255.255"),
        ("::ffff:10.0.0.0", "::ffff:10.255.255.255"),
        ("::ffff:169.254.169.254", "::ffff:169.254.169.254"),
        ("::ffff:0:a9fe:a9fe", "::ffff:0:7f00:1"),
        ("64:ff9b::", "64:ff9b::ffff:ffff"),
        ("64:ff9b::a9fe:a9fe", "64:ff9b::7f00:1"),
        ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff"),
        ("100::", "100::ffff:ffff:ffff:ffff"),
        ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("4000::", "5eff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("5f00::", "5fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("fd00:ec2::254", "fd00:ec2::254"),
        ("fd20:ce::254", "fd20:ce::254"),
        ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ];

    /// Neighbours of the networks above, and services that everybody may use.
    const OPEN: [&str; 28] = [
        "1.0.0.0",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "8.8.8.8",
        "::ffff:8.8.8.8",
        "2000::1",
        "2001:200::",
        "2001:4860:4860::8888",
        "2001:db7:ffff::1",
        "2001:db9::",
        "2003::",
        "2606:4700::1111",
        "3ffe::1",
        "3fff:1000::",
    ];

    #[test]
    fn no_special_purpose_address_is_let_through() {
        for (first, last) in CLOSED {
            for text in [first, last] {
                assert!(Networks::default().check(ip(text), 80).is_err(), "{text} was let through");
            }
        }
    }

    #[test]
    fn public_addresses_are_let_through_up_to_the_very_edge_of_special_ones() {
        for text in OPEN {
            let checked = Networks::default().check(ip(text), 80);
            assert_eq!(checked, Ok(Checked(SocketAddr::new(ip(text).to_canonical(), 80))), "{text}");
        }
    }

    #[test]
    fn the_tables_agree_with_what_the_standard_library_knows() {
        // Every 65,521st address of IPv4; the step is a prime, so that all last octets come up.
        for bits in (0..=u32::MAX).step_by(65_521) {
            let ip = Ipv4Addr::from(bits);
            let special = ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_broadcast()
                || ip.is_multicast()
                || ip.is_documentation()
                || ip.is_unspecified();
            let closed = Networks::default().check(ip.into(), 80).is_err();
            let mapped = Networks::default().check(ip.to_ipv6_mapped().into(), 80).is_err();
            assert!(closed || !special, "{ip} was let through");
            assert_eq!(closed, mapped, "{ip} and its IPv6 form are not judged alike");
        }
    }

    #[test]
    fn an_operator_opens_private_networks_but_never_link_local_or_metadata() {
        let everything = Networks::new(vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]);
        for text in ["127.0.0.1", "10.1.2.3", "192.168.0.1", "::1", "::ffff:127.0.0.1", "fd00::1"] {
            assert!(everything.check(ip(text), 80).is_ok(), "{text} stays closed");
        }
        for (net, kind) in NEVER {
            assert_eq!(everything.check(net.addr(), 80), Err(kind), "{net}");
        }
        assert_eq!(everything.check(ip("::ffff:169.254.169.254"), 80), Err("a link-local address"));

        let loopback = Networks::new(vec!["127.0.0.0/8".parse().unwrap()]);
        assert!(loopback.check(ip("127.3.2.1"), 80).is_ok());
        assert_eq!(loopback.check(ip("10.0.0.1"), 80), Err("a private address"));
        assert_eq!(loopback.check(ip("::1"), 80), Err("a loopback address"));
    }
}
