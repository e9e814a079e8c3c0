//! TLS and plain connections of source and sink alike.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A connection, with or without TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// The name in the certificate of all servers here.
pub(crate) const NAME: &str = "relay.bench.example";

/// Shakes hands as a client that trusts the roots in a file.
pub(crate) fn connector(roots: &Path) -> TlsConnector {
    let mut store = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(roots).expect("the roots can be read") {
        let certificate = certificate.expect("the roots are PEM");
        store.add(certificate).expect("a root is a certificate");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let config = builder
        .with_safe_default_protocol_versions()
        .expect("the provider has the default versions")
        .with_root_certificates(store)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// Shakes hands as a server with this certificate.
pub(crate) fn acceptor(certificate: &Path, key: &Path) -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .expect("the certificate can be read");
    let key = PrivateKeyDer::from_pem_file(key).expect("the key can be read");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider);
    let config = builder
        .with_safe_default_protocol_versions()
        .expect("the provider has the default versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("certificate and key fit");
    TlsAcceptor::from(Arc::new(config))
}

/// The servers' name, for SNI and the certificate.
pub(crate) fn server_name() -> ServerName<'static> {
    ServerName::try_from(NAME).expect("the benchmark's name is valid")
}
