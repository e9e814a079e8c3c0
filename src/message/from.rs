//! The authors of a message: all mailboxes of all its From fields.
//!
//! Owns reading address lists (RFC 5322 section 3.4) for admission. Holds always:
//! where two readers could see different authors, the answer is
//! [`FromField::Unreadable`], never a guess. Lenient only where no address is at
//! stake: names may hold anything. That is why it is not left to a general
//! parser, which finds some address in everything.

use std::str::Chars;

use crate::types::Mailbox;

use super::headers::Field;

/// What the From fields say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromField {
    /// There is none, though RFC 5322 section 3.6 demands it.
    Missing,
    /// There is one that holds no address, or something that may be one.
    Unreadable,
    /// All mailboxes of all From fields, at least one, none twice.
    Mailboxes(Vec<Mailbox>),
}

impl FromField {
    /// Reads all From fields among these.
    #[must_use]
    pub fn read<'a>(fields: impl Iterator<Item = Field<'a>>) -> Self {
        let mut found = Vec::new();
        let mut any = false;
        for field in fields.filter(|field| field.is("From")) {
            any = true;
            let before = found.len();
            let list = AddressList::new(&field.unfolded()).read(&mut found);
            if list.is_err() || found.len() == before {
                return Self::Unreadable;
            }
        }
        let mut seen = std::collections::HashSet::new();
        found.retain(|mailbox| seen.insert(mailbox.clone()));
        if any {
            Self::Mailboxes(found)
        } else {
            Self::Missing
        }
    }
}

/// Something that may be an address and can't be read as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unreadable;

/// Goes through a list; gathers one entry of it at a time.
struct AddressList<'a> {
    chars: Chars<'a>,
    /// The entry's text outside comments and angle brackets.
    text: String,
    /// What stood in its angle brackets.
    angle: Option<String>,
}

impl<'a> AddressList<'a> {
    fn new(value: &'a str) -> Self {
        Self {
            chars: value.chars(),
            text: String::new(),
            angle: None,
        }
    }

    fn read(&mut self, found: &mut Vec<Mailbox>) -> Result<(), Unreadable> {
        while let Some(c) = self.chars.next() {
            match c {
                '"' => {
                    let quoted = self.quoted()?;
                    self.text.push_str(&quoted);
                }
                '(' => self.comment()?,
                '[' => {
                    let literal = self.until(']')?;
                    self.text.push('[');
                    self.text.push_str(&literal);
                }
                '<' if self.angle.is_none() => self.angle = Some(self.angle_address()?),
                // A group's name; the group's members follow (section 3.4).
                ':' if self.angle.is_none() && !has_at(&self.text) => self.text.clear(),
                ',' | ';' => self.entry(found)?,
                '<' | '>' | ':' => return Err(Unreadable),
                c => self.text.push(c),
            }
        }
        self.entry(found)
    }

    /// Ends an entry: takes its mailbox, if it has one. An entry without any `@`
    /// is a part of a name whose comma should have been quoted.
    fn entry(&mut self, found: &mut Vec<Mailbox>) -> Result<(), Unreadable> {
        let text = std::mem::take(&mut self.text);
        let address = match self.angle.take() {
            Some(_) if has_at(&text) => return Err(Unreadable),
            Some(angle) => angle,
            None if has_at(&text) => text,
            None => return Ok(()),
        };
        let mailbox = Mailbox::parse(strip_route(address.trim())).map_err(|_| Unreadable)?;
        found.push(mailbox);
        Ok(())
    }

    /// What stands in angle brackets. The text before it was the name; what
    /// follows in the same entry must hold no address.
    fn angle_address(&mut self) -> Result<String, Unreadable> {
        self.text.clear();
        let mut inner = String::new();
        while let Some(c) = self.chars.next() {
            match c {
                '>' => return Ok(inner),
                '"' => inner.push_str(&self.quoted()?),
                '(' => self.comment()?,
                '<' => return Err(Unreadable),
                c => inner.push(c),
            }
        }
        Err(Unreadable)
    }

    /// A quoted string behind its opening quote, with its quotes and escapes.
    fn quoted(&mut self) -> Result<String, Unreadable> {
        let mut inner = String::from('"');
        while let Some(c) = self.chars.next() {
            inner.push(c);
            match c {
                '"' => return Ok(inner),
                '\\' => inner.push(self.chars.next().ok_or(Unreadable)?),
                _ => {}
            }
        }
        Err(Unreadable)
    }

    /// Passes over a comment behind its opening parenthesis; comments nest. A
    /// comment amid an address separates nothing, so it leaves a blank, with
    /// which the address can't be read.
    fn comment(&mut self) -> Result<(), Unreadable> {
        let mut depth = 1usize;
        while depth > 0 {
            match self.chars.next().ok_or(Unreadable)? {
                '(' => depth += 1,
                ')' => depth -= 1,
                '\\' => {
                    self.chars.next();
                }
                _ => {}
            }
        }
        self.text.push(' ');
        Ok(())
    }

