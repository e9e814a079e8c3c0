//! From a host to a connection that proves what is required.
//!
//! Owns the steps resolve, dial, greet, handshake, judge, greet again, log in.
//! Holds always: what the handshake proved is held against what is required
//! before another word is said (`MAIL` needs a permit besides); one host has one
//! verdict, in which an address that answered outweighs one that did not; a probe
//! looks at the addresses behind that verdict too, and logs in nowhere. Called by
//! `walk`.

use std::net::{IpAddr, SocketAddr};

use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use super::Deliverer;
use super::kept::Kept;
use super::notes::Notes;
use super::walk::vouches;
use super::watch::{Sighting, Watch};
use crate::assurance::{self, Judged, Published};
use crate::delivery::connection::Connection;
use crate::delivery::failure::{self, Verdict};
use crate::delivery::session::{Login, greeting_name};
use crate::delivery::timeouts::Patience;
use crate::delivery::{Credentials, Hop, dial};
use crate::dns::Answer;
use crate::sys::Stream;
use crate::tls::{HandshakeEnd, Profile, Proof};
use crate::types::{
    Achieved, AuthenticatedBy, Failure, Host, Method, Permit, Reason, Remote, Required, Stage,
    Transport,
};

/// Why there is no connection.
pub(super) struct Refusal {
    /// What the host says about the method.
    pub(super) verdict: Verdict,
    /// Where it was asked last.
    pub(super) remote: Remote,
    /// What its handshake proved, if it got that far: evidence of too little.
    pub(super) achieved: Option<Box<Achieved>>,
}

/// One address's failure, with what its handshake proved or how it ended.
struct Fault {
    failure: Failure,
    achieved: Option<Box<Achieved>>,
    end: Option<HandshakeEnd>,
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Self {
            // Closed behind the handshake, or instead of it (pitfall E22).
            end: (failure.reason == Reason::TlsInterrupted).then_some(HandshakeEnd::Broken),
            failure,
            achieved: None,
        }
    }
}

/// What a connection is wanted for.
#[derive(Clone, Copy)]
pub(super) struct Purpose<'a> {
    /// Whose turn it is.
    pub(super) method: Method,
    pub(super) transport: Transport,
    pub(super) required: &'a Required,
    /// Whether an operator's route names the host.
    pub(super) fixed: bool,
    pub(super) credentials: Option<&'a Credentials>,
    /// What the recipients' domain publishes.
    pub(super) published: &'a Published,
    /// When no further address is begun with.
    pub(super) until: Instant,
    pub(super) patience: Patience,
    /// Who looks on, if this is a probe.
    pub(super) watch: Option<&'a Watch>,
    /// What is learnt on the way.
    pub(super) notes: &'a Notes,
}

impl Deliverer {
    /// A connection to `hop` that fits the purpose.
    ///
    /// # Errors
    /// A [`Refusal`] with the host's verdict.
    pub(super) async fn open(&self, hop: &Hop, purpose: Purpose<'_>) -> Result<Kept, Refusal> {
        if let Some(watch) = purpose.watch {
            watch.begins(hop, purpose.method, purpose.required);
        }
        let mut refusal = Refusal {
            verdict: Verdict::Unknown(failure::ours(Reason::Unreachable, Stage::Connect)),
            remote: Remote {
                name: hop.host.to_string(),
                address: None,
            },
            achieved: None,
        };
        if let Err(reason) = purpose.published.admits(&hop.host) {
            let failure = failure::ours(reason, Stage::Route);
            refusal.verdict = failure::of_host(failure, purpose.required, None);
            return Err(refusal);
        }
        let addresses = match self.addresses(hop, purpose.fixed).await {
            Ok(addresses) => addresses,
            Err(failure) => {
                refusal.verdict = failure::of_host(failure, purpose.required, None);
                return Err(refusal);
            }
        };
        let mut addresses = addresses.into_iter();
        let opened = self.open_first(hop, &mut addresses, purpose, refusal).await;
        if purpose.watch.is_some() {
            self.look_at(hop, addresses, purpose).await;
        }
        opened
    }

    /// Looks at addresses that don't count any more.
    async fn look_at(&self, hop: &Hop, rest: std::vec::IntoIter<IpAddr>, purpose: Purpose<'_>) {
        for ip in rest {
            if Instant::now() >= purpose.until {
                break;
            }
            let address = SocketAddr::new(ip, hop.port);
            if let Ok(kept) = self.open_address(hop, address, purpose).await {
                kept.hang_up().await;
            }
        }
    }

