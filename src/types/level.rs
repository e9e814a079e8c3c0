//! Levels, and the one place where "may this leave?" is answered.
//!
//! Owns [`Required`], [`Achieved`] and [`Permit`]. Holds always: a `Required`
//! only rises (there is no setter, only [`Required::raise`], which is a maximum);
//! an `Achieved` is built from a handshake's facts and refuses those below the
//! floor; a `Permit` comes into being in [`Permit::grant`] alone and is used up
//! by one transaction, since it is neither `Clone` nor `Copy`. Called by
//! `assurance` (builds both sides) and `delivery` (asks for the permit).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{AuthenticatedBy, TlsFacts};

/// What the transport must prove (design section 1); each includes the former.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsLevel {
    /// TLS above the floor, any certificate.
    Encrypted,
    /// Also a chain to a trusted root and a name equal to the host's.
    Authenticated,
    /// Also that the name is vouched for by more than unsigned DNS: by an MTA-STS
    /// policy in `enforce` mode or an operator's route.
    Secure,
}

impl TlsLevel {
    /// The word that configuration, audit and logs use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Encrypted => "encrypted",
            Self::Authenticated => "authenticated",
            Self::Secure => "secure",
        }
    }
}

impl fmt::Display for TlsLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who asks for a level.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Demand {
    /// The operator: the rule of this name, or `[security]`.
    Operator(Option<String>),
    /// The method itself: `tls` means TLS.
    Method,
    /// Credentials go over authenticated TLS alone (design section 4.2, route).
    Credentials,
    /// The recipient's domain, by an MTA-STS policy in `enforce` mode (RFC 8461).
    MtaSts,
}

impl Demand {
    /// Whether the recipient's domain asks for it, so that whoever proves less
    /// violates what was published (design section 3.3).
    #[must_use]
    pub fn is_published(&self) -> bool {
        match self {
            Self::MtaSts => true,
            Self::Operator(_) | Self::Method | Self::Credentials => false,
        }
    }
}

/// What a transaction's transport must prove, with who asks for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Required {
    level: Option<TlsLevel>,
    by: Option<Demand>,
    /// The highest level that the recipient's domain asks for.
    published: Option<TlsLevel>,
}

impl Required {
    /// Nothing is asked: the `cleartext` method, and only that, starts here.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            level: None,
            by: None,
            published: None,
        }
    }

    /// One source's demand.
    #[must_use]
    pub fn at_least(level: TlsLevel, by: Demand) -> Self {
        Self {
            level: Some(level),
            published: by.is_published().then_some(level),
            by: Some(by),
        }
    }

    /// The maximum of both; of equals, the first names who asks.
    #[must_use]
    pub fn raise(self, other: Self) -> Self {
        let published = self.published.max(other.published);
        let higher = if other.level > self.level {
            other
        } else {
            self
        };
        Self {
            published,
            ..higher
        }
    }

    /// The level asked for; `None`: cleartext will do.
    #[must_use]
    pub fn level(&self) -> Option<TlsLevel> {
        self.level
    }

    /// Who asks for it.
    #[must_use]
    pub fn by(&self) -> Option<&Demand> {
        self.by.as_ref()
    }

    /// The level that the recipient's domain asks for; `None`: it publishes
    /// nothing that binds.
    #[must_use]
    pub fn published(&self) -> Option<TlsLevel> {
        self.published
    }

    /// Whether sending over what was achieved would break what the recipient's
    /// domain has published.
    #[must_use]
    pub fn is_violated_by(&self, achieved: Option<TlsLevel>) -> bool {
        achieved < self.published
    }
}

/// A finished handshake that is below the floor (design section 1).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{version} with {cipher} is below the floor of TLS 1.2, forward secrecy and 128-bit AEAD")]
pub struct BelowFloor {
    /// What was negotiated.
    pub version: String,
    /// What was negotiated.
    pub cipher: String,
}

/// The suites of TLS 1.2 and 1.3 that are forward secret, AEAD and of 128 bits or
/// more (RFC 9325 section 4.2), by their IANA names.
const SUITES: [&str; 9] = [
    "TLS_AES_256_GCM_SHA384",
    "TLS_AES_128_GCM_SHA256",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];

/// What a connection proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Achieved {
    level: Option<TlsLevel>,
    authenticated_by: Option<AuthenticatedBy>,
    tls: Option<TlsFacts>,
}

impl Achieved {
    /// A connection without TLS proves nothing.
    #[must_use]
    pub fn cleartext() -> Self {
        Self {
            level: None,
            authenticated_by: None,
            tls: None,
        }
    }

    /// A handshake that proves the floor, and the peer's identity if
    /// `authenticated_by` says what vouched for it.
    ///
    /// # Errors
    /// [`BelowFloor`]: checked on what was negotiated, not on what was offered.
    pub fn handshake(
        facts: TlsFacts,
        authenticated_by: Option<AuthenticatedBy>,
    ) -> Result<Self, BelowFloor> {
        let version_ok = matches!(facts.version.as_str(), "TLSv1.2" | "TLSv1.3");
        if !version_ok || !SUITES.contains(&facts.cipher.as_str()) {
            return Err(BelowFloor {
                version: facts.version,
                cipher: facts.cipher,
            });
        }
        let level = match authenticated_by {
            Some(by) => by.level(),
            None => TlsLevel::Encrypted,
        };
        Ok(Self {
            level: Some(level),
            authenticated_by,
            tls: Some(facts),
        })
    }

