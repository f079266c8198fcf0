//! What a script's `ctx.http.request` becomes on the host.
//!
//! A request goes through six gates, in this order: the execution's share ([`HttpBudget`]), the form of what is asked
//! (`ask`, `location`, `headers`), the script's list of hosts ([`HttpGrant`]), those of the operator ([`Opened`]) and of policies ([`Within`]), and
//! the address that the host's name leads to (`address`). The connection goes to the very address that was checked: the
//! name is looked up once (`resolve`), and what the check lets through is the only thing that can be connected to
//! (`connect`).
//!
//! Nothing is followed, kept or shared: redirects are returned as they are, there are no cookies, no proxies, no
//! decompression, and no connection outlives its request. Everything ends with the time limit, and at once when the
//! future is dropped. `docs/decisions/0011-outbound-http.md` says why.

mod address;
mod answer;
mod ask;
mod budget;
mod connect;
mod counts;
mod error;
mod grant;
mod headers;
mod location;
mod resolve;
mod settings;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::time::timeout_at;
use url::Host;

pub use self::address::Networks;
pub use self::budget::HttpBudget;
pub use self::counts::Counts;
pub use self::error::OutboundError;
pub use self::grant::{HostPattern, HttpGrant, InvalidHost, Opened, Within};
pub use self::resolve::{Resolve, SystemResolver};
pub use self::settings::{OutboundFlags, OutboundSettings};

use self::address::Checked;
use self::ask::Ask;
use self::budget::Limit;
use crate::places::{Place, Places};

/// Longest time of a request, whatever the script or its grant says.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(10);

/// Largest body of a request, in bytes.
pub const REQUEST_BYTES_MAX: usize = 256 << 10;

/// Largest body of a response, in bytes.
pub const RESPONSE_BYTES_MAX: usize = 1 << 20;

/// The way out of an executor, shared by all of its threads.
#[derive(Debug)]
pub struct Outbound<R = SystemResolver> {
    resolver: Arc<R>,
    opened: Opened,
    networks: Networks,
    /// `None`: there are no authorities to check a server's certificate with.
    tls: Option<Arc<ClientConfig>>,
    places: Places,
    counts: Counts,
}

impl Outbound {
    /// With the resolver of this machine. What happens is added to `counts`.
    pub fn new(settings: OutboundSettings, counts: Counts) -> Self {
        Self::with_resolver(settings, counts, SystemResolver)
    }
}

impl<R: Resolve + 'static> Outbound<R> {
    /// With another resolver than this machine's.
    pub fn with_resolver(settings: OutboundSettings, counts: Counts, resolver: R) -> Self {
        Self {
            resolver: Arc::new(resolver),
            opened: settings.hosts,
            networks: settings.networks,
            tls: settings.authorities.map(connect::tls),
            places: Places::new(settings.at_once, settings.tenant_at_once),
            counts,
        }
    }

    /// Does one request for a script.
    ///
    /// `payload` is what the script asks, as JSON: `{"url": …}` and perhaps `method`, `headers` (each value a text or a
    /// list of texts), `body` or `body_base64`, and `timeout` in seconds. The answer is JSON, too: `status`, `headers`
    /// (names in lower case; values of one name joined with `, `, those of `set-cookie` with a line feed) and `body`, or
    /// `body_base64` where the body is not UTF-8.
    ///
    /// Every status is an answer, redirects and 500 included. Several requests of one execution may be under way at
    /// once. Dropping the future ends the request.
    ///
    /// # Errors
    /// [`OutboundError`]; its `Display` is the sentence for the script.
    pub async fn request(
        &self,
        grant: &HttpGrant,
        budget: &HttpBudget,
        payload: &[u8],
    ) -> Result<Vec<u8>, OutboundError> {
        let counted = self.counts.begin();
        let answer = self.attempt(grant, budget, payload).await;
        counted.end(answer.as_ref().err());
        answer.inspect_err(|err| {
            tracing::debug!(tenant = budget.tenant(), error = telemetry::chain(err), "a request of a script failed");
        })
    }

    async fn attempt(&self, grant: &HttpGrant, budget: &HttpBudget, payload: &[u8]) -> Result<Vec<u8>, OutboundError> {
        budget.take(grant)?;
        let ask = Ask::read(payload)?;
        if !grant.covers(&ask.at.host, ask.at.port, ask.at.usual_port()) {
            return Err(OutboundError::NotListed { host: ask.at.authority, list: grant.told() });
        }
        if !self.opened.covers(&ask.at.host, ask.at.port) {
            return Err(OutboundError::NotOpen { host: ask.at.authority });
        }
        if let Some(whose) = grant.closed_by(&ask.at.host, ask.at.port) {
            return Err(OutboundError::NotInPolicy { host: ask.at.authority, whose });
        }
        let limit = Limit::of(ask.timeout, grant, budget);
        let (authority, until) = (ask.at.authority.clone(), limit.until);
        let answer = timeout_at(until.into(), async {
            let place = self.places.enter(budget.tenant()).await;
            self.exchange(ask, place).await
        });
        answer.await.unwrap_or_else(|_| Err(limit.exceeded(authority)))
    }

    async fn exchange(&self, ask: Ask, place: Place) -> Result<Vec<u8>, OutboundError> {
        // Before anything leaves this machine.
        let tls = match (ask.at.tls, &self.tls) {
            (true, None) => return Err(OutboundError::NoAuthorities { host: ask.at.authority }),
            (tls, config) => config.clone().filter(|_| tls),
        };
        let (addresses, _place) = self.addresses(&ask, place).await?;
        let failed = |err| OutboundError::Failed { host: ask.at.authority.clone(), err };
        let stream = connect::dial(&addresses).await.map_err(failed)?;
        let response = match tls {
            Some(config) => {
                let stream = connect::secure(config, &ask.at.host, stream).await.map_err(failed)?;
                connect::exchange(stream, &ask.at.authority, ask.request).await?
            }
            None => connect::exchange(stream, &ask.at.authority, ask.request).await?,
        };
        Ok(answer::write(&response))
    }

    /// The addresses of the host that may be connected to, at least one; and the place of the request.
    async fn addresses(&self, ask: &Ask, place: Place) -> Result<(Vec<Checked>, Place), OutboundError> {
        let (found, place) = match &ask.at.host {
            Host::Ipv4(ip) => (vec![IpAddr::from(*ip)], place),
            Host::Ipv6(ip) => (vec![IpAddr::from(*ip)], place),
            Host::Domain(name) => {
                let failed = |err| OutboundError::Lookup { host: ask.at.authority.clone(), err };
                let (resolver, name) = (Arc::clone(&self.resolver), name.clone());
                // A lookup can't be stopped. So it keeps the place of its request until it ends, also if nobody waits
                // any more: a tenant whose names take long stands in nobody's way but its own.
                let lookup = tokio::spawn(async move { (resolver.resolve(&name).await, place) });
                let (found, place) = lookup.await.map_err(|err| failed(io::Error::other(err)))?;
                match found.map_err(failed)? {
                    found if found.is_empty() => return Err(failed(io::ErrorKind::NotFound.into())),
                    found => (found, place),
                }
            }
        };
        // What exactly a name leads to inside of a network is not for scripts to learn; what kind it is helps authors.
        let (mut checked, mut closed) = (Vec::new(), "");
        for ip in found {
            match self.networks.check(ip, ask.at.port) {
                Ok(address) => checked.push(address),
                Err(kind) => closed = kind,
            }
        }
        if checked.is_empty() {
            return Err(OutboundError::Closed { host: ask.at.authority.clone(), kind: closed });
        }
        Ok((checked, place))
    }
}
