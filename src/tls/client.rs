//! TLS towards other servers: the handshake, and what is recorded of it.
//!
//! Owns rustls' client configuration and the trusted roots. Holds always: TLS
//! 1.2 or 1.3 with aws-lc-rs' suites, all of them above the floor; no resumption,
//! which would pass the verifier by (RFC 8446 section 2.2); the verifier lets
//! every certificate through and *records* what it is worth, so that the level
//! is judged afterwards, in `assurance`, from facts. The time is the Clock's.
//! Called by `delivery`.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, DnsName, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{
    AlertDescription, ClientConfig, DigitallySignedStruct, NamedGroup, RootCertStore,
    SignatureScheme,
};
use tokio_rustls::TlsConnector;
use webpki::{EndEntityCert, KeyUsage};

use super::facts::{CertificateVerdict, Proof, facts_of, issuer_of};
use super::profile::{HandshakeEnd, Profile};
use crate::sys::{Clock, Stream};
use crate::types::{Host, Reason};

/// The trusted roots could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// A file of `[trust] roots` is not readable PEM.
    #[error("cannot read the trusted roots in {path}: {cause}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: rustls::pki_types::pem::Error,
    },
    /// A file of `[trust] roots` holds no usable certificate.
    #[error("no usable certificate in {0}")]
    Empty(PathBuf),
    /// rustls refuses the configuration.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// A handshake that did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// A definite answer to this ClientHello: nothing in common above the floor.
    #[error("no common TLS version or cipher: {0}")]
    NoCommonTls(io::Error),
    /// They chose what is below the floor, or no choice of ours.
    #[error("the far side chose a TLS version or cipher that is not taken: {0}")]
    Incompatible(io::Error),
    /// It broke off; nothing is known of what the far side can.
    #[error("the TLS handshake broke off: {0}")]
    Interrupted(io::Error),
}

impl HandshakeError {
    /// The reason as evidence names it.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::NoCommonTls(_) | Self::Incompatible(_) => Reason::NoCommonTls,
            Self::Interrupted(_) => Reason::TlsInterrupted,
        }
    }

    /// How it ended, for the choice of what is tried next.
    #[must_use]
    pub fn end(&self) -> HandshakeEnd {
        match self {
            Self::NoCommonTls(_) => HandshakeEnd::Refused,
            Self::Incompatible(_) => HandshakeEnd::Incompatible,
            Self::Interrupted(_) => HandshakeEnd::Broken,
        }
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        let cause = error
            .get_ref()
            .and_then(|cause| cause.downcast_ref::<rustls::Error>());
        match cause {
            Some(rustls::Error::PeerIncompatible(_)) => Self::Incompatible(error),
            Some(rustls::Error::AlertReceived(alert)) if is_definite(*alert) => {
                Self::NoCommonTls(error)
            }
            _ => Self::Interrupted(error),
        }
    }
}

/// Whether a far side that is well and honest would answer the same again
/// (RFC 8446 section 6.2).
fn is_definite(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::HandshakeFailure
            | AlertDescription::ProtocolVersion
            | AlertDescription::InsufficientSecurity
    )
}

/// A connection whose handshake is done.
pub struct Secured {
    /// The encrypted stream.
    pub stream: Box<dyn Stream>,
    /// What it proved.
    pub proof: Proof,
}

impl fmt::Debug for Secured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secured({:?})", self.proof)
    }
}

/// The client's side of TLS, with the roots it trusts. Reloaded by loading it
/// anew.
#[derive(Clone)]
pub struct ClientTls {
    roots: Arc<RootCertStore>,
    time: Arc<HouseTime>,
    full: Arc<CryptoProvider>,
    classical: Arc<CryptoProvider>,
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientTls({} roots)", self.roots.len())
    }
}

impl ClientTls {
    /// Loads the system's roots and those in `files`.
    ///
    /// # Errors
    /// [`RootsError`] for `files`; a system without roots is only warned about,
    /// since level `encrypted` needs none.
    pub fn load(files: &[PathBuf], clock: Arc<dyn Clock>) -> Result<Self, RootsError> {
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        for error in &system.errors {
            tracing::warn!(%error, "part of the system's trusted roots is not readable");
        }
        if system.certs.is_empty() {
            tracing::warn!("the system has no trusted roots");
        }
        roots.add_parsable_certificates(system.certs);
        for path in files {
            add_file(&mut roots, path)?;
        }
        Ok(Self::with_roots(roots, clock))
    }

    /// With these roots alone.
    #[must_use]
    pub fn with_roots(roots: RootCertStore, clock: Arc<dyn Clock>) -> Self {
        let full = aws_lc_rs::default_provider();
        let mut classical = aws_lc_rs::default_provider();
        classical
            .kx_groups
            .retain(|group| is_classical(group.name()));
        Self {
            roots: Arc::new(roots),
            time: Arc::new(HouseTime(clock)),
            full: Arc::new(full),
            classical: Arc::new(classical),
        }
    }

