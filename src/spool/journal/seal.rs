//! Sealing of a record's content: 64 KiB chunks of AES-256-GCM.
//!
//! Owns the nonce and the associated data, and so the proof that content is
//! whole, in order, of this record and of this kind. Holds always: each record
//! has a key of its own (HKDF over its random salt), so a counter is a sound
//! nonce (NIST SP 800-38D section 8.2.1); the last chunk says that it is the
//! last, so nothing can be cut off unseen. Called by the record format and by
//! body readers.

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};
use bytes::Bytes;

use super::keys::{KeyError, SecretKey};
use super::record::ABOUT_LEN;

/// Octets of content in one chunk.
pub(super) const CHUNK: usize = 64 * 1024;
/// Octets that sealing adds to each chunk.
pub(super) const TAG: usize = 16;
/// A chunk with its tag.
pub(super) const SEALED_CHUNK: usize = CHUNK + TAG;
/// What the message key is for.
const INFO: &[u8] = b"postern spool record v1";

/// The two separately sealed parts of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// Envelope, facts, changes, events.
    Head = 0,
    /// Message octets.
    Body = 1,
}

/// How long `plain` octets are once sealed; nothing at all is one empty chunk.
pub(super) fn sealed_len(plain: u64) -> u64 {
    plain + plain.div_ceil(CHUNK as u64).max(1) * TAG as u64
}

/// How many octets a sealed section holds; `None` if no section is this long.
pub(super) fn plain_len(sealed: u64) -> Option<u64> {
    let chunks = sealed.div_ceil(SEALED_CHUNK as u64).max(1);
    let plain = sealed.checked_sub(chunks * TAG as u64)?;
    (sealed_len(plain) == sealed).then_some(plain)
}

/// Seals and opens the content of one record.
pub(super) struct Sealer {
    key: LessSafeKey,
    /// The record's header up to its checksums: version, kind, id, lengths, salt.
    about: [u8; ABOUT_LEN],
}

impl Sealer {
    /// # Errors
    /// [`KeyError`] if the library refuses.
    pub(super) fn new(
        segment_key: &SecretKey,
        salt: &[u8],
        about: &[u8; ABOUT_LEN],
    ) -> Result<Self, KeyError> {
        let key = segment_key.derive(salt, INFO)?;
        Ok(Self { key, about: *about })
    }

    /// Appends the sealed form of `pieces` to `out`.
    ///
    /// # Errors
    /// [`KeyError`] if the library refuses; `out` then has a useless end.
    pub(super) fn seal(
        &self,
        section: Section,
        pieces: &[Bytes],
        out: &mut Vec<u8>,
    ) -> Result<(), KeyError> {
        let mut start = out.len();
        let mut index = 0;
        for piece in pieces {
            let mut rest: &[u8] = piece;
            while !rest.is_empty() {
                if out.len() - start == CHUNK {
                    // There is more, so the chunk that is full is not the last.
                    self.finish(section, index, false, start, out)?;
                    start = out.len();
                    index += 1;
                }
                let (now, later) = rest.split_at(rest.len().min(CHUNK - (out.len() - start)));
                out.extend_from_slice(now);
                rest = later;
            }
        }
        self.finish(section, index, true, start, out)
    }

    fn finish(
        &self,
        section: Section,
        index: u32,
        last: bool,
        start: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), KeyError> {
        let chunk = out.get_mut(start..).unwrap_or_default();
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(section, index, last), Aad::from(self.about), chunk)
            .map_err(|_| KeyError)?;
        out.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Opens chunk `index` in place; gives the plain octets' number.
    ///
    /// # Errors
    /// [`KeyError`]: it is not what was written there.
    pub(super) fn open(
        &self,
        section: Section,
        index: u32,
        last: bool,
        chunk: &mut [u8],
    ) -> Result<usize, KeyError> {
        self.key
            .open_in_place(nonce(section, index, last), Aad::from(self.about), chunk)
            .map(|plain| plain.len())
            .map_err(|_| KeyError)
    }

    /// Opens a whole section.
    ///
    /// # Errors
    /// As [`Sealer::open`].
    pub(super) fn open_all(&self, section: Section, sealed: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut plain = Vec::with_capacity(sealed.len());
        let chunks = sealed.len().div_ceil(SEALED_CHUNK);
        for (index, chunk) in (0u32..).zip(sealed.chunks(SEALED_CHUNK)) {
            let start = plain.len();
            plain.extend_from_slice(chunk);
            let last = index as usize + 1 == chunks;
            let opened = self.open(
                section,
                index,
                last,
                plain.get_mut(start..).unwrap_or_default(),
            )?;
            plain.truncate(start + opened);
        }
        if chunks == 0 {
            Err(KeyError)
        } else {
            Ok(plain)
        }
    }
}

/// Unique in a record: section, last-chunk flag, counter.
fn nonce(section: Section, index: u32, last: bool) -> Nonce {
    // Constant places within an array: indexing can't fail.
    let mut octets = [0; 12];
    octets[0] = section as u8;
    octets[1] = u8::from(last);
    octets[8..].copy_from_slice(&index.to_be_bytes());
    Nonce::assume_unique_for_key(octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::SystemEntropy;

    #[test]
    fn every_length_round_trips_and_no_cut_passes() {
        let key = SecretKey::generate(&SystemEntropy::default()).unwrap();
        let sealer = Sealer::new(&key, &[7; 16], &[1; ABOUT_LEN]).unwrap();
        for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let plain = Bytes::from(vec![0x5A; len]);
            let mut sealed = Vec::new();
            sealer
                .seal(Section::Body, std::slice::from_ref(&plain), &mut sealed)
                .unwrap();
            assert_eq!(sealed.len() as u64, sealed_len(len as u64));
            assert_eq!(plain_len(sealed.len() as u64), Some(len as u64));
            let opened = sealer.open_all(Section::Body, &sealed).unwrap();
            assert_eq!(opened, plain);
            assert!(sealer.open_all(Section::Head, &sealed).is_err());
            for cut in (0..len).step_by(CHUNK) {
                let cut = sealed_len(cut as u64) as usize;
                assert!(sealer.open_all(Section::Body, &sealed[..cut]).is_err());
            }
            let other = Sealer::new(&key, &[7; 16], &[2; ABOUT_LEN]).unwrap();
            assert!(other.open_all(Section::Body, &sealed).is_err());
        }
    }
}
