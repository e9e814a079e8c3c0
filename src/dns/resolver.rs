//! The real resolver: hickory behind the [`Resolver`] trait.
//!
//! Owns the wire to the DNS servers and the reading of their answers. Holds
//! always: a question ends within [`BUDGET`]; an answer is classified by its
//! response code, never by its emptiness; a truncated UDP answer is asked for
//! again over TCP (RFC 7766 section 5); lists and lifetimes are bounded. DNSSEC
//! is off: no proof is claimed. Called by `delivery` through the trait.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts, ServerOrderingStrategy,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::MX;
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use super::{Answer, DnsFailure, Families, Mx, Resolver, Settings};
use crate::types::{BoxFuture, Domain};

/// One question's time in all, retries and CNAMEs included.
const BUDGET: Duration = Duration::from_secs(10);
/// One server's time for one try.
const TRY: Duration = Duration::from_secs(3);
/// MX records looked at; the best by preference are kept (pitfall E38).
const MX_MAX: usize = 50;
/// Addresses of one family looked at.
const ADDRESSES_MAX: usize = 16;
/// TXT records of one name looked at: one more than any protocol here wants, and
/// what a crowded name has besides.
const TXT_MAX: usize = 32;
/// An answer is kept at least this long, so that a TTL of 0 is no amplifier.
const TTL_FLOOR: Duration = Duration::from_secs(5);
/// And at most this long, so that a move is noticed within the hour.
const TTL_CAP: Duration = Duration::from_secs(3600);
/// Answers in the cache.
const CACHE: u64 = 16_384;

/// The resolver could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("the DNS resolver could not be set up: {0}")]
pub struct ResolverError(#[from] NetError);

/// Asks the configured servers, or those of /etc/resolv.conf.
pub struct DnsResolver {
    inner: TokioResolver,
}

impl std::fmt::Debug for DnsResolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DnsResolver")
    }
}

impl DnsResolver {
    /// Reads /etc/resolv.conf if no servers are configured. Needs a tokio
    /// runtime when it is asked, not yet here.
    ///
    /// # Errors
    /// [`ResolverError`] if /etc/resolv.conf can't be read or names no server.
    pub fn new(settings: &Settings) -> Result<Self, ResolverError> {
        let provider = TokioRuntimeProvider::default();
        let mut builder = if settings.servers.is_empty() {
            TokioResolver::builder(provider)?
        } else {
            TokioResolver::builder_with_config(servers(settings), provider)
        };
        tune(builder.options_mut(), settings.servers.is_empty());
        Ok(Self {
            inner: builder.build()?,
        })
    }

    /// One question within the budget.
    async fn ask(&self, domain: &Domain, kind: RecordType) -> Result<Lookup, Nothing> {
        let name = absolute(domain).ok_or(Failure(DnsFailure::Broken))?;
        let asking = async {
            let error = match self.inner.lookup(name.clone(), kind).await {
                Ok(lookup) => return Ok(lookup),
                Err(error) => error,
            };
            match given_up(&error, &name) {
                Some(end) if self.is_alias(&end).await => Err(Failure(DnsFailure::Broken)),
                _ => Err(classify(&error)),
            }
        };
        match tokio::time::timeout(BUDGET, asking).await {
            Ok(result) => result,
            Err(_) => Err(Failure(DnsFailure::TimedOut)),
        }
    }

    /// Whether there is a CNAME at a name, or nobody knows.
    async fn is_alias(&self, name: &Name) -> bool {
        match self.inner.lookup(name.clone(), RecordType::CNAME).await {
            Ok(_) => true,
            Err(error) => matches!(classify(&error), Failure(_)),
        }
    }

    /// The addresses of one family.
    async fn family(&self, host: &Domain, kind: RecordType) -> Answer<IpAddr> {
        match self.ask(host, kind).await {
            Ok(lookup) => {
                let records = records(&lookup, RData::ip_addr, ADDRESSES_MAX);
                if records.is_empty() {
                    return Answer::NoData;
                }
                let ttl = ttl(&lookup);
                Answer::Found { records, ttl }
            }
            Err(nothing) => nothing.into(),
        }
    }
}

