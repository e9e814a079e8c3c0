//! The journal's record: a header in the clear, a sealed head, a sealed body.
//!
//! Owns the octets of the header and how a record is put together. Holds always:
//! the header has its own checksum, so a reader never trusts a length that it
//! can't check; the content has another, so damage is told from a wrong key; the
//! header is part of what the seal covers. Nothing in the header is secret.
//!
//! ```text
//!  0 magic "PstJ"   4 version   5 kind   6 zero (2)   8 message id (12)
//! 20 number        24 sealed head's length   28 sealed body's length
//! 32 salt (16)     48 CRC-32 of the content   52 CRC-32 of octets 0 to 51
//! 56 sealed head, sealed body          (numbers are big-endian)
//! ```

use bytes::Bytes;

use crate::types::QueueId;

use super::keys::{KeyError, SecretKey};
use super::seal::{Sealer, Section, plain_len, sealed_len};

/// Octets of a header.
pub(super) const HEADER_LEN: usize = 56;
/// What a record begins with.
pub(super) const MAGIC: [u8; 4] = *b"PstJ";
/// The part of the header that the seal covers.
pub(super) const ABOUT_LEN: usize = 48;
const VERSION: u8 = 6;
/// Octets of a sealed head at most: a settlement of thousands of recipients.
const HEAD_MAX: u64 = 32 << 20;
/// Octets of a sealed body at most.
const BODY_MAX: u64 = 256 << 20;

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A message: envelope, facts, and its body or the places of its parts.
    Accept = 1,
    /// A run of a large body or copy; garbage unless another record names it.
    Part = 2,
    /// New statuses, new messages, copies and audit events, together.
    Settlement = 3,
    /// A live message with its statuses, moved by compaction.
    Carry = 4,
    /// The first record of a segment: where the segment before it ends.
    Follow = 5,
    /// The last record of an export; never in a segment.
    End = 6,
    /// What a segment that is given up said of messages in older ones.
    Restatement = 7,
}

impl Kind {
    fn from_octet(octet: u8) -> Option<Self> {
        [
            Self::Accept,
            Self::Part,
            Self::Settlement,
            Self::Carry,
            Self::Follow,
            Self::End,
            Self::Restatement,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == octet)
    }
}

/// A record's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) id: QueueId,
    /// For parts, which run of the body this is, counted from 0. For settlements and
    /// carries, the segment of the message's record until then; 0: an older Postern did
    /// not say.
    pub(super) number: u32,
    /// Octets of the sealed head.
    pub(super) head_len: u32,
    /// Octets of the sealed body.
    pub(super) body_len: u32,
    pub(super) salt: [u8; 16],
    /// CRC-32 of the content.
    pub(super) content_crc: u32,
}

impl Header {
    /// Reads a header; `None` if these octets are none.
    pub(super) fn parse(octets: &[u8; HEADER_LEN]) -> Option<Self> {
        // All places below are constants within an array of this length, here
        // and where it is written: indexing can't fail.
        if octets[..4] != MAGIC || octets[4] != VERSION || octets[6..8] != [0, 0] {
            return None;
        }
        let number = |at: usize| {
            let mut number = [0; 4];
            number.copy_from_slice(&octets[at..at + 4]);
            u32::from_be_bytes(number)
        };
        if crc32fast::hash(&octets[..52]) != number(52) {
            return None;
        }
        let mut id = [0; 12];
        id.copy_from_slice(&octets[8..20]);
        let mut salt = [0; 16];
        salt.copy_from_slice(&octets[32..48]);
        let header = Self {
            kind: Kind::from_octet(octets[5])?,
            id: QueueId::from_octets(id),
            number: number(20),
            head_len: number(24),
            body_len: number(28),
            salt,
            content_crc: number(48),
        };
        header.has_possible_lengths().then_some(header)
    }

    fn has_possible_lengths(&self) -> bool {
        let (head, body) = (u64::from(self.head_len), u64::from(self.body_len));
        head <= HEAD_MAX
            && body <= BODY_MAX
            && plain_len(head).is_some()
            && plain_len(body).is_some()
    }

    /// The header as written.
    pub(super) fn to_octets(&self) -> [u8; HEADER_LEN] {
        let mut octets = [0; HEADER_LEN];
        octets[..4].copy_from_slice(&MAGIC);
        octets[4] = VERSION;
        octets[5] = self.kind as u8;
        octets[8..20].copy_from_slice(&self.id.to_octets());
        octets[20..24].copy_from_slice(&self.number.to_be_bytes());
        octets[24..28].copy_from_slice(&self.head_len.to_be_bytes());
        octets[28..32].copy_from_slice(&self.body_len.to_be_bytes());
        octets[32..48].copy_from_slice(&self.salt);
        octets[48..52].copy_from_slice(&self.content_crc.to_be_bytes());
        let crc = crc32fast::hash(&octets[..52]);
        octets[52..].copy_from_slice(&crc.to_be_bytes());
        octets
    }

    /// Octets behind the header.
    pub(super) fn content_len(&self) -> u64 {
        u64::from(self.head_len) + u64::from(self.body_len)
    }

