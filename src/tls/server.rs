//! rustls for the listeners, and the verdict on client certificates.
//!
//! Holds always: a missing or untrusted client certificate never fails a
//! handshake, since the network alone may suffice; it earns no name either.
//! The verdict is taken after the handshake from what the peer presented, so a
//! resumed session is judged like a fresh one. Possession of the key is proven
//! in the handshake itself. Called by `ingress`.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::identity::{Identity, IdentityError, read_certificates};
use crate::sys::Clock;
use crate::types::Timestamp;

/// Why the listeners' TLS can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum ServerTlsError {
    /// A file of client roots can't be used.
    #[error("client_roots: {0}")]
    Roots(#[from] IdentityError),
    /// There are no roots at all, so no client certificate could be verified.
    #[error("client certificates can't be verified: the system has no roots ({0})")]
    NoRoots(String),
    /// rustls refuses the configuration.
    #[error("TLS can't be configured: {0}")]
    Config(#[from] rustls::Error),
}

/// Why a client certificate earns no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateRefusal {
    /// The client presented none.
    #[error("no client certificate was presented")]
    Missing,
    /// It leads to no trusted root, has expired, or is otherwise invalid.
    #[error("the client certificate is not valid: {0}")]
    Invalid(webpki::Error),
}

/// The roots that client certificates are verified against.
#[derive(Clone)]
pub struct ClientTrust {
    anchors: Vec<TrustAnchor<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl fmt::Debug for ClientTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientTrust({} roots)", self.anchors.len())
    }
}

impl ClientTrust {
    /// Reads roots from PEM files, or the system's where there are no files.
    ///
    /// # Errors
    /// [`ServerTlsError::Roots`] or [`ServerTlsError::NoRoots`].
    pub fn load(files: &[PathBuf]) -> Result<Self, ServerTlsError> {
        let mut roots = Vec::new();
        for file in files {
            roots.extend(read_certificates(file)?);
        }
        let mut problem = String::from("none found");
        if files.is_empty() {
            let native = rustls_native_certs::load_native_certs();
            if let Some(error) = native.errors.first() {
                problem = error.to_string();
            }
            roots = native.certs;
        }
        // System stores hold roots that webpki can't read; the others serve.
        let anchors: Vec<_> = roots
            .iter()
            .filter_map(|root| anchor_from_trusted_cert(root).ok())
            .map(|anchor| anchor.to_owned())
            .collect();
        if anchors.is_empty() {
            return Err(ServerTlsError::NoRoots(problem));
        }
        Ok(Self {
            anchors,
            algorithms: default_provider().signature_verification_algorithms,
        })
    }