impl Resolver for DnsResolver {
    fn mx(&self, domain: &Domain) -> BoxFuture<'_, Answer<Mx>> {
        let domain = domain.clone();
        Box::pin(async move {
            let lookup = match self.ask(&domain, RecordType::MX).await {
                Ok(lookup) => lookup,
                Err(nothing) => return nothing.into(),
            };
            let found: Vec<&MX> = lookup
                .answers()
                .iter()
                .filter_map(|record| match &record.data {
                    RData::MX(mx) => Some(mx),
                    _ => None,
                })
                .collect();
            if found.is_empty() {
                // A CNAME whose target has no MX.
                return Answer::NoData;
            }
            let mut records: Vec<Mx> = found.into_iter().filter_map(usable).collect();
            records.sort_by_key(|mx| mx.preference);
            records.truncate(MX_MAX);
            let ttl = ttl(&lookup);
            Answer::Found { records, ttl }
        })
    }

    fn addresses(&self, host: &Domain, families: Families) -> BoxFuture<'_, Answer<IpAddr>> {
        let host = host.clone();
        Box::pin(async move {
            match families {
                Families::V4 => self.family(&host, RecordType::A).await,
                Families::Both => {
                    let (v6, v4) = tokio::join!(
                        self.family(&host, RecordType::AAAA),
                        self.family(&host, RecordType::A)
                    );
                    merge(v6, v4)
                }
            }
        })
    }

    fn txt(&self, name: &Domain) -> BoxFuture<'_, Answer<Vec<u8>>> {
        let name = name.clone();
        Box::pin(async move {
            let lookup = match self.ask(&name, RecordType::TXT).await {
                Ok(lookup) => lookup,
                Err(nothing) => return nothing.into(),
            };
            let joined = |data: &RData| match data {
                RData::TXT(txt) => Some(txt.txt_data.concat()),
                _ => None,
            };
            let records = records(&lookup, joined, TXT_MAX);
            match records.is_empty() {
                true => Answer::NoData,
                false => Answer::Found {
                    records,
                    ttl: ttl(&lookup),
                },
            }
        })
    }
}

/// The configured servers, each over UDP and TCP at its own port.
fn servers(settings: &Settings) -> ResolverConfig {
    let servers = settings.servers.iter().map(|server| {
        let mut config = NameServerConfig::udp_and_tcp(server.ip());
        for connection in &mut config.connections {
            connection.port = server.port();
        }
        config
    });
    ResolverConfig::from_name_servers(servers.collect())
}

fn tune(options: &mut ResolverOpts, system: bool) {
    if !system {
        options.attempts = 2;
        // The operator's order is meant.
        options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
    }
    options.timeout = options.timeout.min(TRY);
    options.cache_size = CACHE;
    // /etc/hosts knows no MX; what it says of a host must not differ from DNS.
    options.use_hosts_file = ResolveHosts::Never;
    options.positive_min_ttl = Some(TTL_FLOOR);
    options.positive_max_ttl = Some(TTL_CAP);
    options.negative_max_ttl = Some(TTL_CAP);
}

/// The name with its final dot, so that no search domain is tried.
fn absolute(domain: &Domain) -> Option<Name> {
    Name::from_ascii(format!("{domain}.")).ok()
}

/// An MX record as the house sees it; `None` if its name can't be a host: no
/// valid domain, or an IP address in a name's place (RFC 5321 section 5.1).
fn usable(mx: &MX) -> Option<Mx> {
    if mx.exchange.is_root() {
        return Some(Mx {
            preference: mx.preference,
            exchange: None,
        });
    }
    let name = mx.exchange.to_ascii();
    let name = name.trim_end_matches('.');
    if name.parse::<IpAddr>().is_ok() {
        return None;
    }
    Some(Mx {
        preference: mx.preference,
        exchange: Some(Domain::parse(name).ok()?),
    })
}

fn records<T>(lookup: &Lookup, pick: impl Fn(&RData) -> Option<T>, max: usize) -> Vec<T> {
    let data = lookup.answers().iter().map(|record| &record.data);
    data.filter_map(pick).take(max).collect()
}

fn ttl(lookup: &Lookup) -> Duration {
    lookup
        .valid_until()
        .saturating_duration_since(Instant::now())
        .clamp(TTL_FLOOR, TTL_CAP)
}

/// Why there is no record.
#[derive(Debug, PartialEq, Eq)]
enum Nothing {
    NoData,
    NoDomain,
    Failure(DnsFailure),
}
use Nothing::Failure;

impl<T> From<Nothing> for Answer<T> {
    fn from(nothing: Nothing) -> Self {
        match nothing {
            Nothing::NoData => Self::NoData,
            Nothing::NoDomain => Self::NoDomain,
            Failure(why) => Self::Failed(why),
        }
    }
}

