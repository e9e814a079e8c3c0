//! The client's handshake against rustls' own server, in memory.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::types::Timestamp;

struct FixedClock(Timestamp);
impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        self.0
    }
}

struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    fn server(&self, name: &str) -> ServerConfig {
        self.server_by(aws_lc_rs::default_provider(), name)
    }

    fn server_by(&self, provider: CryptoProvider, name: &str) -> ServerConfig {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap()
    }
}

fn client(ca: Option<&Ca>, now: &str) -> ClientTls {
    let mut roots = RootCertStore::empty();
    if let Some(ca) = ca {
        roots.add(ca.0.der().clone()).unwrap();
    }
    ClientTls::with_roots(roots, Arc::new(FixedClock(now.parse().unwrap())))
}

const NOW: &str = "2026-06-01T00:00:00Z";

async fn shake(client: &ClientTls, server: ServerConfig, profile: Profile) -> Secured {
    let (near, far) = tokio::io::duplex(65_536);
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let task = tokio::spawn(async move { acceptor.accept(far).await.map(|_| ()) });
    let host = Host::parse("mx.example").unwrap();
    let secured = client.handshake(Box::new(near), &host, profile).await;
    task.await.unwrap().unwrap();
    secured.unwrap()
}

#[tokio::test]
async fn a_good_certificate_proves_identity() {
    let ca = Ca::new();
    let secured = shake(
        &client(Some(&ca), NOW),
        ca.server("mx.example"),
        Profile::Full,
    )
    .await;
    assert_eq!(secured.proof.verdict.identity(), Ok(()));
    assert_eq!(secured.proof.facts.version, "TLSv1.3");
    assert!(secured.proof.facts.cipher.starts_with("TLS_AES_"));
    assert_eq!(secured.proof.facts.group, "X25519");
    assert_eq!(
        secured.proof.facts.certificate.unwrap().names,
        ["mx.example"]
    );
}

#[tokio::test]
async fn e24_each_profile_dares_less() {
    let ca = Ca::new();
    let client = client(Some(&ca), NOW);
    for (profile, version) in [
        (Profile::Full, "TLSv1.3"),
        (Profile::Classical, "TLSv1.3"),
        (Profile::Capped, "TLSv1.2"),
    ] {
        let secured = shake(&client, ca.server("mx.example"), profile).await;
        assert_eq!(secured.proof.facts.version, version);
        assert_eq!(secured.proof.verdict.identity(), Ok(()));
    }
}

#[tokio::test]
async fn post_quantum_key_exchange_is_offered_in_full_alone() {
    let ca = Ca::new();
    let client = client(Some(&ca), NOW);
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519MLKEM768];
    let server = ca.server_by(provider, "mx.example");
    let secured = shake(&client, server, Profile::Full).await;
    assert_eq!(secured.proof.facts.group, "X25519MLKEM768");
    let names: Vec<_> = client
        .classical
        .kx_groups
        .iter()
        .map(|g| g.name())
        .collect();
    let classical = [
        NamedGroup::X25519,
        NamedGroup::secp256r1,
        NamedGroup::secp384r1,
    ];
    assert_eq!(names, classical);
}

#[tokio::test]
async fn what_is_wrong_is_recorded_not_refused() {
    let ca = Ca::new();
    let cases = [
        (Some(&ca), NOW, "other.example", Reason::CertificateName),
        (None, NOW, "mx.example", Reason::CertificateUntrusted),
        (
            Some(&ca),
            "2027-06-01T00:00:00Z",
            "mx.example",
            Reason::CertificateExpired,
        ),
        (
            Some(&ca),
            "2025-06-01T00:00:00Z",
            "mx.example",
            Reason::CertificateNotYetValid,
        ),
    ];
    for (roots, now, name, reason) in cases {
        let secured = shake(&client(roots, now), ca.server(name), Profile::Full).await;
        assert_eq!(secured.proof.verdict.identity(), Err(reason));
        assert_eq!(secured.proof.verdict.signature, Ok(()));
    }
}

#[tokio::test]
async fn what_breaks_off_says_nothing() {
    for answer in [
        &b""[..],
        b"220 go ahead\r\n",
        b"\x15\x03\x03\x00\x02\x02\x50",
    ] {
        let (near, mut far) = tokio::io::duplex(65_536);
        far.write_all(answer).await.unwrap();
        drop(far);
        let host = Host::parse("mx.example").unwrap();
        let client = client(None, NOW);
        let result = client.handshake(Box::new(near), &host, Profile::Full);
        assert_eq!(result.await.unwrap_err().reason(), Reason::TlsInterrupted);
    }
}

#[tokio::test]
async fn a_handshake_failure_is_a_definite_no() {
    // Alerts handshake_failure, protocol_version, insufficient_security.
    for alert in [40u8, 70, 71] {
        let (near, mut far) = tokio::io::duplex(65_536);
        far.write_all(&[21, 3, 3, 0, 2, 2, alert]).await.unwrap();
        let host = Host::parse("mx.example").unwrap();
        let client = client(None, NOW);
        let result = client.handshake(Box::new(near), &host, Profile::Full);
        assert_eq!(result.await.unwrap_err().reason(), Reason::NoCommonTls);
    }
}

#[test]
fn roots_that_are_none_are_an_error() {
    let clock = Arc::new(FixedClock(Timestamp::default()));
    let missing = ClientTls::load(&["/nonexistent.pem".into()], clock.clone());
    assert!(matches!(missing, Err(RootsError::File { .. })));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty.pem");
    std::fs::write(&path, "nothing").unwrap();
    let empty = ClientTls::load(&[path], clock);
    assert!(matches!(empty, Err(RootsError::Empty(_))));
}
