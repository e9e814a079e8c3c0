//! From a stored message and its recipient to a copy that the recipient alone can read.
//!
//! Owns the choice of the key, the organisation's own keys, and how many messages are
//! encrypted at once. Holds always: what can't be protected has a [`Hindrance`], which
//! says whether waiting may help; a message that should be signed is never left unsigned;
//! memory and threads are bounded by [`MEMORY`], whatever is asked at once. Called by
//! `delivery` at each attempt.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::discovery::{Discover, Sought};
use super::keys::{Chosen, KeyStore, Kind, NoKey, StoreError, Terms, UsableKey};
use super::smime::Authorities;
use super::{ProtectError, Protected, Settings, openpgp, smime};
use crate::sys::{Clock, Entropy};
use crate::types::{
    Body, ContentProof, EncryptedBy, Mailbox, Method, Reason, SmimeCipher, StoredCopy, Trust,
};

/// Messages that are being encrypted at once, in KiB of what is stored. One that is
/// larger goes alone. What is needed is six times as much (S/MIME) or three (OpenPGP).
const MEMORY: u32 = 64 * 1024;
/// What one message counts for at least, so that threads are bounded too.
const LEAST: u32 = MEMORY / 16;

/// Why a copy can't be made, or not now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hindrance {
    /// A definite no: the next method has its turn.
    No(Reason),
    /// Nobody can say now whether there is a key.
    Unknown(Reason),
    /// The same, and there was a usable one before: whoever had a key has one still.
    WasKnown(Reason),
    /// Something of our own is in the way, which an operator has to mend.
    Trouble(Reason),
}

impl Hindrance {
    /// The word for it.
    #[must_use]
    pub fn reason(self) -> Reason {
        match self {
            Self::No(reason)
            | Self::Unknown(reason)
            | Self::WasKnown(reason)
            | Self::Trouble(reason) => reason,
        }
    }
}

/// A copy of a message for one recipient.
#[derive(Clone)]
pub struct ProtectedCopy {
    /// The whole message, with CRLF.
    pub octets: Bytes,
    /// How it is protected.
    pub proof: ContentProof,
}

impl fmt::Debug for ProtectedCopy {
    /// Tells the size alone: the outer header names people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProtectedCopy({} octets)", self.octets.len())
    }
}

/// The organisation's own keys can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {fault}", path.display())]
pub struct OwnKeyError {
    /// Which file.
    pub path: std::path::PathBuf,
    /// What is wrong with it.
    pub fault: String,
}

/// Protects messages. A reload of the configuration builds a new one.
pub struct Protector {
    store: Arc<KeyStore>,
    own: Arc<Own>,
    finder: Option<Arc<dyn Discover>>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    places: Semaphore,
}

/// What the configuration names.
#[derive(Default)]
struct Own {
    authorities: Authorities,
    pgp: Option<openpgp::Signer>,
    smime: Option<smime::Signer>,
    cipher: smime::Cipher,
}

impl fmt::Debug for Protector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Protector({:?}, {:?}, {:?})",
            self.own.pgp, self.own.smime, self.own.authorities
        )
    }
}

