//! What a finished handshake says, as plain data.
//!
//! Owns the reading of a rustls connection into [`TlsFacts`]. Holds always:
//! facts come from the connection itself after the handshake; certificates are
//! parsed by webpki alone; lists are bounded. Called by `client` and, for the
//! listeners, by `ingress`.

use std::fmt::Write as _;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{CipherSuite, CommonState, ProtocolVersion};
use webpki::{EndEntityCert, KeyUsage};

use super::issuer;
use crate::types::{CertificateFacts, Reason, Timestamp, TlsFacts};

/// DNS names of a certificate kept at most.
const NAMES_MAX: usize = 10;
/// After every `notAfter` that X.509 can write (9999-12-31, RFC 5280 section
/// 4.1.2.5): seconds since 1970.
const AFTER_ALL: u64 = 300_000_000_000;

/// What a finished handshake says of the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// What was negotiated.
    pub facts: TlsFacts,
    /// Who issued its certificate, for people to read: `COMMON NAME, ORGANISATION`.
    pub issuer: Option<String>,
    /// What its certificate is worth.
    pub verdict: CertificateVerdict,
}

/// What was recorded of the peer's certificate while the handshake ran. Each
/// part stands for itself; a part that was never checked counts as failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateVerdict {
    /// Whether it leads to a trusted root, in its time and for servers.
    pub chain: Result<(), Reason>,
    /// Whether it is for the host's name.
    pub name: Result<(), Reason>,
    /// Whether the peer holds its key: the handshake's signature.
    pub signature: Result<(), Reason>,
}

impl CertificateVerdict {
    /// Nothing checked yet, so nothing proven.
    pub(super) const UNCHECKED: Self = Self {
        chain: Err(Reason::CertificateInvalid),
        name: Err(Reason::CertificateInvalid),
        signature: Err(Reason::CertificateInvalid),
    };

    /// Whether the peer's identity is proven in all three parts.
    ///
    /// # Errors
    /// The first part that fails: chain, name, signature.
    pub fn identity(&self) -> Result<(), Reason> {
        self.chain.and(self.name).and(self.signature)
    }
}

/// The facts of a connection whose handshake is done, of either side. What is
/// missing stays empty, which no floor admits.
#[must_use]
pub fn facts_of(connection: &CommonState) -> TlsFacts {
    let suite = connection.negotiated_cipher_suite();
    let group = connection.negotiated_key_exchange_group();
    TlsFacts {
        version: connection
            .protocol_version()
            .map(version_word)
            .unwrap_or_default(),
        cipher: suite.map(|s| suite_word(s.suite())).unwrap_or_default(),
        group: group
            .and_then(|group| group.name().as_str())
            .unwrap_or_default()
            .to_owned(),
        certificate: connection
            .peer_certificates()
            .and_then(|chain| chain.first())
            .map(certificate_facts),
    }
}

/// Who issued the peer's certificate.
pub(super) fn issuer_of(connection: &CommonState) -> Option<String> {
    let certificate = connection.peer_certificates()?.first()?;
    issuer::words(EndEntityCert::try_from(certificate).ok()?.issuer())
}

/// `TLSv1.3`, as Postfix logs name it; rustls says `TLSv1_3`.
fn version_word(version: ProtocolVersion) -> String {
    version.as_str().unwrap_or_default().replace('_', ".")
}

/// A suite's IANA name; rustls says `TLS13_…` for those of TLS 1.3, IANA `TLS_…`.
#[must_use]
pub fn suite_word(suite: CipherSuite) -> String {
    let word = suite.as_str().unwrap_or_default();
    match word.strip_prefix("TLS13_") {
        Some(rest) => format!("TLS_{rest}"),
        None => word.to_owned(),
    }
}

pub(super) fn certificate_facts(der: &CertificateDer<'_>) -> CertificateFacts {
    // X.509 v1 is no EndEntityCert to webpki; its fingerprint must do.
    let parsed = EndEntityCert::try_from(der).ok();
    let names = parsed.iter().flat_map(|cert| cert.valid_dns_names());
    CertificateFacts {
        sha256: sha256_hex(der),
        names: names.take(NAMES_MAX).map(str::to_owned).collect(),
        not_after: parsed.as_ref().and_then(not_after),
    }
}

/// webpki tells `notAfter` only to who checks too late, so we do.
fn not_after(cert: &EndEntityCert<'_>) -> Option<Timestamp> {
    let late = UnixTime::since_unix_epoch(Duration::from_secs(AFTER_ALL));
    let usage = KeyUsage::server_auth();
    match cert.verify_for_usage(&[], &[], &[], late, usage, None, None) {
        Err(webpki::Error::CertExpired { not_after, .. }) => {
            let micros = i64::try_from(not_after.as_secs())
                .ok()?
                .checked_mul(1_000_000)?;
            Some(Timestamp::from_micros(micros))
        }
        _ => None,
    }
}

fn sha256_hex(octets: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, octets);
    digest
        .as_ref()
        .iter()
        .fold(String::new(), |mut hex, octet| {
            // Writing to a String can't fail.
            let _ = write!(hex, "{octet:02x}");
            hex
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_as_evidence_names_it() {
        let mut params =
            rcgen::CertificateParams::new(vec!["mx.example".into(), "*.mx.example".into()])
                .unwrap();
        params.not_after = rcgen::date_time_ymd(2031, 2, 3);
        let key = rcgen::KeyPair::generate().unwrap();
        let facts = certificate_facts(params.self_signed(&key).unwrap().der());
        assert_eq!(facts.names, ["mx.example", "*.mx.example"]);
        assert_eq!(
            facts.not_after.unwrap().to_string(),
            "2031-02-03T00:00:00.000Z"
        );
        assert_eq!(facts.sha256.len(), 64);
    }

    #[test]
    fn suites_have_their_iana_names() {
        for (suite, word) in [
            (
                CipherSuite::TLS13_AES_128_GCM_SHA256,
                "TLS_AES_128_GCM_SHA256",
            ),
            (
                CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
                "TLS_CHACHA20_POLY1305_SHA256",
            ),
            (
                CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            ),
            (CipherSuite::Unknown(0x1399), ""),
        ] {
            assert_eq!(suite_word(suite), word);
        }
    }

    #[test]
    fn nonsense_is_only_a_fingerprint() {
        let facts = certificate_facts(&CertificateDer::from(&b"no certificate"[..]));
        assert!(facts.names.is_empty() && facts.not_after.is_none());
    }

    #[test]
    fn identity_needs_all_three_parts() {
        let all = CertificateVerdict {
            chain: Ok(()),
            name: Ok(()),
            signature: Ok(()),
        };
        assert_eq!(all.identity(), Ok(()));
        let name = Err(Reason::CertificateName);
        assert_eq!(CertificateVerdict { name, ..all }.identity(), name);
        let signature = Err(Reason::CertificateInvalid);
        assert_eq!(
            CertificateVerdict { signature, ..all }.identity(),
            signature
        );
        assert!(CertificateVerdict::UNCHECKED.identity().is_err());
    }
}
