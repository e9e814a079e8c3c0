//! What a directory's answer holds for an address, and what of it is kept.
//!
//! Holds always: a certificate is cut down to the address it was asked for; what is
//! known already takes in its newer copy first, whatever that says; of the others
//! the newest that can be used is handed to the store, which decides by what it
//! knows. Blocks: called off the async threads.

use crate::protect::keys::{
    AnyCertificate, Discovery, KeyStore, Keys, Origin, StoreError, Terms, Trust,
};
use crate::protect::smime::Authorities;
use crate::protect::{KeyError, Refusal, openpgp};
use crate::types::{Mailbox, Timestamp};

/// A certificate that a directory has for an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// Its fingerprint.
    pub fingerprint: String,
    /// What became of it.
    pub became: Became,
}

/// What became of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Became {
    /// The first one; it is in use.
    New,
    /// Known already; what is new in it was taken in.
    Kept,
    /// Another one is known: it awaits approval.
    Held,
    /// A newer one is there, or the one that is known is.
    PassedOver,
    /// Too large to be kept.
    TooLarge,
    /// It can't be used.
    Refused(Refusal),
}

impl Became {
    /// The word that listings use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Kept => "kept",
            Self::Held => "awaits-approval",
            Self::PassedOver => "passed-over",
            Self::TooLarge => "too-large",
            Self::Refused(refusal) => refusal.as_str(),
        }
    }

    /// Whether it is a key of the address, in use or awaiting approval.
    pub(super) fn is_kept(self) -> bool {
        matches!(self, Self::New | Self::Kept | Self::Held)
    }
}

/// Hands an answer's certificates to the store, and tells what became of each; those
/// that were taken come first.
///
/// # Errors
/// What the store says of itself; certificates before that one may be taken.
pub(super) fn take_in(
    store: &KeyStore,
    recipient: &Mailbox,
    octets: &[u8],
    now: Timestamp,
) -> Result<Vec<Offered>, StoreError> {
    let authorities = Authorities::default();
    let terms = Terms {
        least: Trust::Discovered,
        authorities: &authorities,
        now,
    };
    let taking = Taking {
        store,
        recipient,
        terms: &terms,
    };
    let keys = store.current()?;
    let mut told = Vec::new();
    let (mut known, mut others) = (Vec::new(), Vec::new());
    for offered in openpgp::Certificate::offered(octets, recipient) {
        match offered.map(AnyCertificate::OpenPgp) {
            Ok(one) if is_known(&keys, recipient, &one) => known.push(one),
            Ok(one) => others.push(one),
            Err((fingerprint, refusal)) => told.push(Offered {
                fingerprint,
                became: Became::Refused(refusal),
            }),
        }
    }
    let mut newest = None;
    for certificate in known {
        let offered = taking.take(&certificate)?;
        if offered.became.is_kept() {
            newest = newest.max(Some(certificate.created()));
        }
        told.push(offered);
    }
    others.sort_by_key(|one| std::cmp::Reverse(one.created()));
    for certificate in others {
        let offered = match newest.is_some_and(|newest| certificate.created() <= newest) {
            false => taking.take(&certificate)?,
            true => taking.passed_over(&certificate),
        };
        if offered.became.is_kept() {
            newest = Some(certificate.created());
        }
        told.push(offered);
    }
    told.sort_by_key(|offered| !offered.became.is_kept());
    Ok(told)
}

/// Whether it was found for the address before.
fn is_known(keys: &Keys, recipient: &Mailbox, certificate: &AnyCertificate) -> bool {
    let mut known = keys.of(recipient).filter(|key| key.found_for.is_some());
    known.any(|key| key.certificate.fingerprint() == certificate.fingerprint())
}

struct Taking<'a> {
    store: &'a KeyStore,
    recipient: &'a Mailbox,
    terms: &'a Terms<'a>,
}

impl Taking<'_> {
    fn take(&self, certificate: &AnyCertificate) -> Result<Offered, StoreError> {
        let taken = self
            .store
            .discovered_for(self.recipient, certificate, Origin::Wkd, self.terms);
        let became = match taken {
            // Taken in or not, it is told what it is worth.
            Ok(became) => match (became, self.refusal(certificate)) {
                (_, Some(refusal)) => Became::Refused(refusal),
                (Discovery::New, None) => Became::New,
                (Discovery::Kept, None) => Became::Kept,
                (Discovery::Held, None) => Became::Held,
            },
            Err(StoreError::Unusable(_, refusal)) => Became::Refused(refusal),
            Err(StoreError::Key(KeyError::TooLarge)) => Became::TooLarge,
            Err(StoreError::Key(_)) => Became::Refused(Refusal::Broken),
            Err(error) => return Err(error),
        };
        Ok(Offered {
            fingerprint: certificate.fingerprint(),
            became,
        })
    }

    fn passed_over(&self, certificate: &AnyCertificate) -> Offered {
        Offered {
            fingerprint: certificate.fingerprint(),
            became: match self.refusal(certificate) {
                Some(refusal) => Became::Refused(refusal),
                None => Became::PassedOver,
            },
        }
    }

    fn refusal(&self, certificate: &AnyCertificate) -> Option<Refusal> {
        let verdict = certificate.usable_for(self.recipient, false, self.terms);
        verdict.err()
    }
}
