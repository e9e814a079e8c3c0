//! Scripted SMTP servers: what Postern delivers to in a test.
//!
//! [`SmtpServer`] is a whole little mail server whose every step can be bent by knobs (`knobs.rs`,
//! [`SmtpBuilder`]). `session.rs` speaks with one client, with `transaction.rs` and `auth.rs` as
//! parts of it; `tls.rs` shakes hands through OpenSSL so that weak TLS can be offered too;
//! `seen.rs` keeps what came in, and `strict.rs` knows what a client must not do.
//! [`DialogServer`] is the other kind: it says exactly what a script says; [`LenientServer`] takes
//! for the end of a message what is none.

mod auth;
mod dialog;
mod hello;
mod knobs;
mod lenient;
mod seen;
mod server;
mod session;
mod stage;
mod strict;
mod tls;
mod transaction;

pub use dialog::{Dialog, DialogServer};
pub use hello::Intolerance;
pub use knobs::SmtpBuilder;
pub use lenient::{LenientServer, Taken};
pub use seen::Received;
pub use server::SmtpServer;
pub use stage::{Stage, TlsVersion};
pub(crate) use tls::show;

/// `text` matches `pattern`: `*` stands for any run of characters, case is ignored.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.to_ascii_lowercase(), text.to_ascii_lowercase());
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        assert!(matches("EHLO *", "ehlo relay"));
        assert!(matches("*@clinic.example", "A@CLINIC.EXAMPLE"));
        assert!(matches("a*b*c", "a--b--b--c"));
        assert!(matches("*", ""));
        assert!(!matches("a", "ab"));
        assert!(!matches("a*a", "a"));
        assert!(!matches("EHLO *", "HELO relay"));
    }
}
