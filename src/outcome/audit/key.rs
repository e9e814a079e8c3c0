//! The key that a day's head is signed with.
//!
//! Owns `DATA_DIR/keys/audit` (Ed25519, PKCS#8 as PEM, for the service alone) and
//! beside it the public key for those who verify. Holds always: a key is made only
//! where there was none; one that is lost or does not fit its public key is told,
//! never replaced in silence, since what it signed could then not be verified.
//! Called by [`super::AuditLog::open`] and by `verify`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::chain::hex;
use crate::sys::{Disk, Entropy, write_new};

/// A key file's octets at most.
const FILE_MAX: usize = 4096;
/// RFC 8410 section 4: what stands before the 32 octets of an Ed25519 public key.
const SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
const PRIVATE: &str = "PRIVATE KEY";
const PUBLIC: &str = "PUBLIC KEY";

/// Why there is no key to sign or verify with.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file can't be read or written.
    #[error("{path}: {cause}", path = path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// A file holds something else.
    #[error("{path}: not an Ed25519 key as PEM", path = path.display())]
    NotKey {
        /// Which.
        path: PathBuf,
    },
    /// There is a public key, but not its private one.
    #[error(
        "the audit's key {path} is missing: put it back from your backup, or move the audit \
         folder and {public} elsewhere together to begin a new chain",
        path = path.display(), public = public_path(path).display()
    )]
    Missing {
        /// The private key.
        path: PathBuf,
    },
    /// The public key is another's.
    #[error(
        "{path} does not belong to the audit's private key beside it: put the right one back, \
         or remove it to have it written anew",
        path = path.display()
    )]
    Differs {
        /// The public key.
        path: PathBuf,
    },
    /// A key can't be made.
    #[error("a key for the audit can't be made")]
    Entropy,
}

/// Where the public key of a private key lies.
#[must_use]
pub fn public_path(private: &Path) -> PathBuf {
    let mut name = private.as_os_str().to_owned();
    name.push(".pub.pem");
    name.into()
}

/// The key that signs.
pub struct AuditKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuditKey({})", self.public.name())
    }
}

impl AuditKey {
    /// Reads the key, or makes one where there has never been one.
    ///
    /// # Errors
    /// [`KeyError`], which says what to do.
    pub(super) fn open(
        disk: &dyn Disk,
        entropy: &dyn Entropy,
        path: &Path,
    ) -> Result<Self, KeyError> {
        let public = public_path(path);
        let stored = match read(disk, path) {
            Ok(octets) => Some(Self::parse(&octets).ok_or_else(|| not_key(path))?),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(cause) => return Err(failed(path, cause)),
        };
        let known = match read(disk, &public) {
            Ok(octets) => Some(PublicKey::parse(&octets).ok_or_else(|| not_key(&public))?),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(cause) => return Err(failed(&public, cause)),
        };
        let key = match (stored, known) {
            (Some(key), Some(known)) if key.public == known => return Ok(key),
            (Some(_), Some(_)) => return Err(KeyError::Differs { path: public }),
            (None, Some(_)) => {
                return Err(KeyError::Missing {
                    path: path.to_owned(),
                });
            }
            (Some(key), None) => key,
            (None, None) => Self::make(disk, entropy, path)?,
        };
        // The private key is durable first: a public key alone means a loss.
        write_new(disk, &public, key.public.to_pem().as_bytes())
            .map_err(|cause| failed(&public, cause))?;
        Ok(key)
    }

    fn make(disk: &dyn Disk, entropy: &dyn Entropy, path: &Path) -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        entropy.fill(seed.as_mut()).map_err(|_| KeyError::Entropy)?;
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).map_err(|_| KeyError::Entropy)?;
        let document = pair.to_pkcs8v1().map_err(|_| KeyError::Entropy)?;
        let text = Zeroizing::new(pem(PRIVATE, document.as_ref()));
        if let Some(folder) = path.parent() {
            disk.create_folder(folder)
                .map_err(|cause| failed(folder, cause))?;
        }
        write_new(disk, path, text.as_bytes()).map_err(|cause| failed(path, cause))?;
        Self::of(pair).ok_or(KeyError::Entropy)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let document = unpem(PRIVATE, text)?;
        Self::of(Ed25519KeyPair::from_pkcs8(&document).ok()?)
    }

    fn of(pair: Ed25519KeyPair) -> Option<Self> {
        let public = PublicKey(pair.public_key().as_ref().try_into().ok()?);
        Some(Self { pair, public })
    }

    /// The name by which a head says what it is signed with.
    pub(super) fn name(&self) -> String {
        self.public.name()
    }

    pub(super) fn sign(&self, text: &[u8]) -> Vec<u8> {
        self.pair.sign(text).as_ref().to_vec()
    }
}

/// The key that verifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Reads a PEM file.
    ///
    /// # Errors
    /// [`KeyError::Io`] or [`KeyError::NotKey`].
    pub fn load(disk: &dyn Disk, path: &Path) -> Result<Self, KeyError> {
        let octets = read(disk, path).map_err(|cause| failed(path, cause))?;
        Self::parse(&octets).ok_or_else(|| not_key(path))
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let document = unpem(PUBLIC, text)?;
        let octets = document.strip_prefix(&SPKI)?;
        octets.try_into().ok().map(Self)
    }

    fn to_der(self) -> Vec<u8> {
        [&SPKI[..], &self.0].concat()
    }

    fn to_pem(self) -> String {
        pem(PUBLIC, &self.to_der())
    }

    /// The first 16 hex digits of the SHA-256 over its DER.
    #[must_use]
    pub fn name(self) -> String {
        let digest = digest::digest(&digest::SHA256, &self.to_der());
        hex(digest.as_ref().get(..8).unwrap_or_default())
    }

    pub(super) fn verifies(self, text: &[u8], signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, &self.0);
        key.verify(text, signature).is_ok()
    }
}

fn read(disk: &dyn Disk, path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    disk.read(path, FILE_MAX).map(Zeroizing::new)
}

/// RFC 7468; both kinds of key fit one line.
fn pem(label: &str, der: &[u8]) -> String {
    let text = Zeroizing::new(STANDARD.encode(der));
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        text.as_str()
    )
}

fn unpem(label: &str, text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let text = std::str::from_utf8(text).ok()?;
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (inner, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let digits: Zeroizing<Vec<u8>> =
        Zeroizing::new(inner.bytes().filter(|c| !c.is_ascii_whitespace()).collect());
    STANDARD.decode(&*digits).ok().map(Zeroizing::new)
}

fn failed(path: &Path, cause: io::Error) -> KeyError {
    let path = path.to_owned();
    KeyError::Io { path, cause }
}

fn not_key(path: &Path) -> KeyError {
    let path = path.to_owned();
    KeyError::NotKey { path }
}
