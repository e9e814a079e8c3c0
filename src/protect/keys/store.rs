//! Reading and changing the store.
//!
//! Holds always: changes are made one at a time, across processes; what is known
//! by hand or was found before is never replaced by what is found now.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::files::{self, Stamp};
use super::load::Keys;
use super::record::{Held, MOST, RECORD_MAX, Record};
use super::{AnyCertificate, Origin, StoreError, Terms, Trust, fingerprint};
use crate::protect::Refusal;
use crate::protect::smime::Authorities;
use crate::sys::metrics::Page;
use crate::types::{Mailbox, Timestamp};

/// The key store in a folder, `DATA_DIR/keys`.
#[derive(Debug)]
pub struct KeyStore {
    folder: PathBuf,
    state: Mutex<(Seen, Arc<Keys>)>,
}

/// What tells that something changed.
type Seen = Option<[Option<Stamp>; 2]>;

/// What became of a certificate that was added.
#[derive(Debug, Clone, PartialEq)]
pub struct Added {
    /// The certificate, with what was known of it before.
    pub certificate: AnyCertificate,
    /// What it is now.
    pub outcome: Outcome,
}

/// Whether something was new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was not known.
    Added,
    /// It was, and something in it is new.
    Updated,
    /// All of it was known.
    Unchanged,
}

/// What became of a certificate that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discovery {
    /// It is the first one; it is in use.
    New,
    /// It is the same one as before, with what is new in it: a revocation, too.
    Kept,
    /// Another one is known, which stays in use: this one awaits approval.
    Held,
}

