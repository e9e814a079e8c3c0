//! Operators' routes, which replace MX.
//!
//! Owns the patterns of `[[route]] domain`: exact, `.example` for subdomains, `*`
//! for all. Holds always: the first match decides. Called by `route`.

use super::super::settings::{Credentials, RouteSettings};
use super::{FIXED_TTL, FixedRoute, Hop, Route};
use crate::types::{Domain, Host, Site};

/// A `[[route]]` whose `domain` is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("route domain \"{0}\" is neither a domain, nor \".domain\", nor \"*\"")]
pub struct RoutePatternError(pub String);

/// All routes, in order.
pub(super) struct FixedRoutes(Vec<Fixed>);

/// One route.
pub(super) struct Fixed {
    pattern: Pattern,
    settings: RouteSettings,
}

enum Pattern {
    All,
    Subdomains(Domain),
    Exact(Domain),
}

impl FixedRoutes {
    pub(super) fn new(routes: &[RouteSettings]) -> Result<Self, RoutePatternError> {
        let routes = routes.iter().map(|settings| {
            Ok(Fixed {
                pattern: Pattern::parse(&settings.domain)
                    .ok_or_else(|| RoutePatternError(settings.domain.clone()))?,
                settings: settings.clone(),
            })
        });
        routes.collect::<Result<_, _>>().map(Self)
    }

    /// The first that matches.
    pub(super) fn find(&self, host: &Host) -> Option<&Fixed> {
        self.0.iter().find(|route| route.pattern.matches(host))
    }
}

impl Fixed {
    pub(super) fn credentials(&self) -> Option<&Credentials> {
        self.settings.credentials.as_ref()
    }

    /// The hosts in the order given; they are never shuffled.
    pub(super) fn to_route(&self) -> Route {
        let hosts = &self.settings.hosts;
        let names: Vec<String> = hosts
            .iter()
            .map(|(host, port)| format!("{host}:{port}"))
            .collect();
        let hops = (0u16..).zip(hosts).map(|(preference, (host, port))| Hop {
            host: host.clone(),
            port: *port,
            preference,
        });
        Route {
            site: Site::new(names.iter().map(String::as_str)),
            hosts: hops.collect(),
            fixed: Some(FixedRoute::named(&self.settings.domain)),
            ttl: FIXED_TTL,
        }
    }
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix('.') {
            _ if text == "*" => Some(Self::All),
            Some(parent) => Domain::parse(parent).ok().map(Self::Subdomains),
            None => Domain::parse(text).ok().map(Self::Exact),
        }
    }

    fn matches(&self, host: &Host) -> bool {
        match (self, host.domain()) {
            (Self::All, _) => true,
            (Self::Exact(exact), Some(domain)) => domain == exact,
            (Self::Subdomains(parent), Some(domain)) => domain.is_subdomain_of(parent),
            (_, None) => false,
        }
    }
}
