//! Conditions that ask a message's content.
//!
//! Owns their evaluation. Holds always: what nobody looked at when the message was
//! accepted (a rule has come since, a field was too long) counts as matching, since a
//! content rule only takes away or raises (design section 3.3); our own mail holds
//! nobody's content, so none matches it. Called by `decide`.

use super::decide::Condition;
use super::pattern::Pattern;
use super::{Conditions, TextMatches};
use crate::types::content::ContentFacts;

/// What is known of a message's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<'a> {
    /// It is our own.
    Ours,
    /// Nothing was noted.
    Unknown,
    /// It has all that any rule asks, for a comparison (`replay`).
    Assumed,
    /// What was noted when it was accepted.
    Noted {
        /// Header fields.
        facts: &'a ContentFacts,
        /// Octets of the message.
        size: u64,
    },
}

/// A condition, made ready once.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    /// Any of these texts, in lower case, is in the Subject.
    Subject(Vec<String>),
    /// Any of these fields, by its name in lower case, has such a value.
    Header(Vec<(String, Pattern)>),
    /// It has so many octets.
    MinSize(u64),
    /// Its Sensitivity field (RFC 4021 section 2.1.55) has such a value.
    Sensitivity(Vec<Pattern>),
    /// It has a Microsoft sensitivity label of such a name or GUID.
    Label(Vec<Pattern>),
    /// Its text has a pattern so many times.
    Text(TextMatches),
}

impl Asked {
    /// Those of a rule.
    pub(super) fn all(when: &Conditions) -> Vec<(Condition, Self)> {
        let ready = |texts: &[String]| texts.iter().map(|text| Pattern::text(text)).collect();
        let mut all = Vec::new();
        if !when.subject_contains.is_empty() {
            let texts = when.subject_contains.iter();
            // Words are parted by one blank in what was noted.
            let words = |text: &String| text.split_whitespace().collect::<Vec<_>>().join(" ");
            let texts = texts.map(|text| words(text).to_lowercase()).collect();
            all.push((Condition::SubjectContains, Self::Subject(texts)));
        }
        if !when.header.is_empty() {
            let fields = when.header.iter();
            let fields = fields.map(|(name, text)| (name.to_lowercase(), Pattern::text(text)));
            all.push((Condition::Header, Self::Header(fields.collect())));
        }
        if let Some(octets) = when.min_size {
            all.push((Condition::MinSize, Self::MinSize(octets)));
        }
        if !when.sensitivity.is_empty() {
            let values = Self::Sensitivity(ready(&when.sensitivity));
            all.push((Condition::Sensitivity, values));
        }
        if !when.sensitivity_label.is_empty() {
            let labels = Self::Label(ready(&when.sensitivity_label));
            all.push((Condition::SensitivityLabel, labels));
        }
        if let Some(matches) = &when.text_matches {
            all.push((Condition::TextMatches, Self::Text(matches.clone())));
        }
        all
    }

    /// Whether somebody has looked at what it asks. One of several fields is enough, if it
    /// has the value.
    pub(super) fn is_known(&self, content: Content<'_>) -> bool {
        let Content::Noted { facts, .. } = content else {
            return matches!(content, Content::Ours | Content::Assumed);
        };
        let is_noted = |name: &str| facts.values(name).is_some();
        match self {
            Self::Subject(_) => is_noted("subject"),
            Self::Header(fields) => fields.iter().any(|(name, pattern)| {
                let has = |value: &str| pattern.matches(value);
                is_noted(name) && any(facts, name, has)
            }),
            Self::MinSize(_) => true,
            Self::Sensitivity(_) => is_noted("sensitivity"),
            Self::Label(_) => is_noted("msip_labels"),
            Self::Text(TextMatches { pattern, .. }) => facts.count(pattern).is_some(),
        }
    }

    /// Whether it holds.
    pub(super) fn holds(&self, content: Content<'_>) -> bool {
        let (facts, size) = match content {
            Content::Ours => return false,
            Content::Unknown | Content::Assumed => return true,
            Content::Noted { facts, size } => (facts, size),
        };
        match self {
            Self::Subject(texts) => any(facts, "subject", |value| {
                texts.iter().any(|text| value.contains(text.as_str()))
            }),
            Self::Header(fields) => fields
                .iter()
                .any(|(name, pattern)| any(facts, name, |value| pattern.matches(value))),
            Self::MinSize(octets) => size >= *octets,
            Self::Sensitivity(patterns) => any(facts, "sensitivity", |value| {
                patterns.iter().any(|pattern| pattern.matches(value))
            }),
            Self::Text(TextMatches { pattern, at_least }) => {
                let found = facts.count(pattern);
                found.is_none_or(|count| count >= *at_least)
            }
            Self::Label(patterns) => any(facts, "msip_labels", |value| {
                let is_meant = |label: &str| patterns.iter().any(|p| p.matches(label));
                labels(value).into_iter().any(is_meant)
            }),
        }
    }
}

/// Whether a value of the field, in lower case, is meant; yes if nobody looked.
fn any(facts: &ContentFacts, name: &str, is_meant: impl Fn(&str) -> bool) -> bool {
    match facts.values(name) {
        None => true,
        Some(values) => values.iter().any(|value| is_meant(&value.to_lowercase())),
    }
}

