//! Postern: an outbound SMTP relay that never lets a message leave unprotected.
//!
//! Mail goes one way, as values; a room takes one type, gives the next, and
//! nobody reaches back:
//!
//! ```text
//!  ingress ─Ticket─► spool ─Job─► queue ─Job─► delivery ─Report─► outcome ─Settlement─► spool
//!                                                │  asks
//!                                   policy   dns   assurance   protect
//! ```
//!
//! Each room's own page says what it owns and what always holds. Which room may
//! use which is the table in `docs/design.md`, kept by `tests/tidy.rs`.

pub mod assurance;
pub mod cli;
pub mod config;
pub mod control;
pub mod delivery;
pub mod dns;
pub mod fetch;
pub mod ingress;
pub mod message;
pub mod outcome;
pub mod policy;
pub mod protect;
pub mod queue;
pub mod service;
pub mod spool;
pub mod sys;
pub mod tls;
pub mod types;
pub mod wire;
