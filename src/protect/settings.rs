//! The part of the configuration that protects content.

use std::path::PathBuf;

use super::smime::Cipher;

/// `[pgp]` and `[smime]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// `[pgp]`; `None`: the method is not configured.
    pub pgp: Option<PgpSettings>,
    /// `[smime]`; `None`: the method is not configured.
    pub smime: Option<SmimeSettings>,
}

/// `[pgp]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PgpSettings {
    /// The organisation's secret key, which signs inside the encryption; `None`: nothing
    /// is signed.
    pub signing_key: Option<PathBuf>,
}

/// `[smime]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SmimeSettings {
    /// The organisation's certificate, first in its file, with those between it and a
    /// root, and its secret key; `None`: nothing is signed.
    pub signer: Option<(PathBuf, PathBuf)>,
    /// PEM files of the authorities whose certificates count without being added by hand.
    pub authorities: Vec<PathBuf>,
    /// PEM files of authorities below those.
    pub intermediates: Vec<PathBuf>,
    /// Lists of revoked certificates, PEM or DER.
    pub revocations: Vec<PathBuf>,
    /// What the content is encrypted with.
    pub cipher: Cipher,
}