impl Protector {
    /// Reads what the settings name. Blocks.
    ///
    /// # Errors
    /// [`OwnKeyError`] for a file that can't be used.
    pub fn new(
        settings: &Settings,
        store: Arc<KeyStore>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, OwnKeyError> {
        Ok(Self {
            store,
            own: Arc::new(Own::read(settings)?),
            finder: None,
            clock,
            entropy,
            places: Semaphore::new(MEMORY as usize),
        })
    }

    /// The same, looking for OpenPGP keys that nobody has added by hand.
    #[must_use]
    pub fn finding(mut self, finder: Arc<dyn Discover>) -> Self {
        self.finder = Some(finder);
        self
    }

    /// Whether the organisation's own keys can sign now.
    ///
    /// # Errors
    /// [`OwnKeyError`] for the first that can't.
    pub fn check_signers(&self, settings: &Settings) -> Result<(), OwnKeyError> {
        let now = self.clock.now();
        let pgp = self.own.pgp.as_ref().map(|signer| signer.check(now));
        let smime = self.own.smime.as_ref().map(|signer| signer.check(now));
        let of_pgp = settings
            .pgp
            .as_ref()
            .and_then(|pgp| pgp.signing_key.as_ref());
        let of_smime = settings
            .smime
            .as_ref()
            .and_then(|smime| smime.signer.as_ref());
        let files = [
            (pgp, of_pgp),
            (smime, of_smime.map(|(certificate, _)| certificate)),
        ];
        for (checked, path) in files {
            if let (Some(Err(refusal)), Some(path)) = (checked, path) {
                return Err(OwnKeyError {
                    path: path.clone(),
                    fault: format!("it can't sign: {refusal}"),
                });
            }
        }
        Ok(())
    }

    /// The key that a method would use for a recipient, as far as is known here.
    ///
    /// # Errors
    /// [`Hindrance::Trouble`] if the store can't be read.
    pub async fn known(
        self: &Arc<Self>,
        method: Method,
        recipient: &Mailbox,
        least: Trust,
    ) -> Result<Result<Chosen, NoKey>, Hindrance> {
        let (protector, recipient) = (Arc::clone(self), recipient.clone());
        let choosing =
            tokio::task::spawn_blocking(move || protector.choose(method, &recipient, least));
        match choosing.await {
            Ok(Ok(chosen)) => Ok(chosen),
            Ok(Err(error)) => {
                tracing::error!("the key store can't be read: {error}");
                Err(Hindrance::Trouble(Reason::KeyLookup))
            }
            // Only by a panic.
            Err(_) => Err(Hindrance::Trouble(Reason::KeyLookup)),
        }
    }

    fn choose(
        &self,
        method: Method,
        recipient: &Mailbox,
        least: Trust,
    ) -> Result<Result<Chosen, NoKey>, StoreError> {
        let terms = Terms {
            least,
            authorities: &self.own.authorities,
            now: self.clock.now(),
        };
        Ok(self
            .store
            .current()?
            .choose(recipient, kind(method), &terms))
    }

    /// The key to use for a recipient now. Looks for one where none was added by hand,
    /// which may take a minute.
    ///
    /// # Errors
    /// [`Hindrance`].
    pub async fn key(
        self: &Arc<Self>,
        method: Method,
        recipient: &Mailbox,
        least: Trust,
    ) -> Result<Chosen, Hindrance> {
        let known = self.known(method, recipient, least).await?;
        let finder = self.finder.as_ref().filter(|_| method == Method::Pgp);
        let by_hand = matches!(&known, Ok(chosen) if chosen.trust == Trust::Manual);
        let Some(finder) = finder.filter(|_| !by_hand) else {
            return known.map_err(|no| Hindrance::No(no.reason()));
        };
        match (finder.look_up(recipient).await, known) {
            (Sought::Looked, _) => {
                let found = self.known(method, recipient, least).await?;
                found.map_err(|no| Hindrance::No(no.reason()))
            }
            // What is known is as good as it was.
            (Sought::Failed(_), Ok(chosen)) => Ok(chosen),
            (Sought::Failed(_), Err(no)) => Err(match no.refused.is_empty() {
                true => Hindrance::Unknown(Reason::KeyLookup),
                false => Hindrance::WasKnown(Reason::KeyLookup),
            }),
        }
    }

    /// A copy that was made before, as it was. Waits for its turn.
    ///
    /// # Errors
    /// [`Hindrance::Trouble`] if it can't be read.
    pub async fn again(&self, stored: &StoredCopy) -> Result<ProtectedCopy, Hindrance> {
        let _place = self.place(stored.body.size()).await;
        Ok(ProtectedCopy {
            octets: Bytes::from(read(stored.body.as_ref()).await?),
            proof: stored.proof.clone(),
        })
    }

    /// Room for a message of so many octets.
    async fn place(&self, size: u64) -> Option<SemaphorePermit<'_>> {
        let units = u32::try_from(size / 1024).unwrap_or(MEMORY);
        // It is never closed.
        self.places
            .acquire_many(units.clamp(LEAST, MEMORY))
            .await
            .ok()
    }

