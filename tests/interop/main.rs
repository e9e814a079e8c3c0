//! Real software on both sides: mail clients and libraries (`senders.rs` has the list) and mail
//! servers (`smarthost.rs`) hand mail to Postern; Postfix, Exim, OpenSMTPD, chasquid, Haraka and
//! aiosmtpd take it.
//!
//! How the servers are unpacked and run is in the lab (`tests/lab/src/mta`), since the benchmark
//! runs them too.
//!
//! Run by `tests/run interop`, which fetches what is missing. Prints one table: peer, version,
//! case, result; a case that fails stands in it with its reason, and fails its test at the end.
//! Needs root, because Postfix' master does; Exim and OpenSMTPD need namespaces besides, and the
//! table says so where there are none.
//!
//! | file | holds |
//! | --- | --- |
//! | `postfix.rs` | a Postfix that stores what it gets, and its maildir |
//! | `house.rs` | Postern with Postfixes around it, and how a message is looked at in the maildir |
//! | `gate.rs` | Postern for the receivers |
//! | `receivers/` | the receivers' cases, and how each receiver is set up for them |
//! | `mailbox.rs` | what receivers have stored |
//! | `senders.rs` | the submitting programs |
//! | `site.rs` | Postern with a mail server in front of it |
//! | `smarthost.rs` | mail servers that have Postern as their smarthost |
//! | `refusals.rs` | what they do when Postern says no |
//! | `page.rs` | the examples of `docs/smarthost.md`, which all these run |
//! | `protected.rs` | what is encrypted, from swaks over Postfix to gpg, rnp, openssl and NSS |
//! | `smuggling.rs` | false ends of messages, and what Postfix makes of them |
//! | `bodies.rs` | what is sent |
//! | `scan.rs` | what sslscan finds at the listeners |
//! | `table.rs` | the table |
//! | `receiver.py` | what aiosmtpd says and stores |
//! | `haraka/` | Haraka's pinned packages, and the plugin by which it stores |
//! | `submit.py`, `submit_async.py`, `read_dsn.py` | Python's smtplib, aiosmtplib, email package |
//! | `submit.js` | nodemailer |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

mod bodies;
mod cases;
mod gate;
mod house;
mod mailbox;
mod page;
mod postfix;
mod protected;
mod receivers;
mod refusals;
mod scan;
mod senders;
mod site;
mod smarthost;
mod smuggling;
#[path = "../protect_support/mod.rs"]
mod support;
mod table;

use postern_lab::mta::{exim, opensmtpd, server};
