//! The seal of the index's values.
//!
//! Holds always: a value is sealed with its key as associated data, and no nonce is
//! used twice: each opening seals under a sub-key of its own (HKDF over random
//! octets) with a counter. Called by `index`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};

use crate::sys::Entropy;

use super::index::IndexError;
use super::keys::SecretKey;

/// What the sub-keys are for.
const INFO: &[u8] = b"postern spool index v1";
/// Octets in front of a sealed value: session, counter.
const PREFIX: usize = 16;
/// Sub-keys remembered at most.
const SUBKEYS: usize = 64;

/// The seal of values.
pub(in crate::spool) struct Sealer {
    key: Arc<SecretKey>,
    session: [u8; 8],
    counter: AtomicU64,
    subkeys: Mutex<HashMap<[u8; 8], Arc<LessSafeKey>>>,
}

impl Sealer {
    /// Begins to seal in a session of its own.
    ///
    /// # Errors
    /// [`IndexError::Entropy`].
    pub(in crate::spool) fn new(
        key: Arc<SecretKey>,
        entropy: &dyn Entropy,
    ) -> Result<Self, IndexError> {
        let mut session = [0; 8];
        entropy
            .fill(&mut session)
            .map_err(|_| IndexError::Entropy)?;
        Ok(Self {
            key,
            session,
            counter: AtomicU64::new(0),
            subkeys: Mutex::default(),
        })
    }

    /// Seals a value under its key. Keys with nothing to say carry no value at all.
    ///
    /// # Errors
    /// [`IndexError::Damaged`], which no value of ours comes to.
    pub(in crate::spool) fn seal(&self, key: &[u8], plain: &[u8]) -> Result<Vec<u8>, IndexError> {
        if plain.is_empty() {
            return Ok(Vec::new());
        }
        let mut plain = plain.to_vec();
        let counter = self.counter.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let tag = self
            .subkey(self.session)?
            .seal_in_place_separate_tag(nonce(counter), Aad::from(key), &mut plain)
            .map_err(|_| IndexError::Damaged)?;
        let mut sealed = Vec::with_capacity(PREFIX + plain.len() + tag.as_ref().len());
        sealed.extend_from_slice(&self.session);
        sealed.extend_from_slice(&counter);
        sealed.extend_from_slice(&plain);
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// The value that was sealed under this key.
    ///
    /// # Errors
    /// [`IndexError::Damaged`].
    pub(in crate::spool) fn unseal(
        &self,
        key: &[u8],
        sealed: &[u8],
    ) -> Result<Vec<u8>, IndexError> {
        if sealed.is_empty() {
            return Ok(Vec::new());
        }
        let (session, rest) = sealed.split_first_chunk::<8>().ok_or(IndexError::Damaged)?;
        let (counter, rest) = rest.split_first_chunk::<8>().ok_or(IndexError::Damaged)?;
        let mut value = rest.to_vec();
        let length = self
            .subkey(*session)?
            .open_in_place(nonce(*counter), Aad::from(key), &mut value)
            .map_err(|_| IndexError::Damaged)?
            .len();
        value.truncate(length);
        Ok(value)
    }

    fn subkey(&self, session: [u8; 8]) -> Result<Arc<LessSafeKey>, IndexError> {
        let mut subkeys = self.subkeys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(subkey) = subkeys.get(&session) {
            return Ok(Arc::clone(subkey));
        }
        if subkeys.len() >= SUBKEYS {
            subkeys.clear();
        }
        let subkey = Arc::new(self.key.derive(&session, INFO)?);
        subkeys.insert(session, Arc::clone(&subkey));
        Ok(subkey)
    }
}

fn nonce(counter: [u8; 8]) -> Nonce {
    let mut octets = [0; 12];
    octets[4..].copy_from_slice(&counter);
    Nonce::assume_unique_for_key(octets)
}
