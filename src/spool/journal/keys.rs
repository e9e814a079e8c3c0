//! Keys at rest: master key → one key a segment → one key a record.
//!
//! Owns the making, wrapping (AES key wrap, NIST SP 800-38F, RFC 3394) and
//! deriving (HKDF-SHA256, RFC 5869) of keys. Holds always: key octets are wiped
//! when dropped, print nowhere, and reach the disk wrapped, save for the master
//! key itself. Called by the segments, the index and the opening.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap};
use zeroize::{Zeroize, Zeroizing};

use crate::sys::Entropy;
use crate::sys::entropy::EntropyError;

/// Octets of a key.
pub(in crate::spool) const KEY_LEN: usize = 32;
/// Octets of a wrapped key: RFC 3394 adds one block of 8.
pub(in crate::spool) const WRAPPED_LEN: usize = KEY_LEN + 8;

/// A key did not come out of its wrapping: another master key, or damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key does not open")]
pub(in crate::spool) struct KeyError;

/// 32 secret octets.
pub(in crate::spool) struct SecretKey(Zeroizing<[u8; KEY_LEN]>);

impl fmt::Debug for SecretKey {
    /// Keys belong in no log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey")
    }
}

impl SecretKey {
    /// A new random key.
    ///
    /// # Errors
    /// [`EntropyError`].
    pub(in crate::spool) fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        entropy.fill(&mut key[..])?;
        Ok(Self(key))
    }

    /// Takes exactly 32 octets and wipes where they came from.
    ///
    /// # Errors
    /// [`KeyError`] for any other number.
    pub(in crate::spool) fn take(mut octets: Vec<u8>) -> Result<Self, KeyError> {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        let fits = octets.len() == KEY_LEN;
        if fits {
            key.copy_from_slice(&octets);
        }
        octets.zeroize();
        if fits { Ok(Self(key)) } else { Err(KeyError) }
    }

    /// The octets, to be written as the master key file.
    pub(in crate::spool) fn octets(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// This key under another one.
    ///
    /// # Errors
    /// [`KeyError`] if the library refuses.
    pub(in crate::spool) fn wrap(&self, by: &Self) -> Result<[u8; WRAPPED_LEN], KeyError> {
        let mut wrapped = [0; WRAPPED_LEN];
        AesKek::new(&AES_256, &by.0[..])
            .and_then(|kek| kek.wrap(&self.0[..], &mut wrapped).map(|_| ()))
            .map_err(|_| KeyError)?;
        Ok(wrapped)
    }

    /// A key from its wrapping.
    ///
    /// # Errors
    /// [`KeyError`]: wrapped by another key, or damaged.
    pub(in crate::spool) fn unwrap(wrapped: &[u8], by: &Self) -> Result<Self, KeyError> {
        if wrapped.len() != WRAPPED_LEN {
            return Err(KeyError);
        }
        // RFC 3394 needs no more than the key, but the library wants the room.
        let mut key = Zeroizing::new([0; WRAPPED_LEN]);
        let plain = AesKek::new(&AES_256, &by.0[..])
            .and_then(|kek| kek.unwrap(wrapped, &mut key[..]))
            .map_err(|_| KeyError)?;
        Self::take(plain.to_vec())
    }

    /// An AES-256-GCM key for one purpose (`info`) and one salt.
    ///
    /// # Errors
    /// [`KeyError`] if the library refuses.
    pub(in crate::spool) fn derive(
        &self,
        salt: &[u8],
        info: &[u8],
    ) -> Result<LessSafeKey, KeyError> {
        let prk = Salt::new(HKDF_SHA256, salt).extract(&self.0[..]);
        let info = [info];
        let okm = prk.expand(&info, &AES_256_GCM).map_err(|_| KeyError)?;
        Ok(LessSafeKey::new(UnboundKey::from(okm)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::SystemEntropy;

    #[test]
    fn wrapping_round_trips_and_notices_damage() {
        let entropy = SystemEntropy::default();
        let master = SecretKey::generate(&entropy).unwrap();
        let key = SecretKey::generate(&entropy).unwrap();
        let wrapped = key.wrap(&master).unwrap();
        let again = SecretKey::unwrap(&wrapped, &master).unwrap();
        assert_eq!(again.octets(), key.octets());
        assert!(SecretKey::unwrap(&wrapped, &key).is_err());
        for at in 0..WRAPPED_LEN {
            let mut bad = wrapped;
            bad[at] ^= 1;
            assert!(SecretKey::unwrap(&bad, &master).is_err());
        }
    }
}
