//! The task of one connection: does what the session asks.
//!
//! Owns the socket, the intake and the time limits. Holds always: the session is
//! asked again only when its action is done; a client that is idle, slow or gone
//! holds nothing for ever; between the final dot and its reply only the spool is
//! waited for (I24). Called by the listeners.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout_at};

use super::accounts::Account;
use super::admission::relay_principal;
use super::auth::Verdict;
use super::front::Front;
use super::limits::{Crowded, Slot};
use super::log_lines::{Accepted, log_refusals};
use super::meters::Meters;
use super::replies;
use super::sasl::Login;
use super::session::{Action, Answer, Secured, Session};
use super::settings::ListenerKind;
use super::shutdown::{Ending, Shutdown};
use super::transport::{Transport, accept_tls, secured};
use crate::message::Texts;
use crate::spool::{Intake, SpoolError, Ticket};
use crate::tls::facts_of;
use crate::types::TextCount;

/// Serves one connection to its end. The slot is given back then.
pub(super) async fn serve(
    stream: TcpStream,
    client: IpAddr,
    front: Arc<Front>,
    mut shutdown: Shutdown,
    slot: Slot,
) {
    let greeted = tokio::select! {
        // Who was taken in just before the shutdown is told so, by the session.
        biased;
        greeted = greet(stream, client, &front) => Some(greeted),
        _ = shutdown.due(true) => None,
    };
    let displaced = slot.displaced().clone();
    let common = Arc::clone(&front.common);
    let kind = front.rules.listener.kind;
    let result = match greeted.unwrap_or_else(|| Err(io::ErrorKind::Interrupted.into())) {
        Ok((transport, session)) => {
            let socket = Socket {
                transport: Some(transport),
                client,
                front,
                shutdown,
                intake: None,
                login: None,
                slot,
                pace: Pace::new(),
                buffer: vec![0; READ_MAX],
            };
            socket.run(session).await
        }
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        tracing::debug!("connection lost: client={client} reason=\"{error}\"");
    }
    if displaced.is_cancelled() {
        common.meters.displaced(kind);
        if let Some(untold) = common.displaced_told.tell() {
            tracing::info!("connection ended to make room: client={client} untold={untold}");
        }
    }
}

/// Gets ready for the greeting: TLS first where the listener is of that kind.
async fn greet(
    stream: TcpStream,
    client: IpAddr,
    front: &Front,
) -> io::Result<(Transport, Session)> {
    stream.set_nodelay(true)?;
    let (mut transport, secured) = match front.rules.listener.kind {
        ListenerKind::Submissions => {
            let (transport, secured) = shake_hands(stream, front).await?;
            (transport, Some(secured))
        }
        ListenerKind::Submission | ListenerKind::Relay => (Transport::Plain(stream), None),
    };
    let rules = Arc::clone(&front.rules);
    let session = match transport.has_early_octets() {
        true => Session::refuse_early_talk(rules, client),
        false => Session::new(rules, client, secured),
    };
    Ok((transport, session))
}

/// Shakes hands, with the certificate of this moment.
async fn shake_hands(stream: TcpStream, front: &Front) -> io::Result<(Transport, Secured)> {
    front.common.identity.follow().await;
    let client = stream.peer_addr()?.ip().to_canonical();
    let accepted = accept_tls(stream, Arc::clone(&front.tls)).await;
    // Told by default: an old device that can't do TLS 1.2 shows here alone.
    let stream = accepted.inspect_err(|error| {
        let kind = front.rules.listener.kind;
        front.common.meters.handshake_failed(kind);
        tracing::info!("TLS handshake failed: client={client} reason=\"{error}\"");
    })?;
    let facts = facts_of(stream.get_ref().1);
    front
        .common
        .meters
        .secured(front.rules.listener.kind, &facts);
    let now = front.common.ports.clock.now();
    let secured = secured(&stream, front.trust.as_ref(), now);
    Ok((Transport::Secure(stream), secured))
}

/// Counts in a text what rules ask for. Should that fail, nothing was counted, which is
/// the strict side.
async fn count(front: Arc<Front>, texts: Texts) -> Vec<TextCount> {
    let _turn = front.common.counting.acquire().await;
    let wanted = Arc::clone(&front.rules.wanted);
    let counting = spawn_blocking(move || texts.count(&wanted.patterns));
    counting.await.unwrap_or_default()
}

