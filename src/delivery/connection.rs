//! The I/O around a session: one connection to one host.
//!
//! Owns the stream, the time limits and the streaming of the message. Holds
//! always: every wait has an end; the message is never in memory as a whole; a
//! message that can't be read to its end never gets its final dot; after a
//! refusal in the middle of a message nothing more is sent. Called by `attempt`.

use bytes::Bytes;
use tokio::time::{Instant, timeout, timeout_at};

use super::failure;
use super::pump::{Moved, Pump};
use super::session::{Event, Login, Outcome, Session, Transaction};
use super::timeouts::{self, Patience};
use crate::sys::Stream;
use crate::tls::{ClientTls, HandshakeEnd, Profile, Proof};
use crate::types::{Body, Failure, Host, Permit, Reason, Stage};
use crate::wire::DataEncoder;

/// Octets of the message encoded before they are written.
const BLOCK: usize = 64 * 1024;

/// A connection with its session.
pub(super) struct Connection {
    pump: Pump,
    session: Session,
    /// When the present wait began, and for which reply.
    waiting: (u64, Instant),
    /// When all of this must be over, the final dot excepted.
    watchdog: Instant,
    patience: Patience,
}

impl Connection {
    /// Waits for the greeting and says EHLO.
    pub(super) async fn greet(
        stream: Box<dyn Stream>,
        name: String,
        patience: Patience,
    ) -> (Self, Result<(), Failure>) {
        let mut connection = Self {
            pump: Pump::new(stream),
            session: Session::new(name),
            waiting: (0, Instant::now()),
            watchdog: patience.until(timeouts::SETUP),
            patience,
        };
        let ready = connection.until_ready().await;
        (connection, ready)
    }

    /// STARTTLS and the handshake; the session goes on with
    /// [`Connection::greet_again`] once the caller has judged what it proved.
    pub(super) async fn start_tls(
        mut self,
        tls: &ClientTls,
        host: &Host,
        profile: Profile,
    ) -> Result<(Self, Proof), (Self, Failure, Option<HandshakeEnd>)> {
        self.session.start_tls();
        match self.drive().await {
            Event::ShakeHands => {}
            event => {
                let failure = unexpected(event, Stage::StartTls);
                return Err((self, failure, None));
            }
        }
        // While the handshake has the stream, the session has none.
        let nothing = Pump::new(Box::new(tokio::io::empty()));
        let stream = std::mem::replace(&mut self.pump, nothing).into_stream();
        let handshake = tls.handshake(stream, host, profile);
        let (reason, end) = match timeout(self.patience.handshake(), handshake).await {
            Ok(Ok(secured)) => {
                self.pump = Pump::new(secured.stream);
                return Ok((self, secured.proof));
            }
            Ok(Err(error)) => (error.reason(), error.end()),
            Err(_) => (Reason::TlsInterrupted, HandshakeEnd::Stalled),
        };
        self.session.lost(reason);
        Err((self, failure::ours(reason, Stage::StartTls), Some(end)))
    }

    /// The EHLO after the handshake (RFC 3207 section 4.2).
    pub(super) async fn greet_again(&mut self) -> Result<(), Failure> {
        self.session.secured();
        self.until_ready().await
    }

    /// AUTH.
    pub(super) async fn log_in(&mut self, permit: Permit, login: Login) -> Result<(), Failure> {
        self.session.log_in(permit, login);
        self.until_ready().await
    }

    /// Whether the EHLO reply shows a STARTTLS overwritten on the way.
    pub(super) fn is_masked(&self) -> bool {
        self.session.is_masked()
    }

    /// The code of the greeting, if it came.
    pub(super) fn greeting(&self) -> Option<u16> {
        self.session.greeting()
    }

    /// Whether the last EHLO reply offers STARTTLS.
    pub(super) fn offers_starttls(&self) -> bool {
        self.session.offers_starttls()
    }

    /// Whether another transaction may be tried.
    pub(super) fn is_idle(&self) -> bool {
        self.session.is_idle()
    }

    /// One transaction. No permit, no MAIL FROM.
    pub(super) async fn transact(
        &mut self,
        permit: Permit,
        transaction: Transaction,
        body: &dyn Body,
    ) -> Outcome {
        self.watchdog = Instant::now() + timeouts::transaction(transaction.size);
        self.waiting.1 = Instant::now();
        let broken = transaction.broken(failure::ours(Reason::ProtocolError, Stage::Mail));
        self.session.begin(permit, transaction);
        let mut event = self.drive().await;
        if event == Event::SendMessage {
            event = self.send_message(body).await;
        }
        match event {
            Event::Finished(outcome) => outcome,
            // The session ends each transaction with an outcome.
            _ => broken,
        }
    }

