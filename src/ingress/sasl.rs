//! The exchanges of AUTH PLAIN and AUTH LOGIN, without I/O.
//!
//! Holds always: a [`Login`] shows its password in no `Debug` and wipes it when
//! dropped; an authorization identity other than one's own is refused. Called by
//! the session (RFC 4954 section 4, RFC 4616).

use std::fmt;

use zeroize::Zeroizing;

use crate::wire::Secret;

/// What a client logs in with.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The account's name as the client gave it.
    pub name: String,
    /// The password.
    pub password: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Login {
    /// The name may be a password typed in the wrong field: it is left out too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(..)")
    }
}

/// Why an exchange failed before any password was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SaslError {
    /// Not a message of the mechanism.
    #[error("malformed response for this mechanism")]
    Malformed,
    /// The client wants to act as someone else (RFC 4616 section 2).
    #[error("acting as another identity is not allowed")]
    OtherIdentity,
}

/// What to say next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send this in a 334, and wait for a response. It is base64 already.
    Challenge(&'static str),
    /// The client has said all.
    Done(Login),
}

/// An exchange under way.
#[derive(Debug)]
pub enum Exchange {
    /// PLAIN: waits for its one message (RFC 4616 section 2).
    Plain,
    /// LOGIN: waits for the user name.
    LoginName,
    /// LOGIN: waits for the password.
    LoginPassword {
        /// The user name.
        name: String,
    },
}

impl Exchange {
    /// Starts a mechanism, by its name in upper case; `None` if there is no such
    /// mechanism here.
    #[must_use]
    pub fn start(mechanism: &str) -> Option<Self> {
        match mechanism {
            "PLAIN" => Some(Self::Plain),
            "LOGIN" => Some(Self::LoginName),
            _ => None,
        }
    }

    /// What the server says first where no initial response came.
    #[must_use]
    pub fn first_challenge(&self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::LoginName => USERNAME,
            Self::LoginPassword { .. } => PASSWORD,
        }
    }

    /// Takes a response.
    ///
    /// # Errors
    /// [`SaslError`].
    pub fn take(&mut self, response: &Secret) -> Result<Step, SaslError> {
        let octets = response.as_bytes();
        match self {
            Self::Plain => plain(octets).map(Step::Done),
            Self::LoginName => {
                *self = Self::LoginPassword {
                    name: name(octets)?,
                };
                Ok(Step::Challenge(PASSWORD))
            }
            Self::LoginPassword { name } => Ok(Step::Done(Login {
                name: std::mem::take(name),
                password: Zeroizing::new(octets.to_vec()),
            })),
        }
    }
}

/// RFC 4616 section 2: `[authzid] NUL authcid NUL passwd`.
fn plain(octets: &[u8]) -> Result<Login, SaslError> {
    let mut parts = octets.split(|octet| *octet == 0);
    let (Some(other), Some(own), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(SaslError::Malformed);
    };
    if !other.is_empty() && other != own {
        return Err(SaslError::OtherIdentity);
    }
    Ok(Login {
        name: name(own)?,
        password: Zeroizing::new(password.to_vec()),
    })
}

fn name(octets: &[u8]) -> Result<String, SaslError> {
    match std::str::from_utf8(octets) {
        Ok(name) if !name.is_empty() => Ok(name.to_owned()),
        _ => Err(SaslError::Malformed),
    }
}

/// base64 of "Username:", which is what clients of LOGIN look for.
const USERNAME: &str = "VXNlcm5hbWU6";
/// base64 of "Password:".
const PASSWORD: &str = "UGFzc3dvcmQ6";

#[cfg(test)]
mod tests {
    use super::*;

    fn login(octets: &[u8]) -> Result<(String, Vec<u8>), SaslError> {
        plain(octets).map(|login| (login.name, login.password.to_vec()))
    }

    #[test]
    fn plain_messages() {
        let wanted = Ok(("a".to_owned(), b"p w".to_vec()));
        assert_eq!(login(b"\0a\0p w"), wanted);
        assert_eq!(login(b"a\0a\0p w"), wanted);
        assert_eq!(login(b"b\0a\0p"), Err(SaslError::OtherIdentity));
        for broken in [&b""[..], b"\0", b"a", b"\0\0p", b"\0a\0p\0", b"\0\xff\0p"] {
            assert_eq!(login(broken), Err(SaslError::Malformed), "{broken:?}");
        }
    }

    #[test]
    fn nothing_shows_in_debug() {
        let login = plain(b"\0scanner\0secret").unwrap();
        let shown = format!("{:?}", Step::Done(login));
        assert_eq!(shown, "Done(Login(..))");
    }
}
