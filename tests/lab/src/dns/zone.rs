//! What the lab's DNS server knows and how it answers: records by name, manners by name, and the
//! count of queries. No sockets here.

use std::collections::{HashMap, HashSet};

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::SOA;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

/// All the zones of one server.
#[derive(Debug)]
pub(super) struct Zones {
    /// TTL of records added from now on.
    pub(super) ttl: u32,
    records: HashMap<String, Vec<Record>>,
    manners: HashMap<String, HashSet<Manner>>,
    counts: HashMap<(String, String), usize>,
}

/// How queries for a name are treated, beside its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Manner {
    Servfail,
    Silent,
    Truncate,
    Signed,
    Unfollowed,
    NoTcp,
}

/// The outcome of one query.
pub(super) enum Verdict {
    Silence,
    Servfail,
    Answer(Found),
}

/// An answer to be sent.
pub(super) struct Found {
    pub(super) code: ResponseCode,
    pub(super) answers: Vec<Record>,
    pub(super) authorities: Vec<Record>,
    /// Every name on the way was declared signed.
    pub(super) signed: bool,
    /// Only TCP gets the records.
    pub(super) truncate: bool,
    /// TCP gets no answer.
    pub(super) no_tcp: bool,
}

impl Default for Zones {
    fn default() -> Self {
        Zones {
            ttl: 1,
            records: HashMap::new(),
            manners: HashMap::new(),
            counts: HashMap::new(),
        }
    }
}

impl Zones {
    pub(super) fn add(&mut self, owner: &str, data: RData) {
        let record = Record::from_rdata(super::name(owner), self.ttl, data);
        self.records.entry(key(owner)).or_default().push(record);
    }

    pub(super) fn behave(&mut self, owner: &str, manner: Manner) {
        self.manners.entry(key(owner)).or_default().insert(manner);
    }

    pub(super) fn remove(&mut self, owner: &str) {
        self.records.remove(&key(owner));
        self.manners.remove(&key(owner));
    }

    pub(super) fn queries(&self, owner: &str, record_type: Option<&str>) -> usize {
        let wanted = key(owner);
        let fits = |asked: &str| record_type.is_none_or(|t| t.eq_ignore_ascii_case(asked));
        let matching = self
            .counts
            .iter()
            .filter(|((name, t), _)| *name == wanted && fits(t));
        matching.map(|(_, count)| count).sum()
    }

    /// Answers a query and counts it. Aliases are followed; a loop of them is SERVFAIL.
    pub(super) fn look_up(&mut self, asked: &Name, record_type: RecordType) -> Verdict {
        let mut owner = key(&asked.to_ascii());
        *self
            .counts
            .entry((owner.clone(), record_type.to_string()))
            .or_default() += 1;
        let mut found = Found {
            code: ResponseCode::NoError,
            answers: Vec::new(),
            authorities: Vec::new(),
            signed: true,
            truncate: false,
            no_tcp: false,
        };
        for _ in 0..MAX_ALIASES {
            if self.behaves(&owner, Manner::Silent) {
                return Verdict::Silence;
            }
            if self.behaves(&owner, Manner::Servfail) {
                return Verdict::Servfail;
            }
            found.signed &= self.behaves(&owner, Manner::Signed);
            found.truncate |= self.behaves(&owner, Manner::Truncate);
            found.no_tcp |= self.behaves(&owner, Manner::NoTcp);
            let is_left = self.behaves(&owner, Manner::Unfollowed);
            match self.step(&owner, record_type, &mut found) {
                Some(_) if is_left => return Verdict::Answer(found),
                Some(target) => owner = target,
                None => return Verdict::Answer(found),
            }
        }
        Verdict::Servfail
    }

    /// Puts what one name has into the answer; gives the alias's target where there is one.
    fn step(&self, owner: &str, record_type: RecordType, found: &mut Found) -> Option<String> {
        let records = self
            .records
            .get(owner)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let before = found.answers.len();
        let fits = |r: &&Record| record_type == RecordType::ANY || r.record_type() == record_type;
        found.answers.extend(records.iter().filter(fits).cloned());
        if found.answers.len() > before {
            return None;
        }
        for record in records {
            if let RData::CNAME(target) = &record.data {
                found.answers.push(record.clone());
                return Some(key(&target.0.to_ascii()));
            }
        }
        if !self.exists(owner) {
            found.code = ResponseCode::NXDomain;
        }
        found.authorities.push(soa(owner));
        None
    }

    /// A name exists if it or anything below it has records (RFC 8020), or manners were set.
    fn exists(&self, owner: &str) -> bool {
        let below = format!(".{owner}");
        let known = |name: &String| name == owner || name.ends_with(&below);
        self.records.keys().any(known) || self.manners.contains_key(owner)
    }

    fn behaves(&self, owner: &str, manner: Manner) -> bool {
        self.manners
            .get(owner)
            .is_some_and(|manners| manners.contains(&manner))
    }
}

/// The SOA that tells how long a "no" may be cached: one second. Its owner is the name's last two
/// labels, which is an ancestor of the name or the name itself.
fn soa(owner: &str) -> Record {
    let dots: Vec<usize> = owner.rmatch_indices('.').map(|(at, _)| at).collect();
    let zone = dots.get(1).map_or(owner, |at| &owner[at + 1..]);
    let zone = super::name(zone);
    let data = SOA::new(
        zone.clone(),
        super::name("hostmaster.lab.test"),
        1,
        1,
        1,
        1,
        1,
    );
    Record::from_rdata(zone, 1, RData::SOA(data))
}

/// Names as keys: lower case, without the final dot.
fn key(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

const MAX_ALIASES: usize = 16;
