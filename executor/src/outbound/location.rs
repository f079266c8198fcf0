//! Where a request goes, read from its URL. Pure.
//!
//! A URL is read as browsers read it (<https://url.spec.whatwg.org>), and what is sent is made from what was read, never
//! from the text: so no form of an address, `127.1` or `0x7f000001` or with a user's name before it, can mean one host
//! here and another one later.

use url::{Host, ParseError, Position, Url};

use super::error::{OutboundError, malformed};

/// Longest URL, in bytes; common servers take no more.
const URL_BYTES_MAX: usize = 8 << 10;

/// A URL in the parts that a request is made of.
#[derive(Debug)]
pub(super) struct Location {
    pub(super) tls: bool,
    pub(super) host: Host<String>,
    pub(super) port: u16,
    /// Host and, where it is not the usual one, port: for the `host` header and for sentences.
    pub(super) authority: String,
    /// Path and query.
    pub(super) target: String,
}

impl Location {
    pub(super) fn read(text: &str) -> Result<Self, OutboundError> {
        let url = parse(text)?;
        let (Some(host), Some(port)) = (url.host().map(|host| host.to_owned()), url.port_or_known_default()) else {
            return Err(malformed(format!("URL `{url}` has no host")));
        };
        Ok(Self {
            tls: url.scheme() == "https",
            host,
            port,
            authority: url[Position::BeforeHost..Position::AfterPort].to_owned(),
            target: url[Position::BeforePath..Position::AfterQuery].to_owned(),
        })
    }

    /// The port that goes with the scheme.
    pub(super) fn usual_port(&self) -> u16 {
        if self.tls { 443 } else { 80 }
    }
}

