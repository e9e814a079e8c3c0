//! TLS: what is offered, what is asked, and what a handshake proved.
//!
//! Owns the rustls configuration of both sides, the floor they share, and the
//! reading of a finished handshake as facts. Holds always: TLS 1.2 or newer,
//! forward secret, AEAD; a certificate is judged by what was recorded of it, not
//! by whether the handshake went through. Called by `ingress` and `delivery`.

pub mod client;
pub mod facts;

pub use client::{ClientTls, HandshakeError, Profile, RootsError, Secured};
pub use facts::{CertificateVerdict, Proof, facts_of};
