//! The knobs of a scripted SMTP server, turned before it starts ([`SmtpBuilder::start`]) or while
//! it runs ([`SmtpServer::change`]).

use std::net::SocketAddr;
use std::time::Duration;

use super::hello::Intolerance;
use super::stage::{Act, Script, Stage, TlsVersion, wire_form};
use super::{SmtpServer, matches};
use crate::ca::{Ca, Identity};

/// The settings of a scripted SMTP server. Without any it is a plain, modern MX host with a
/// self-signed certificate: STARTTLS with TLS 1.2 and 1.3, PIPELINING, 8BITMIME, SIZE.
#[derive(Clone)]
#[must_use]
pub struct SmtpBuilder {
    pub(super) addr: SocketAddr,
    pub(super) knobs: Knobs,
}

/// What the session and the handshake read.
#[derive(Clone)]
pub(super) struct Knobs {
    pub(super) name: String,
    pub(super) identity: Option<Identity>,
    pub(super) versions: (TlsVersion, TlsVersion),
    pub(super) ciphers: Option<String>,
    pub(super) ciphersuites: Option<String>,
    pub(super) groups: Option<String>,
    pub(super) tickets: Option<usize>,
    pub(super) intolerance: Option<Intolerance>,
    pub(super) client_ca: Option<String>,
    pub(super) implicit_tls: bool,
    pub(super) starttls: StartTls,
    pub(super) after_starttls: Vec<u8>,
    pub(super) handshake: Option<BrokenHandshake>,
    pub(super) script: Script,
    pub(super) rcpt_replies: Vec<RcptReply>,
    pub(super) size_limit: usize,
    pub(super) eightbit: bool,
    pub(super) pipelining: bool,
    pub(super) extensions: Vec<String>,
    pub(super) max_rcpt: Option<usize>,
    pub(super) account: Option<(String, String)>,
    pub(super) slow: Duration,
    pub(super) cut_in_data: Option<usize>,
    pub(super) discard: bool,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum StartTls {
    Offered,
    Hidden,
    /// As some middleboxes do: the keyword is overwritten with X.
    Masked,
}

/// How a handshake fails after a good reply to STARTTLS.
#[derive(Clone)]
pub(super) enum BrokenHandshake {
    Garbage(Vec<u8>),
    Close,
    Stall,
}

#[derive(Clone)]
pub(super) struct RcptReply {
    pattern: String,
    reply: Vec<u8>,
    left: Option<usize>,
}

impl SmtpBuilder {
    pub(super) fn new(addr: SocketAddr) -> Self {
        let knobs = Knobs {
            name: "mx.lab.test".to_owned(),
            identity: None,
            versions: (TlsVersion::V1_2, TlsVersion::V1_3),
            ciphers: None,
            ciphersuites: None,
            groups: None,
            tickets: None,
            intolerance: None,
            client_ca: None,
            implicit_tls: false,
            starttls: StartTls::Offered,
            after_starttls: Vec::new(),
            handshake: None,
            script: Script::default(),
            rcpt_replies: Vec::new(),
            size_limit: 100 * 1024 * 1024,
            eightbit: true,
            pipelining: true,
            extensions: Vec::new(),
            max_rcpt: None,
            account: None,
            slow: Duration::ZERO,
            cut_in_data: None,
            discard: false,
        };
        SmtpBuilder { addr, knobs }
    }

    /// Binds the address and starts to serve, on the lab's own threads.
    pub fn start(self) -> SmtpServer {
        SmtpServer::start(self)
    }

    /// The name in the banner and in the reply to EHLO, and in the certificate unless
    /// [`SmtpBuilder::identity`] is given.
    pub fn name(mut self, name: &str) -> Self {
        self.knobs.name = name.to_owned();
        self
    }

    /// The certificate to show. Without one: self-signed for the name.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.knobs.identity = Some(identity);
        self
    }

    /// The TLS versions to offer. Below 1.2 the ciphers become `ALL:@SECLEVEL=0` unless set.
    pub fn tls_versions(mut self, min: TlsVersion, max: TlsVersion) -> Self {
        self.knobs.versions = (min, max);
        self
    }

    /// The ciphers for TLS 1.2 and older, as an OpenSSL cipher string. `AES256-SHA:@SECLEVEL=0`
    /// with an RSA identity is the static RSA key exchange with CBC.
    pub fn ciphers(mut self, ciphers: &str) -> Self {
        self.knobs.ciphers = Some(ciphers.to_owned());
        self
    }