impl KeyStore {
    /// The store in this folder, which need not be there yet.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            state: Mutex::new((None, Arc::default())),
        }
    }

    fn recipients(&self) -> PathBuf {
        self.folder.join("recipients")
    }

    fn discovered(&self) -> PathBuf {
        self.folder.join("discovered")
    }

    /// The keys of this moment. Touches the disk, so call it off the async threads.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the folders can't be read.
    pub fn current(&self) -> Result<Arc<Keys>, StoreError> {
        // Stamps first: a change while reading is then seen as one later.
        let seen = Some([Stamp::of(&self.recipients()), Stamp::of(&self.discovered())]);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0 != seen {
            let keys = Keys::load(&self.recipients(), &self.discovered(), &state.1)?;
            for faulty in keys.faults() {
                let path = faulty.path.display();
                tracing::warn!("key file {path} is left out: {}", faulty.fault);
            }
            *state = (seen, Arc::new(keys));
        }
        Ok(Arc::clone(&state.1))
    }

    /// Reads everything again, whatever the stamps say.
    fn fresh(&self) -> Result<Arc<Keys>, StoreError> {
        self.changed();
        self.current()
    }

    /// Whatever was read before is read again at the next look: two changes within one
    /// tick of the system's clock leave the same stamp.
    fn changed(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = None;
    }

    /// Writes how many keys there are. Touches the disk.
    pub fn write_figures(&self, page: &mut Page) {
        let Ok(keys) = self.current() else {
            return;
        };
        let states = ["manual", "verified", "discovered", "awaiting-approval"];
        let mut counts = states.map(|state| ([state], 0.0));
        for key in keys.all() {
            let state = match key.pending {
                true => "awaiting-approval",
                false => key.trust.as_str(),
            };
            for (labels, count) in &mut counts {
                *count += f64::from(u8::from(labels[0] == state));
            }
        }
        page.gauges(
            "postern_keys",
            "Recipients' keys that are known, by how far they are trusted.",
            ["state"],
            counts,
        );
    }

    /// Makes the folders, and keeps others from changing them.
    fn begin(&self) -> Result<std::fs::File, StoreError> {
        for folder in [self.folder.clone(), self.recipients(), self.discovered()] {
            files::make_folder(&folder)?;
        }
        files::lock(&self.folder)
    }

    /// Adds the certificates of a file by hand; one that is known already takes in
    /// what is new.
    ///
    /// # Errors
    /// [`StoreError`]; then none of them is added.
    pub fn add(&self, octets: &[u8], now: Timestamp) -> Result<Vec<Added>, StoreError> {
        let given = AnyCertificate::read(octets)?;
        let _lock = self.begin()?;
        let keys = self.fresh()?;
        let mut added = Vec::new();
        for certificate in given {
            added.push(merge(&keys, certificate, now)?);
        }
        for one in added.iter().filter(|a| a.outcome != Outcome::Unchanged) {
            let certificate = &one.certificate;
            let (name, ending) = (certificate.fingerprint(), certificate.extension());
            let path = self.recipients().join(format!("{name}.{ending}"));
            files::write(&path, &certificate.to_text()?)?;
            self.leave_out(&name, Some(&path), &keys)?;
        }
        Ok(added)
    }

    /// Forgets a key: added by hand, found, or awaiting approval.
    ///
    /// # Errors
    /// [`StoreError::Unknown`], else what the disk says.
    pub fn remove(&self, wanted: &str) -> Result<(), StoreError> {
        let wanted = fingerprint(wanted);
        let _lock = self.begin()?;
        let keys = self.fresh()?;
        if keys.holders(&wanted).is_empty() {
            return Err(StoreError::Unknown(wanted));
        }
        self.leave_out(&wanted, None, &keys)?;
        for path in self.records_with(&wanted, &keys) {
            let mut record = read_record(&path)?;
            let kind = record.kind;
            let is_it = |held: &Held| {
                let certificate = held.certificate(kind);
                certificate.is_ok_and(|c| c.fingerprint() == wanted)
            };
            record.current = record.current.take().filter(|held| !is_it(held));
            record.pending = record.pending.take().filter(|held| !is_it(held));
            match (&record.current, &record.pending) {
                (None, None) => files::remove(&path)?,
                _ => write_record(&path, &record)?,
            }
        }
        Ok(())
    }

    /// Takes a certificate out of the files added by hand, but for one.
    fn leave_out(
        &self,
        wanted: &str,
        but: Option<&PathBuf>,
        keys: &Keys,
    ) -> Result<(), StoreError> {
        let by_hand = self.recipients();
        let holders = keys.holders(wanted).into_iter();
        for path in holders.filter(|p| p.starts_with(&by_hand) && Some(*p) != but) {
            let octets = std::fs::read(path).map_err(StoreError::io(path))?;
            let mut rest = Vec::new();
            for certificate in AnyCertificate::read(&octets)? {
                if certificate.fingerprint() != wanted {
                    rest.extend_from_slice(&certificate.to_text()?);
                }
            }
            match rest.is_empty() {
                true => files::remove(path)?,
                false => files::write(path, &rest)?,
            }
        }
        Ok(())
    }

    fn records_with(&self, wanted: &str, keys: &Keys) -> Vec<PathBuf> {
        let found = self.discovered();
        let holders = keys.holders(wanted).into_iter();
        holders.filter(|p| p.starts_with(&found)).cloned().collect()
    }

    /// Approves what was found: what waited takes the place of what was known; what
    /// is in use is trusted more.
    ///
    /// # Errors
    /// [`StoreError::Unknown`], [`StoreError::Manual`], else what the disk says.
    pub fn approve(&self, wanted: &str) -> Result<(), StoreError> {
        let wanted = fingerprint(wanted);
        let _lock = self.begin()?;
        let keys = self.fresh()?;
        let records = self.records_with(&wanted, &keys);
        if records.is_empty() {
            return Err(match keys.holders(&wanted).is_empty() {
                true => StoreError::Unknown(wanted),
                false => StoreError::Manual(wanted),
            });
        }
        for path in records {
            let mut record = read_record(&path)?;
            let kind = record.kind;
            let is_it = |held: &Held| {
                let certificate = held.certificate(kind);
                certificate.is_ok_and(|c| c.fingerprint() == wanted)
            };
            if record.pending.as_ref().is_some_and(is_it) {
                record.current = record.pending.take();
            }
            if let Some(current) = &mut record.current {
                current.trust = Trust::Verified;
            }
            write_record(&path, &record)?;
        }
        Ok(())
    }

    /// Notes a certificate that was found for an address.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] for one that is not known and can't be used for the
    /// address anyway, [`StoreError::Key`] for one that is too large,
    /// [`StoreError::Full`], else what the disk says.
    pub fn discovered_for(
        &self,
        address: &Mailbox,
        certificate: &AnyCertificate,
        origin: Origin,
        terms: &Terms<'_>,
    ) -> Result<Discovery, StoreError> {
        let found = certificate.fingerprint();
        let usable = certificate.usable_for(address, false, terms);
        let kind = certificate.kind();
        let _lock = self.begin()?;
        let keys = self.fresh()?;
        let path = Record::path(&self.discovered(), address, kind);
        let mut record = match path.exists() {
            true => read_record(&path)?,
            false if files::list(&self.discovered())?.len() >= MOST => {
                return Err(StoreError::Full);
            }
            false => Record {
                address: address.clone(),
                kind,
                current: None,
                pending: None,
            },
        };
        // What is known takes in whatever its newer copies say, a revocation above all.
        if let Err(refusal) = usable
            && !record.holds(&found)
        {
            return Err(StoreError::Unusable(found, refusal));
        }
        let by_hand = keys.of(address).filter(|key| key.trust == Trust::Manual);
        let by_hand = by_hand.map(|key| &key.certificate);
        let by_hand = by_hand.filter(|by_hand| by_hand.kind() == kind);
        let by_hand: Vec<bool> = by_hand.map(|one| one.fingerprint() == found).collect();
        let discovery = place(&mut record, certificate, origin, terms.now, &by_hand)?;
        write_record(&path, &record)?;
        self.changed();
        Ok(discovery)
    }
}

