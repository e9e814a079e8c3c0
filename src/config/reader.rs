//! Reading a TOML table key by key, collecting every fault with its line.
//!
//! Owns the way from TOML to values: each key is asked for by name, a wrong
//! value is a fault and reads as absent, and at the end every key that nobody
//! asked for is a fault too. So one run tells everything, and a key that has no
//! effect can't exist.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::Fault;

/// What all sections of one file share: the text, its folder, the faults.
pub(super) struct Reader<'a> {
    text: &'a str,
    folder: &'a Path,
    faults: RefCell<Vec<Fault>>,
    known: RefCell<BTreeSet<String>>,
    named: RefCell<Vec<Named>>,
}

/// A file that the configuration names, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The line that names it.
    pub line: usize,
    /// The key, e.g. `tls.certificate`.
    pub key: String,
    /// The file.
    pub path: PathBuf,
}

/// A value with the line it stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) line: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, folder: &'a Path) -> Self {
        Self {
            text,
            folder,
            faults: RefCell::default(),
            known: RefCell::default(),
            named: RefCell::default(),
        }
    }

    /// The line of an octet offset, from 1.
    fn line(&self, span: &Range<usize>) -> usize {
        let head = self.text.as_bytes().get(..span.start).unwrap_or_default();
        1 + head.iter().filter(|b| **b == b'\n').count()
    }

    pub(super) fn fault(&self, line: usize, message: impl Display) {
        self.faults.borrow_mut().push(Fault {
            line,
            message: message.to_string(),
        });
    }

    /// Takes what the TOML parser itself complains about.
    pub(super) fn syntax(&self, errors: &[toml::de::Error]) {
        for error in errors {
            let line = error.span().map_or(0, |span| self.line(&span));
            self.fault(line, error.message());
        }
    }

    /// The files that were named, so far.
    pub(super) fn named(&self) -> Vec<Named> {
        self.named.borrow().clone()
    }

    /// All faults by line, and the names of all keys that were asked for.
    pub(super) fn finish(self) -> (Vec<Fault>, BTreeSet<String>) {
        let mut faults = self.faults.into_inner();
        faults.sort();
        faults.dedup();
        (faults, self.known.into_inner())
    }
}

