//! A spool's life on a recording disk, and what must be left of it.
//!
//! Notes with each answer how much had been recorded by then, so that whatever
//! was answered before a moment can be asked for in an image of that moment.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use postern::spool::{EventSink, JournalStore, Opened, SpoolError, Store};
use postern::sys::{Disk, Fate, PowerCutDisk, RealDisk, SystemEntropy};
use postern::types::{AuditEvent, QueueId, State};

use super::ledger::{Changes, Known, Ledger, NEVER, Told};
use super::*;

/// A spool's life, over several openings.
#[derive(Clone)]
pub struct Life {
    pub disk: PowerCutDisk,
    folder: PathBuf,
    ledger: Arc<Mutex<Ledger>>,
    copies: Arc<tempfile::TempDir>,
    clock: Arc<TestClock>,
}

/// Forgets at a power cut what was not synced.
struct CutSink {
    disk: PowerCutDisk,
    ledger: Arc<Mutex<Ledger>>,
    taken: Vec<QueueId>,
}

impl EventSink for CutSink {
    fn append(&mut self, events: &[AuditEvent]) -> std::io::Result<()> {
        self.taken.extend(events.iter().map(|e| e.event));
        Ok(())
    }
    fn sync(&mut self) -> std::io::Result<()> {
        let moment = self.disk.now();
        let taken = self.taken.drain(..).map(|event| (moment, event));
        self.ledger.lock().unwrap().synced.extend(taken);
        Ok(())
    }
}

pub fn small(folder: &Path) -> postern::spool::Settings {
    postern::spool::Settings {
        max_size: 24 << 20,
        ..settings(folder)
    }
}

/// A folder in memory where there is one: what a sync is worth is the recording's
/// business here, not the device's.
pub fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

