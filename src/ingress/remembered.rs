//! Credentials verified a moment ago, so that a busy client costs no argon2.
//!
//! Holds always: what is kept is HMAC-SHA256 under a random key of this process
//! over name, password and the account's stored hash: it tells nothing without
//! the key, and a changed password ends it. Bounded in number and time. Called
//! by `auth`.

use std::collections::HashMap;
use std::time::Duration;

use aws_lc_rs::hmac;
use tokio::time::Instant;

use super::accounts::Account;
use crate::sys::Entropy;
use crate::sys::entropy::EntropyError;

/// What stands for one verified credential.
type Tag = [u8; 32];

/// Verified credentials and until when each counts.
pub(super) struct Remembered {
    key: hmac::Key,
    until: HashMap<Tag, Instant>,
}

impl Remembered {
    pub(super) fn new(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let mut key = zeroize::Zeroizing::new([0u8; 32]);
        entropy.fill(key.as_mut())?;
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()),
            until: HashMap::new(),
        })
    }

    /// What stands for this password of this account.
    pub(super) fn tag(&self, account: &Account, password: &[u8]) -> Tag {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [
            account.name().as_bytes(),
            account.hash().as_bytes(),
            password,
        ] {
            // Lengths first, so that no two lists of parts read the same.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut tag = [0; 32];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }

    pub(super) fn knows(&self, tag: &Tag, now: Instant) -> bool {
        self.until.get(tag).is_some_and(|until| now < *until)
    }

    pub(super) fn remember(&mut self, tag: Tag, now: Instant) {
        if self.until.len() >= TAGS_MAX {
            self.until.retain(|_, until| now < *until);
        }
        if self.until.len() >= TAGS_MAX {
            let first = self.until.iter().min_by_key(|(_, until)| **until);
            if let Some(tag) = first.map(|(tag, _)| *tag) {
                self.until.remove(&tag);
            }
        }
        self.until.insert(tag, now + KEPT);
    }
}

/// How long a verified credential is taken without a new look.
pub(super) const KEPT: Duration = Duration::from_secs(300);
/// Credentials remembered at most.
const TAGS_MAX: usize = 10_000;
