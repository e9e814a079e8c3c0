//! Whose word counts for certificates that nobody added by hand.
//!
//! Holds always: a list of revoked certificates counts only if an authority that is
//! known signed it; an outdated one makes certificates that need a chain unusable,
//! and others only if it names them.

use openssl::stack::Stack;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::X509VerifyParam;
use openssl::x509::{CrlStatus, X509, X509Crl, X509StoreContext};

use super::certificate::{parse, unreadable};
use super::{asn1, seconds};
use crate::protect::{KeyError, Refusal};
use crate::types::Timestamp;

/// Certificates between a person's and a root at most.
const DEPTH: i32 = 8;
/// OpenSSL's level 2: 112 bits, so RSA of 2048 bits and no SHA-1.
const LEVEL: i32 = 2;

/// Roots, authorities below them, and their lists of revoked certificates.
#[derive(Default)]
pub struct Authorities {
    roots: Vec<X509>,
    between: Vec<X509>,
    lists: Vec<X509Crl>,
}

impl std::fmt::Debug for Authorities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (roots, between) = (self.roots.len(), self.between.len());
        write!(
            f,
            "Authorities({roots} + {between}, {} lists)",
            self.lists.len()
        )
    }
}

impl Authorities {
    /// Trusts the roots in a file, PEM or DER.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn add_roots(&mut self, octets: &[u8]) -> Result<(), KeyError> {
        self.roots.append(&mut parse(octets)?);
        Ok(())
    }

    /// Knows authorities that a chain may go through; they are not trusted by
    /// themselves.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn add_between(&mut self, octets: &[u8]) -> Result<(), KeyError> {
        self.between.append(&mut parse(octets)?);
        Ok(())
    }

    /// Knows a list of revoked certificates, PEM or DER.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn add_revocations(&mut self, octets: &[u8]) -> Result<(), KeyError> {
        let list = match octets.starts_with(b"-----BEGIN ") {
            true => X509Crl::from_pem(octets),
            false => X509Crl::from_der(octets),
        };
        self.lists.push(list.map_err(unreadable)?);
        Ok(())
    }

    /// Whether a chain leads from a certificate to a root, none of it revoked.
    pub(super) fn vouch_for(&self, certificate: &X509, now: Timestamp) -> Result<(), Refusal> {
        let chain = self.chain(certificate, now).map_err(|_| Refusal::Broken)?;
        let chain = chain.ok_or(Refusal::Untrusted)?;
        // The first is the certificate itself, the last the root.
        let between = chain.len().saturating_sub(1);
        for authority in chain.iter().take(between).skip(1) {
            self.not_revoked(authority, false, now)?;
        }
        Ok(())
    }

    fn chain(
        &self,
        certificate: &X509,
        now: Timestamp,
    ) -> Result<Option<Vec<X509>>, openssl::error::ErrorStack> {
        let store = self.store(now)?;
        let mut between = Stack::new()?;
        for authority in &self.between {
            between.push(authority.clone())?;
        }
        let mut context = X509StoreContext::new()?;
        context.init(&store, certificate, &between, |context| {
            if !context.verify_cert()? {
                return Ok(None);
            }
            let chain = context.chain();
            Ok(chain.map(|chain| chain.iter().map(ToOwned::to_owned).collect()))
        })
    }

    fn store(&self, now: Timestamp) -> Result<X509Store, openssl::error::ErrorStack> {
        let mut builder = X509StoreBuilder::new()?;
        for root in &self.roots {
            builder.add_cert(root.clone())?;
        }
        let mut rules = X509VerifyParam::new()?;
        rules.set_time(seconds(now));
        rules.set_depth(DEPTH);
        rules.set_auth_level(LEVEL);
        builder.set_param(&rules)?;
        Ok(builder.build())
    }

    /// Whether its authority's lists say that a certificate is revoked.
    pub(super) fn not_revoked(
        &self,
        certificate: &X509,
        by_hand: bool,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let now = asn1(now)?;
        for list in self.lists_for(certificate) {
            if let CrlStatus::Revoked(_) = list.get_by_cert(certificate) {
                return Err(Refusal::Revoked);
            }
            let outdated = list.next_update().is_none_or(|next| next < now);
            if !by_hand && outdated {
                return Err(Refusal::RevocationUnknown);
            }
        }
        Ok(())
    }

    /// The lists of a certificate's issuer that it did sign.
    fn lists_for<'a>(&'a self, certificate: &'a X509) -> impl Iterator<Item = &'a X509Crl> {
        let issuer = certificate.issuer_name();
        self.lists.iter().filter(move |list| {
            let same = |name: &openssl::x509::X509NameRef| {
                name.try_cmp(issuer).is_ok_and(std::cmp::Ordering::is_eq)
            };
            let signed = |authority: &&X509| {
                let key = authority.public_key();
                key.is_ok_and(|key| list.verify(&key).unwrap_or(false))
            };
            let mut known = self.roots.iter().chain(&self.between);
            same(list.issuer_name())
                && known
                    .by_ref()
                    .filter(|a| same(a.subject_name()))
                    .any(|a| signed(&a))
        })
    }
}
