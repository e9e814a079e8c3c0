//! Paths and parameters: what follows `MAIL FROM:` and `RCPT TO:`.
//!
//! Owns the grammar of RFC 5321 section 4.1.2 `Path` with its source route, and
//! of `esmtp-param`. Holds always: a path that comes out was read whole, and what
//! follows it is parameters. Called by `command` alone.

use crate::types::{AddressError, Domain, Mailbox};

use super::command::CommandError;

/// A path as written, before anyone asks what it may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Path {
    /// `<>` (RFC 5321 section 4.5.5).
    Null,
    /// `<postmaster>` in any case, without a domain (section 4.1.1.3).
    Postmaster,
    /// A mailbox, its source route stripped.
    Mailbox(Mailbox),
}

/// Splits off a path; gives it with the text of the parameters behind it.
///
/// Like Postfix this takes one without angle brackets too: printers send it.
///
/// # Errors
/// Any [`AddressError`].
pub(super) fn split(text: &str) -> Result<(Path, &str), AddressError> {
    let (inner, rest) = match text.strip_prefix('<') {
        Some(rest) => {
            let end = find_unquoted(rest, '>').ok_or(AddressError::Syntax)?;
            let (inner, rest) = rest.split_at(end);
            (inner, rest.strip_prefix('>').unwrap_or(rest))
        }
        None => {
            let end = find_unquoted(text, ' ').unwrap_or(text.len());
            if end == 0 {
                return Err(AddressError::Syntax);
            }
            text.split_at(end)
        }
    };
    if !rest.is_empty() && !rest.starts_with(' ') {
        return Err(AddressError::Syntax);
    }
    // Without SMTPUTF8 neither local part nor domain may leave ASCII (RFC 6531
    // section 3.4), although a U-label alone could be converted.
    if !inner.is_ascii() {
        return Err(AddressError::NonAscii);
    }
    Ok((parse(inner)?, rest))
}

fn parse(inner: &str) -> Result<Path, AddressError> {
    if inner.is_empty() {
        return Ok(Path::Null);
    }
    if inner.eq_ignore_ascii_case("postmaster") {
        return Ok(Path::Postmaster);
    }
    Mailbox::parse(strip_route(inner)?).map(Path::Mailbox)
}

/// Takes a source route off (RFC 5321 section 4.1.2 `A-d-l`, appendix C).
fn strip_route(inner: &str) -> Result<&str, AddressError> {
    if !inner.starts_with('@') {
        return Ok(inner);
    }
    let (route, mailbox) = inner.split_once(':').ok_or(AddressError::Syntax)?;
    for hop in route.split(',') {
        Domain::parse(hop.strip_prefix('@').ok_or(AddressError::Syntax)?)?;
    }
    Ok(mailbox)
}

/// Where `wanted` stands outside quoted strings.
fn find_unquoted(text: &str, wanted: char) -> Option<usize> {
    let mut quoted = false;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => quoted = !quoted,
            '\\' if quoted => {
                chars.next();
            }
            c if c == wanted && !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// One `esmtp-param` (RFC 5321 section 4.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parameter<'a> {
    /// Its keyword as written.
    pub(super) keyword: &'a str,
    /// What stands behind the `=`.
    pub(super) value: Option<&'a str>,
}

/// The parameters behind a path.
///
/// # Errors
/// [`CommandError::Parameter`] if a keyword stands twice or is none.
pub(super) fn parameters(text: &str) -> Result<Vec<Parameter<'_>>, CommandError> {
    let mut found: Vec<Parameter<'_>> = Vec::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let (keyword, value) = match word.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (word, None),
        };
        let twice = found
            .iter()
            .any(|p| p.keyword.eq_ignore_ascii_case(keyword));
        if keyword.is_empty() || twice {
            return Err(CommandError::Parameter);
        }
        found.push(Parameter { keyword, value });
    }
    Ok(found)
}
