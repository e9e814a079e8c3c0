//! What rules ask of a message, noted while it comes.
//!
//! Owns the choice of what is looked at: the header section always, the body only where
//! something is counted in its text or its type says that it came encrypted. Holds
//! always: a message of which nothing of that is asked costs no look at its body. Called
//! by `ingress`, octet for octet as they come.

use super::content::content_facts;
use super::mime::Walker;
use super::sealed::Sealed;
use super::texts::Texts;
use crate::types::{ContentFacts, Wanted};

/// One message's notes.
#[derive(Debug)]
pub struct Notes {
    facts: ContentFacts,
    body: Option<Reading>,
}

/// A body that is looked at.
#[derive(Debug)]
struct Reading {
    walker: Walker,
    texts: Option<Texts>,
    sealed: Option<Sealed>,
}

impl Notes {
    /// Begins with the header section, with the empty line that ends it.
    #[must_use]
    pub fn new(header: &[u8], wanted: &Wanted) -> Self {
        let facts = content_facts(header, wanted);
        let texts = (!wanted.patterns.is_empty()).then(Texts::default);
        let sealed = Sealed::expected(header);
        let body = (texts.is_some() || sealed.is_some()).then(|| Reading {
            walker: Walker::new(),
            texts,
            sealed,
        });
        let mut notes = Self { facts, body };
        notes.push(header);
        if header.is_empty() {
            // There is none: all is body.
            notes.push(b"\r\n");
        }
        notes
    }

    /// Takes octets of the body.
    pub fn push(&mut self, octets: &[u8]) {
        if let Some(reading) = &mut self.body {
            reading.walk(|walker, tell| walker.push(octets, tell));
        }
    }

    /// What was noted, and the text in which it is yet to be counted, if it is.
    #[must_use]
    pub fn finish(mut self) -> (ContentFacts, Option<Texts>) {
        let Some(reading) = &mut self.body else {
            return (self.facts, None);
        };
        let is_whole = reading.walk(Walker::finish);
        let sealed = reading.sealed.take().filter(|_| is_whole);
        self.facts.encrypted = sealed.and_then(Sealed::finish);
        (self.facts, reading.texts.take())
    }
}

impl Reading {
    fn walk<T>(
        &mut self,
        walk: impl FnOnce(&mut Walker, &mut dyn FnMut(super::mime::Event<'_>)) -> T,
    ) -> T {
        let (texts, sealed) = (&mut self.texts, &mut self.sealed);
        walk(&mut self.walker, &mut |event| {
            if let Some(texts) = texts {
                texts.note(&event);
            }
            if let Some(sealed) = sealed {
                sealed.note(&event);
            }
        })
    }
}