    /// Streams the message, its last block with the final dot.
    async fn send_message(&mut self, body: &dyn Body) -> Event {
        let (mut reader, mut encoder) = (body.open(), DataEncoder::new());
        let mut left = body.size();
        loop {
            match reader.next().await {
                Ok(Some(piece)) if piece.len() as u64 <= left => {
                    left -= piece.len() as u64;
                    if !self.send_piece(&mut encoder, &piece).await {
                        return self.drive().await;
                    }
                }
                Ok(None) if left == 0 => break,
                // It breaks off, or is not what was announced.
                Ok(_) | Err(_) => return self.unreadable(),
            }
        }
        if encoder.finish(self.pump.pending()).is_err() {
            return self.unreadable();
        }
        self.session.message_sent();
        self.waiting.1 = Instant::now();
        self.drive().await
    }

    /// Encodes a piece and writes whole blocks; whether more is wanted.
    async fn send_piece(&mut self, encoder: &mut DataEncoder, piece: &Bytes) -> bool {
        for part in piece.chunks(BLOCK) {
            if encoder.encode(part, self.pump.pending()).is_err() {
                self.session.lost(Reason::BodyUnreadable);
                return false;
            }
            if self.pump.pending().len() >= BLOCK && !self.send_block().await {
                return false;
            }
        }
        true
    }

    /// Writes what is pending; whether the far side wants more.
    async fn send_block(&mut self) -> bool {
        let limit = Instant::now() + timeouts::limit(Stage::Message);
        loop {
            match timeout_at(limit.min(self.watchdog), self.pump.write()).await {
                Err(_) => self.session.lost(Reason::TimedOut),
                Ok(Ok(Moved::Written)) => return true,
                Ok(Ok(Moved::Read([]))) | Ok(Err(_)) => self.session.lost(Reason::ConnectionLost),
                Ok(Ok(Moved::Read(octets))) => self.session.receive(octets),
            }
            // Anything whole that it says now ends the message.
            if self.session.stage() != Stage::Message {
                return false;
            }
        }
    }

    fn unreadable(&mut self) -> Event {
        self.session.lost(Reason::BodyUnreadable);
        self.session.take_event().unwrap_or(Event::Closed)
    }

    /// Says QUIT if the session can still hear it; waits a little for the answer.
    pub(super) async fn quit(mut self) {
        if self.session.is_over() || self.session.stage() != Stage::Mail {
            return;
        }
        self.session.quit();
        // However it ends, nothing depends on it any more.
        let _ = timeout(timeouts::QUIT, async {
            self.drive().await;
            self.pump.shut_down().await;
        })
        .await;
    }

    async fn until_ready(&mut self) -> Result<(), Failure> {
        let stage = self.session.stage();
        match self.drive().await {
            Event::Ready => Ok(()),
            event => Err(unexpected(event, stage)),
        }
    }

    /// Moves octets until the session has something to say.
    async fn drive(&mut self) -> Event {
        loop {
            if let Some(event) = self.session.take_event() {
                return event;
            }
            if self.session.is_over() {
                return Event::Closed;
            }
            let output = self.session.take_output();
            if !output.is_empty() {
                self.pump.pending().extend_from_slice(&output);
            }
            match timeout_at(self.deadline(), self.pump.read()).await {
                Err(_) => self.lost(Reason::TimedOut),
                // A missing close_notify is an error here, and an end like another
                // (pitfall E28).
                Ok(Ok([])) | Ok(Err(_)) => self.lost(Reason::ConnectionLost),
                Ok(Ok(octets)) => self.session.receive(octets),
            }
        }
    }

    /// The connection is of no more use.
    fn lost(&mut self, reason: Reason) {
        if !self.pump.is_written() {
            self.session.message_cut();
        }
        self.session.lost(reason);
    }

    /// The end of the present wait. Each reply has its time in full; octets that
    /// make no whole reply win none (pitfall E15).
    fn deadline(&mut self) -> Instant {
        let replies = self.session.replies();
        if replies != self.waiting.0 {
            self.waiting = (replies, Instant::now());
        }
        let stage = self.session.stage();
        let end = self.waiting.1 + self.patience.limit(stage);
        match stage {
            Stage::FinalDot => end,
            _ => end.min(self.watchdog),
        }
    }
}

/// An event that was not the one waited for.
fn unexpected(event: Event, stage: Stage) -> Failure {
    match event {
        Event::Failed(failure) => failure,
        _ => failure::ours(Reason::ConnectionLost, stage),
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