    /// The cipher suites for TLS 1.3, `TLS_AES_128_GCM_SHA256`.
    pub fn ciphersuites(mut self, suites: &str) -> Self {
        self.knobs.ciphersuites = Some(suites.to_owned());
        self
    }

    /// The key exchange groups, `P-384` or `X25519:P-256`.
    pub fn groups(mut self, groups: &str) -> Self {
        self.knobs.groups = Some(groups.to_owned());
        self
    }

    /// How many session tickets a TLS 1.3 client gets.
    pub fn tickets(mut self, number: usize) -> Self {
        self.knobs.tickets = Some(number);
        self
    }

    /// Some ClientHellos get no handshake.
    pub fn intolerant(mut self, of: Intolerance) -> Self {
        self.knobs.intolerance = Some(of);
        self
    }

    /// Asks clients for a certificate; one that is shown must come from this authority.
    pub fn client_certificates(mut self, ca: &Ca) -> Self {
        self.knobs.client_ca = Some(ca.pem());
        self
    }

    /// TLS from the first octet, without STARTTLS.
    pub fn implicit_tls(mut self) -> Self {
        self.knobs.implicit_tls = true;
        self
    }

    /// STARTTLS is neither offered nor known (502).
    pub fn no_starttls(mut self) -> Self {
        self.knobs.starttls = StartTls::Hidden;
        self
    }

    /// The keyword STARTTLS is overwritten with `XXXXXXXX` and the command is not known.
    pub fn starttls_masked(mut self) -> Self {
        self.knobs.starttls = StartTls::Masked;
        self
    }

    /// STARTTLS is offered (again), after one of the two above.
    pub fn starttls(mut self) -> Self {
        self.knobs.starttls = StartTls::Offered;
        self
    }

    /// The reply to STARTTLS, such as `454 4.7.0 TLS not available`.
    pub fn starttls_reply(self, reply: &str) -> Self {
        self.reply(Stage::StartTls, reply)
    }

    /// Plaintext that follows the 220 of STARTTLS in the same segment: an injection.
    pub fn inject_after_starttls(mut self, octets: &[u8]) -> Self {
        self.knobs.after_starttls = octets.to_vec();
        self
    }

    /// After the 220 of STARTTLS these octets come instead of a handshake, then the end.
    pub fn handshake_garbage(mut self, octets: &[u8]) -> Self {
        self.knobs.handshake = Some(BrokenHandshake::Garbage(octets.to_vec()));
        self
    }

    /// After the 220 of STARTTLS the connection is closed.
    pub fn handshake_cut(mut self) -> Self {
        self.knobs.handshake = Some(BrokenHandshake::Close);
        self
    }

    /// After the 220 of STARTTLS nothing comes.
    pub fn handshake_stall(mut self) -> Self {
        self.knobs.handshake = Some(BrokenHandshake::Stall);
        self
    }

    /// The handshake works (again).
    pub fn handshake_ok(mut self) -> Self {
        self.knobs.handshake = None;
        self
    }

    /// The reply at a stage, always. Lines are parted by `\n`. A reply that says yes (2xx, 3xx)
    /// lets the session go on as usual; after a 421 the server closes.
    pub fn reply(mut self, stage: Stage, reply: &str) -> Self {
        self.knobs.script.always(stage, Act::Say(wire_form(reply)));
        self
    }

    /// The reply at a stage for the next `n` times, then what was scripted after it or the usual.
    pub fn reply_times(mut self, stage: Stage, n: usize, reply: &str) -> Self {
        self.knobs
            .script
            .times(stage, n, Act::Say(wire_form(reply)));
        self
    }

    /// Like [`SmtpBuilder::reply`], sent octet for octet.
    pub fn raw_reply(mut self, stage: Stage, octets: &[u8]) -> Self {
        self.knobs.script.always(stage, Act::Say(octets.to_vec()));
        self
    }

    /// The reply to RCPT for recipients that match the pattern (`*` for any run of characters).
    /// Of several that match, the one added last counts.
    pub fn rcpt_reply(self, pattern: &str, reply: &str) -> Self {
        self.add_rcpt_reply(pattern, reply, None)
    }

    /// The same for `n` times.
    pub fn rcpt_reply_times(self, pattern: &str, n: usize, reply: &str) -> Self {
        self.add_rcpt_reply(pattern, reply, Some(n))
    }

