//! The listeners' certificate and key, reloaded when their files change.
//!
//! Holds always: what is served is a chain whose key matches it; a bad new file
//! leaves the old pair in place and is logged once; a self-signed key lies in a
//! file of mode 0600 and is kept once made. Called by `ingress`, at start and
//! before handshakes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::facts::certificate_facts;
use crate::types::{Domain, Timestamp};

/// Why a certificate and key can't be served.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file can't be read or written.
    #[error("{}: {cause}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// A file is not PEM, or lacks what it should hold.
    #[error("{}: {cause}", path.display())]
    Pem {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        cause: rustls_pki_types::pem::Error,
    },
    /// The certificate file holds no certificate.
    #[error("{}: no certificate in it", path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
    /// The key is of no use, or not the certificate's.
    #[error("{}: not a usable pair with {}: {cause}", key.display(), certificate.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls says.
        cause: rustls::Error,
    },
    /// A self-signed certificate could not be made.
    #[error("no self-signed certificate can be made: {0}")]
    SelfSigned(#[from] rcgen::Error),
}

/// What tells one state of a file from another (the accounts file, too).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    size: u64,
    mtime: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let meta = fs::metadata(path).ok()?;
        Some(Self {
            inode: meta.ino(),
            size: meta.size(),
            mtime: (meta.mtime(), meta.mtime_nsec()),
        })
    }
}

