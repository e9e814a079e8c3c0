//! Commands, as a client sends them.
//!
//! Owns the grammar of RFC 5321 section 4.1.1, of AUTH (RFC 4954) and STARTTLS
//! (RFC 3207), for the extensions that [`super::extension::Offer`] can offer.
//! Holds always: a [`Command`] that exists is well-formed; an error is told
//! without repeating what was sent; credentials show in no `Debug`. Whether a
//! command is in its place is the session's business. Called by `ingress`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

use crate::types::{AddressError, BodyType, Mailbox};

use super::path::{self, Parameter, Path};
use super::reply::Reply;

/// A command with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// EHLO with the client's name as it gave it (RFC 5321 section 4.1.1.1).
    Ehlo(String),
    /// HELO, likewise.
    Helo(String),
    /// MAIL (RFC 5321 section 4.1.1.2).
    Mail(MailCommand),
    /// RCPT (RFC 5321 section 4.1.1.3).
    Rcpt(RcptPath),
    /// DATA (RFC 5321 section 4.1.1.4).
    Data,
    /// RSET (RFC 5321 section 4.1.1.5).
    Rset,
    /// NOOP, its argument ignored (RFC 5321 section 4.1.1.9).
    Noop,
    /// QUIT (RFC 5321 section 4.1.1.10).
    Quit,
    /// VRFY; whom it asks about makes no difference (RFC 5321 section 3.5.3).
    Vrfy,
    /// HELP, its argument ignored (RFC 5321 section 4.1.1.8).
    Help,
    /// STARTTLS (RFC 3207 section 4).
    StartTls,
    /// AUTH (RFC 4954 section 4).
    Auth(AuthCommand),
}

/// MAIL's arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailCommand {
    /// The reverse-path; `None` is `<>` (RFC 5321 section 4.5.5).
    pub sender: Option<Mailbox>,
    /// BODY= (RFC 6152 section 3).
    pub body: BodyType,
    /// SIZE=; larger than a u64 counts as its maximum (RFC 1870 section 6).
    pub size: Option<u64>,
    /// Whether AUTH= was given; nobody is believed for it (RFC 4954 section 5).
    pub auth: bool,
}

/// RCPT's forward-path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RcptPath {
    /// A mailbox.
    Mailbox(Mailbox),
    /// `<postmaster>` without a domain (RFC 5321 section 4.1.1.3).
    Postmaster,
}

/// AUTH's arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthCommand {
    /// The mechanism in upper case.
    pub mechanism: String,
    /// The initial response, decoded; `=` is an empty one (RFC 4954 section 4).
    pub initial: Option<Secret>,
}

/// What a client answers to a 334 (RFC 4954 section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthResponse {
    /// `*`: it gives up.
    Cancel,
    /// A response, decoded.
    Octets(Secret),
}

/// Octets that may be a credential: wiped when dropped, absent from `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The octets, for the one who verifies them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why a line is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No such verb.
    #[error("unknown command")]
    Unknown,
    /// A verb of RFC 5321 that is not served here.
    #[error("command not implemented")]
    NotImplemented,
    /// Octets that are not UTF-8, or control characters.
    #[error("the command holds octets that are not text")]
    NotText,
    /// Arguments missing or too many; with the form expected.
    #[error("syntax: {0}")]
    Syntax(&'static str),
    /// MAIL's path is no address.
    #[error("bad sender address: {0}")]
    Sender(AddressError),
    /// RCPT's path is no address.
    #[error("bad recipient address: {0}")]
    Recipient(AddressError),
    /// A parameter that is unknown or stands twice (RFC 5321 section 4.1.1.11).
    #[error("parameter not recognized, or given twice")]
    Parameter,
    /// A known parameter with a value it can't have.
    #[error("bad value of a parameter")]
    ParameterValue,
    /// A response that is not base64 (RFC 4954 section 4).
    #[error("cannot decode the response")]
    Base64,
}

impl CommandError {
    /// The reply this error deserves.
    #[must_use]
    pub fn reply(&self) -> Reply {
        let (code, enhanced) = match self {
            Self::Unknown => (500, "5.5.2"),
            Self::NotImplemented => (502, "5.5.1"),
            Self::NotText | Self::Base64 => (501, "5.5.2"),
            Self::Syntax(_) | Self::ParameterValue => (501, "5.5.4"),
            // RFC 6531 section 3.5.
            Self::Sender(AddressError::NonAscii) | Self::Recipient(AddressError::NonAscii) => {
                (553, "5.6.7")
            }
            // RFC 3463 section 3.2: 5.1.7 bad sender's, 5.1.3 bad destination's
            // mailbox address syntax.
            Self::Sender(_) => (501, "5.1.7"),
            Self::Recipient(_) => (501, "5.1.3"),
            Self::Parameter => (555, "5.5.4"),
        };
        let text = self.to_string();
        let mut chars = text.chars();
        let first = chars.next().map(|c| c.to_ascii_uppercase());
        Reply::new(
            code,
            enhanced,
            first.into_iter().chain(chars).collect::<String>(),
        )
    }
}