    /// The DNS names of a presented chain (the client's own certificate first)
    /// that leads to one of the roots at `now`. A certificate for servers will
    /// do as well as one for clients: Microsoft 365 presents one.
    ///
    /// # Errors
    /// [`CertificateRefusal`].
    pub fn judge(
        &self,
        chain: &[CertificateDer<'_>],
        now: Timestamp,
    ) -> Result<Vec<String>, CertificateRefusal> {
        let (own, rest) = chain.split_first().ok_or(CertificateRefusal::Missing)?;
        let own = EndEntityCert::try_from(own).map_err(CertificateRefusal::Invalid)?;
        self.verify(&own, rest, now, KeyUsage::client_auth())
            .or_else(|error| match error {
                webpki::Error::RequiredEkuNotFoundContext(_) => {
                    self.verify(&own, rest, now, KeyUsage::server_auth())
                }
                other => Err(other),
            })
            .map_err(CertificateRefusal::Invalid)?;
        Ok(own.valid_dns_names().map(str::to_ascii_lowercase).collect())
    }

    fn verify(
        &self,
        own: &EndEntityCert<'_>,
        rest: &[CertificateDer<'_>],
        now: Timestamp,
        usage: KeyUsage,
    ) -> Result<(), webpki::Error> {
        let algorithms = self.algorithms.all;
        own.verify_for_usage(
            algorithms,
            &self.anchors,
            rest,
            unix_time(now),
            usage,
            None,
            None,
        )
        .map(|_| ())
    }
}

/// The configuration of a listener: TLS 1.2 and 1.3, the default suites, no
/// early data. Asks for a client certificate if `ask_certificate`; what it is
/// worth is [`ClientTrust::judge`]'s business.
///
/// # Errors
/// [`ServerTlsError::Config`].
pub fn server_config(
    identity: Arc<Identity>,
    ask_certificate: bool,
    clock: Arc<dyn Clock>,
) -> Result<Arc<ServerConfig>, ServerTlsError> {
    let provider = Arc::new(default_provider());
    let builder =
        ServerConfig::builder_with_details(Arc::clone(&provider), Arc::new(PortClock(clock)))
            .with_protocol_versions(&[&TLS13, &TLS12])?;
    let builder = if ask_certificate {
        builder.with_client_cert_verifier(Arc::new(AnyCertificate { provider }))
    } else {
        builder.with_no_client_auth()
    };
    // Sessions are resumed from a small store in memory, so that no ticket key
    // outlives what it protects; early data stays off, as it is by default.
    Ok(Arc::new(builder.with_cert_resolver(identity)))
}

/// Takes any client certificate whose key the client proves to hold.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _own: &CertificateDer<'_>,
        _rest: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if EndEntityCert::try_from(certificate).is_err() {
            return Ok(unreadable());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if EndEntityCert::try_from(certificate).is_err() {
            return Ok(unreadable());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Lets the handshake of a certificate that webpki can't even read (X.509 v1
/// from old devices) go on: [`ClientTrust::judge`] reads it by the same parser,
/// so it earns no name.
fn unreadable() -> HandshakeSignatureValid {
    HandshakeSignatureValid::assertion()
}

/// The clock port, as rustls asks for the time.
struct PortClock(Arc<dyn Clock>);

impl fmt::Debug for PortClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PortClock")
    }
}

impl TimeProvider for PortClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(self.0.now()))
    }
}

fn unix_time(at: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(at.since(Timestamp::default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa,
        KeyPair,
    };

    fn ca() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn leaf(
        ca: &CertifiedIssuer<'static, KeyPair>,
        usage: Option<ExtendedKeyUsagePurpose>,
    ) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["Peer.Example".to_owned()]).unwrap();
        params.extended_key_usages.extend(usage);
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, ca).unwrap().der().clone()
    }

    fn trust(ca: &CertifiedIssuer<'static, KeyPair>) -> ClientTrust {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("roots.pem");
        std::fs::write(&path, ca.pem()).unwrap();
        ClientTrust::load(&[path]).unwrap()
    }

    fn now() -> Timestamp {
        "2026-11-22T08:00:00Z".parse().unwrap()
    }

    #[test]
    fn client_and_server_certificates_are_taken() {
        let ca = ca();
        let trust = trust(&ca);
        for usage in [
            None,
            Some(ExtendedKeyUsagePurpose::ClientAuth),
            Some(ExtendedKeyUsagePurpose::ServerAuth),
        ] {
            assert_eq!(
                trust.judge(&[leaf(&ca, usage.clone())], now()),
                Ok(vec!["peer.example".to_owned()]),
                "{usage:?}"
            );
        }
        let other = leaf(&ca, Some(ExtendedKeyUsagePurpose::CodeSigning));
        assert!(trust.judge(&[other], now()).is_err());
    }

    #[test]
    fn strangers_and_the_expired_are_not() {
        let (ours, theirs) = (ca(), ca());
        let trust = trust(&ours);
        assert_eq!(trust.judge(&[], now()), Err(CertificateRefusal::Missing));
        assert!(trust.judge(&[leaf(&theirs, None)], now()).is_err());
        let late = "4999-01-01T00:00:00Z".parse().unwrap();
        assert!(trust.judge(&[leaf(&ours, None)], late).is_err());
        let junk = CertificateDer::from(vec![1, 2, 3]);
        assert!(trust.judge(&[junk], now()).is_err());
    }
}
