//! Real software on both sides: swaks, msmtp and Python's smtplib hand mail to Postern, a real
//! Postfix takes it over TLS 1.3.
//!
//! Run by `tests/run interop`, which fetches what is missing. Prints one table: peer, version,
//! case, result; a case that fails stands in it with its reason, and fails its test at the end.
//! Needs root, because Postfix' master does.
//!
//! | file | holds |
//! | --- | --- |
//! | `postfix.rs` | a Postfix, unpacked and run on a temporary folder |
//! | `house.rs` | Postern with Postfixes around it, and how a message is looked at in the maildir |
//! | `senders.rs` | the submitting programs |
//! | `smuggling.rs` | false ends of messages, and what Postfix makes of them |
//! | `bodies.rs` | what is sent |
//! | `scan.rs` | what sslscan finds at the listeners |
//! | `table.rs` | the table |
//! | `submit.py`, `read_dsn.py` | Python's smtplib and email package |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

mod bodies;
mod cases;
mod house;
mod postfix;
mod scan;
mod senders;
mod smuggling;
mod table;