impl Command {
    /// Reads a command line, its CRLF taken off.
    ///
    /// # Errors
    /// A [`CommandError`], which knows its reply.
    pub fn parse(line: &[u8]) -> Result<Self, CommandError> {
        let text = std::str::from_utf8(line).map_err(|_| CommandError::NotText)?;
        // Blanks at the end are common and harmless (RFC 5321 section 4.1.1).
        let text = text.trim_end_matches([' ', '\t']);
        if text.bytes().any(|b| b.is_ascii_control()) {
            return Err(CommandError::NotText);
        }
        let (verb, argument) = text.split_once(' ').unwrap_or((text, ""));
        let argument = argument.trim_start_matches(' ');
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => client_name(argument, "EHLO hostname").map(Self::Ehlo),
            "HELO" => client_name(argument, "HELO hostname").map(Self::Helo),
            "MAIL" => parse_mail(argument).map(Self::Mail),
            "RCPT" => parse_rcpt(argument).map(Self::Rcpt),
            "DATA" => alone(Self::Data, argument, "DATA"),
            "RSET" => alone(Self::Rset, argument, "RSET"),
            "QUIT" => alone(Self::Quit, argument, "QUIT"),
            "STARTTLS" => alone(Self::StartTls, argument, "STARTTLS"),
            "NOOP" => Ok(Self::Noop),
            "HELP" => Ok(Self::Help),
            "VRFY" if argument.is_empty() => Err(CommandError::Syntax("VRFY address")),
            "VRFY" => Ok(Self::Vrfy),
            "AUTH" => parse_auth(argument).map(Self::Auth),
            "EXPN" => Err(CommandError::NotImplemented),
            _ => Err(CommandError::Unknown),
        }
    }
}

impl AuthResponse {
    /// Reads the line that answers a 334, its CRLF taken off.
    ///
    /// # Errors
    /// [`CommandError::Base64`].
    pub fn parse(line: &[u8]) -> Result<Self, CommandError> {
        match line {
            b"*" => Ok(Self::Cancel),
            _ => decode(line).map(Self::Octets),
        }
    }
}

fn client_name(argument: &str, form: &'static str) -> Result<String, CommandError> {
    if argument.is_empty() {
        return Err(CommandError::Syntax(form));
    }
    Ok(argument.to_owned())
}

/// A command that takes no argument: one that has some is refused, since it may
/// be meant for another protocol (RFC 5321 section 4.3.2, RFC 3207 section 4).
fn alone(command: Command, argument: &str, form: &'static str) -> Result<Command, CommandError> {
    if argument.is_empty() {
        Ok(command)
    } else {
        Err(CommandError::Syntax(form))
    }
}

fn parse_mail(argument: &str) -> Result<MailCommand, CommandError> {
    let text = strip_word(argument, "FROM:").ok_or(CommandError::Syntax("MAIL FROM:<address>"))?;
    let (path, rest) = path::split(text).map_err(CommandError::Sender)?;
    let sender = match path {
        Path::Null => None,
        Path::Mailbox(mailbox) => Some(mailbox),
        Path::Postmaster => return Err(CommandError::Sender(AddressError::NoDomain)),
    };
    let mut mail = MailCommand {
        sender,
        body: BodyType::SevenBit,
        size: None,
        auth: false,
    };
    for parameter in path::parameters(rest)? {
        mail.take(parameter)?;
    }
    Ok(mail)
}

impl MailCommand {
    fn take(&mut self, parameter: Parameter<'_>) -> Result<(), CommandError> {
        let value = parameter.value.unwrap_or_default();
        match parameter.keyword.to_ascii_uppercase().as_str() {
            "BODY" => {
                self.body = match value.to_ascii_uppercase().as_str() {
                    "7BIT" => BodyType::SevenBit,
                    "8BITMIME" => BodyType::EightBitMime,
                    _ => return Err(CommandError::ParameterValue),
                }
            }
            "SIZE" => {
                // RFC 1870 section 3: 1 to 20 digits.
                let digits =
                    (1..=20).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit());
                if !digits {
                    return Err(CommandError::ParameterValue);
                }
                self.size = Some(value.parse().unwrap_or(u64::MAX));
            }
            "AUTH" if !value.is_empty() => self.auth = true,
            "AUTH" => return Err(CommandError::ParameterValue),
            _ => return Err(CommandError::Parameter),
        }
        Ok(())
    }
}

fn parse_rcpt(argument: &str) -> Result<RcptPath, CommandError> {
    let text = strip_word(argument, "TO:").ok_or(CommandError::Syntax("RCPT TO:<address>"))?;
    let (path, rest) = path::split(text).map_err(CommandError::Recipient)?;
    let rcpt = match path {
        Path::Null => return Err(CommandError::Recipient(AddressError::Syntax)),
        Path::Postmaster => RcptPath::Postmaster,
        Path::Mailbox(mailbox) => RcptPath::Mailbox(mailbox),
    };
    // No extension on offer has a parameter for RCPT.
    match path::parameters(rest)?.is_empty() {
        true => Ok(rcpt),
        false => Err(CommandError::Parameter),
    }
}

fn parse_auth(argument: &str) -> Result<AuthCommand, CommandError> {
    const FORM: CommandError = CommandError::Syntax("AUTH mechanism [initial-response]");
    let mut words = argument.split(' ').filter(|word| !word.is_empty());
    let mechanism = words.next().ok_or(FORM)?;
    // RFC 4422 section 3.1 `sasl-mech`.
    let is_name = mechanism.len() <= 20
        && mechanism
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if !is_name {
        return Err(FORM);
    }
    let initial = match words.next() {
        None => None,
        Some("=") => Some(Secret(Zeroizing::new(Vec::new()))),
        Some(word) => Some(decode(word.as_bytes())?),
    };
    match words.next() {
        Some(_) => Err(FORM),
        None => Ok(AuthCommand {
            mechanism: mechanism.to_ascii_uppercase(),
            initial,
        }),
    }
}

fn decode(text: &[u8]) -> Result<Secret, CommandError> {
    BASE64
        .decode(text)
        .map(|octets| Secret(Zeroizing::new(octets)))
        .map_err(|_| CommandError::Base64)
}

/// What follows `word` in any case; blanks between them are tolerated, as
/// Postfix does.
fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(word.len())?;
    head.eq_ignore_ascii_case(word)
        .then(|| rest.trim_start_matches(' '))
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