/// A certificate chain with its key, as served at this moment.
#[derive(Debug)]
pub struct Identity {
    certificate: PathBuf,
    private_key: PathBuf,
    seen: Mutex<[Option<Stamp>; 2]>,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Identity {
    /// Loads a chain and its key from PEM files.
    ///
    /// # Errors
    /// Any [`IdentityError`].
    pub fn load(certificate: PathBuf, private_key: PathBuf) -> Result<Self, IdentityError> {
        // Stamps first: a change while reading is then seen as one later.
        let seen = [Stamp::of(&certificate), Stamp::of(&private_key)];
        let current = read_pair(&certificate, &private_key)?;
        Ok(Self {
            certificate,
            private_key,
            seen: Mutex::new(seen),
            current: RwLock::new(Arc::new(current)),
        })
    }

    /// Loads the self-signed certificate kept in `folder`, made there if it is
    /// missing: ECDSA P-256, for `hostname`, 10 years from `now`.
    ///
    /// # Errors
    /// Any [`IdentityError`].
    pub fn self_signed(
        folder: &Path,
        hostname: &Domain,
        now: Timestamp,
    ) -> Result<Self, IdentityError> {
        let path = folder.join(SELF_SIGNED);
        if !path.exists() {
            make_self_signed(folder, &path, hostname, now)?;
            tracing::warn!(
                "no [tls] certificate is configured: made a self-signed one for {hostname} in {}; \
                 clients that verify certificates will refuse it",
                path.display()
            );
        }
        Self::load(path.clone(), path)
    }

    /// Looks at the files and takes them in if they changed. Touches the disk,
    /// so call it off the async threads, every few seconds at most.
    pub fn refresh(&self) {
        let stamps = [Stamp::of(&self.certificate), Stamp::of(&self.private_key)];
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == stamps {
            return;
        }
        // Remembered even if bad, so that one bad state is logged once.
        *seen = stamps;
        match read_pair(&self.certificate, &self.private_key) {
            Ok(pair) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pair);
                tracing::info!("certificate reloaded from {}", self.certificate.display());
            }
            Err(error) => tracing::error!("certificate not reloaded, the old one stays: {error}"),
        }
    }

    /// The chain served at this moment, the listener's own certificate first.
    #[must_use]
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.current().cert.clone()
    }

    /// When the listener's own certificate ends.
    #[must_use]
    pub fn not_after(&self) -> Option<Timestamp> {
        let current = self.current();
        certificate_facts(current.cert.first()?).not_after
    }

    fn current(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

fn read_pair(certificate: &Path, private_key: &Path) -> Result<CertifiedKey, IdentityError> {
    let chain = read_certificates(certificate)?;
    let key = PrivateKeyDer::from_pem_file(private_key).map_err(|cause| IdentityError::Pem {
        path: private_key.to_owned(),
        cause,
    })?;
    CertifiedKey::from_der(chain, key, &default_provider()).map_err(|cause| IdentityError::Pair {
        certificate: certificate.to_owned(),
        key: private_key.to_owned(),
        cause,
    })
}

/// Reads all certificates of a PEM file, at least one.
///
/// # Errors
/// [`IdentityError::Pem`] or [`IdentityError::Empty`].
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let broken = |cause| IdentityError::Pem {
        path: path.to_owned(),
        cause,
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .map_err(broken)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(broken)?;
    if certificates.is_empty() {
        return Err(IdentityError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(certificates)
}

/// Makes the pair and puts it in place whole: certificate and key share one
/// file, so that a crash leaves both or neither.
fn make_self_signed(
    folder: &Path,
    path: &Path,
    hostname: &Domain,
    now: Timestamp,
) -> Result<(), IdentityError> {
    let mut params = rcgen::CertificateParams::new(vec![hostname.as_str().to_owned()])?;
    let (year, month, day) = civil(now);
    // From the first of the month, for clients whose clock is behind.
    params.not_before = rcgen::date_time_ymd(year, month, 1);
    params.not_after = rcgen::date_time_ymd(year.saturating_add(YEARS), month, day);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "Postern, self-signed");
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let pem = zeroize::Zeroizing::new(format!(
        "{}{}",
        params.self_signed(&key)?.pem(),
        zeroize::Zeroizing::new(key.serialize_pem()).as_str()
    ));
    write_private(folder, path, pem.as_bytes()).map_err(|cause| IdentityError::Io {
        path: path.to_owned(),
        cause,
    })
}

/// Writes a new file of mode 0600 under its name in one step.
fn write_private(folder: &Path, path: &Path, octets: &[u8]) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let draft = path.with_extension("new");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(octets)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    File::open(folder)?.sync_all()
}

/// Year, month and a day that exists in every such month.
fn civil(at: Timestamp) -> (i32, u8, u8) {
    let day = at.day();
    let mut parts = day.split('-');
    let year = parts.next().and_then(|y| y.parse().ok()).unwrap_or(1970);
    let month = parts.next().and_then(|m| m.parse().ok()).unwrap_or(1);
    let day = parts.next().and_then(|d| d.parse().ok()).unwrap_or(1);
    // 28: the only last day that every month of every year has.
    (year, u8::clamp(month, 1, 12), u8::clamp(day, 1, 28))
}

/// The file of the self-signed pair in its folder.
const SELF_SIGNED: &str = "self-signed.pem";
/// How long a self-signed certificate holds.
const YEARS: i32 = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn now() -> Timestamp {
        "2026-11-30T08:00:00Z".parse().unwrap()
    }

    fn host(name: &str) -> Domain {
        Domain::parse(name).unwrap()
    }

    #[test]
    fn self_signed_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("tls");
        let first = Identity::self_signed(&place, &host("relay.example"), now()).unwrap();
        let again = Identity::self_signed(&place, &host("other.example"), now()).unwrap();
        assert_eq!(first.chain(), again.chain());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&place.join(SELF_SIGNED)), 0o600);
        assert_eq!(mode(&place), 0o700);
        assert!(
            first
                .not_after()
                .unwrap()
                .to_string()
                .starts_with("2036-11-28")
        );
        let chain = first.chain();
        let cert = webpki::EndEntityCert::try_from(&chain[0]).unwrap();
        assert_eq!(
            cert.valid_dns_names().collect::<Vec<_>>(),
            ["relay.example"]
        );
    }

    #[test]
    fn changed_files_are_taken_in_and_bad_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let write = |names: &str| {
            let made = rcgen::generate_simple_self_signed(vec![names.to_owned()]).unwrap();
            fs::write(path("cert.new"), made.cert.pem()).unwrap();
            fs::rename(path("cert.new"), path("cert.pem")).unwrap();
            made.signing_key.serialize_pem()
        };
        fs::write(path("key.pem"), write("one.example")).unwrap();
        let identity = Identity::load(path("cert.pem"), path("key.pem")).unwrap();
        let first = identity.chain();

        // The new certificate without its key yet: the old pair stays.
        let key = write("two.example");
        identity.refresh();
        assert_eq!(identity.chain(), first);

        fs::write(path("key.new"), key).unwrap();
        fs::rename(path("key.new"), path("key.pem")).unwrap();
        identity.refresh();
        assert_ne!(identity.chain(), first);

        let second = identity.chain();
        fs::remove_file(path("cert.pem")).unwrap();
        identity.refresh();
        assert_eq!(identity.chain(), second);
    }

    #[test]
    fn what_is_no_pair_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pem");
        let load = || Identity::load(path.clone(), path.clone()).unwrap_err();
        assert!(load().to_string().contains("x.pem"));
        fs::write(&path, "not PEM").unwrap();
        assert!(matches!(load(), IdentityError::Empty { .. }));
    }
}
