//! The replies of the session that no parser owns.
//!
//! Holds always: codes by RFC 5321 section 4.2.3, enhanced ones by RFC 3463 and
//! the registry of RFC 5248. Called by the session and the socket task.

use super::limits::Crowded;
use crate::spool::SpoolError;
use crate::types::{Domain, QueueId};
use crate::wire::Reply;

pub(super) fn greeting(hostname: &Domain) -> Reply {
    Reply::plain(220, format!("{hostname} ESMTP Postern"))
}

pub(super) fn early_talk() -> Reply {
    Reply::new(554, "5.5.0", "You talked before you were greeted")
}

pub(super) fn internal() -> Reply {
    Reply::new(421, "4.3.0", "Internal error, try again later")
}

pub(super) fn too_many_errors() -> Reply {
    Reply::new(421, "4.7.0", "Too many errors")
}

/// RFC 5321 section 4.5.3.2.7 (I26).
pub(super) fn idle() -> Reply {
    Reply::new(421, "4.4.2", "Nothing came for too long")
}

pub(super) fn too_slow() -> Reply {
    Reply::new(421, "4.4.2", "The message comes too slowly")
}

/// For a connection that had to go, or may not stay.
pub(super) fn crowded(crowded: Crowded) -> Reply {
    Reply::new(421, "4.7.0", crowded.to_string())
}

pub(super) fn shutting_down() -> Reply {
    Reply::new(421, "4.3.2", "Shutting down, try again later")
}

pub(super) fn ok() -> Reply {
    Reply::new(250, "2.0.0", "Ok")
}

pub(super) fn bye() -> Reply {
    Reply::new(221, "2.0.0", "Bye")
}

/// RFC 5321 section 3.5.3.
pub(super) fn cannot_verify() -> Reply {
    Reply::new(
        252,
        "2.1.5",
        "Cannot verify, but will take mail and try to deliver it",
    )
}

pub(super) fn help() -> Reply {
    Reply::new(
        214,
        "2.0.0",
        "EHLO HELO STARTTLS AUTH MAIL RCPT DATA RSET NOOP VRFY HELP QUIT",
    )
}

pub(super) fn sender_ok() -> Reply {
    Reply::new(250, "2.1.0", "Sender ok")
}

pub(super) fn recipient_ok() -> Reply {
    Reply::new(250, "2.1.5", "Recipient ok")
}

pub(super) fn send_data() -> Reply {
    Reply::plain(354, "Send the message, end with <CR><LF>.<CR><LF>")
}

pub(super) fn queued(id: QueueId) -> Reply {
    Reply::new(250, "2.0.0", format!("Ok: queued as {id}"))
}

pub(super) fn bad_sequence(text: &'static str) -> Reply {
    Reply::new(503, "5.5.1", text)
}

/// RFC 2920 section 3.1 (I6).
pub(super) fn no_valid_recipients() -> Reply {
    Reply::new(554, "5.5.1", "No valid recipients")
}

pub(super) fn go_ahead() -> Reply {
    Reply::new(220, "2.0.0", "Ready to start TLS")
}

/// RFC 3207 section 4.2, RFC 2920 section 3.1 (I3).
pub(super) fn data_behind_starttls() -> Reply {
    Reply::new(554, "5.5.1", "Data behind STARTTLS, in the clear")
}

/// RFC 3207 section 4.
pub(super) fn starttls_first() -> Reply {
    Reply::new(530, "5.7.0", "Must issue a STARTTLS command first")
}

/// RFC 4954 section 6.
pub(super) fn authentication_required() -> Reply {
    Reply::new(530, "5.7.0", "Authentication required")
}

/// Encryption needed (RFC 7372's registry entry X.7.10).
pub(super) fn no_tls_there() -> Reply {
    Reply::new(
        550,
        "5.7.10",
        "The recipient's mail server does not do TLS, which is required here",
    )
}

/// RFC 4954 section 6.
pub(super) fn encryption_required() -> Reply {
    Reply::new(
        538,
        "5.7.11",
        "Encryption required for requested authentication mechanism",
    )
}

pub(super) fn no_auth_here() -> Reply {
    Reply::new(502, "5.5.1", "AUTH is not offered on this listener")
}

/// RFC 4954 section 4.
pub(super) fn unknown_mechanism() -> Reply {
    Reply::new(504, "5.5.4", "Unrecognized authentication mechanism")
}

pub(super) fn challenge(text: &'static str) -> Reply {
    Reply::plain(334, text)
}

pub(super) fn cancelled() -> Reply {
    Reply::new(501, "5.0.0", "Authentication cancelled")
}

pub(super) fn logged_in() -> Reply {
    Reply::new(235, "2.7.0", "Authentication successful")
}

/// The account that logged in is gone, or another by now.
pub(super) fn login_ended() -> Reply {
    Reply::new(421, "4.7.0", "The account has changed, log in again")
}

pub(super) fn bad_credentials() -> Reply {
    Reply::new(535, "5.7.8", "Authentication credentials invalid")
}

/// RFC 4954 section 6.
pub(super) fn auth_later() -> Reply {
    Reply::new(
        454,
        "4.7.0",
        "Temporary authentication failure, try again later",
    )
}

/// RFC 1870 section 6.1 (I9).
pub(super) fn too_large(limit: u64) -> Reply {
    Reply::new(
        552,
        "5.3.4",
        format!("Message too large: the limit is {limit} octets"),
    )
}

/// RFC 5321 section 4.5.3.1.10 (I10).
pub(super) fn too_many_recipients() -> Reply {
    Reply::new(452, "4.5.3", "Too many recipients")
}

/// What a failing spool means to a client: never a 5xx (I25).
pub(super) fn spool(error: &SpoolError) -> Reply {
    match error {
        SpoolError::Full => Reply::new(452, "4.3.1", "Out of space, try again later"),
        SpoolError::Closed => shutting_down(),
        SpoolError::Sick(_) | SpoolError::Unknown | SpoolError::Damaged => {
            Reply::new(451, "4.3.0", "The spool can't be written, try again later")
        }
    }
}

/// An error's text as the start of a reply.
pub(super) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}