    /// EHLO is unknown, once; a client that tries again finds it.
    pub fn reject_ehlo_once(self) -> Self {
        self.reply_times(Stage::Ehlo, 1, UNKNOWN)
    }

    /// EHLO is unknown, always; only HELO works.
    pub fn helo_only(self) -> Self {
        self.reply(Stage::Ehlo, UNKNOWN)
    }

    /// The largest message, offered as SIZE and enforced (552). At the start: 100 MiB.
    pub fn size_limit(mut self, octets: usize) -> Self {
        self.knobs.size_limit = octets;
        self
    }

    /// 8BITMIME is not offered; 8-bit content is then a violation.
    pub fn no_8bitmime(mut self) -> Self {
        self.knobs.eightbit = false;
        self
    }

    /// PIPELINING is not offered; a client that pipelines is then a violation.
    pub fn no_pipelining(mut self) -> Self {
        self.knobs.pipelining = false;
        self
    }

    /// One more line in the reply to EHLO, such as `REQUIRETLS`, `SMTPUTF8` or `DSN`.
    pub fn extension(mut self, line: &str) -> Self {
        self.knobs.extensions.push(line.to_owned());
        self
    }

    /// 452 for each recipient of a message after the first `n`.
    pub fn max_rcpt(mut self, n: usize) -> Self {
        self.knobs.max_rcpt = Some(n);
        self
    }

    /// Offers AUTH PLAIN LOGIN under TLS and takes no mail (530) without it.
    pub fn auth(mut self, user: &str, password: &str) -> Self {
        self.knobs.account = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// All replies go out octet by octet with this pause behind each.
    pub fn slow(mut self, per_octet: Duration) -> Self {
        self.knobs.slow = per_octet;
        self
    }

    /// Waits before it acts at the stage.
    pub fn delay(mut self, stage: Stage, delay: Duration) -> Self {
        self.knobs.script.delay(stage, delay);
        self
    }

    /// Closes the connection instead of answering at the stage.
    pub fn cut_after(mut self, stage: Stage) -> Self {
        self.knobs.script.always(stage, Act::Cut);
        self
    }

    /// The same for the next `n` times.
    pub fn cut_times(mut self, stage: Stage, n: usize) -> Self {
        self.knobs.script.times(stage, n, Act::Cut);
        self
    }

    /// Closes the connection when so many octets of the content have come.
    pub fn cut_in_data_after(mut self, octets: usize) -> Self {
        self.knobs.cut_in_data = Some(octets);
        self
    }

    /// Takes the message and closes without the reply to the final dot.
    pub fn cut_after_dot(mut self) -> Self {
        self.knobs.script.always(Stage::Dot, Act::TakeAndCut);
        self
    }

    /// The same for the next `n` messages.
    pub fn cut_after_dot_times(mut self, n: usize) -> Self {
        self.knobs.script.times(Stage::Dot, n, Act::TakeAndCut);
        self
    }

    /// Forgets all scripted replies, cuts and delays; TLS and extensions stay as they are.
    pub fn clear(mut self) -> Self {
        self.knobs.script = Script::default();
        self.knobs.rcpt_replies.clear();
        self.knobs.cut_in_data = None;
        self.knobs.slow = Duration::ZERO;
        self
    }

    /// Keeps only counts, the ids and a hash of what is received: for load tests.
    pub fn discard(mut self) -> Self {
        self.knobs.discard = true;
        self
    }

    fn add_rcpt_reply(mut self, pattern: &str, reply: &str, left: Option<usize>) -> Self {
        let (pattern, reply) = (pattern.to_owned(), wire_form(reply));
        self.knobs.rcpt_replies.push(RcptReply {
            pattern,
            reply,
            left,
        });
        self
    }
}

impl Knobs {
    /// The scripted reply for a recipient, which counts as given.
    pub(super) fn take_rcpt_reply(&mut self, address: &str) -> Option<Vec<u8>> {
        let due = |r: &&mut RcptReply| r.left != Some(0) && matches(&r.pattern, address);
        let found = self.rcpt_replies.iter_mut().rev().find(due)?;
        if let Some(left) = &mut found.left {
            *left -= 1;
        }
        Some(found.reply.clone())
    }
}

const UNKNOWN: &str = "500 5.5.2 command not recognized";