/// One table of the file, or the absence of one.
pub(super) struct Section<'r, 'a, 't> {
    reader: &'r Reader<'a>,
    /// `delivery`; empty at the top.
    name: String,
    line: usize,
    table: Option<&'t DeTable<'t>>,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'r, 'a, 't> Section<'r, 'a, 't> {
    pub(super) fn top(reader: &'r Reader<'a>, table: &'t DeTable<'t>) -> Self {
        Self::new(reader, String::new(), 0, Some(table))
    }

    fn new(
        reader: &'r Reader<'a>,
        name: String,
        line: usize,
        table: Option<&'t DeTable<'t>>,
    ) -> Self {
        Self {
            reader,
            name,
            line,
            table,
            asked: RefCell::default(),
        }
    }

    /// The line its header stands in.
    pub(super) fn line(&self) -> usize {
        self.line
    }

    pub(super) fn fault(&self, line: usize, message: impl Display) {
        self.reader.fault(line, message);
    }

    fn get(&self, key: &'static str) -> Option<Located<&'t DeValue<'t>>> {
        self.asked.borrow_mut().insert(key);
        let name = self.qualified(key);
        self.reader.known.borrow_mut().insert(name);
        let value: &'t Spanned<DeValue<'t>> = self.table?.get(key)?;
        Some(Located {
            line: self.reader.line(&value.span()),
            value: value.get_ref(),
        })
    }

    fn qualified(&self, key: &str) -> String {
        if self.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name)
        }
    }

    fn wrong(&self, key: &str, line: usize, expected: &str, found: &DeValue<'_>) {
        let key = self.qualified(key);
        let found = found.type_str();
        self.fault(line, format_args!("{key} must be {expected}, not {found}"));
    }

    /// The line of a key, or the section's own.
    pub(super) fn line_of(&self, key: &str) -> usize {
        let value = self.table.and_then(|table| table.get(key));
        value.map_or(self.line, |value| self.reader.line(&value.span()))
    }

    /// Whether the key is there, without asking for it.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// A string, with its line.
    pub(super) fn text(&self, key: &'static str) -> Option<Located<String>> {
        let found = self.get(key)?;
        match found.value.as_str() {
            Some(text) => Some(Located {
                value: text.to_owned(),
                line: found.line,
            }),
            None => {
                self.wrong(key, found.line, "a string", found.value);
                None
            }
        }
    }

    /// A string that `parse` makes sense of.
    pub(super) fn parsed<T, E: Display>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(key)?;
        parse(&text.value)
            .inspect_err(|e| {
                let key = self.qualified(key);
                self.fault(text.line, format_args!("{key} = \"{}\": {e}", text.value));
            })
            .ok()
    }

    /// A list of strings, or one string in its place, each of which `parse` makes
    /// sense of.
    pub(super) fn list<T, E: Display>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        let found = self.get(key)?;
        let mut texts = Vec::new();
        match found.value {
            DeValue::String(text) => texts.push((text.as_ref(), found.line)),
            DeValue::Array(items) => {
                for item in items {
                    let line = self.reader.line(&item.span());
                    match item.get_ref().as_str() {
                        Some(text) => texts.push((text, line)),
                        None => self.wrong(key, line, "a list of strings", item.get_ref()),
                    }
                }
            }
            other => self.wrong(key, found.line, "a string or a list of strings", other),
        }
        let mut values = Vec::new();
        for (text, line) in texts {
            match parse(text) {
                Ok(value) => values.push(value),
                Err(e) => {
                    let key = self.qualified(key);
                    self.fault(line, format_args!("{key}: \"{text}\": {e}"));
                }
            }
        }
        Some(values)
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, key: &'static str) -> Option<bool> {
        let found = self.get(key)?;
        let flag = found.value.as_bool();
        if flag.is_none() {
            self.wrong(key, found.line, "true or false", found.value);
        }
        flag
    }

    /// A whole number within `range`.
    pub(super) fn number(
        &self,
        key: &'static str,
        range: std::ops::RangeInclusive<usize>,
    ) -> Option<usize> {
        let found = self.get(key)?;
        let number = found
            .value
            .as_integer()
            .and_then(|n| usize::from_str_radix(n.as_str(), n.radix()).ok());
        match number {
            Some(number) if range.contains(&number) => Some(number),
            _ => {
                let key = self.qualified(key);
                let (low, high) = range.into_inner();
                self.fault(
                    found.line,
                    format_args!("{key} must be a whole number from {low} to {high}"),
                );
                None
            }
        }
    }

    /// A path, relative to the file's folder.
    pub(super) fn path(&self, key: &'static str) -> Option<PathBuf> {
        let text = self.text(key)?;
        if text.value.is_empty() {
            let key = self.qualified(key);
            self.fault(text.line, format_args!("{key} is empty"));
            return None;
        }
        let path = self.reader.folder.join(text.value);
        self.name_file(key, text.line, &path);
        Some(path)
    }

    /// A list of paths, likewise.
    pub(super) fn paths(&self, key: &'static str) -> Option<Vec<PathBuf>> {
        let paths = self.list(key, |text| {
            if text.is_empty() {
                Err("the path is empty")
            } else {
                Ok(self.reader.folder.join(text))
            }
        })?;
        for path in &paths {
            self.name_file(key, self.line_of(key), path);
        }
        Some(paths)
    }

    fn name_file(&self, key: &str, line: usize, path: &Path) {
        self.reader.named.borrow_mut().push(Named {
            line,
            key: self.qualified(key),
            path: path.to_owned(),
        });
    }

    /// A table below this one; an absent one reads as empty.
    pub(super) fn section(&self, key: &'static str) -> Section<'r, 'a, 't> {
        let name = self.qualified(key);
        let found = self.get(key);
        let line = found.as_ref().map_or(self.line, |found| found.line);
        let table = found.and_then(|found| {
            let table = found.value.as_table();
            if table.is_none() {
                self.wrong(key, found.line, "a table", found.value);
            }
            table
        });
        self.reader.known.borrow_mut().remove(&name);
        Section::new(self.reader, name, line, table)
    }

    /// The tables of an array of tables.
    pub(super) fn sections(&self, key: &'static str) -> Vec<Section<'r, 'a, 't>> {
        let name = self.qualified(key);
        let found = self.get(key);
        self.reader.known.borrow_mut().remove(&name);
        let Some(found) = found else {
            // So that the keys below are known even to a file without any.
            return Vec::new();
        };
        let Some(items) = found.value.as_array() else {
            let expected = format!("[[{name}]] tables");
            self.wrong(key, found.line, &expected, found.value);
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in items {
            let line = self.reader.line(&item.span());
            match item.get_ref().as_table() {
                Some(table) => {
                    sections.push(Section::new(self.reader, name.clone(), line, Some(table)));
                }
                None => self.wrong(key, line, "a table", item.get_ref()),
            }
        }
        sections
    }

    /// Faults every key that nobody asked for.
    pub(super) fn finish(&self) {
        let asked = self.asked.borrow();
        for (key, _) in self.table.into_iter().flatten() {
            if asked.contains(key.get_ref().as_ref()) {
                continue;
            }
            let line = self.reader.line(&key.span());
            let place = if self.name.is_empty() {
                "at the top".to_owned()
            } else {
                format!("in [{}]", self.name)
            };
            let known = asked.iter().copied().collect::<Vec<_>>().join(", ");
            let key = key.get_ref();
            self.fault(
                line,
                format_args!("unknown key \"{key}\" {place} (known: {known})"),
            );
        }
    }
}