struct Socket {
    /// Taken only while hands are shaken.
    transport: Option<Transport>,
    client: IpAddr,
    front: Arc<Front>,
    shutdown: Shutdown,
    intake: Option<Box<dyn Intake>>,
    /// The account that logged in, and when it was last looked at.
    login: Option<(Arc<Account>, Instant)>,
    slot: Slot,
    pace: Pace,
    buffer: Vec<u8>,
}

impl Socket {
    async fn run(mut self, mut session: Session) -> io::Result<()> {
        loop {
            match session.advance() {
                Action::Read => {
                    if !self.read(&mut session).await? {
                        return Ok(());
                    }
                }
                Action::Send(octets) => self.send(&octets).await?,
                Action::Pause(span) => tokio::select! {
                    () = sleep(span) => {}
                    _ = self.shutdown.due(false) => {}
                },
                Action::StartTls => {
                    let secured = self.start_tls().await?;
                    session.answer(Answer::Secured(secured));
                }
                Action::Authenticate(login) => {
                    let verdict = self.authenticate(login).await;
                    session.answer(Answer::Verdict(verdict));
                }
                Action::Open if !self.login_stands().await => {
                    session.abort(&replies::login_ended());
                }
                Action::Open => session.answer(Answer::Opened(self.open())),
                Action::Body(octets) => {
                    let result = match &mut self.intake {
                        Some(intake) => intake.write(octets).await,
                        None => Err(SpoolError::Closed),
                    };
                    session.answer(Answer::Written(result));
                }
                Action::Count(texts) => {
                    let counts = count(Arc::clone(&self.front), texts).await;
                    session.answer(Answer::Counted(counts));
                }
                Action::Commit(ticket) => {
                    let result = self.commit(*ticket).await;
                    session.answer(Answer::Committed(result));
                }
                Action::Discard => self.intake = None,
                Action::Close => break,
            }
        }
        self.intake = None;
        // Its place is another's already: in a flood it just goes.
        let farewell = match self.shutdown.is_displaced() {
            true => self.front.common.connections.farewell().map(Some),
            false => Some(None),
        };
        if let (Some(transport), Some(_permit)) = (self.transport, farewell) {
            transport.close().await;
        }
        Ok(())
    }

    /// Reads once; `false` at the client's end. Time-outs and the shutdown end
    /// the session by a 421.
    async fn read(&mut self, session: &mut Session) -> io::Result<bool> {
        let in_message = session.reads_message();
        let until = self.pace.deadline(in_message);
        let started = Instant::now();
        let Some(transport) = &mut self.transport else {
            return Err(no_transport());
        };
        let read = tokio::select! {
            read = timeout_at(until, transport.read(&mut self.buffer)) => read,
            ending = self.shutdown.due(!session.in_transaction()) => {
                session.abort(&match ending {
                    Ending::Shutdown => replies::shutting_down(),
                    Ending::Displaced => replies::crowded(Crowded::Displaced),
                });
                return Ok(true);
            }
        };
        let Ok(read) = read else {
            session.abort(&match in_message {
                true => replies::too_slow(),
                false => replies::idle(),
            });
            return Ok(true);
        };
        let octets = self.buffer.get(..read?).unwrap_or_default();
        if octets.is_empty() {
            return Ok(false);
        }
        self.pace.received(in_message, started, octets.len());
        session.receive(octets, self.front.common.ports.clock.now());
        // A client with large messages is read from in larger pieces.
        if in_message && octets.len() == self.buffer.len() && octets.len() < READ_LARGE {
            self.buffer.resize(READ_LARGE, 0);
        }
        Ok(true)
    }

    /// Writes; a client that doesn't read can't hold up the shutdown.
    async fn send(&mut self, octets: &Bytes) -> io::Result<()> {
        self.pace.replied();
        log_refusals(octets, self.client, &self.front);
        let Some(transport) = &mut self.transport else {
            return Err(no_transport());
        };
        tokio::select! {
            // What can be written at once is written, also then.
            biased;
            result = transport.write(octets) => result,
            _ = self.shutdown.due(false) => Err(io::ErrorKind::Interrupted.into()),
        }
    }

