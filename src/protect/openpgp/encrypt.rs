//! The PGP/MIME message (RFC 3156 sections 4 and 6.2).
//!
//! Holds always: signature inside, encryption outside; nothing is compressed, so
//! that size tells nothing about content; what leaves is 7-bit with CRLF.

use std::io::{self, Write};

use sequoia_openpgp as pgp;

use pgp::armor;
use pgp::packet::Packet;
use pgp::parse::{PacketParser, PacketParserResult, Parse};
use pgp::serialize::stream::{Armorer, Encryptor, LiteralWriter, Message, Signer as Signing};
use pgp::types::{AEADAlgorithm, HashAlgorithm, SymmetricAlgorithm};

use super::certificate::{Certificate, Usable};
use super::signer::Signer;
use super::{encryption, policy};
use crate::protect::headers::{Parts, boundary};
use crate::protect::{Proof, ProtectError, Protected, system_time};
use crate::sys::Entropy;
use crate::types::Timestamp;

/// Makes of a message as stored one that only the owner of `to` can read, signed
/// inside if there is a `signer`.
///
/// Needs memory for the message that comes out, a third larger than what goes in.
///
/// # Errors
/// [`ProtectError`]; then nothing may leave.
pub fn protect(
    message: &[u8],
    to: &Usable,
    signer: Option<&Signer>,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<Protected, ProtectError> {
    // It may have been looked up a while ago.
    let to = &Certificate::from(to).usable_for(&to.recipient, now)?;
    let parts = Parts::of(message)?;
    let boundary = boundary(entropy)?;
    let mut out = parts.outer();
    out.reserve(message.len() + message.len() / 2 + 4096);
    out.extend_from_slice(opening(&boundary).as_bytes());
    let start = out.len();
    encrypt(&mut CrLf(&mut out), &parts, to, signer, now)?;
    let cipher = cipher_of(out.get(start..).unwrap_or_default(), to.keys().len())?;
    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    Ok(Protected {
        octets: out,
        proof: Proof {
            certificate: to.fingerprint(),
            keys: to.keys().to_vec(),
            cipher,
            signed_by: signer.map(Signer::fingerprint),
        },
    })
}

fn encrypt(
    out: &mut CrLf<'_>,
    parts: &Parts<'_>,
    to: &Usable,
    signer: Option<&Signer>,
    now: Timestamp,
) -> Result<(), ProtectError> {
    let at = system_time(now);
    let standard = policy(at);
    let valid = to.cert.with_policy(&standard, at).map_err(failed)?;
    let keys = valid
        .keys()
        .key_flags(encryption())
        .supported()
        .revoked(false)
        .alive();
    let message = Armorer::new(Message::new(out))
        .kind(armor::Kind::Message)
        .build()
        .map_err(failed)?;
    let mut message = Encryptor::for_recipients(message, keys)
        .symmetric_algo(SymmetricAlgorithm::AES256)
        .build()
        .map_err(failed)?;
    if let Some(signer) = signer {
        let pair = signer.pair(now).map_err(ProtectError::Signer)?;
        message = Signing::new(message, pair)
            .and_then(|signing| signing.hash_algo(HashAlgorithm::SHA512))
            .and_then(|signing| {
                // Whom it was for, so that it can't be passed on as if to another.
                signing
                    .add_intended_recipient(&to.cert)
                    .creation_time(at)
                    .build()
            })
            .map_err(failed)?;
    }
    let mut literal = LiteralWriter::new(message).build().map_err(failed)?;
    literal.write_all(&parts.inner()).map_err(failed)?;
    literal.write_all(parts.body()).map_err(failed)?;
    literal.finalize().map_err(failed)
}

/// What the message is encrypted with, read from the message itself, with proof
/// that it can be read by so many keys and no more.
fn cipher_of(armored: &[u8], keys: usize) -> Result<String, ProtectError> {
    let mut result = PacketParser::from_bytes(armored).map_err(failed)?;
    let mut readers = 0;
    while let PacketParserResult::Some(parser) = result {
        let found = match &parser.packet {
            Packet::PKESK(_) => {
                readers += 1;
                None
            }
            Packet::SEIP(pgp::packet::SEIP::V2(seip)) => {
                let mode = match seip.aead() {
                    AEADAlgorithm::OCB => "OCB".to_owned(),
                    AEADAlgorithm::GCM => "GCM".to_owned(),
                    other => other.to_string(),
                };
                Some(format!("AES-256-{mode}"))
            }
            Packet::SEIP(_) => Some("AES-256-CFB-MDC".to_owned()),
            _ => return Err(failed("the message has an unexpected packet")),
        };
        if let Some(cipher) = found {
            return match readers == keys && readers > 0 {
                true => Ok(cipher),
                false => Err(failed("the message is not for the keys it should be for")),
            };
        }
        result = parser.next().map_err(failed)?.1;
    }
    Err(failed("the message is not encrypted"))
}

/// The structural fields and what comes before the encrypted data.
fn opening(boundary: &str) -> String {
    format!(
        "MIME-Version: 1.0\r\n\
         Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\";\r\n \
         boundary=\"{boundary}\"\r\n\
         \r\n\
         This message is encrypted with OpenPGP (RFC 3156).\r\n\
         --{boundary}\r\n\
         Content-Type: application/pgp-encrypted\r\n\
         Content-Description: PGP/MIME version identification\r\n\
         \r\n\
         Version: 1\r\n\
         \r\n\
         --{boundary}\r\n\
         Content-Type: application/octet-stream; name=\"encrypted.asc\"\r\n\
         Content-Description: OpenPGP encrypted message\r\n\
         Content-Disposition: inline; filename=\"encrypted.asc\"\r\n\
         \r\n"
    )
}

fn failed(error: impl std::fmt::Display) -> ProtectError {
    ProtectError::Library(error.to_string())
}

impl From<&Usable> for Certificate {
    fn from(usable: &Usable) -> Self {
        Self::of(usable.cert.clone())
    }
}

/// Armor has LF; mail has CRLF.
struct CrLf<'a>(&'a mut Vec<u8>);

impl Write for CrLf<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        for line in octets.split_inclusive(|b| *b == b'\n') {
            match line.split_last() {
                Some((b'\n', line)) => {
                    self.0.extend_from_slice(line);
                    self.0.extend_from_slice(b"\r\n");
                }
                _ => self.0.extend_from_slice(line),
            }
        }
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
