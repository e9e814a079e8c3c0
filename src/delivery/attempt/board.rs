//! How each recipient of a job stands during an attempt.
//!
//! Owns the recipients' fates and evidence. Holds always: a fate once settled is
//! not changed, but by [`Board::observe`], which opens again those whom protection
//! alone has kept back; at the end every recipient has one. Called by `walk`.

use super::kept::Kept;
use crate::assurance::Published;
use crate::delivery::failure::{self, Meaning};
use crate::policy::{Decision, Stop, Stopping};
use crate::types::{
    Achieved, ContentProof, Ending, Evidence, Failure, Fate, JobRecipient, KeptCopy, Mailbox,
    Method, Reason, RecipientReport, Remote, Required, Stage, Waiting, Would,
};

/// The recipients that share a decision.
pub(super) struct Board<'a> {
    entries: Vec<Entry<'a>>,
}

/// One recipient.
struct Entry<'a> {
    recipient: &'a JobRecipient,
    method: Option<Method>,
    evidence: Evidence,
    fate: Option<Fate>,
    /// What it asks of the queue, if it waits.
    waiting: Waiting,
    /// A probe found the host that would be given the message.
    met: bool,
    /// What a host that was reached said that another may say otherwise.
    last: Option<Failure>,
    /// A host proves less than the domain has published.
    violated: bool,
    /// A host that was reached can't take such a message at all.
    unsuitable: Option<Failure>,
    /// A host was not used because it does not protect as required.
    hindered: bool,
    /// The protected copy that was sent, to be sent again if it waits.
    copy: Option<KeptCopy>,
    /// Another one has its turn alone.
    aside: bool,
    /// Why its last method was not the way, where that is its own affair.
    own: Option<Failure>,
    /// The method that would have protected its copy, while that is only observed.
    spared: Option<Method>,
    /// What a rule that holds or drops it says.
    note: Option<String>,
}

impl Entry<'_> {
    fn is_open(&self) -> bool {
        self.fate.is_none() && !self.met && !self.aside && self.spared.is_none()
    }

    /// What is wrong with the host by the domain's policy.
    fn find(&mut self, finding: Option<Reason>) {
        if let Some(sts) = &mut self.evidence.sts {
            sts.finding = finding;
        }
    }

    fn saw(&mut self, remote: &Remote, achieved: Option<&Achieved>) {
        self.evidence.achieved = achieved.and_then(Achieved::level);
        self.evidence.authenticated_by = achieved.and_then(Achieved::authenticated_by);
        self.evidence.tls = achieved.and_then(Achieved::tls).cloned();
        self.evidence.remote = Some(remote.clone());
    }

    /// Notes what the configured list has come to, and forgets the rest where
    /// nothing but the configuration stands in the way of a delivery.
    fn observe(&mut self) {
        if let Some(method) = self.spared.take() {
            self.evidence.would = Some(Would {
                method: method.into(),
                reason: None,
            });
            self.begin_anew();
        }
        if self.met {
            self.evidence.would = self.method.map(|method| Would {
                method: method.into(),
                reason: None,
            });
        }
        let Some(fate) = &self.fate else { return };
        self.evidence.would = Would::of(self.method, fate);
        let held_back = match fate {
            Fate::Delivered(_) => false,
            Fate::Dropped(_) | Fate::Held(_) => true,
            Fate::Deferred(_) | Fate::Bounced(_) => self.hindered,
        };
        if held_back {
            self.begin_anew();
        }
    }

    /// As before any method had its turn, but for what is known to have come of that.
    fn begin_anew(&mut self) {
        self.fate = None;
        self.note = self.note.take().map(|note| format!("would be {note}"));
        self.waiting = Waiting::default();
        self.method = None;
        self.evidence = Evidence {
            rule: self.evidence.rule.take(),
            configuration: std::mem::take(&mut self.evidence.configuration),
            would: self.evidence.would,
            sts: self.evidence.sts.take(),
            ..Evidence::default()
        };
    }
}

impl<'a> Board<'a> {
    pub(super) fn new(
        decision: &Decision,
        published: &Published,
        recipients: Vec<&'a JobRecipient>,
    ) -> Self {
        let evidence = Evidence {
            sts: published.facts(),
            rule: decision.rule.clone(),
            configuration: decision.configuration.clone(),
            ..Evidence::default()
        };
        let entries = recipients.into_iter().map(|recipient| Entry {
            recipient,
            method: None,
            evidence: evidence.clone(),
            fate: None,
            waiting: Waiting::default(),
            met: false,
            last: None,
            violated: false,
            unsuitable: None,
            hindered: false,
            copy: None,
            aside: false,
            own: None,
            spared: None,
            note: None,
        });
        Self {
            entries: entries.collect(),
        }
    }

    /// The places of those without a fate.
    pub(super) fn open(&self) -> Vec<usize> {
        let places = self.entries.iter().enumerate();
        places
            .filter(|(_, entry)| entry.is_open())
            .map(|(at, _)| at)
            .collect()
    }

