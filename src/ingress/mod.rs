//! Taking mail in: listeners, the session, AUTH, admission, limits, intake.
//!
//! Holds always: a message is accepted only from a principal with the right to
//! send as its sender, only whole, and the `250` is said only after
//! [`crate::spool::Intake::commit`] returned `Ok`. The session is a state machine
//! that knows no socket, clock or DNS; the socket task in front of it does what
//! it asks. The composition root starts it.

pub mod accounts;
mod accounts_edit;
pub mod admission;
pub mod auth;
mod front;
mod hashing;
pub mod intake;
pub mod limits;
mod listener;
mod log_lines;
mod meters;
mod remembered;
mod replies;
pub mod sasl;
pub mod session;
mod settings;
mod shutdown;
mod socket;
mod start;
mod throttle;
mod transport;

pub use front::{Ports, StartError};
pub use listener::Sockets;
pub use meters::Figures;
pub use settings::*;
pub use start::Ingress;
