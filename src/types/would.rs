//! What the configured methods would have come to, where they are only observed.
//!
//! Owns the words of `[security] observe` for audit, log and figures. Holds
//! always: it is evidence and nothing else; nothing decides by it. Made by
//! `delivery` from the fate to which the configured list came.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Fate, Method, Reason};

/// How one attempt by the configured methods would have ended for one recipient.
///
/// The order is part of the journal's format: new ones go at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Course {
    /// Delivered over TLS.
    Tls,
    /// Delivered in the clear.
    Cleartext,
    /// Kept for another attempt.
    Wait,
    /// Refused for good (own mail: dead).
    Bounce,
    /// Dropped.
    Drop,
    /// Delivered, encrypted with OpenPGP.
    Pgp,
    /// Delivered, encrypted with S/MIME.
    Smime,
    /// Held until somebody releases it.
    Hold,
}

impl Course {
    /// Every course.
    pub const ALL: [Self; 8] = [
        Self::Tls,
        Self::Cleartext,
        Self::Wait,
        Self::Bounce,
        Self::Drop,
        Self::Pgp,
        Self::Smime,
        Self::Hold,
    ];

    /// The word that audit, log and figures use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Cleartext => "cleartext",
            Self::Wait => "wait",
            Self::Bounce => "bounce",
            Self::Drop => "drop",
            Self::Pgp => "pgp",
            Self::Smime => "smime",
            Self::Hold => "hold",
        }
    }

    /// Whether the recipient would have had it.
    #[must_use]
    pub fn delivers(self) -> bool {
        matches!(self, Self::Tls | Self::Cleartext | Self::Pgp | Self::Smime)
    }
}

impl From<Method> for Course {
    fn from(method: Method) -> Self {
        match method {
            Method::Tls => Self::Tls,
            Method::Cleartext => Self::Cleartext,
            Method::Pgp => Self::Pgp,
            Method::Smime => Self::Smime,
        }
    }
}

impl fmt::Display for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No such course.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not one of tls, cleartext, pgp, smime, wait, bounce, drop, hold")]
pub struct CourseError;

impl FromStr for Course {
    type Err = CourseError;
    fn from_str(text: &str) -> Result<Self, CourseError> {
        let mut all = Self::ALL.into_iter();
        all.find(|course| course.as_str() == text)
            .ok_or(CourseError)
    }
}

/// What would have happened, and why nothing better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Would {
    /// What.
    pub method: Course,
    /// Why it would not have been delivered; `None` if it would.
    pub reason: Option<Reason>,
}

impl Would {
    /// What a fate by the configured methods comes to. `None` for a delivery
    /// without a method, which there is none of.
    #[must_use]
    pub fn of(method: Option<Method>, fate: &Fate) -> Option<Self> {
        let (method, reason) = match fate {
            Fate::Delivered(_) => (method?.into(), None),
            Fate::Deferred(failure) => (Course::Wait, Some(failure.reason)),
            Fate::Bounced(failure) => (Course::Bounce, Some(failure.reason)),
            Fate::Dropped(failure) => (Course::Drop, Some(failure.reason)),
            Fate::Held(failure) => (Course::Hold, Some(failure.reason)),
        };
        Some(Self { method, reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words() {
        for course in Course::ALL {
            assert_eq!(course.as_str().parse(), Ok(course));
        }
        assert_eq!("bounced".parse::<Course>(), Err(CourseError));
        let would = Would {
            method: Course::Bounce,
            reason: Some(Reason::NoStarttls),
        };
        assert_eq!(
            serde_json::to_string(&would).unwrap(),
            r#"{"method":"bounce","reason":"no-starttls"}"#
        );
    }
}