/// The name at which CNAMEs were no longer followed, if that may be why nothing was
/// found: the resolver gives up after some, and then says what it says of a name
/// without records. A loop is a failure, and no word about the domain.
fn given_up(error: &NetError, asked: &Name) -> Option<Name> {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none))
            if none.response_code == ResponseCode::NoError =>
        {
            let end = none.query.name();
            // Who answers for a name that has no such records says so by an SOA.
            (none.soa.is_none() && end != asked).then(|| end.clone())
        }
        _ => None,
    }
}

/// NXDOMAIN and an empty NOERROR are facts (RFC 2308 section 2); all else says
/// nothing about the domain.
fn classify(error: &NetError) -> Nothing {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => Nothing::NoDomain,
            ResponseCode::NoError => Nothing::NoData,
            code => Failure(DnsFailure::Refused(code.to_string())),
        },
        NetError::Dns(DnsError::ResponseCode(code)) => {
            Failure(DnsFailure::Refused(code.to_string()))
        }
        NetError::Timeout => Failure(DnsFailure::TimedOut),
        _ => Failure(DnsFailure::Broken),
    }
}

/// Both families as one answer: addresses if there are any, else the failure if
/// there was one, since then nothing is known.
fn merge(v6: Answer<IpAddr>, v4: Answer<IpAddr>) -> Answer<IpAddr> {
    match (v6, v4) {
        (
            Answer::Found { mut records, ttl },
            Answer::Found {
                records: more,
                ttl: other,
            },
        ) => {
            records.extend(more);
            let ttl = ttl.min(other);
            Answer::Found { records, ttl }
        }
        (found @ Answer::Found { .. }, _) | (_, found @ Answer::Found { .. }) => found,
        (failed @ Answer::Failed(_), _) | (_, failed @ Answer::Failed(_)) => failed,
        (Answer::NoDomain, Answer::NoDomain) => Answer::NoDomain,
        _ => Answer::NoData,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mx(preference: u16, name: &str) -> MX {
        MX::new(preference, Name::from_ascii(name).unwrap())
    }

    #[test]
    fn e32_the_null_mx_is_visible() {
        let null = usable(&mx(0, ".")).unwrap();
        assert_eq!((null.preference, null.exchange), (0, None));
    }

    #[test]
    fn e35_an_ip_literal_is_no_mx() {
        assert_eq!(usable(&mx(10, "192.0.2.1.")), None);
        let odd = Name::from_labels([&b"a b"[..], b"example"]).unwrap();
        assert_eq!(usable(&MX::new(10, odd)), None);
        let host = usable(&mx(10, "MX.Clinic.example.")).unwrap();
        assert_eq!(host.exchange.unwrap().as_str(), "mx.clinic.example");
    }

    #[test]
    fn e33_response_codes_decide() {
        use hickory_resolver::net::NoRecords;
        use hickory_resolver::proto::op::Query;
        let none = |code| -> NetError { NoRecords::new(Query::default(), code).into() };
        assert_eq!(classify(&none(ResponseCode::NXDomain)), Nothing::NoDomain);
        assert_eq!(classify(&none(ResponseCode::NoError)), Nothing::NoData);
        assert!(matches!(
            classify(&DnsError::ResponseCode(ResponseCode::ServFail).into()),
            Failure(DnsFailure::Refused(_))
        ));
        assert_eq!(classify(&NetError::Timeout), Failure(DnsFailure::TimedOut));
        assert_eq!(
            classify(&NetError::NoConnections),
            Failure(DnsFailure::Broken)
        );
    }

    #[test]
    fn a_failed_family_is_not_an_absent_one() {
        let found = || Answer::Found {
            records: vec!["192.0.2.1".parse::<IpAddr>().unwrap()],
            ttl: TTL_FLOOR,
        };
        let failed = || Answer::Failed(DnsFailure::TimedOut);
        assert_eq!(merge(failed(), found()), found());
        assert_eq!(merge(failed(), Answer::NoData), failed());
        assert_eq!(merge(Answer::NoDomain, failed()), failed());
        assert_eq!(merge(Answer::NoDomain, Answer::NoDomain), Answer::NoDomain);
        assert_eq!(merge(Answer::NoDomain, Answer::NoData), Answer::NoData);
    }
}
