//! Where a host's mail goes.
//!
//! Owns the search for hosts (RFC 5321 section 5.1): an operator's route, an
//! address literal, MX records, or the domain itself. Holds always: no MX is
//! taken for "the domain itself" unless DNS said so (NODATA), never on a failure;
//! what is kept is bounded in number and time. Called by `Deliverer`.

mod cache;
mod fixed;
mod mx;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use self::cache::Cache;
use self::fixed::FixedRoutes;
pub use self::fixed::RoutePatternError;
use super::settings::{Credentials, Settings};
use super::{FixedRoute, Hop, NoRoute, Route, dial, failure};
use crate::dns::{Answer, Resolver};
use crate::sys::Entropy;
use crate::types::{Domain, Host, Reason, Site, Stage};

/// Hosts tried in one attempt, and looked at for ourselves.
pub(super) const HOSTS_MAX: usize = 10;
/// How long a route is kept that DNS has no say in.
const FIXED_TTL: Duration = Duration::from_secs(3600);
/// Bounds for what DNS says.
const TTL_FLOOR: Duration = Duration::from_secs(5);
const TTL_CAP: Duration = Duration::from_secs(3600);

/// Finds routes, and keeps them for their time.
pub(super) struct Router {
    settings: Arc<Settings>,
    fixed: FixedRoutes,
    resolver: Arc<dyn Resolver>,
    entropy: Arc<dyn Entropy>,
    cache: Cache,
}

impl Router {
    /// # Errors
    /// [`RoutePatternError`] for a route whose `domain` is no pattern.
    pub(super) fn new(
        settings: Arc<Settings>,
        resolver: Arc<dyn Resolver>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, RoutePatternError> {
        Ok(Self {
            fixed: FixedRoutes::new(&settings.routes)?,
            settings,
            resolver,
            entropy,
            cache: Cache::default(),
        })
    }

    /// The hosts for `host`.
    pub(super) async fn route(&self, host: &Host) -> Result<Route, NoRoute> {
        if let Some(route) = self.fixed.find(host) {
            return Ok(route.to_route());
        }
        let domain = match host {
            Host::Literal(ip) if self.is_own(*ip) => return Err(no_route(Reason::MailLoop)),
            Host::Literal(ip) => return Ok(self.literal(*ip)),
            Host::Domain(domain) => domain,
        };
        let mut route = match self.cache.get(domain) {
            Some(route) => route,
            None => {
                let route = self.ask(domain).await?;
                self.cache.put(domain, &route);
                route
            }
        };
        mx::shuffle(&mut route.hosts, &*self.entropy);
        Ok(route)
    }

    /// Whether an operator's route replaces what DNS says of `host`.
    pub(super) fn is_fixed(&self, host: &Host) -> bool {
        self.fixed.find(host).is_some()
    }

    /// What the fixed route of `host` logs in with, if it does.
    pub(super) fn credentials(&self, host: &Host) -> Option<&Credentials> {
        self.fixed.find(host)?.credentials()
    }

    fn literal(&self, ip: IpAddr) -> Route {
        let host = Host::Literal(ip);
        Route {
            site: Site::new([host.to_string().as_str()]),
            hosts: vec![self.hop(host, 0)],
            fixed: None,
            ttl: FIXED_TTL,
        }
    }

    fn hop(&self, host: Host, preference: u16) -> Hop {
        Hop {
            host,
            port: self.settings.port,
            preference,
        }
    }

    /// MX, or the domain itself where there is none.
    async fn ask(&self, domain: &Domain) -> Result<Route, NoRoute> {
        let (hosts, ttl) = match self.resolver.mx(domain).await {
            Answer::Found { records, ttl } => {
                let listed = mx::listed(records).map_err(no_route)?;
                let hops = listed
                    .into_iter()
                    .map(|(preference, name)| self.hop(Host::Domain(name), preference));
                (hops.collect(), ttl)
            }
            Answer::NoData => self.implicit(domain).await?,
            Answer::NoDomain => return Err(no_route(Reason::NoSuchDomain)),
            Answer::Failed(_) => return Err(no_route(Reason::DnsFailed)),
        };
        let hosts = self.without_self(hosts).await?;
        Ok(Route {
            site: Site::new(
                hosts
                    .iter()
                    .filter_map(|hop| hop.host.domain())
                    .map(Domain::as_str),
            ),
            hosts,
            fixed: None,
            ttl: ttl.clamp(TTL_FLOOR, TTL_CAP),
        })
    }

    /// The implicit MX: the domain's own address (RFC 5321 section 5.1).
    async fn implicit(&self, domain: &Domain) -> Result<(Vec<Hop>, Duration), NoRoute> {
        let families = dial::families(self.settings.prefer);
        match self.resolver.addresses(domain, families).await {
            Answer::Found { ttl, .. } => Ok((vec![self.hop(Host::Domain(domain.clone()), 0)], ttl)),
            Answer::NoData => Err(no_route(Reason::NoHost)),
            Answer::NoDomain => Err(no_route(Reason::NoSuchDomain)),
            Answer::Failed(_) => Err(no_route(Reason::DnsFailed)),
        }
    }

    /// Drops this relay and all hosts of equal or worse preference (RFC 5321
    /// section 5.1): mail must only come nearer to its destination.
    async fn without_self(&self, mut hosts: Vec<Hop>) -> Result<Vec<Hop>, NoRoute> {
        let mut own = hosts
            .iter()
            .filter(|hop| hop.host.domain() == Some(&self.settings.hostname))
            .map(|hop| hop.preference)
            .min();
        if self.listens_on_delivery_port() {
            own = own
                .into_iter()
                .chain(self.own_by_address(&hosts).await)
                .min();
        }
        if let Some(own) = own {
            hosts.retain(|hop| hop.preference < own);
        }
        match hosts.is_empty() {
            true => Err(no_route(Reason::MailLoop)),
            false => Ok(hosts),
        }
    }

    fn listens_on_delivery_port(&self) -> bool {
        let own = &self.settings.own_addresses;
        own.iter().any(|own| own.port() == self.settings.port)
    }

    /// The best preference at which one of our own addresses stands. A host that
    /// DNS says nothing of is looked at again when it is dialled.
    async fn own_by_address(&self, hosts: &[Hop]) -> Option<u16> {
        let families = dial::families(self.settings.prefer);
        let mut questions = tokio::task::JoinSet::new();
        for hop in hosts.iter().take(HOSTS_MAX) {
            let Host::Domain(name) = hop.host.clone() else {
                continue;
            };
            let (resolver, preference) = (self.resolver.clone(), hop.preference);
            questions.spawn(async move { (preference, resolver.addresses(&name, families).await) });
        }
        let mut own = None;
        while let Some(answer) = questions.join_next().await {
            if let Ok((preference, Answer::Found { records, .. })) = answer
                && records.iter().any(|ip| self.is_own(*ip))
            {
                own = own.into_iter().chain([preference]).min();
            }
        }
        own
    }

    /// Whether one of our listeners is at `ip` and the delivery port.
    fn is_own(&self, ip: IpAddr) -> bool {
        self.settings.own_addresses.iter().any(|own| {
            own.port() == self.settings.port && own.ip().to_canonical() == ip.to_canonical()
        })
    }
}

/// Why there is none; permanent as the status says.
pub(super) fn no_route(reason: Reason) -> NoRoute {
    let failure = failure::ours(reason, Stage::Route);
    NoRoute {
        permanent: failure.status.starts_with('5'),
        failure,
    }
}

impl FixedRoute {
    fn named(pattern: &str) -> Self {
        Self {
            pattern: pattern.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
