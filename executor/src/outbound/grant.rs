//! What a script may ask of whom: its list of hosts and its share.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use contract::policy::Layer;
use url::Host;

/// Hosts that a sentence about the list names; lists may be longer.
const TOLD_MAX: usize = 10;

/// Hosts that an operator opens to scripts. By default none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Opened {
    /// None.
    #[default]
    Nothing,
    /// These; at any port, where a pattern has none.
    Hosts(Vec<HostPattern>),
    /// All, as far as scripts declare them.
    All,
}

impl Opened {
    /// Whether `host` at `port` is open.
    pub(super) fn covers(&self, host: &Host<String>, port: u16) -> bool {
        match self {
            Self::Nothing => false,
            Self::Hosts(hosts) => hosts.iter().any(|pattern| pattern.covers(host, port, port)),
            Self::All => true,
        }
    }
}

/// A list of a policy: hosts that scripts may ask at most, whatever they declare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Within {
    /// The list.
    pub hosts: Opened,
    /// Whose policy.
    pub whose: Layer,
}

/// What the release lets one script do over HTTP. The default grants nothing: its list of hosts is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpGrant {
    /// Whom it may ask.
    pub hosts: Vec<HostPattern>,
    /// Lists of policies, of which each must have the host, too.
    pub within: Arc<[Within]>,
    /// Requests of one execution, those that were refused included.
    pub requests_max: u32,
    /// Longest time of one request.
    pub timeout: Duration,
}

impl Default for HttpGrant {
    fn default() -> Self {
        Self { hosts: Vec::new(), within: Arc::default(), requests_max: 8, timeout: super::TIMEOUT_MAX }
    }
}

impl HttpGrant {
    /// Whether the list has `host` at `port`; `usual` is the port that the scheme goes with.
    pub(super) fn covers(&self, host: &Host<String>, port: u16, usual: u16) -> bool {
        self.hosts.iter().any(|pattern| pattern.covers(host, port, usual))
    }

    /// Whose policy does not have `host` at `port`, if one does not.
    pub(super) fn closed_by(&self, host: &Host<String>, port: u16) -> Option<Layer> {
        self.within.iter().find(|within| !within.hosts.covers(host, port)).map(|within| within.whose)
    }

    /// The list, for a sentence.
    pub(super) fn told(&self) -> String {
        let mut told = self.hosts.iter().take(TOLD_MAX).map(ToString::to_string).collect::<Vec<_>>().join(", ");
        if let Some(more @ 1..) = self.hosts.len().checked_sub(TOLD_MAX) {
            told.push_str(&format!(" and {more} more"));
        }
        told
    }
}

/// One entry of a script's list: `api.example.com`, `*.example.com` (every name below, not the name itself), an IP
/// address; each with a port or without. Without one, 80 is covered for `http` and 443 for `https`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    name: Name,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    Exactly(Host<String>),
    /// Every name that ends in a dot and this.
    Below(String),
}

/// A text that is no entry of a list of hosts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no host: {why}; expected for example `api.example.com`, `*.example.com` or `api.example.com:8443`"
)]
pub struct InvalidHost {
    text: String,
    why: &'static str,
}

impl HostPattern {
    fn covers(&self, host: &Host<String>, port: u16, usual: u16) -> bool {
        let named = match (&self.name, host) {
            (Name::Exactly(name), host) => name == host,
            (Name::Below(parent), Host::Domain(host)) => {
                host.strip_suffix(parent.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            (Name::Below(_), _) => false,
        };
        named && port == self.port.unwrap_or(usual)
    }
}

impl FromStr for HostPattern {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        read(text).map_err(|why| InvalidHost { text: text.escape_debug().to_string(), why })
    }
}

fn read(text: &str) -> Result<HostPattern, &'static str> {
    let (host, port) = match text.rsplit_once(':') {
        // The colons of an IPv6 address are inside of brackets.
        Some((host, port)) if !port.ends_with(']') => {
            let port = port.parse().ok().filter(|port| *port != 0).ok_or("its port is none of 1 to 65535")?;
            (host, Some(port))
        }
        _ => (text, None),
    };
    let (below, host) = host.strip_prefix("*.").map_or((false, host), |host| (true, host));
    if host.contains('*') {
        return Err("`*` can only be its first label");
    }
    if host.ends_with('.') {
        return Err("it ends in a dot");
    }
    let host = Host::parse(host).map_err(|_| "it is neither a name nor an address")?;
    let name = match host {
        Host::Domain(parent) if below && !parent.contains('.') => return Err("it covers a whole top-level domain"),
        Host::Domain(parent) if below => Name::Below(parent),
        Host::Ipv4(_) | Host::Ipv6(_) if below => return Err("no names are below an address"),
        host => Name::Exactly(host),
    };
    Ok(HostPattern { name, port })
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Name::Exactly(host) => write!(f, "{host}")?,
            Name::Below(parent) => write!(f, "*.{parent}")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn covers(pattern: &str, host: &str, port: u16) -> bool {
        let grant = HttpGrant { hosts: vec![pattern.parse().unwrap()], ..HttpGrant::default() };
        grant.covers(&Host::parse(host).unwrap(), port, 443)
    }

