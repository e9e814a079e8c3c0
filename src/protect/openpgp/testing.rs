//! Keys made for tests, and the other side: one that decrypts and verifies.

use std::io::Read;
use std::time::Duration;

use sequoia_openpgp as pgp;

use pgp::cert::{CertBuilder, CipherSuite};
use pgp::crypto::SessionKey;
use pgp::parse::Parse;
use pgp::parse::stream::{
    DecryptionHelper, DecryptorBuilder, MessageLayer, MessageStructure, VerificationHelper,
};
use pgp::serialize::SerializeInto;
use pgp::types::SymmetricAlgorithm;

use super::{Certificate, Signer, policy};
use crate::protect::system_time;
use crate::types::{Mailbox, Timestamp};

pub(in crate::protect) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The present of these tests.
pub(in crate::protect) fn now() -> Timestamp {
    at("2026-11-28T09:00:00Z")
}

pub(in crate::protect) fn anna() -> Mailbox {
    Mailbox::parse("anna@clinic.example").unwrap()
}

/// A builder of a certificate made on New Year's day, without keys.
pub(in crate::protect) fn builder(suite: CipherSuite) -> CertBuilder<'static> {
    CertBuilder::new()
        .add_userid("Anna <anna@clinic.example>")
        .set_cipher_suite(suite)
        .set_creation_time(system_time(at("2026-01-01T00:00:00Z")))
}

/// A key of the usual kind.
pub(in crate::protect) fn key(suite: CipherSuite) -> pgp::Cert {
    let keyed = builder(suite).add_transport_encryption_subkey();
    keyed.add_signing_subkey().generate().unwrap().0
}

/// A year's validity and a subkey to encrypt to.
pub(in crate::protect) fn for_a_year() -> CertBuilder<'static> {
    builder(CipherSuite::Cv25519)
        .set_validity_period(Duration::from_secs(365 * 86_400))
        .add_transport_encryption_subkey()
}

/// What the world sees of a key.
pub(in crate::protect) fn public(key: &pgp::Cert) -> Certificate {
    let octets = key.clone().strip_secret_key_material();
    let octets = octets.armored().to_vec().unwrap();
    Certificate::read(&octets).unwrap().remove(0)
}

pub(in crate::protect) fn signer(key: &pgp::Cert) -> Signer {
    Signer::read(&key.as_tsk().armored().to_vec().unwrap()).unwrap()
}

/// The encrypted part of a PGP/MIME message.
pub(in crate::protect) fn armored(message: &[u8]) -> &[u8] {
    let begin = b"-----BEGIN PGP MESSAGE-----";
    let start = memchr::memmem::find(message, begin).unwrap();
    let end = b"-----END PGP MESSAGE-----\r\n";
    let length = memchr::memmem::find(&message[start..], end).unwrap();
    &message[start..start + length + end.len()]
}

/// A certificate, and a later copy of it that is revoked.
pub(in crate::protect) fn revoked_later() -> (Certificate, Certificate) {
    let cert = for_a_year().generate().unwrap().0;
    let key = cert.primary_key().key().clone();
    let mut signer = key.parts_into_secret().unwrap().into_keypair().unwrap();
    let packet = pgp::cert::CertRevocationBuilder::new()
        .set_reason_for_revocation(pgp::types::ReasonForRevocation::KeyCompromised, b"")
        .unwrap()
        .set_signature_creation_time(system_time(at("2026-06-01T00:00:00Z")))
        .unwrap()
        .build(&mut signer, &cert, None)
        .unwrap();
    let revoked = cert.clone().insert_packets(packet).unwrap().0;
    (public(&cert), public(&revoked))
}

struct Reader<'a> {
    key: &'a pgp::Cert,
    signed_by: Option<&'a pgp::Cert>,
    signatures: usize,
}

/// Decrypts with `key`; gives the content and how many signatures by `signed_by`
/// hold.
pub(in crate::protect) fn decrypt(
    message: &[u8],
    key: &pgp::Cert,
    signed_by: Option<&pgp::Cert>,
) -> Result<(Vec<u8>, usize), String> {
    let standard = policy(system_time(now()));
    let reader = Reader {
        key,
        signed_by,
        signatures: 0,
    };
    let mut decryptor = DecryptorBuilder::from_bytes(armored(message))
        .and_then(|builder| builder.with_policy(&standard, system_time(now()), reader))
        .map_err(|e| format!("{e:#}"))?;
    let mut content = Vec::new();
    decryptor
        .read_to_end(&mut content)
        .map_err(|e| e.to_string())?;
    Ok((content, decryptor.helper_ref().signatures))
}

impl VerificationHelper for Reader<'_> {
    fn get_certs(&mut self, _: &[pgp::KeyHandle]) -> pgp::Result<Vec<pgp::Cert>> {
        Ok(self.signed_by.into_iter().cloned().collect())
    }

    fn check(&mut self, structure: MessageStructure<'_>) -> pgp::Result<()> {
        for layer in structure {
            if let MessageLayer::SignatureGroup { results } = layer {
                self.signatures += results.iter().filter(|r| r.is_ok()).count();
            }
        }
        Ok(())
    }
}

impl DecryptionHelper for Reader<'_> {
    fn decrypt(
        &mut self,
        envelopes: &[pgp::packet::PKESK],
        _: &[pgp::packet::SKESK],
        _: Option<SymmetricAlgorithm>,
        decrypt: &mut dyn FnMut(Option<SymmetricAlgorithm>, &SessionKey) -> bool,
    ) -> pgp::Result<Option<pgp::Cert>> {
        for envelope in envelopes {
            // To open it with another RSA key gives octets of any length by chance
            // (OpenSSL's implicit rejection), at which sequoia may panic.
            let named = envelope.recipient();
            let is_named =
                |handle: &pgp::KeyHandle| named.as_ref().is_none_or(|named| named.aliases(handle));
            let keys = self.key.keys().secret();
            for key in keys.filter(|key| is_named(&key.key().key_handle())) {
                let mut pair = key.key().clone().into_keypair()?;
                let found = envelope.decrypt(&mut pair, None);
                if found.is_some_and(|(algorithm, session)| decrypt(algorithm, &session)) {
                    return Ok(Some(self.key.clone()));
                }
            }
        }
        Err(anyhow("not for this key"))
    }
}

fn anyhow(text: &'static str) -> pgp::anyhow::Error {
    pgp::anyhow::Error::msg(text)
}
