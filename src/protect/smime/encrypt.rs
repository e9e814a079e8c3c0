//! The S/MIME message (RFC 8551 sections 3.3 to 3.6).
//!
//! Holds always: signature inside, as `multipart/signed` that every reader shows,
//! encryption outside; what leaves is 7-bit with CRLF.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::cms::{CMSOptions, CmsContentInfo};
use openssl::stack::Stack;

pub use crate::types::SmimeCipher as Cipher;

use super::certificate::Usable;
use super::signer::Signer;
use crate::protect::headers::{Parts, boundary};
use crate::protect::{Proof, ProtectError, Protected};
use crate::sys::Entropy;
use crate::types::Timestamp;

/// Octets of an encoded line.
const LINE: usize = 76;

impl Cipher {
    /// The parameter `smime-type` (RFC 8551 section 3.2.2).
    fn smime_type(self) -> &'static str {
        match self {
            Self::Aes256Cbc => "enveloped-data",
            Self::Aes256Gcm => "authEnveloped-data",
        }
    }

    fn of_openssl(self) -> openssl::symm::Cipher {
        match self {
            Self::Aes256Cbc => openssl::symm::Cipher::aes_256_cbc(),
            Self::Aes256Gcm => openssl::symm::Cipher::aes_256_gcm(),
        }
    }
}

/// Makes of a message as stored one that only the owner of `to` can read, signed
/// inside if there is a `signer`.
///
/// Needs memory for some six times the message: CMS takes it whole.
///
/// # Errors
/// [`ProtectError`]; then nothing may leave.
pub fn protect(
    message: &[u8],
    to: &Usable,
    signer: Option<&Signer>,
    cipher: Cipher,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<Protected, ProtectError> {
    // It may have been looked up a while ago.
    to.0.check(now)?;
    let parts = Parts::of(message)?;
    let mut entity = parts.inner();
    entity.extend_from_slice(parts.body());
    if let Some(signer) = signer {
        signer.check(now).map_err(ProtectError::Signer)?;
        entity = signed(&entity, signer, entropy)?;
    }
    let sealed = envelope(&entity, to, cipher)?;
    drop(entity);
    let mut out = parts.outer();
    out.extend_from_slice(opening(cipher).as_bytes());
    push_base64(&mut out, &sealed);
    Ok(Protected {
        octets: out,
        proof: Proof {
            certificate: to.fingerprint(),
            keys: vec![to.fingerprint()],
            cipher: cipher.as_str().to_owned(),
            signed_by: signer.map(Signer::fingerprint),
        },
    })
}

/// The entity with its signature behind it (RFC 8551 section 3.5.3).
fn signed(entity: &[u8], signer: &Signer, entropy: &dyn Entropy) -> Result<Vec<u8>, ProtectError> {
    let boundary = boundary(entropy)?;
    let signature = signer.sign(entity).map_err(failed)?;
    let mut out = Vec::with_capacity(entity.len() + signature.len() * 2 + 1024);
    let head = format!(
        "Content-Type: multipart/signed; protocol=\"application/pkcs7-signature\";\r\n \
         micalg=sha-256; boundary=\"{boundary}\"\r\n\
         \r\n\
         --{boundary}\r\n"
    );
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(entity);
    let between = format!(
        "\r\n--{boundary}\r\n\
         Content-Type: application/pkcs7-signature; name=\"smime.p7s\"\r\n\
         Content-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment; filename=\"smime.p7s\"\r\n\
         \r\n"
    );
    out.extend_from_slice(between.as_bytes());
    push_base64(&mut out, &signature);
    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    Ok(out)
}

/// The CMS object, DER.
fn envelope(entity: &[u8], to: &Usable, cipher: Cipher) -> Result<Vec<u8>, ProtectError> {
    let mut one = Stack::new().map_err(failed)?;
    one.push(to.0.0.clone()).map_err(failed)?;
    CmsContentInfo::encrypt(&one, entity, cipher.of_openssl(), CMSOptions::BINARY)
        .and_then(|cms| cms.to_der())
        .map_err(failed)
}

/// The structural fields.
fn opening(cipher: Cipher) -> String {
    let kind = cipher.smime_type();
    format!(
        "MIME-Version: 1.0\r\n\
         Content-Type: application/pkcs7-mime; smime-type={kind};\r\n name=\"smime.p7m\"\r\n\
         Content-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment; filename=\"smime.p7m\"\r\n\
         Content-Description: S/MIME encrypted message\r\n\
         \r\n"
    )
}

fn push_base64(out: &mut Vec<u8>, octets: &[u8]) {
    let encoded = STANDARD.encode(octets);
    out.reserve(encoded.len() + encoded.len() / LINE * 2 + 4);
    for line in encoded.as_bytes().chunks(LINE) {
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
    }
}

fn failed(error: openssl::error::ErrorStack) -> ProtectError {
    let first = error.errors().first().and_then(|e| e.reason());
    ProtectError::Library(first.unwrap_or("no reason given").to_owned())
}