fn parse(text: &str) -> Result<Url, OutboundError> {
    if text.len() > URL_BYTES_MAX {
        return Err(malformed(format!("the URL has {} bytes, {URL_BYTES_MAX} are allowed", text.len())));
    }
    let shown = text.escape_debug();
    // A reader of URLs drops some of these and turns others round; a URL that has them is not what its author meant.
    if text.contains(|c: char| c.is_control() || matches!(c, ' ' | '\\')) {
        return Err(malformed(format!("URL `{shown}` has spaces, backslashes or control characters")));
    }
    let url = Url::parse(text).map_err(|err| match err {
        ParseError::RelativeUrlWithoutBase => {
            malformed(format!("URL `{shown}` begins with neither `http://` nor `https://`"))
        }
        err => malformed(format!("URL `{shown}` can't be read: {err}")),
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(malformed(format!(
            "URL `{shown}` begins with `{}:`; only http and https are spoken",
            url.scheme()
        )));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // Not shown: it may be a secret.
        return Err(malformed("the URL has a user name or password in it; use the header `authorization`"));
    }
    if url.port() == Some(0) {
        return Err(malformed(format!("URL `{shown}` has port 0, which nobody answers on")));
    }
    if url.domain().is_some_and(|name| name.ends_with('.')) {
        return Err(malformed(format!("the host of URL `{shown}` ends in a dot; write it without")));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn read(url: &str) -> Location {
        Location::read(url).expect("the URL should be taken")
    }

    #[track_caller]
    fn refused(url: &str) -> String {
        Location::read(url).expect_err("the URL should be refused").to_string()
    }

    #[test]
    fn a_url_comes_in_its_parts() {
        let at = read("https://API.example.com/a%20b?q=ü#part");

        assert!(at.tls && at.port == 443 && at.usual_port() == 443);
        assert_eq!((at.authority.as_str(), at.target.as_str()), ("api.example.com", "/a%20b?q=%C3%BC"));
        let at = read("http://[2001:db8::1]:8080");
        assert_eq!((at.port, at.authority.as_str(), at.target.as_str()), (8080, "[2001:db8::1]:8080", "/"));
    }

    #[test]
    fn an_address_in_disguise_is_read_as_the_address_it_is() {
        for disguised in
            ["127.1", "0x7f000001", "2130706433", "0177.0.0.1", "127.0.0.1.", "%31%32%37.0.0.1", "①②⑦.0.0.1"]
        {
            let at = read(&format!("http://{disguised}/"));
            assert_eq!(at.host, Host::<String>::Ipv4([127, 0, 0, 1].into()), "{disguised}");
            assert_eq!(at.authority, "127.0.0.1", "{disguised}");
        }
        let mapped = read("http://[::ffff:127.0.0.1]/");
        assert_eq!(mapped.host, Host::<String>::Ipv6("::ffff:7f00:1".parse().unwrap()));
    }

    #[test]
    fn what_stands_before_an_at_sign_is_never_the_host() {
        assert_eq!(
            refused("http://allowed@evil/"),
            "the URL has a user name or password in it; use the header `authorization`"
        );
        assert_eq!(read("http://@evil/").authority, "evil");
        assert_eq!(read("http://allowed/@evil").authority, "allowed");
        assert_eq!(read("http://allowed?@evil").authority, "allowed");
        assert_eq!(read("http://allowed#@evil").authority, "allowed");
    }

    #[test]
    fn urls_that_are_not_what_they_seem_are_refused() {
        let refusals = [
            "",
            "api.example.com",
            "ftp://a.example/",
            "file:///etc/passwd",
            "http://",
            "http://a.example:0/",
            "http://a.example:99999/",
            "http://a.example./",
            "http://a.example\\@evil/",
            "http://a\r\n.example/",
            "http://a.example/ HTTP/1.1",
            "http://xn--/",
            "http://[::1",
            "http://1.2.3.4.5/",
            "http://a b/",
        ]
        .map(refused);

        insta::assert_snapshot!(refusals.join("\n"), @r"
        URL `` begins with neither `http://` nor `https://`
        URL `api.example.com` begins with neither `http://` nor `https://`
        URL `ftp://a.example/` begins with `ftp:`; only http and https are spoken
        URL `file:///etc/passwd` begins with `file:`; only http and https are spoken
        URL `http://` can't be read: empty host
        URL `http://a.example:0/` has port 0, which nobody answers on
        URL `http://a.example:99999/` can't be read: invalid port number
        the host of URL `http://a.example./` ends in a dot; write it without
        URL `http://a.example\\@evil/` has spaces, backslashes or control characters
        URL `http://a\r\n.example/` has spaces, backslashes or control characters
        URL `http://a.example/ HTTP/1.1` has spaces, backslashes or control characters
        URL `http://xn--/` can't be read: invalid international domain name
        URL `http://[::1` can't be read: invalid IPv6 address
        URL `http://1.2.3.4.5/` can't be read: invalid IPv4 address
        URL `http://a b/` has spaces, backslashes or control characters
        ");
        assert!(refused(&format!("http://a.example/{}", "x".repeat(9000))).contains("8192 are allowed"));
    }

    /// Texts that are nearly URLs, from a generator that makes the same ones each time (xorshift, Marsaglia 2003).
    fn mutated() -> impl Iterator<Item = String> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % below as u64).unwrap()
        };
        let pieces = [
            "http://", "https:", "//", "/", "\\", "@", ":", "#", "?", "%", "%0d%0a", "\r\n", "\t", " ", ".", "..", "[",
            "]", "::1", "::ffff:", "127.1", "0x7f", "allowed", "evil", "\u{ff0e}", "\u{2044}", "ß", "\u{0}", "80", "&",
            "x",
        ];
        (0..50_000).map(move |_| {
            let count = 1 + random(8);
            let tail: String = (0..count).map(|_| pieces[random(pieces.len())]).collect();
            if random(4) == 0 { tail } else { format!("http://{tail}") }
        })
    }

    #[test]
    fn what_is_sent_is_one_request_to_the_host_that_was_read_whatever_the_url() {
        let mut taken = 0;
        for url in mutated() {
            let Ok(at) = Location::read(&url) else { continue };
            taken += 1;
            let target = at.target;
            assert!(
                target.starts_with('/') && target.bytes().all(|c| c.is_ascii_graphic() && c != b'#'),
                "{url:?}: {target}"
            );
            let again = Url::parse(&format!("http://{}/", at.authority)).expect("an authority is one");
            assert_eq!(again.host().map(|host| host.to_owned()), Some(at.host), "{url:?}");
            assert!(!at.authority.contains(['@', '/', '\\', '?', '#', '%']), "{url:?}");
        }
        assert!(taken > 1000, "only {taken} URLs were taken: the generator tests nothing");
    }
}
