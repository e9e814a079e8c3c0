//! A changed configuration over recipients of the past.
//!
//! Owns the comparison of two configurations where not all is known that rules ask: the
//! record of a recipient holds sender, recipient and the rules that applied, and neither
//! content nor account nor listener. Holds always: both are decided by
//! [`Policy::decide`], with the rules in doubt left out or laid in as if they matched; what
//! comes out differently by that is said to depend on it, never guessed. Called by
//! `service`.

use std::collections::{BTreeMap, BTreeSet};

use super::content::Content;
use super::decide::{Policy, Question};
use super::stop::Stopping;
use super::{Rule, Settings, Treatment};
use crate::types::{Mailbox, Trust};

/// What one configuration comes to for a recipient.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Course {
    /// Methods and level.
    pub treatment: Treatment,
    /// It is held or dropped before any of those.
    pub stop: Option<Stopping>,
}

/// What a recipient's record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded<'a> {
    /// The recipient.
    pub recipient: &'a Mailbox,
    /// The sender.
    pub sender: &'a Mailbox,
    /// The rules that applied, joined by ` + `; `None`: `[security]` alone.
    pub rule: Option<&'a str>,
    /// Whether they are rules of the configuration that is compared with.
    pub same_configuration: bool,
}

/// Both configurations' answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The same.
    None,
    /// From one to the other.
    To(Box<(Course, Course)>),
    /// It depends on what is not recorded: which rules ask it, and what it is.
    Depends {
        /// The rules' names.
        rules: BTreeSet<String>,
        /// `content`, `account`, `listener`.
        on: BTreeSet<&'static str>,
    },
}

/// A rule that asks what is not recorded; in both configurations if it asks the same.
#[derive(Debug)]
struct Doubt {
    name: String,
    in_old: bool,
    in_new: bool,
    on: Vec<&'static str>,
}

/// Two configurations, ready to be compared.
#[derive(Debug)]
pub struct Replay {
    old: Settings,
    new: Settings,
    doubts: Vec<Doubt>,
    /// By which of the rules in doubt match.
    made: BTreeMap<BTreeSet<usize>, (Policy, Policy)>,
}

impl Replay {
    /// Of these two.
    #[must_use]
    pub fn new(old: Settings, new: Settings) -> Self {
        let doubts = doubts(&old, &new);
        Self {
            old,
            new,
            doubts,
            made: BTreeMap::new(),
        }
    }

    /// What changes for a recipient.
    pub fn compare(&mut self, recorded: &Recorded<'_>) -> Change {
        let (mut matching, mut open) = (BTreeSet::new(), Vec::new());
        for place in 0..self.doubts.len() {
            match self.truth(place, recorded) {
                Some(true) => {
                    matching.insert(place);
                }
                Some(false) => {}
                None => open.push(place),
            }
        }
        let first = self.courses(&matching, recorded);
        let with = |more: &[usize]| {
            let more = more.iter().copied();
            matching
                .iter()
                .copied()
                .chain(more)
                .collect::<BTreeSet<_>>()
        };
        let mut others = Vec::new();
        for place in &open {
            others.push((vec![*place], self.courses(&with(&[*place]), recorded)));
        }
        others.push((open.clone(), self.courses(&with(&open), recorded)));
        let changes = |(old, new): &(Course, Course)| old != new;
        if !changes(&first) && !others.iter().any(|(_, courses)| changes(courses)) {
            return Change::None;
        }
        // Of several rules that make a difference each for itself, each is named.
        let differing: Vec<_> = others.iter().filter(|(_, other)| *other != first).collect();
        let Some(((most, _), single)) = differing.split_last() else {
            return Change::To(Box::new(first));
        };
        let places = match single.is_empty() {
            true => most.clone(),
            false => single
                .iter()
                .flat_map(|(places, _)| places.clone())
                .collect(),
        };
        let doubts = places.iter().filter_map(|place| self.doubts.get(*place));
        Change::Depends {
            rules: doubts.clone().map(|doubt| doubt.name.clone()).collect(),
            on: doubts.flat_map(|doubt| doubt.on.clone()).collect(),
        }
    }

