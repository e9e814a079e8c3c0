//! SMTP grammar without I/O, one for both sides.
//!
//! Owns how octets become commands, replies, extensions and messages, and back
//! (RFC 5321 sections 4.1, 4.2, 4.5.2). Holds always: nothing here knows a
//! socket or a clock; memory is bounded whatever the far side sends; bad input
//! is an error value with the reply that it deserves, never a panic. Called by
//! `ingress` (commands in, replies out) and `delivery` (replies in, data out).

pub mod command;
pub mod data;
pub mod encode;
pub mod extension;
pub mod far_reply;
pub mod line;
mod path;
pub mod reply;

pub use command::{
    AuthCommand, AuthResponse, Command, CommandError, MailCommand, RcptPath, Secret,
};
pub use data::{DataDecoder, DataFacts, Refused};
pub use encode::{BareLineEnding, DataEncoder};
pub use extension::{Extensions, Offer};
pub use far_reply::{FarReply, ReplyError, ReplyReader};
pub use line::{CommandLines, LineError, LineKind};
pub use reply::Reply;

#[cfg(test)]
mod framing_tests;