    /// Until [`Self::all`], the one at this place has its turn alone: whatever is asked or
    /// noted of those who are open is of it.
    pub(super) fn only(&mut self, at: usize) {
        for (place, entry) in self.entries.iter_mut().enumerate() {
            entry.aside = place != at;
        }
    }

    /// Everybody has their turn again.
    pub(super) fn all(&mut self) {
        for entry in &mut self.entries {
            entry.aside = false;
        }
    }

    /// The one at this place.
    pub(super) fn recipient(&self, at: usize) -> Option<&'a JobRecipient> {
        self.entries.get(at).map(|entry| entry.recipient)
    }

    /// A copy for the one at this place was sent, or tried to be. It is kept if it may have
    /// arrived and the next attempt has to send the same octets.
    pub(super) fn sent(&mut self, at: usize, copy: KeptCopy) {
        if let Some(entry) = self.entries.get_mut(at) {
            let began = |failure: &Failure| {
                matches!(
                    failure.stage,
                    Stage::Data | Stage::Message | Stage::FinalDot
                )
            };
            let waits = matches!(&entry.fate, Some(Fate::Deferred(failure)) if began(failure));
            entry.copy = waits.then_some(copy);
        }
    }

    /// Their copy is protected by itself.
    pub(super) fn protected(&mut self, proof: &ContentProof) {
        for entry in self.each_open() {
            entry.evidence.content = Some(proof.clone());
        }
    }

    /// Their copy is not protected after all.
    pub(super) fn unprotected(&mut self) {
        for entry in self.each_open() {
            entry.evidence.content = None;
        }
    }

    /// `method` could protect their copies, which is only observed.
    pub(super) fn spare(&mut self, method: Method) {
        for entry in self.each_open() {
            entry.spared = Some(method);
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        !self.entries.iter().any(Entry::is_open)
    }

    /// The addresses at these places.
    pub(super) fn mailboxes(&self, places: &[usize]) -> Vec<Mailbox> {
        let entries = places.iter().filter_map(|at| self.entries.get(*at));
        entries
            .map(|entry| entry.recipient.mailbox.clone())
            .collect()
    }

    /// A method has its turn for all who are open.
    pub(super) fn turn(&mut self, method: Method, required: &Required) {
        for entry in self.each_open() {
            entry.method = Some(method);
            entry.own = None;
            entry.evidence.required = required.level();
        }
    }

    /// These recipients went over `kept`.
    pub(super) fn over(&mut self, places: &[usize], kept: &Kept, published: &Published) {
        for at in places {
            if let Some(entry) = self.entries.get_mut(*at) {
                entry.saw(&kept.remote, Some(&kept.achieved));
                entry.find(published.finding(&kept.hop.host, kept.proof.as_ref()));
            }
        }
    }

    /// A probe is at the point where `kept` would be given the message.
    pub(super) fn met(&mut self, kept: &Kept, published: &Published) {
        let finding = published.finding(&kept.hop.host, kept.proof.as_ref());
        for entry in self.each_open() {
            entry.saw(&kept.remote, Some(&kept.achieved));
            entry.find(finding);
            entry.met = true;
        }
    }

    /// A host was tried in vain; it is named where none was reached better.
    pub(super) fn tried(&mut self, remote: &Remote, achieved: Option<&Achieved>) {
        let unreached = |entry: &&mut Entry<'_>| entry.last.is_none() && entry.unsuitable.is_none();
        for entry in self.each_open().filter(unreached) {
            entry.saw(remote, achieved);
        }
    }

    /// A host proves less than the domain has published.
    pub(super) fn violate(&mut self, reason: Reason) {
        for entry in self.each_open() {
            entry.violated = true;
            entry.find(Some(reason));
        }
    }

    /// Those who wait for that reason alone.
    pub(super) fn violated(&self) -> Vec<&'a JobRecipient> {
        let waits =
            |entry: &&Entry<'_>| entry.violated && matches!(entry.fate, Some(Fate::Deferred(_)));
        let waiting = self.entries.iter().filter(waits);
        waiting.map(|entry| entry.recipient).collect()
    }

    /// Without these, who are walked for once more.
    pub(super) fn without(mut self, others: &[&JobRecipient]) -> Self {
        let is_other = |entry: &Entry<'_>| {
            let mut others = others.iter();
            others.any(|other| other.index == entry.recipient.index)
        };
        self.entries.retain(|entry| !is_other(entry));
        self
    }

    /// What a transaction came to for the recipient at `at`; whether it may go in
    /// one more over the same connection.
    pub(super) fn settle(&mut self, at: usize, meaning: Meaning) -> bool {
        let Some(entry) = self.entries.get_mut(at) else {
            return false;
        };
        let again = matches!(meaning, Meaning::Again(_));
        match meaning {
            Meaning::Delivered(reply) => entry.fate = Some(Fate::Delivered(reply)),
            Meaning::Defer(failure) => entry.fate = Some(Fate::Deferred(failure)),
            Meaning::Bounce(failure) => entry.fate = Some(Fate::Bounced(failure)),
            Meaning::Unsuitable(failure) => entry.unsuitable = Some(failure),
            Meaning::Again(failure) | Meaning::NextHost(failure) => entry.last = Some(failure),
        }
        // What the far side has decided is not for want of protection.
        entry.hindered &= entry.fate.is_none();
        again
    }

    /// A host that those who are open might have had does not protect as required.
    pub(super) fn hinder(&mut self) {
        for entry in self.each_open() {
            entry.hindered = true;
        }
    }

    /// The configured list, which is only observed, has come to its end: what it
    /// came to goes into the record, and those whom the want of protection alone
    /// kept from a host, or a rule drops, are open again.
    pub(super) fn observe(&mut self) {
        for entry in &mut self.entries {
            entry.observe();
        }
    }

    /// `method` is not the way for those who are open.
    pub(super) fn pass_over(&mut self, method: Method, reason: Reason) {
        for entry in self.each_open() {
            entry.evidence.passed_over.push((method, reason));
        }
    }

    /// `method` is not the way for those who are open, for a reason that is theirs and not
    /// the hosts'.
    pub(super) fn pass_over_for(&mut self, method: Method, failure: &Failure) {
        for entry in self.each_open() {
            entry.evidence.passed_over.push((method, failure.reason));
            entry.own = Some(failure.clone());
        }
    }

    /// Those whom a host had reached and not served wait for another time.
    pub(super) fn defer_reached(&mut self) {
        for entry in self.each_open() {
            entry.fate = entry.last.take().map(Fate::Deferred);
        }
    }

    /// Those whose message a host can't take have asked the others too: it bounces,
    /// or waits for those that gave no answer.
    pub(super) fn end_unsuitable(&mut self, unanswered: Option<&Failure>) {
        for entry in self.each_open() {
            if let Some(failure) = entry.unsuitable.take() {
                entry.fate = Some(match unanswered {
                    Some(failure) => Fate::Deferred(failure.clone()),
                    None => Fate::Bounced(failure),
                });
            }
        }
    }

    /// All who are open wait for another time.
    pub(super) fn defer(&mut self, failure: &Failure, waiting: Waiting) {
        for entry in self.each_open() {
            entry.waiting = waiting;
            entry.fate = Some(Fate::Deferred(failure.clone()));
        }
    }

    /// All who are open are refused.
    pub(super) fn bounce(&mut self, failure: &Failure) {
        self.give_all(&Fate::Bounced(failure.clone()));
    }

    /// The end of the methods list.
    pub(super) fn end(&mut self, ending: Ending, failure: &Failure) {
        for entry in self.each_open() {
            let failure = entry.own.take().unwrap_or_else(|| failure.clone());
            entry.fate = Some(match ending {
                Ending::Bounce => Fate::Bounced(failure),
                Ending::Drop => Fate::Dropped(failure),
            });
        }
    }

    /// A rule holds or drops all of them before anything is tried.
    pub(super) fn stop(&mut self, stop: &Stop) {
        let reason = match stop.what {
            Stopping::Hold => Reason::HeldByRule,
            Stopping::Drop => Reason::DroppedByRule,
        };
        let failure = failure::ours(reason, Stage::Route);
        for entry in self.each_open() {
            entry.note = Some(stop.note());
        }
        self.give_all(&match stop.what {
            Stopping::Hold => Fate::Held(failure),
            Stopping::Drop => Fate::Dropped(failure),
        });
    }

    fn give_all(&mut self, fate: &Fate) {
        for entry in self.each_open() {
            entry.fate = Some(fate.clone());
        }
    }

    fn each_open(&mut self) -> impl Iterator<Item = &mut Entry<'a>> {
        self.entries.iter_mut().filter(|entry| entry.is_open())
    }

    /// What a probe of one recipient came to: the method it ended at, the evidence,
    /// and its fate; `None`: it would be handed over.
    pub(super) fn prospect(self) -> Option<(Option<Method>, Evidence, Option<Fate>)> {
        let entry = self.entries.into_iter().next()?;
        Some((entry.method, entry.evidence, entry.fate))
    }

    /// The reports. `otherwise` is for a recipient that nothing settled, which no
    /// walk leaves behind.
    pub(super) fn reports(self, otherwise: &Failure) -> Vec<RecipientReport> {
        let reports = self.entries.into_iter().map(|entry| RecipientReport {
            index: entry.recipient.index,
            fate: entry
                .fate
                .unwrap_or_else(|| Fate::Deferred(otherwise.clone())),
            method: entry.method,
            evidence: entry.evidence,
            waiting: entry.waiting,
            copy: entry.copy,
            note: entry.note,
        });
        reports.collect()
    }
}