    #[test]
    fn an_operator_opens_hosts_at_any_port_or_at_one() {
        let host = |name: &str| Host::parse(name).unwrap();
        let opened = Opened::Hosts(vec!["*.example.com".parse().unwrap(), "db.example.org:8443".parse().unwrap()]);

        assert!(opened.covers(&host("api.example.com"), 80) && opened.covers(&host("api.example.com"), 9000));
        assert!(opened.covers(&host("db.example.org"), 8443) && !opened.covers(&host("db.example.org"), 443));
        assert!(!opened.covers(&host("evil.com"), 443));
        assert!(Opened::All.covers(&host("evil.com"), 443) && !Opened::default().covers(&host("example.com"), 443));
    }

    #[test]
    fn each_list_of_a_policy_must_have_the_host() {
        let within = |host: &str, whose| Within { hosts: Opened::Hosts(vec![host.parse().unwrap()]), whose };
        let grant = HttpGrant {
            within: [within("*.example.com", Layer::StackDefaults), within("api.example.com", Layer::Tenant)].into(),
            ..HttpGrant::default()
        };
        let closed_by = |host: &str| grant.closed_by(&Host::parse(host).unwrap(), 443);

        assert_eq!(closed_by("api.example.com"), None);
        assert_eq!(closed_by("db.example.com"), Some(Layer::Tenant));
        assert_eq!(closed_by("evil.com"), Some(Layer::StackDefaults));
    }

    #[test]
    fn a_grant_of_nothing_covers_nothing() {
        assert!(!HttpGrant::default().covers(&Host::parse("example.com").unwrap(), 443, 443));
    }

    #[test]
    fn a_name_covers_itself_in_any_case_and_nothing_beside() {
        assert!(covers("API.example.com", "api.EXAMPLE.com", 443));
        for other in ["example.com", "x.api.example.com", "api.example.com.evil.com", "xapi.example.com", "127.0.0.1"] {
            assert!(!covers("api.example.com", other, 443), "{other}");
        }
    }

    #[test]
    fn a_star_covers_every_name_below_but_not_the_name_itself() {
        assert!(covers("*.example.com", "a.example.com", 443));
        assert!(covers("*.example.com", "a.b.example.com", 443));
        for other in ["example.com", ".example.com", "evilexample.com", "example.com.evil.com", "127.0.0.1"] {
            assert!(!covers("*.example.com", other, 443), "{other}");
        }
    }

    #[test]
    fn without_a_port_only_the_usual_one_is_covered() {
        assert!(!covers("api.example.com", "api.example.com", 8443));
        assert!(covers("api.example.com:8443", "api.example.com", 8443));
        assert!(!covers("api.example.com:8443", "api.example.com", 443));
        assert!(covers("[::1]:8080", "[0:0::1]", 8080));
    }

    #[test]
    fn international_names_are_compared_in_their_ascii_form() {
        assert!(covers("bücher.example", "xn--bcher-kva.example", 443));
        // A Cyrillic `а` looks like the Latin one and is another name.
        assert!(!covers("example.com", "ex\u{430}mple.com", 443));
    }

    #[test]
    fn entries_that_mean_too_much_or_nothing_are_refused() {
        let refused = [
            "*",
            "*.com",
            "a.*.com",
            "",
            "a b",
            "http://a.example",
            "a.example/x",
            "u@a.example",
            "a.example:0",
            "a.example:99999",
            "a.example.",
            "*.127.0.0.1",
            "::1",
        ];
        let said = refused.map(|text| text.parse::<HostPattern>().expect_err(text).why).join("\n");

        insta::assert_snapshot!(said, @"
        `*` can only be its first label
        it covers a whole top-level domain
        `*` can only be its first label
        it is neither a name nor an address
        it is neither a name nor an address
        its port is none of 1 to 65535
        it is neither a name nor an address
        it is neither a name nor an address
        its port is none of 1 to 65535
        its port is none of 1 to 65535
        it ends in a dot
        no names are below an address
        it is neither a name nor an address
        ");
    }

    #[test]
    fn a_long_list_is_told_in_short() {
        let hosts = (0..12).map(|index| format!("a{index}.example").parse().unwrap()).collect();
        let told = HttpGrant { hosts, ..HttpGrant::default() }.told();

        assert!(told.starts_with("a0.example, a1.example") && told.ends_with("a9.example and 2 more"), "{told}");
    }
}
