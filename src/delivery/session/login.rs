//! AUTH towards an operator's route.
//!
//! Owns the mechanisms PLAIN (RFC 4616) and LOGIN. Holds always: credentials
//! appear in no Debug text; what the far side asks changes nothing about what is
//! said. Called by `session`, over authenticated TLS alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

use crate::wire::{Extensions, FarReply};

/// What to log in with.
#[derive(Clone)]
pub(crate) struct Login {
    /// The user name.
    pub(crate) username: String,
    /// The password.
    pub(crate) password: Zeroizing<String>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login(..)")
    }
}

/// Lines still to be said, the last one first.
pub(super) struct LoginDialog {
    unsaid: Vec<Zeroizing<String>>,
}

/// What follows from a reply.
pub(super) enum Step {
    /// Say this line.
    Say(Zeroizing<String>),
    /// Logged in.
    Done,
    /// Not logged in.
    Refused,
}

impl LoginDialog {
    /// Chooses a mechanism; gives the first line. `None` if neither is offered.
    pub(super) fn begin(offers: &Extensions, login: Login) -> Option<(Self, Zeroizing<String>)> {
        let offered = |name: &str| offers.auth.iter().any(|mechanism| mechanism == name);
        if offered("PLAIN") {
            let plain = Zeroizing::new(format!("\0{}\0{}", login.username, *login.password));
            let first = format!("AUTH PLAIN {}\r\n", BASE64.encode(plain.as_bytes()));
            let unsaid = Vec::new();
            return Some((Self { unsaid }, Zeroizing::new(first)));
        }
        let unsaid = vec![line(&login.password), line(&login.username)];
        offered("LOGIN").then(|| (Self { unsaid }, Zeroizing::new("AUTH LOGIN\r\n".into())))
    }

    /// 334 asks for the next line (RFC 4954 section 4), 235 is success.
    pub(super) fn on_reply(&mut self, reply: &FarReply) -> Step {
        if reply.is_positive() && self.unsaid.is_empty() {
            return Step::Done;
        }
        match self.unsaid.pop() {
            Some(line) if reply.is_intermediate() => Step::Say(line),
            _ => Step::Refused,
        }
    }
}

fn line(text: &str) -> Zeroizing<String> {
    Zeroizing::new(format!("{}\r\n", BASE64.encode(text)))
}