    /// Shakes hands with `host` over `stream`. SNI is the host's name, never an
    /// address (RFC 6066 section 3). Has no time limit of its own.
    ///
    /// # Errors
    /// [`HandshakeError`]; never for what the certificate says.
    pub async fn handshake(
        &self,
        stream: Box<dyn Stream>,
        host: &Host,
        profile: Profile,
    ) -> Result<Secured, HandshakeError> {
        let recorder = Arc::new(Recorder {
            roots: self.roots.clone(),
            algorithms: self.full.signature_verification_algorithms,
            seen: Mutex::new(CertificateVerdict::UNCHECKED),
        });
        let config = self
            .config(recorder.clone(), profile)
            .map_err(|error| HandshakeError::Interrupted(io::Error::other(error)))?;
        let connector = TlsConnector::from(Arc::new(config));
        let stream = connector.connect(server_name(host)?, stream).await?;
        let proof = Proof {
            facts: facts_of(stream.get_ref().1),
            issuer: issuer_of(stream.get_ref().1),
            verdict: *recorder.seen(),
        };
        Ok(Secured {
            stream: Box::new(stream),
            proof,
        })
    }

    fn config(
        &self,
        verifier: Arc<Recorder>,
        profile: Profile,
    ) -> Result<ClientConfig, rustls::Error> {
        let (provider, versions): (_, &[_]) = match profile {
            Profile::Full => (&self.full, rustls::ALL_VERSIONS),
            Profile::Classical => (&self.classical, rustls::ALL_VERSIONS),
            Profile::Capped => (&self.classical, &[&rustls::version::TLS12]),
        };
        let mut config = ClientConfig::builder_with_details(provider.clone(), self.time.clone())
            .with_protocol_versions(versions)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

/// Whether a group's key share is short.
fn is_classical(group: NamedGroup) -> bool {
    matches!(
        group,
        NamedGroup::X25519 | NamedGroup::secp256r1 | NamedGroup::secp384r1
    )
}

fn add_file(roots: &mut RootCertStore, path: &PathBuf) -> Result<(), RootsError> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|cause| RootsError::File {
            path: path.clone(),
            cause,
        })?;
    match roots.add_parsable_certificates(certificates) {
        (0, _) => Err(RootsError::Empty(path.clone())),
        _ => Ok(()),
    }
}

/// The name for SNI and for the name check.
fn server_name(host: &Host) -> Result<ServerName<'static>, HandshakeError> {
    match host {
        Host::Literal(ip) => Ok(ServerName::IpAddress((*ip).into())),
        Host::Domain(domain) => DnsName::try_from(domain.as_str().to_owned())
            .map(ServerName::DnsName)
            .map_err(|error| HandshakeError::Interrupted(io::Error::other(error))),
    }
}

/// The Clock, as rustls asks for the time.
struct HouseTime(Arc<dyn Clock>);

impl fmt::Debug for HouseTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HouseTime")
    }
}

impl TimeProvider for HouseTime {
    fn current_time(&self) -> Option<UnixTime> {
        let micros = u64::try_from(self.0.now().as_micros()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_micros(micros)))
    }
}

/// Checks everything, refuses nothing, writes down what it saw. One per
/// connection.
///
/// That a handshake goes through in spite of a failed signature is what lets
/// X.509 v1 certificates and short RSA keys encrypt at all; it proves no
/// identity then, since [`CertificateVerdict::identity`] wants the signature too.
struct Recorder {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
    seen: Mutex<CertificateVerdict>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}

impl Recorder {
    fn seen(&self) -> MutexGuard<'_, CertificateVerdict> {
        // A verdict is a plain value: it is whole even if a writer panicked.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record_signature(
        &self,
        result: Result<HandshakeSignatureValid, rustls::Error>,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.seen().signature = match result {
            Ok(_) => Ok(()),
            Err(_) => Err(Reason::CertificateInvalid),
        };
        Ok(HandshakeSignatureValid::assertion())
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut seen = self.seen();
        match EndEntityCert::try_from(end_entity) {
            Ok(cert) => {
                let usage = KeyUsage::server_auth();
                let (roots, algorithms) = (&self.roots.roots, self.algorithms.all);
                seen.chain = cert
                    .verify_for_usage(algorithms, roots, intermediates, now, usage, None, None)
                    .map(|_| ())
                    .map_err(|error| chain_reason(&error));
                seen.name = cert
                    .verify_is_valid_for_subject_name(server_name)
                    .map_err(|_| Reason::CertificateName);
            }
            Err(_) => *seen = CertificateVerdict::UNCHECKED,
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.algorithms;
        self.record_signature(rustls::crypto::verify_tls12_signature(
            message, cert, dss, algorithms,
        ))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.algorithms;
        self.record_signature(rustls::crypto::verify_tls13_signature(
            message, cert, dss, algorithms,
        ))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// webpki's word as a reason. A self-signed certificate that calls itself a CA,
/// as `openssl req -x509` makes them, is one without a trusted root.
fn chain_reason(error: &webpki::Error) -> Reason {
    use webpki::Error as E;
    match error {
        E::CertExpired { .. } => Reason::CertificateExpired,
        E::CertNotValidYet { .. } => Reason::CertificateNotYetValid,
        // A false signature is one that no root's key made.
        E::UnknownIssuer
        | E::InvalidSignatureForPublicKey
        | E::CaUsedAsEndEntity
        | E::EndEntityUsedAsCa => Reason::CertificateUntrusted,
        _ => Reason::CertificateInvalid,
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