/// Names and GUIDs in a value of `msip_labels`, which is in lower case:
/// `MSIP_Label_GUID_Enabled=true; MSIP_Label_GUID_Name=Confidential; ...`. A label that
/// says it is switched off is none.
fn labels(value: &str) -> Vec<&str> {
    let parts = || {
        value.split(';').filter_map(|part| {
            let (key, value) = part.trim().strip_prefix("msip_label_")?.split_once('=')?;
            let (guid, attribute) = key.trim().split_once('_')?;
            Some((guid, attribute, value.trim()))
        })
    };
    let is_off = |guid: &str| {
        let mut parts = parts();
        parts.any(|part| part == (guid, "enabled", "false"))
    };
    let mut found = Vec::new();
    for (guid, attribute, value) in parts().filter(|(guid, ..)| !is_off(guid)) {
        found.push(guid);
        if attribute == "name" {
            found.push(value);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{TextCount, TextPattern};

    fn when(change: impl FnOnce(&mut Conditions)) -> Asked {
        let mut when = Conditions::default();
        change(&mut when);
        Asked::all(&when).remove(0).1
    }

    fn facts(name: &str, values: &[&str]) -> ContentFacts {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        ContentFacts {
            fields: vec![(name.to_owned(), values)],
            ..ContentFacts::default()
        }
    }

    fn holds(asked: &Asked, facts: &ContentFacts, size: u64) -> bool {
        asked.holds(Content::Noted { facts, size })
    }

    #[test]
    fn subjects() {
        let asked = when(|w| w.subject_contains = vec!["[Encrypt]".into(), "geheim".into()]);
        for (values, expected) in [
            (&["re: [ENCRYPT] x"][..], true),
            (&["Geheimnis"], true),
            (&["a", "b [encrypt]"], true),
            (&["encrypt"], false),
            (&[], false),
        ] {
            assert_eq!(holds(&asked, &facts("subject", values), 0), expected);
        }
    }

    #[test]
    fn headers_and_sizes() {
        let asked = when(|w| w.header = vec![("X-Class".into(), "secret*".into())]);
        assert!(holds(&asked, &facts("x-class", &["open", "Secret-2"]), 0));
        assert!(!holds(&asked, &facts("x-class", &["no secret"]), 0));
        assert!(!holds(&asked, &facts("x-class", &[]), 0));
        let asked = when(|w| w.min_size = Some(10));
        assert!(holds(&asked, &ContentFacts::default(), 10));
        assert!(!holds(&asked, &ContentFacts::default(), 9));
        let asked = when(|w| w.sensitivity = vec!["company-confidential".into()]);
        let field = |value| facts("sensitivity", &[value]);
        assert!(holds(&asked, &field("Company-Confidential"), 0));
        assert!(!holds(&asked, &field("Personal"), 0));
    }

    #[test]
    fn labels_by_name_and_guid() {
        let value = "MSIP_Label_11-22_Enabled=true; MSIP_Label_11-22_Name=Highly Confidential;\
                     MSIP_Label_11-22_SiteId=99; MSIP_Label_33_Enabled=False; MSIP_Label_33_Name=Public";
        for (pattern, expected) in [
            ("highly confidential", true),
            ("Highly*", true),
            ("11-22", true),
            ("99", false),
            ("public", false),
            ("33", false),
        ] {
            let asked = when(|w| w.sensitivity_label = vec![pattern.into()]);
            let found = holds(&asked, &facts("msip_labels", &[value]), 0);
            assert_eq!(found, expected, "{pattern}");
        }
    }

    #[test]
    fn counts_in_texts() {
        let pattern = TextPattern::parse("a+").unwrap();
        let asked = when(|w| {
            w.text_matches = Some(TextMatches {
                pattern: pattern.clone(),
                at_least: 3,
            });
        });
        let counted = |pattern: &TextPattern, count| ContentFacts {
            texts: vec![TextCount {
                pattern: pattern.key(),
                count,
            }],
            ..ContentFacts::default()
        };
        assert!(holds(&asked, &counted(&pattern, 3), 0));
        assert!(!holds(&asked, &counted(&pattern, 2), 0));
        // A pattern that is counted now, and was not when the message came.
        let other = TextPattern::parse("b+").unwrap();
        assert!(holds(&asked, &counted(&other, 0), 0));
    }

    #[test]
    fn what_nobody_looked_at_matches_and_our_own_never_does() {
        let all = [
            when(|w| w.subject_contains = vec!["x".into()]),
            when(|w| w.header = vec![("X-New".into(), "x".into())]),
            when(|w| w.sensitivity = vec!["x".into()]),
            when(|w| w.sensitivity_label = vec!["x".into()]),
            when(|w| {
                w.text_matches = Some(TextMatches {
                    pattern: TextPattern::parse("x").unwrap(),
                    at_least: 1,
                });
            }),
        ];
        for asked in all {
            assert!(asked.holds(Content::Unknown), "{asked:?}");
            assert!(holds(&asked, &ContentFacts::default(), 0), "{asked:?}");
            assert!(!asked.holds(Content::Ours), "{asked:?}");
        }
    }
}