    async fn start_tls(&mut self) -> io::Result<Secured> {
        let Some(Transport::Plain(stream)) = self.transport.take() else {
            return Err(no_transport());
        };
        let (transport, secured) = tokio::select! {
            result = shake_hands(stream, &self.front) => result?,
            _ = self.shutdown.due(true) => return Err(io::ErrorKind::Interrupted.into()),
        };
        self.transport = Some(transport);
        let listener = &self.front.rules.listener;
        if relay_principal(listener, self.client, &secured.names).is_ok() {
            self.slot.listed();
        }
        Ok(secured)
    }

    async fn authenticate(&mut self, login: Login) -> Verdict {
        let Some(transport) = &self.transport else {
            return Verdict::Unavailable;
        };
        let verifying = self.front.common.authenticator.verify(self.client, login);
        let verdict = tokio::select! {
            verdict = verifying => verdict,
            _ = self.shutdown.due(true) => Verdict::Unavailable,
            // Its turn is another's then.
            () = transport.gone() => Verdict::Unavailable,
        };
        self.front.common.meters.login(&verdict);
        match verdict {
            Verdict::Accepted(account) => self.logged_in(account),
            other => other,
        }
    }

    fn logged_in(&mut self, account: Arc<Account>) -> Verdict {
        let connections = self.front.rules.limits.connections;
        match self.slot.logged_in(account.name(), connections) {
            Ok(()) => {
                self.login = Some((Arc::clone(&account), Instant::now()));
                Verdict::Accepted(account)
            }
            Err(crowded) => {
                self.front.common.meters.turned_away(crowded);
                Verdict::Crowded(crowded)
            }
        }
    }

    /// Whether the account that logged in, if one did, is still what it was. Looks
    /// at most every [`LOGIN_LOOK`].
    async fn login_stands(&mut self) -> bool {
        let Some((account, looked)) = &mut self.login else {
            return true;
        };
        if looked.elapsed() < LOGIN_LOOK {
            return true;
        }
        *looked = Instant::now();
        self.front.common.authenticator.stands(account).await
    }

    fn open(&mut self) -> Result<crate::types::QueueId, SpoolError> {
        let intake = self.front.common.ports.store.intake()?;
        let id = intake.id();
        self.intake = Some(intake);
        Ok(id)
    }

    /// Nothing but the spool is waited for here (RFC 1047, I24).
    async fn commit(&mut self, ticket: Ticket) -> Result<(), SpoolError> {
        let intake = self.intake.take().ok_or(SpoolError::Closed)?;
        let accepted = Accepted::of(intake.id(), &ticket, self.front.common.log_addresses);
        let weight = Meters::weigh(self.front.rules.listener.kind, &ticket);
        let begun = Instant::now();
        intake.commit(ticket).await?;
        self.front.common.meters.accepted(&weight, begun.elapsed());
        tracing::info!("{accepted}");
        Ok(())
    }
}

fn no_transport() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

/// How fast the client is.
#[derive(Debug)]
struct Pace {
    /// When the last reply went out: a command may take [`IDLE`] from there, in
    /// however many pieces it comes.
    replied: Instant,
    /// Time waited for octets of the message, not that spent on the spool.
    waited: Duration,
    /// Octets of the message.
    octets: u64,
}

impl Pace {
    fn new() -> Self {
        Self {
            replied: Instant::now(),
            waited: Duration::ZERO,
            octets: 0,
        }
    }

    fn replied(&mut self) {
        *self = Self::new();
    }

    fn received(&mut self, in_message: bool, started: Instant, octets: usize) {
        if in_message {
            self.waited += started.elapsed();
            self.octets = self.octets.saturating_add(octets as u64);
        }
    }

    /// Until when the next octets must come: in a message, as long as the whole
    /// of it does not come slower than [`RATE_MIN`] after [`IDLE`].
    fn deadline(&self, in_message: bool) -> Instant {
        if !in_message {
            return self.replied + IDLE;
        }
        let earned = Duration::from_secs(self.octets / RATE_MIN);
        let left = (IDLE + earned).saturating_sub(self.waited);
        Instant::now() + left.min(IDLE)
    }
}

/// RFC 5321 section 4.5.3.2.7: at least 5 minutes for the next command (I26).
const IDLE: Duration = Duration::from_secs(300);
/// Octets a second that a message must come with, on average.
const RATE_MIN: u64 = 500;
/// How long a login is believed without another look at the accounts.
const LOGIN_LOOK: Duration = Duration::from_secs(1);
/// Octets read at once.
const READ_MAX: usize = 16 * 1024;
/// The same once a read within a message has filled that.
const READ_LARGE: usize = 64 * 1024;