    /// The level proven; `None`: none.
    #[must_use]
    pub fn level(&self) -> Option<TlsLevel> {
        self.level
    }

    /// What vouched for the peer's identity.
    #[must_use]
    pub fn authenticated_by(&self) -> Option<AuthenticatedBy> {
        self.authenticated_by
    }

    /// The handshake's facts, if there was one.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsFacts> {
        self.tls.as_ref()
    }
}

/// The transport proves less than is required.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the connection proves {achieved:?} where {required} is required")]
pub struct Shortfall {
    /// What is required.
    pub required: TlsLevel,
    /// What was proven.
    pub achieved: Option<TlsLevel>,
}

/// Leave to run one transaction. No permit, no MAIL FROM.
#[derive(Debug)]
pub struct Permit {
    required: Option<TlsLevel>,
    achieved: Option<TlsLevel>,
}

impl Permit {
    /// Grants a transaction if what was achieved reaches what is required.
    ///
    /// # Errors
    /// [`Shortfall`]: nothing of the envelope or the message may be sent.
    pub fn grant(required: &Required, achieved: &Achieved) -> Result<Self, Shortfall> {
        match required.level {
            Some(level) if achieved.level < Some(level) => Err(Shortfall {
                required: level,
                achieved: achieved.level,
            }),
            level => Ok(Self {
                required: level,
                achieved: achieved.level,
            }),
        }
    }

    /// What was required.
    #[must_use]
    pub fn required(&self) -> Option<TlsLevel> {
        self.required
    }

    /// What was achieved.
    #[must_use]
    pub fn achieved(&self) -> Option<TlsLevel> {
        self.achieved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(version: &str, cipher: &str) -> TlsFacts {
        TlsFacts {
            version: version.into(),
            cipher: cipher.into(),
            group: "X25519".into(),
            certificate: None,
        }
    }

    fn modern() -> TlsFacts {
        facts("TLSv1.3", "TLS_AES_256_GCM_SHA384")
    }

    /// The whole of "may this leave?": required by achieved.
    #[test]
    fn permit_table() {
        let required = [
            Required::nothing(),
            Required::at_least(TlsLevel::Encrypted, Demand::Method),
            Required::at_least(TlsLevel::Authenticated, Demand::Operator(None)),
            Required::at_least(TlsLevel::Secure, Demand::MtaSts),
        ];
        let achieved = [
            Achieved::cleartext(),
            Achieved::handshake(modern(), None).unwrap(),
            Achieved::handshake(modern(), Some(AuthenticatedBy::PkixUnsignedMx)).unwrap(),
            Achieved::handshake(modern(), Some(AuthenticatedBy::MtaSts)).unwrap(),
            Achieved::handshake(modern(), Some(AuthenticatedBy::Route)).unwrap(),
        ];
        let leaves = [
            [true, true, true, true, true],
            [false, true, true, true, true],
            [false, false, true, true, true],
            [false, false, false, true, true],
        ];
        for (required, row) in required.iter().zip(leaves) {
            for (achieved, leaves) in achieved.iter().zip(row) {
                let permit = Permit::grant(required, achieved);
                assert_eq!(permit.is_ok(), leaves, "{required:?} {achieved:?}");
            }
        }
    }

    #[test]
    fn levels_only_rise() {
        let none = Required::nothing();
        let low = Required::at_least(TlsLevel::Encrypted, Demand::Method);
        let high = Required::at_least(TlsLevel::Authenticated, Demand::Operator(None));
        for (a, b) in [(&none, &low), (&none, &high), (&low, &high)] {
            assert_eq!(&a.clone().raise(b.clone()), b);
            assert_eq!(&b.clone().raise(a.clone()), b);
        }
    }

    #[test]
    fn what_is_published_stays_known_beside_a_higher_demand() {
        let published = Required::at_least(TlsLevel::Secure, Demand::MtaSts);
        let operator = Required::at_least(TlsLevel::Secure, Demand::Operator(None));
        let both = operator.clone().raise(published.clone());
        assert_eq!(both.by(), Some(&Demand::Operator(None)));
        assert_eq!(both.published(), Some(TlsLevel::Secure));
        for achieved in [
            None,
            Some(TlsLevel::Encrypted),
            Some(TlsLevel::Authenticated),
        ] {
            assert!(both.is_violated_by(achieved));
            assert!(!operator.is_violated_by(achieved));
        }
        assert!(!both.is_violated_by(Some(TlsLevel::Secure)));
    }

    #[test]
    fn e26_what_was_negotiated_is_held_to_the_floor() {
        for (version, cipher) in [
            ("TLSv1.1", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
            ("TLSv1.2", "TLS_RSA_WITH_AES_128_GCM_SHA256"),
            ("TLSv1.2", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256"),
            ("TLSv1.2", "TLS_NULL_WITH_NULL_NULL"),
            ("TLSv1.3", ""),
        ] {
            assert!(
                Achieved::handshake(facts(version, cipher), None).is_err(),
                "{cipher}"
            );
        }
    }
}