    /// A copy of a message that the owner of `key` alone can read; `cipher`: for S/MIME, if
    /// not the one of `[smime]`. Waits for its turn.
    ///
    /// # Errors
    /// [`Hindrance`]; then there is nothing that may leave.
    pub async fn copy(
        &self,
        body: &dyn Body,
        key: Chosen,
        cipher: Option<SmimeCipher>,
    ) -> Result<ProtectedCopy, Hindrance> {
        let _place = self.place(body.size()).await;
        let message = read(body).await?;
        let (own, entropy) = (Arc::clone(&self.own), Arc::clone(&self.entropy));
        let (now, trust) = (self.clock.now(), key.trust);
        let protecting = tokio::task::spawn_blocking(move || match &key.key {
            UsableKey::OpenPgp(to) => {
                openpgp::protect(&message, to, own.pgp.as_ref(), now, entropy.as_ref())
            }
            UsableKey::X509(to) => {
                let signer = own.smime.as_ref();
                let cipher = cipher.unwrap_or(own.cipher);
                smime::protect(&message, to, signer, cipher, now, entropy.as_ref())
            }
        });
        match protecting.await {
            Ok(Ok(protected)) => Ok(told(protected, trust)),
            Ok(Err(error)) => Err(hindrance(&error)),
            // Only by a panic, of which the log has the place.
            Err(_) => Err(Hindrance::Trouble(Reason::ProtectFailed)),
        }
    }
}

impl Own {
    fn read(settings: &Settings) -> Result<Self, OwnKeyError> {
        let mut own = Self::default();
        if let Some(path) = settings
            .pgp
            .as_ref()
            .and_then(|pgp| pgp.signing_key.as_ref())
        {
            own.pgp = Some(used(path, |octets| openpgp::Signer::read(&octets))?);
        }
        let Some(smime) = &settings.smime else {
            return Ok(own);
        };
        own.cipher = smime.cipher;
        if let Some((certificate, key)) = &smime.signer {
            let certificates = used(certificate, Ok::<_, ProtectError>)?;
            let read = |octets: Vec<u8>| smime::Signer::read(&certificates, &octets);
            own.smime = Some(used(key, read)?);
        }
        let authorities = &mut own.authorities;
        for path in &smime.authorities {
            used(path, |octets| authorities.add_roots(&octets))?;
        }
        for path in &smime.intermediates {
            used(path, |octets| authorities.add_between(&octets))?;
        }
        for path in &smime.revocations {
            used(path, |octets| authorities.add_revocations(&octets))?;
        }
        Ok(own)
    }
}

/// Reads a file and makes of it what is wanted.
fn used<T, E: fmt::Display>(
    path: &std::path::Path,
    make: impl FnOnce(Vec<u8>) -> Result<T, E>,
) -> Result<T, OwnKeyError> {
    let fault = |fault: String| OwnKeyError {
        path: path.to_owned(),
        fault,
    };
    let octets = std::fs::read(path).map_err(|e| fault(e.to_string()))?;
    make(octets).map_err(|e| fault(e.to_string()))
}

fn kind(method: Method) -> Kind {
    match method {
        Method::Smime => Kind::X509,
        Method::Pgp | Method::Tls | Method::Cleartext => Kind::OpenPgp,
    }
}

fn hindrance(error: &ProtectError) -> Hindrance {
    match error {
        ProtectError::Refused(refusal) => Hindrance::No(refusal.reason()),
        // Too large a header can't be taken apart, however long one waits.
        ProtectError::Header(_) => Hindrance::No(Reason::ProtectFailed),
        ProtectError::Signer(refusal) => {
            tracing::error!("the organisation's signing key can't be used: {refusal}");
            Hindrance::Trouble(Reason::SigningKey)
        }
        ProtectError::Entropy(_) | ProtectError::Library(_) => {
            tracing::error!("a message could not be protected: {error}");
            Hindrance::Trouble(Reason::ProtectFailed)
        }
    }
}

fn told(protected: Protected, trust: Trust) -> ProtectedCopy {
    let proof = protected.proof;
    ProtectedCopy {
        octets: Bytes::from(protected.octets),
        proof: ContentProof {
            by: EncryptedBy::Postern,
            certificate: Some(proof.certificate),
            keys: proof.keys,
            cipher: Some(proof.cipher),
            signed_by: proof.signed_by,
            trust: Some(trust),
        },
    }
}

/// The whole message: the libraries take no less.
async fn read(body: &dyn Body) -> Result<Vec<u8>, Hindrance> {
    let mut message = Vec::with_capacity(usize::try_from(body.size()).unwrap_or_default());
    let mut reader = body.open();
    loop {
        match reader.next().await {
            Ok(Some(piece)) => message.extend_from_slice(&piece),
            Ok(None) => return Ok(message),
            Err(error) => {
                tracing::error!("a message can't be read to be protected: {error}");
                return Err(Hindrance::Trouble(Reason::BodyUnreadable));
            }
        }
    }
}
