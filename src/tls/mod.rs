//! Certificates and rustls configuration for both sides.
//!
//! Owns the listeners' identity and its reload, the server configuration, and
//! the verdict on client certificates. Holds always: TLS 1.2 or newer with
//! forward-secret AEAD suites, which is what the aws-lc-rs provider offers and
//! all it offers. Called by `ingress` (server side) and `delivery` (client side).

pub mod identity;
pub mod server;

pub(crate) use identity::Stamp;
pub use identity::{Identity, IdentityError};
pub use server::{CertificateRefusal, ClientTrust, ServerTlsError, server_config};