    /// Octets in all.
    pub(super) fn record_len(&self) -> u64 {
        HEADER_LEN as u64 + self.content_len()
    }

    /// Whether `content` is what was written behind this header.
    pub(super) fn fits(&self, content: &[u8]) -> bool {
        content.len() as u64 == self.content_len() && crc32fast::hash(content) == self.content_crc
    }

    /// What the seal covers of the header.
    pub(super) fn about(&self) -> [u8; ABOUT_LEN] {
        let mut about = [0; ABOUT_LEN];
        about.copy_from_slice(&self.to_octets()[..ABOUT_LEN]);
        about
    }

    /// Opens the head.
    ///
    /// # Errors
    /// [`KeyError`]: it is not what was written.
    pub(super) fn open_head(&self, key: &SecretKey, sealed: &[u8]) -> Result<Vec<u8>, KeyError> {
        let about = self.about();
        Sealer::new(key, &self.salt, &about)?.open_all(Section::Head, sealed)
    }
}

/// A record yet to be sealed.
pub(super) struct Draft<'a> {
    pub(super) kind: Kind,
    pub(super) id: QueueId,
    pub(super) number: u32,
    pub(super) salt: [u8; 16],
    pub(super) head: Bytes,
    pub(super) body: &'a [Bytes],
}

impl Draft<'_> {
    /// Seals the record and appends it to `out`; gives its length in octets.
    ///
    /// # Errors
    /// [`KeyError`] if it is too large for a record or the library refuses;
    /// `out` is then as before.
    pub(super) fn write(&self, key: &SecretKey, out: &mut Vec<u8>) -> Result<u64, KeyError> {
        let start = out.len();
        self.write_behind(start, key, out)
            .inspect_err(|_| out.truncate(start))
    }

    fn write_behind(
        &self,
        start: usize,
        key: &SecretKey,
        out: &mut Vec<u8>,
    ) -> Result<u64, KeyError> {
        let body: u64 = self.body.iter().map(|piece| piece.len() as u64).sum();
        let length = |plain: u64| u32::try_from(sealed_len(plain)).map_err(|_| KeyError);
        let mut header = Header {
            kind: self.kind,
            id: self.id,
            number: self.number,
            head_len: length(self.head.len() as u64)?,
            body_len: length(body)?,
            salt: self.salt,
            content_crc: 0,
        };
        if !header.has_possible_lengths() {
            return Err(KeyError);
        }
        let content = start + HEADER_LEN;
        out.resize(content, 0);
        let about = header.about();
        let sealer = Sealer::new(key, &self.salt, &about)?;
        sealer.seal(Section::Head, std::slice::from_ref(&self.head), out)?;
        sealer.seal(Section::Body, self.body, out)?;
        header.content_crc = crc32fast::hash(out.get(content..).unwrap_or_default());
        if let Some(place) = out.get_mut(start..content) {
            place.copy_from_slice(&header.to_octets());
        }
        Ok(header.record_len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::SystemEntropy;
    use proptest::prelude::*;

    fn sealed(key: &SecretKey, head: Vec<u8>, body: Vec<u8>) -> Vec<u8> {
        let mut out = b"before".to_vec();
        let draft = Draft {
            kind: Kind::Accept,
            id: QueueId::from_octets([3; 12]),
            number: 0,
            salt: [9; 16],
            head: head.into(),
            body: &[Bytes::from(body)],
        };
        let length = draft.write(key, &mut out).unwrap();
        assert_eq!(length as usize, out.len() - 6);
        out.split_off(6)
    }

    fn open(key: &SecretKey, record: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let header = Header::parse(record.get(..HEADER_LEN)?.try_into().ok()?)?;
        let content = record.get(HEADER_LEN..)?;
        if !header.fits(content) {
            return None;
        }
        let (head, body) = content.split_at(header.head_len as usize);
        let about = header.about();
        let sealer = Sealer::new(key, &header.salt, &about).ok()?;
        Some((
            header.open_head(key, head).ok()?,
            sealer.open_all(Section::Body, body).ok()?,
        ))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn what_is_written_is_read(
            head in proptest::collection::vec(any::<u8>(), 0..300),
            body in proptest::collection::vec(any::<u8>(), 0..140_000),
        ) {
            let key = SecretKey::generate(&SystemEntropy::default()).unwrap();
            let record = sealed(&key, head.clone(), body.clone());
            prop_assert_eq!(open(&key, &record), Some((head, body)));
        }

        #[test]
        fn damage_is_noticed_and_never_panics(
            flips in proptest::collection::vec((0usize..400, 1u8..), 1..4),
            cut in 0usize..500,
        ) {
            let key = SecretKey::generate(&SystemEntropy::default()).unwrap();
            let whole = sealed(&key, vec![1; 50], vec![2; 100]);
            let mut record = whole.clone();
            for (at, by) in flips {
                let at = at % record.len();
                record[at] ^= by;
            }
            record.truncate(cut);
            prop_assert!(record == whole || open(&key, &record).is_none());
        }
    }
}
