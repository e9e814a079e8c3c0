//! How much a ClientHello dares, and what is tried when it was too much.
//!
//! Owns the order of the tries (pitfall E24). Holds always: each is above the floor
//! and offers less than the one before. Called by `client`, which makes rustls'
//! configuration of it, and by `delivery`, which makes the connections.

/// How much a ClientHello dares: each less than the one before, all above the floor
/// (pitfall E24).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// TLS 1.3 and 1.2, all groups.
    Full,
    /// TLS 1.3 and 1.2 with classical groups alone, for what chokes on the length of
    /// a post-quantum key share.
    Classical,
    /// TLS 1.2 and classical groups alone, for servers that choke on TLS 1.3.
    Capped,
}

impl Profile {
    /// What is tried once more after a handshake by this one that ended so, over a
    /// connection of its own. What stands still gets a smaller ClientHello, and only
    /// that: a server that can't stand TLS 1.3 says so, or hangs up.
    #[must_use]
    pub fn after(self, end: HandshakeEnd) -> Option<Self> {
        match (self, end) {
            (Self::Full, HandshakeEnd::Stalled | HandshakeEnd::Broken) => Some(Self::Classical),
            (Self::Full, HandshakeEnd::Refused)
            | (Self::Classical, HandshakeEnd::Refused | HandshakeEnd::Broken) => Some(Self::Capped),
            (Self::Full | Self::Classical, HandshakeEnd::Incompatible)
            | (Self::Classical, HandshakeEnd::Stalled)
            | (Self::Capped, _) => None,
        }
    }

    /// The word for it in listings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Classical => "classical",
            Self::Capped => "tls1.2",
        }
    }
}

/// How a handshake ended that did not come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeEnd {
    /// Nothing came.
    Stalled,
    /// It was closed, or ended in an alert that says nothing definite.
    Broken,
    /// An alert says that there is nothing in common: of what was on offer.
    Refused,
    /// They chose what we don't take, whatever is on offer.
    Incompatible,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e24_what_is_tried_next() {
        use HandshakeEnd::{Broken, Incompatible, Refused, Stalled};
        for (profile, end, next) in [
            (Profile::Full, Stalled, Some(Profile::Classical)),
            (Profile::Full, Broken, Some(Profile::Classical)),
            (Profile::Full, Refused, Some(Profile::Capped)),
            (Profile::Full, Incompatible, None),
            (Profile::Classical, Stalled, None),
            (Profile::Classical, Broken, Some(Profile::Capped)),
            (Profile::Classical, Refused, Some(Profile::Capped)),
            (Profile::Classical, Incompatible, None),
            (Profile::Capped, Stalled, None),
            (Profile::Capped, Broken, None),
            (Profile::Capped, Refused, None),
            (Profile::Capped, Incompatible, None),
        ] {
            assert_eq!(profile.after(end), next, "{profile:?} {end:?}");
        }
    }
}
