//! TLS: what is offered, what is asked, and what a handshake proved.
//!
//! Owns the listeners' identity and its reload, the rustls configuration of both
//! sides, the verdict on certificates, and the reading of a finished handshake
//! as facts. Holds always: TLS 1.2 or newer with forward-secret AEAD suites,
//! which is what the aws-lc-rs provider offers and all it offers; a certificate
//! is judged by what was recorded of it, not by whether the handshake went
//! through. Called by `ingress` (server side) and `delivery` (client side).

pub mod client;
pub mod facts;
pub mod identity;
mod issuer;
pub mod profile;
mod server;

pub use client::{ClientTls, HandshakeError, RootsError, Secured};
pub use facts::{CertificateVerdict, Proof, facts_of, suite_word};
pub(crate) use identity::Stamp;
pub use identity::{Identity, IdentityError, read_certificates};
pub use profile::{HandshakeEnd, Profile};
pub use server::{CertificateRefusal, ClientTrust, ServerTlsError, server_config};