    /// Whether a rule in doubt matched, as far as the record tells: what applied is named,
    /// so what would have come before it and isn't did not match.
    fn truth(&self, place: usize, recorded: &Recorded<'_>) -> Option<bool> {
        let doubt = self.doubts.get(place)?;
        if !doubt.in_old || !recorded.same_configuration {
            return None;
        }
        let named: Vec<&str> = recorded
            .rule
            .into_iter()
            .flat_map(|r| r.split(" + "))
            .collect();
        if named.contains(&doubt.name.as_str()) {
            return Some(true);
        }
        let at = |name: &str| self.old.rules.iter().position(|rule| rule.name == name);
        let rule = self.old.rules.get(at(&doubt.name)?)?;
        let decided = named.iter().filter_map(|name| at(name));
        let is_deciding = |at: &usize| self.old.rules.get(*at).is_some_and(|rule| !rule.raise);
        let decided = decided.filter(is_deciding).min();
        match decided {
            Some(decided) if !rule.raise && at(&doubt.name)? > decided => None,
            _ => Some(false),
        }
    }

    /// What both come to, where of the rules in doubt these match.
    fn courses(&mut self, matching: &BTreeSet<usize>, recorded: &Recorded<'_>) -> (Course, Course) {
        if !self.made.contains_key(matching) {
            let policy = |settings: &Settings, is_new: bool| {
                let settings = assuming(settings, &self.doubts, matching, is_new);
                Policy::new(settings, String::new())
            };
            let made = (policy(&self.old, false), policy(&self.new, true));
            self.made.insert(matching.clone(), made);
        }
        let question = Question {
            recipient: recorded.recipient,
            sender: Some(recorded.sender),
            account: None,
            listener: None,
            own_mail: false,
            content: Content::Assumed,
        };
        let course = |policy: &Policy| {
            let decision = policy.decide(&question);
            Course {
                treatment: decision.treatment,
                stop: decision.stop.map(|stop| stop.what),
            }
        };
        match self.made.get(matching) {
            Some((old, new)) => (course(old), course(new)),
            // It was made above.
            None => (Course::default(), Course::default()),
        }
    }
}

impl std::fmt::Display for Course {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.stop {
            Some(Stopping::Hold) => return f.write_str("hold"),
            Some(Stopping::Drop) => return f.write_str("drop"),
            None => {}
        }
        let treatment = &self.treatment;
        write!(f, "{} ({}", treatment.methods, treatment.tls_level)?;
        if let Some(level) = treatment.protected_level {
            write!(f, ", pgp and smime over {level}")?;
        }
        if treatment.key_trust != Trust::Discovered {
            write!(f, ", key_trust {}", treatment.key_trust)?;
        }
        if let Some(cipher) = treatment.smime_cipher {
            write!(f, ", smime_cipher {}", cipher.as_str().to_lowercase())?;
        }
        if treatment.accept_encrypted {
            write!(f, ", accept_encrypted")?;
        }
        f.write_str(")")
    }
}

/// What a rule asks that no record holds.
fn unrecorded(rule: &Rule) -> Vec<&'static str> {
    let asks = [
        ("content", rule.when.ask_content()),
        ("account", !rule.when.account.is_empty()),
        ("listener", !rule.when.listener.is_empty()),
    ];
    let asks = asks.into_iter().filter(|(_, asks)| *asks);
    asks.map(|(what, _)| what).collect()
}

fn doubts(old: &Settings, new: &Settings) -> Vec<Doubt> {
    let doubt = |rule: &Rule, in_old, in_new| Doubt {
        name: rule.name.clone(),
        in_old,
        in_new,
        on: unrecorded(rule),
    };
    let same = |rule: &Rule, of: &Settings| {
        let mut rules = of.rules.iter();
        rules.any(|other| other.name == rule.name && other.when == rule.when)
    };
    let of_old = old
        .rules
        .iter()
        .map(|rule| doubt(rule, true, same(rule, new)));
    let of_new = new.rules.iter().filter(|rule| !same(rule, old));
    let of_new = of_new.map(|rule| doubt(rule, false, true));
    let all = of_old.chain(of_new);
    all.filter(|doubt| !doubt.on.is_empty()).collect()
}

/// The settings with those rules in doubt that match, as if they did, and without the
/// others.
fn assuming(
    settings: &Settings,
    doubts: &[Doubt],
    matching: &BTreeSet<usize>,
    is_new: bool,
) -> Settings {
    let mut assumed = settings.clone();
    assumed.rules.retain_mut(|rule| {
        if unrecorded(rule).is_empty() {
            return true;
        }
        rule.when.account.clear();
        rule.when.listener.clear();
        let is_it = |doubt: &Doubt| {
            let is_of_it = if is_new { doubt.in_new } else { doubt.in_old };
            is_of_it && doubt.name == rule.name
        };
        let place = doubts.iter().position(is_it);
        place.is_some_and(|place| matching.contains(&place))
    });
    assumed
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