/// Puts what was found where it belongs in a record. `by_hand`: for each key that was
/// added by hand, whether it is this one.
fn place(
    record: &mut Record,
    certificate: &AnyCertificate,
    origin: Origin,
    now: Timestamp,
    by_hand: &[bool],
) -> Result<Discovery, StoreError> {
    let kind = record.kind;
    let found = certificate.fingerprint();
    let same = |held: &Held| {
        let known = held.certificate(kind).ok();
        known.filter(|known| known.fingerprint() == found)
    };
    if let Some(current) = &mut record.current
        && let Some(known) = same(current)
    {
        current.renew(known, certificate, now)?;
        return Ok(Discovery::Kept);
    }
    if let Some(pending) = &mut record.pending
        && let Some(known) = same(pending)
    {
        pending.renew(known, certificate, now)?;
        return Ok(Discovery::Held);
    }
    let held = Held::found(certificate, origin, now)?;
    if record.current.is_none() && by_hand.contains(&true) {
        record.current = Some(held);
        return Ok(Discovery::Kept);
    }
    if record.current.is_none() && record.pending.is_none() && by_hand.is_empty() {
        record.current = Some(held);
        return Ok(Discovery::New);
    }
    // Also where what is known can't be read: that is no reason to trust.
    record.pending = Some(held);
    Ok(Discovery::Held)
}

/// What a certificate is together with what is known of it by hand.
fn merge(keys: &Keys, given: AnyCertificate, now: Timestamp) -> Result<Added, StoreError> {
    let wanted = given.fingerprint();
    let known = keys
        .all()
        .find(|k| k.origin == Origin::Manual && k.certificate.fingerprint() == wanted);
    let Some(known) = known else {
        useful(&given, now).map_err(|refusal| StoreError::Unusable(wanted, refusal))?;
        return Ok(Added {
            certificate: given,
            outcome: Outcome::Added,
        });
    };
    let merged = known.certificate.clone().merged_with(given)?;
    let outcome = match merged == known.certificate {
        true => Outcome::Unchanged,
        false => Outcome::Updated,
    };
    Ok(Added {
        certificate: merged,
        outcome,
    })
}

/// Whether a certificate can be used for one of its addresses, now or later.
fn useful(certificate: &AnyCertificate, now: Timestamp) -> Result<(), Refusal> {
    let authorities = Authorities::default();
    let terms = Terms {
        least: Trust::Manual,
        authorities: &authorities,
        now,
    };
    let mut first = Refusal::OtherAddress;
    for (number, address) in certificate.addresses().iter().enumerate() {
        match certificate.usable_for(address, true, &terms) {
            Ok(_) | Err(Refusal::NotYetValid) => return Ok(()),
            Err(refusal) if number == 0 => first = refusal,
            Err(_) => {}
        }
    }
    Err(first)
}

fn read_record(path: &PathBuf) -> Result<Record, StoreError> {
    let broken = |fault: String| {
        let cause = std::io::Error::new(std::io::ErrorKind::InvalidData, fault);
        StoreError::io(path)(cause)
    };
    let octets = files::read(path, RECORD_MAX).map_err(broken)?;
    Record::read(&octets).map_err(broken)
}

fn write_record(path: &PathBuf, record: &Record) -> Result<(), StoreError> {
    let octets = serde_json::to_vec_pretty(record).map_err(std::io::Error::from);
    files::write(path, &octets.map_err(StoreError::io(path))?)
}