    /// The first of the addresses that serves, or what they say together.
    async fn open_first(
        &self,
        hop: &Hop,
        addresses: &mut std::vec::IntoIter<IpAddr>,
        purpose: Purpose<'_>,
        mut refusal: Refusal,
    ) -> Result<Kept, Refusal> {
        let mut answered: Option<Failure> = None;
        for ip in addresses {
            if Instant::now() >= purpose.until {
                break;
            }
            let address = SocketAddr::new(ip, hop.port);
            refusal.remote.address = Some(address);
            let fault = match self.open_address(hop, address, purpose).await {
                Ok(kept) => return Ok(kept),
                Err(fault) => fault,
            };
            refusal.achieved = fault.achieved;
            let achieved = refusal.achieved.as_ref().and_then(|a| a.level());
            match failure::of_host(fault.failure, purpose.required, achieved) {
                Verdict::Unknown(failure) if failure.stage != Stage::Connect => {
                    answered = Some(failure);
                }
                unreached @ Verdict::Unknown(_) => refusal.verdict = unreached,
                definite => {
                    // One definite no is enough, unless another address was less
                    // sure.
                    refusal.verdict = definite;
                    break;
                }
            }
        }
        if let Some(failure) = answered {
            refusal.verdict = Verdict::Unknown(failure);
        }
        Err(refusal)
    }

    /// The addresses of a host, in the order to try them.
    pub(super) async fn addresses(&self, hop: &Hop, fixed: bool) -> Result<Vec<IpAddr>, Failure> {
        let found = match &hop.host {
            Host::Literal(ip) => vec![*ip],
            Host::Domain(name) => {
                let families = dial::families(self.settings.prefer);
                match self.resolver.addresses(name, families).await {
                    Answer::Found { records, .. } => records,
                    Answer::NoData | Answer::NoDomain => {
                        return Err(failure::ours(Reason::NoHost, Stage::Route));
                    }
                    Answer::Failed(_) => {
                        return Err(failure::ours(Reason::DnsFailed, Stage::Route));
                    }
                }
            }
        };
        dial::candidates(found, &self.settings, fixed)
            .map_err(|reason| failure::ours(reason, Stage::Route))
    }

    /// One address; a handshake that does not come to its end is tried again with
    /// less in its ClientHello (pitfall E24), never below the floor. What was said to
    /// the ones before is no answer then: the last one counts.
    async fn open_address(
        &self,
        hop: &Hop,
        address: SocketAddr,
        purpose: Purpose<'_>,
    ) -> Result<Kept, Fault> {
        let mut profile = Profile::Full;
        loop {
            let fault = match self.set_up(hop, address, purpose, profile).await {
                Ok(kept) => return Ok(kept),
                Err(fault) => fault,
            };
            match fault.end.and_then(|end| profile.after(end)) {
                Some(next) => profile = next,
                None => return Err(fault),
            }
        }
    }

    async fn set_up(
        &self,
        hop: &Hop,
        address: SocketAddr,
        purpose: Purpose<'_>,
        profile: Profile,
    ) -> Result<Kept, Fault> {
        let mut seen = Sighting::at(address, profile);
        let result = self.ready(hop, address, purpose, profile, &mut seen).await;
        seen.fault = result.as_ref().err().map(|fault| fault.failure.clone());
        purpose.notes.saw(hop, &seen);
        if let Some(watch) = purpose.watch {
            watch.saw(seen);
        }
        result
    }

    async fn ready(
        &self,
        hop: &Hop,
        address: SocketAddr,
        purpose: Purpose<'_>,
        profile: Profile,
        seen: &mut Sighting,
    ) -> Result<Kept, Fault> {
        let (stream, source) = self.dial(address, purpose.patience, seen).await?;
        let name = greeting_name(&self.settings.hostname, self.own_address(address, source));
        let (connection, ready) = Connection::greet(stream, name, purpose.patience).await;
        seen.banner = connection.greeting();
        if let Err(failure) = ready {
            connection.quit().await;
            return Err(failure.into());
        }
        seen.starttls = Some(connection.offers_starttls());
        let (mut connection, proof, judged) = match purpose.transport {
            Transport::Cleartext => (
                connection,
                None,
                Judged {
                    achieved: Achieved::cleartext(),
                    unproven: None,
                },
            ),
            Transport::Tls => self.secure(connection, hop, purpose, profile, seen).await?,
        };
        if let Some(credentials) = purpose.credentials.filter(|_| purpose.watch.is_none()) {
            let permit = permit(purpose.required, &judged.achieved)?;
            let login = read_login(credentials).await?;
            if let Err(failure) = connection.log_in(permit, login).await {
                connection.quit().await;
                return Err(failure.into());
            }
        }
        let now = Instant::now();
        Ok(Kept {
            connection,
            proof,
            achieved: judged.achieved,
            unproven: judged.unproven,
            hop: hop.clone(),
            remote: Remote {
                name: hop.host.to_string(),
                address: Some(address),
            },
            fixed: purpose.fixed,
            credentials: purpose.credentials.cloned(),
            transport: purpose.transport,
            born: now,
            used: now,
            messages: 0,
        })
    }