    fn until(&mut self, end: char) -> Result<String, Unreadable> {
        let mut inner = String::new();
        for c in self.chars.by_ref() {
            inner.push(c);
            if c == end {
                return Ok(inner);
            }
        }
        Err(Unreadable)
    }
}

/// Whether there is an `@` outside quoted strings.
fn has_at(text: &str) -> bool {
    let mut quoted = false;
    let mut escaped = false;
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '@' if !quoted => return true,
            _ => {}
        }
    }
    false
}

/// `@hop,@hop:a@b` (RFC 5322 section 4.4 `obs-route`).
fn strip_route(address: &str) -> &str {
    match address.split_once(':') {
        Some((_, mailbox)) if address.starts_with('@') => mailbox,
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::super::headers::fields;
    use super::*;

    fn read(header: &str) -> FromField {
        FromField::read(fields(header.as_bytes()))
    }

    #[test]
    fn authors_of_common_forms() {
        for (value, authors) in [
            ("a@x.example", "a@x.example"),
            ("<a@x.example>", "a@x.example"),
            ("Anna <a@x.example>", "a@x.example"),
            ("Anna\r\n\t<a@x.example>", "a@x.example"),
            ("\"Doe, Anna\" <a@x.example> (at home)", "a@x.example"),
            ("Doe, Anna <a@x.example>", "a@x.example"),
            ("=?utf-8?q?J=C3=BCrgen?= <a@x.example>", "a@x.example"),
            ("Jürgen <a@x.example>", "a@x.example"),
            ("a@x.example (Anna)", "a@x.example"),
            ("other@y.example <a@x.example>", "a@x.example"),
            ("\"other@y.example\" <a@x.example>", "a@x.example"),
            ("a@x.example, b@y.example", "a@x.example b@y.example"),
            (
                "A <a@x.example>,, B <b@y.example>,",
                "a@x.example b@y.example",
            ),
            (
                "Team: A <a@x.example>, b@y.example;",
                "a@x.example b@y.example",
            ),
            ("\"a b\"@x.example", "\"a b\"@x.example"),
            ("<\"a>b\"@x.example>", "\"a>b\"@x.example"),
            ("<@hop.example:a@x.example>", "a@x.example"),
            ("a@[192.0.2.1]", "a@[192.0.2.1]"),
            ("a@[IPv6:2001:db8::1]", "a@[IPv6:2001:db8::1]"),
            ("< a@x.example >", "a@x.example"),
            (
                "a@x.example, A@X.example, a@x.example",
                "a@x.example A@x.example",
            ),
        ] {
            let FromField::Mailboxes(found) = read(&format!("From: {value}\r\n")) else {
                panic!("{value}");
            };
            let found: Vec<_> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found.join(" "), authors, "{value}");
        }
    }

    #[test]
    fn what_two_readers_may_read_differently_is_unreadable() {
        for value in [
            "",
            "Anna",
            "<>",
            "Team:;",
            "undisclosed-recipients:;",
            "<a@x.example",
            "a@x.example>",
            "a@x.example b@y.example",
            "<a@x.example> b@y.example <c@z.example>",
            "<a@x.example> <b@y.example>",
            "<a@x.example> b@y.example",
            "a@x.example (c) .evil.example",
            "a@x.example .evil.example",
            "a(c)@x.example",
            "a@x.example:b@y.example",
            "\"a@x.example",
            "(a@x.example",
            "<<a@x.example>>",
            "jürgen@x.example",
            "a@x.example, b@",
            "a@[192.0.2.1",
            "=?utf-8?q?a=40x.example?=",
            "a@x.example\\",
            "<a@x.example>: b@y.example",
        ] {
            assert_eq!(
                read(&format!("From: {value}\r\n")),
                FromField::Unreadable,
                "{value}"
            );
        }
    }

    #[test]
    fn all_from_fields_count() {
        assert_eq!(
            read("To: a@x.example\r\n\r\nFrom: b@x.example\r\n"),
            FromField::Missing
        );
        let FromField::Mailboxes(found) =
            read("From: a@x.example\r\njunk\r\nfrom : b@y.example\r\n\r\n")
        else {
            panic!();
        };
        assert_eq!(found.len(), 2);
        assert_eq!(
            read("From: a@x.example\r\nFROM:\r\n"),
            FromField::Unreadable
        );
    }

    proptest::proptest! {
        #[test]
        fn any_value_is_answered(value in "[a-c@<>\"(),:;\\\\ .\\[\\]ü]{0,30}") {
            if let FromField::Mailboxes(found) = read(&format!("From: {value}\r\n")) {
                proptest::prop_assert!(!found.is_empty());
            }
        }
    }
}