/// splitmix64.
pub fn shuffle(seed: u64) -> u64 {
    let value = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

impl Life {
    pub fn new(inner: Arc<dyn Disk>, folder: &Path) -> Self {
        Self {
            disk: PowerCutDisk::new(inner, folder),
            folder: folder.to_owned(),
            ledger: Arc::default(),
            copies: Arc::new(scratch()),
            clock: Arc::default(),
        }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The same life after its process was killed, in another folder.
    pub fn killed(&self, moment: usize, folder: &Path, seed: u64) -> Self {
        let disk = self.disk.killed(moment, folder).unwrap();
        let mut ledger = self.ledger.lock().unwrap().clone();
        ledger.messages.values_mut().for_each(|known| {
            known.changes.retain(|c| c.asked <= moment);
            for late in known.changes.iter_mut().filter(|c| c.answered > moment) {
                late.answered = NEVER;
            }
            if known.accepted > moment {
                known.accepted = NEVER;
            }
            if known.refused > moment {
                known.refused = NEVER;
            }
        });
        ledger.synced.retain(|(when, _)| *when <= moment);
        // Later ones are of a history that is now none.
        ledger.indexes.retain(|(when, _)| *when <= moment);
        self.put_index(moment, seed, folder);
        Self {
            disk,
            folder: folder.to_owned(),
            ledger: Arc::new(Mutex::new(ledger)),
            copies: Arc::clone(&self.copies),
            clock: Arc::clone(&self.clock),
        }
    }

    pub fn open(&self) -> Arc<JournalStore> {
        let sink = CutSink {
            disk: self.disk.clone(),
            ledger: Arc::clone(&self.ledger),
            taken: Vec::new(),
        };
        let (store, _, _) = JournalStore::open(
            small(&self.folder),
            Arc::new(self.disk.clone()),
            Arc::clone(&self.clock) as Arc<dyn Clock>,
            Arc::new(SystemEntropy::default()),
            Box::new(sink),
        )
        .unwrap();
        store
    }

    /// Keeps a copy of the index as it is now.
    pub fn keep_index(&self) {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let to = self.copies.path().join(number.to_string());
        copy(&self.folder.join("spool/index"), &to);
        let moment = self.disk.now();
        self.ledger.lock().unwrap().indexes.push((moment, to));
    }

    /// Puts a copy of the index beside a journal: the last one from before the
    /// cut, more often than not, or any, or none.
    fn put_index(&self, moment: usize, seed: u64, folder: &Path) {
        let ledger = self.ledger.lock().unwrap();
        let choice = shuffle(!seed);
        let any = usize::try_from(choice >> 8).unwrap() % ledger.indexes.len().max(1);
        let before = ledger.indexes.iter().rfind(|(when, _)| *when <= moment);
        let index = match choice % 8 {
            0 => None,
            1 | 2 => ledger.indexes.get(any),
            _ => before,
        };
        if let Some((_, index)) = index.filter(|_| folder.join("spool").is_dir()) {
            copy(index, &folder.join("spool/index"));
        }
    }

    pub async fn accept(&self, store: &Arc<JournalStore>, size: usize) -> Option<QueueId> {
        let octets = pattern(size);
        let mut intake = store.intake().ok()?;
        let id = intake.id();
        let known = Known {
            octets: octets.clone(),
            accepted: NEVER,
            refused: NEVER,
            recipients: 2,
            changes: Vec::new(),
        };
        self.ledger.lock().unwrap().messages.insert(id, known);
        let result = async {
            for piece in octets.chunks(100_000) {
                intake.write(Bytes::copy_from_slice(piece)).await?;
            }
            intake.commit(ticket(&["a@x.example", "b@y.example"])).await
        }
        .await;
        let moment = self.disk.now();
        let mut ledger = self.ledger.lock().unwrap();
        match result {
            Ok(_) => {
                ledger.messages.get_mut(&id).unwrap().accepted = moment;
                // That it was written says that the spool has recovered from
                // whatever had been refused before it was begun.
                Some(id)
            }
            Err(SpoolError::Sick(_) | SpoolError::Full) => {
                drop(ledger);
                store.maintain().await;
                let healed = store.intake().is_ok();
                if healed {
                    let moment = self.disk.now();
                    let mut ledger = self.ledger.lock().unwrap();
                    ledger.messages.get_mut(&id).unwrap().refused = moment;
                }
                None
            }
            Err(other) => panic!("{other}"),
        }
    }

    pub async fn settle(
        &self,
        store: &Arc<JournalStore>,
        id: QueueId,
        states: &[(u32, State)],
        dsn_size: usize,
    ) {
        self.settle_keeping(store, id, states, dsn_size, &[]).await;
    }

    /// Settles, with copies of so many octets for recipients.
    pub async fn settle_keeping(
        &self,
        store: &Arc<JournalStore>,
        id: QueueId,
        states: &[(u32, State)],
        dsn_size: usize,
        copies: &[(u32, usize)],
    ) {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut event = event(0, id);
        event.event = QueueId::new(at(0), number.to_be_bytes());
        let change = |(index, state): &(u32, State)| {
            let next = state.is_open().then(|| at(7));
            super::change(*index, *state, next)
        };
        let mut settlement = settlement(id, states.iter().map(change).collect());
        settlement.events = vec![event.clone()];
        let mut born = None;
        if dsn_size > 0 {
            let mut new = dsn(0, id, &pattern(dsn_size));
            new.message.id = QueueId::new(at(1_000_000), number.to_be_bytes());
            born = Some(new.message.id);
            settlement.messages = vec![new];
        }
        settlement.copies = copies
            .iter()
            .map(|(index, size)| {
                let mark = u8::try_from(number % 251).unwrap();
                kept(*index, mark, *size)
            })
            .collect();
        let copies = settlement.copies.iter();
        let copies = copies.map(|c| (c.index, c.octets.to_vec())).collect();
        let place = self.ask(id, states, event.event, born, dsn_size, copies);
        let result = store.settle(settlement).await;
        let moment = self.disk.now();
        // Nobody else settles this message.
        let mut there = Vec::new();
        if let Ok(stored) = store.load(id).await {
            for (index, copy) in &stored.copies {
                let octets = read(&*copy.body).await.unwrap_or_default();
                there.push((*index, octets));
            }
        }
        let mut ledger = self.ledger.lock().unwrap();
        match result {
            Ok(()) => {
                let changes = &mut ledger.messages.get_mut(&id).unwrap().changes[place];
                changes.answered = moment;
                changes.are_kept = changes.copies.iter().all(|c| there.contains(c));
                if let Some(born) = born {
                    ledger.messages.get_mut(&born).unwrap().accepted = moment;
                }
            }
            Err(SpoolError::Sick(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }

    /// Notes a settlement before it is asked for.
    fn ask(
        &self,
        id: QueueId,
        states: &[(u32, State)],
        event: QueueId,
        born: Option<QueueId>,
        size: usize,
        copies: Vec<(u32, Vec<u8>)>,
    ) -> usize {
        let asked = self.disk.now();
        let mut ledger = self.ledger.lock().unwrap();
        if let Some(born) = born {
            let known = Known {
                octets: pattern(size),
                accepted: NEVER,
                refused: NEVER,
                recipients: 1,
                changes: Vec::new(),
            };
            ledger.messages.insert(born, known);
        }
        let changes = &mut ledger.messages.get_mut(&id).unwrap().changes;
        changes.push(Changes {
            asked,
            answered: NEVER,
            states: states.to_vec(),
            event,
            copies,
            are_kept: false,
        });
        changes.len() - 1
    }

    /// Messages that are open for all that was asked so far, of two recipients.
    pub fn open_ids(&self) -> Vec<QueueId> {
        let ledger = self.ledger.lock().unwrap();
        let is_open = |known: &Known| {
            known.accepted != NEVER && known.recipients == 2 && known.changes.is_empty()
        };
        let open = ledger.messages.iter().filter(|(_, known)| is_open(known));
        open.map(|(id, _)| *id).collect()
    }

    /// Takes what an opening found for answered: from now on it must stay, and
    /// what was settled must stay settled.
    pub async fn adopt(&self, store: &Arc<JournalStore>) {
        let found: BTreeMap<_, _> = store
            .list(&Default::default(), None, usize::MAX)
            .await
            .unwrap()
            .into_iter()
            .map(|s| (s.message.id, s.recipients))
            .collect();
        let moment = self.disk.now();
        let mut ledger = self.ledger.lock().unwrap();
        let ids: Vec<_> = ledger.messages.keys().copied().collect();
        for id in ids {
            let known = ledger.messages.get_mut(&id).unwrap();
            match found.get(&id) {
                Some(statuses) => {
                    known.accepted = known.accepted.min(moment);
                    for changes in &mut known.changes {
                        // An open state tells nothing, so it proves nothing.
                        let is_in = |(i, s): &(u32, State)| {
                            !s.is_open() && statuses[*i as usize].state == *s
                        };
                        if changes.states.iter().all(is_in) {
                            changes.answered = changes.answered.min(moment);
                        }
                    }
                }
                None if known.accepted == NEVER => {
                    ledger.messages.remove(&id);
                }
                None => {}
            }
        }
    }

    /// Cuts the power, opens what is left, and holds it against the ledger.
    pub async fn check(&self, moment: usize, fate: Fate, told: &mut Told) -> Opened {
        let Fate::PowerCut(seed) = fate else {
            panic!("the process alone died")
        };
        let folder = scratch();
        self.disk.image(moment, fate, folder.path()).unwrap();
        self.put_index(moment, seed, folder.path());
        let opening = match try_open(small(folder.path()), Arc::new(RealDisk)) {
            Ok(opening) => opening,
            Err(error) => panic!("cut at {moment} with seed {seed}: {error}"),
        };
        let wrong = self.compare(moment, &opening).await;
        if !wrong.is_empty() {
            panic!(
                "cut at {moment} with seed {seed}: {wrong:#?}, {:?}",
                opening.opened
            );
        }
        told.note(&opening.opened, self.ledger.lock().unwrap().messages.len());
        match accept(&*opening.store, &["a@x.example"], b"goes on").await {
            Ok(_) | Err(SpoolError::Full) => {}
            Err(error) => panic!("cut at {moment} with seed {seed}: {error}"),
        }
        opening.store.close().await;
        opening.opened
    }

    async fn compare(&self, moment: usize, opening: &Opening) -> Vec<String> {
        let ledger = self.ledger.lock().unwrap().clone();
        let mut wrong = Vec::new();
        let all = opening
            .store
            .list(&Default::default(), None, usize::MAX)
            .await;
        let mut found = BTreeMap::new();
        for stored in all.unwrap() {
            found.insert(stored.message.id, stored);
        }
        for id in found.keys().filter(|id| !ledger.messages.contains_key(id)) {
            wrong.push(format!("{id} was never asked for"));
        }
        for (id, known) in &ledger.messages {
            match found.get(id) {
                None => known.missing(moment, &mut wrong, *id),
                Some(stored) => {
                    match read(&*stored.body).await {
                        Ok(octets) if octets == known.octets => {}
                        _ => wrong.push(format!("{id} has other octets")),
                    }
                    known.present(moment, &stored.recipients, &mut wrong, *id);
                    let mut copies = Vec::new();
                    for (index, copy) in &stored.copies {
                        match read(&*copy.body).await {
                            Ok(octets) => copies.push((*index, octets)),
                            Err(e) => wrong.push(format!("{id}: a copy can't be read: {e}")),
                        }
                    }
                    known.copies(moment, &stored.recipients, &copies, &mut wrong, *id);
                }
            }
        }
        let synced = ledger.synced.iter().filter(|(when, _)| *when <= moment);
        let told: BTreeSet<_> = synced
            .map(|(_, event)| *event)
            .chain(opening.sink.ids())
            .collect();
        let changes = ledger.messages.values().flat_map(|known| &known.changes);
        for lost in changes.filter(|c| c.answered <= moment && !told.contains(&c.event)) {
            wrong.push(format!("the event {} is lost", lost.event));
        }
        wrong
    }
}