    /// STARTTLS, handshake and judgement, and the second EHLO if it passed.
    async fn secure(
        &self,
        connection: Connection,
        hop: &Hop,
        purpose: Purpose<'_>,
        profile: Profile,
        seen: &mut Sighting,
    ) -> Result<(Connection, Option<Proof>, Judged), Fault> {
        if connection.is_masked() {
            tracing::warn!(host = %hop.host, "STARTTLS is overwritten on the way to this host");
        }
        let (mut connection, proof) =
            match connection.start_tls(&self.tls, &hop.host, profile).await {
                Ok(done) => done,
                Err((connection, failure, end)) => {
                    connection.quit().await;
                    let fault = Fault::from(failure);
                    let end = end.or(fault.end);
                    return Err(Fault { end, ..fault });
                }
            };
        // Too little: not even EHLO goes over this connection. It is dropped.
        let vouched = vouches(purpose.fixed, purpose.published, &hop.host);
        let judged = judge(proof.clone(), vouched, purpose.required, seen)?;
        match connection.greet_again().await {
            Ok(()) => Ok((connection, Some(proof), judged)),
            Err(failure) => {
                connection.quit().await;
                Err(failure.into())
            }
        }
    }

    async fn dial(
        &self,
        address: SocketAddr,
        patience: Patience,
        seen: &mut Sighting,
    ) -> Result<(Box<dyn Stream>, Option<IpAddr>), Failure> {
        let source = self.pick_source(address.ip());
        let dialled = timeout(
            patience.limit(Stage::Connect),
            self.dialler.dial(address, source),
        );
        match dialled.await {
            Ok(Ok(stream)) => Ok((stream, source)),
            Ok(Err(error)) => {
                seen.detail = Some(error.to_string());
                Err(failure::ours(Reason::Unreachable, Stage::Connect))
            }
            Err(_) => Err(failure::ours(Reason::TimedOut, Stage::Connect)),
        }
    }

    /// One of the configured sources, by chance; without randomness the first.
    fn pick_source(&self, to: IpAddr) -> Option<IpAddr> {
        let sources = dial::sources(to, &self.settings);
        let mut random = [0];
        let _ = self.entropy.fill(&mut random);
        let at = usize::from(random[0]).checked_rem(sources.len())?;
        sources.get(at).copied()
    }

    /// An address of ours that the far side may see, if one is known.
    fn own_address(&self, to: SocketAddr, source: Option<IpAddr>) -> Option<IpAddr> {
        let own = self.settings.own_addresses.iter().map(SocketAddr::ip);
        let mut fitting = own.filter(|ip| ip.is_ipv4() == to.is_ipv4() && !ip.is_unspecified());
        source.or_else(|| fitting.next())
    }
}

/// Holds what was proven against what is required.
fn judge(
    proof: Proof,
    vouched: AuthenticatedBy,
    required: &Required,
    seen: &mut Sighting,
) -> Result<Judged, Fault> {
    seen.proof = Some(proof.clone());
    let judged = assurance::judge(proof, vouched)
        .map_err(|_| failure::ours(Reason::BelowFloor, Stage::StartTls))?;
    seen.achieved = Some(judged.achieved.clone());
    match permit(required, &judged.achieved) {
        Ok(_) => Ok(judged),
        Err(shortfall) => Err(Fault {
            failure: match judged.unproven {
                Some(reason) => failure::ours(reason, Stage::StartTls),
                None => shortfall,
            },
            achieved: Some(Box::new(judged.achieved)),
            end: None,
        }),
    }
}

fn permit(required: &Required, achieved: &Achieved) -> Result<Permit, Failure> {
    Permit::grant(required, achieved).map_err(|_| failure::ours(Reason::Shortfall, Stage::StartTls))
}

/// Reads the password, at each use, so that a new one needs no reload.
async fn read_login(credentials: &Credentials) -> Result<Login, Failure> {
    match tokio::fs::read_to_string(&credentials.password_file).await {
        Ok(text) => {
            let text = Zeroizing::new(text);
            Ok(Login {
                username: credentials.username.clone(),
                password: Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()),
            })
        }
        Err(error) => {
            let file = credentials.password_file.display();
            tracing::error!(%file, %error, "the route's password can't be read");
            Err(failure::ours(Reason::AuthFailed, Stage::Auth))
        }
    }
}
