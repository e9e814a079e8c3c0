//! What the spool's tests share: messages, settlements, a clock that stands
//! still, a sink that remembers, ways to open and copy a spool.
#![allow(dead_code, unreachable_pub)]

pub mod ledger;
pub mod powercut;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use postern::spool::{
    EventSink, FreshReceiver, JournalStore, OpenError, Opened, Settings, SpoolError, Store, Ticket,
};
use postern::sys::{Clock, Disk, RealDisk, SystemEntropy};
use postern::types::{
    AuditEvent, Body, BodyError, BodyType, ContentProof, Envelope, Evidence, KeptCopy, Mailbox,
    Message, MessageFacts, Method, NewMessage, Origin, OwnMailKind, Principal, Protocol, QueueId,
    RecipientChange, RecipientStatus, Settlement, Source, State, Timestamp,
};

/// A moment in the tests' day.
pub fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + micros)
}

/// A clock that goes by a microsecond each time it is asked.
#[derive(Default)]
pub struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        at(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// Remembers events; refuses them while told to.
#[derive(Clone, Default)]
pub struct Sink {
    pub events: Arc<Mutex<Vec<AuditEvent>>>,
    pub is_failing: Arc<AtomicBool>,
}

impl Sink {
    pub fn ids(&self) -> Vec<QueueId> {
        self.events
            .lock()
            .unwrap()
            .iter()
            .map(|e| e.event)
            .collect()
    }
}

impl EventSink for Sink {
    fn append(&mut self, events: &[AuditEvent]) -> std::io::Result<()> {
        if self.is_failing.load(Ordering::Relaxed) {
            return Err(std::io::Error::other("told to fail"));
        }
        self.events.lock().unwrap().extend_from_slice(events);
        Ok(())
    }
    fn sync(&mut self) -> std::io::Result<()> {
        if self.is_failing.load(Ordering::Relaxed) {
            return Err(std::io::Error::other("told to fail"));
        }
        Ok(())
    }
}

pub fn settings(folder: &Path) -> Settings {
    Settings {
        folder: folder.join("spool"),
        master_key: folder.join("keys/master").into(),
        max_size: 4 << 30,
        message_size: 50 << 20,
    }
}

pub struct Opening {
    pub store: Arc<JournalStore>,
    pub fresh: FreshReceiver,
    pub opened: Opened,
    pub sink: Sink,
}

pub fn try_open(settings: Settings, disk: Arc<dyn Disk>) -> Result<Opening, OpenError> {
    let sink = Sink::default();
    let (store, fresh, opened) = JournalStore::open(
        settings,
        disk,
        Arc::new(TestClock::default()),
        Arc::new(SystemEntropy::default()),
        Box::new(sink.clone()),
    )?;
    Ok(Opening {
        store,
        fresh,
        opened,
        sink,
    })
}

pub fn open(folder: &Path) -> Opening {
    try_open(settings(folder), Arc::new(RealDisk)).unwrap()
}

pub fn ticket(recipients: &[&str]) -> Ticket {
    Ticket {
        origin: Origin::Submitted(Source {
            principal: Principal::Account("ward".into()),
            listener: "[::]:587".into(),
            client: "192.0.2.7".parse().unwrap(),
            protocol: Protocol::Esmtpsa,
        }),
        envelope: Envelope {
            sender: Some(Mailbox::parse("Ward@clinic.example").unwrap()),
            recipients: recipients
                .iter()
                .map(|r| Mailbox::parse(r).unwrap())
                .collect(),
            body: BodyType::SevenBit,
        },
        facts: MessageFacts {
            size: 0,
            eight_bit: false,
            message_id: None,
            content: None,
        },
    }
}

/// Writes a message in, in pieces of 10,000 octets.
pub async fn accept(
    store: &dyn Store,
    recipients: &[&str],
    octets: &[u8],
) -> Result<Arc<Message>, SpoolError> {
    let mut intake = store.intake()?;
    for piece in octets.chunks(10_000) {
        intake.write(Bytes::copy_from_slice(piece)).await?;
    }
    let id = intake.id();
    let message = intake.commit(ticket(recipients)).await?;
    assert_eq!(message.id, id);
    Ok(message)
}

pub async fn read(body: &dyn Body) -> Result<Vec<u8>, BodyError> {
    let mut reader = body.open();
    let mut octets = Vec::new();
    while let Some(piece) = reader.next().await? {
        assert!(!piece.is_empty());
        octets.extend_from_slice(&piece);
    }
    Ok(octets)
}

pub async fn body_of(store: &dyn Store, id: QueueId) -> Vec<u8> {
    let stored = store.load(id).await.unwrap();
    let octets = read(&*stored.body).await.unwrap();
    assert_eq!(octets.len() as u64, stored.body.size());
    octets
}

/// Octets that repeat at no chunk's length.
pub fn pattern(octets: usize) -> Vec<u8> {
    (0..octets).map(|i| (i % 251) as u8).collect()
}

pub fn status(state: State, next: Option<Timestamp>) -> RecipientStatus {
    RecipientStatus {
        state,
        attempts: 1,
        next_attempt: next,
        delay_told: false,
        released: false,
        method: None,
        last_reply: Some("250 ok".into()),
    }
}

pub fn change(index: u32, state: State, next: Option<Timestamp>) -> RecipientChange {
    RecipientChange {
        index,
        status: status(state, next),
    }
}

pub fn settlement(id: QueueId, changes: Vec<RecipientChange>) -> Settlement {
    Settlement {
        id,
        changes,
        messages: vec![],
        copies: vec![],
        events: vec![],
        learnt: None,
    }
}

/// A copy of so many octets, which differ by `mark`.
pub fn kept(index: u32, mark: u8, octets: usize) -> KeptCopy {
    KeptCopy {
        index,
        method: Method::Pgp,
        proof: proof(mark),
        octets: copy_octets(mark, octets).into(),
    }
}

pub fn proof(mark: u8) -> ContentProof {
    ContentProof {
        certificate: Some(format!("{mark:02X}").repeat(20)),
        keys: vec![format!("{mark:02X}").repeat(20)],
        cipher: Some("AES-256-OCB".into()),
        ..ContentProof::by_sender()
    }
}

pub fn copy_octets(mark: u8, octets: usize) -> Vec<u8> {
    pattern(octets).into_iter().map(|o| o ^ mark).collect()
}

/// A deferral that keeps copies.
pub fn deferral(id: QueueId, copies: Vec<KeptCopy>) -> Settlement {
    let changes = copies.iter();
    let changes = changes.map(|c| change(c.index, State::Queued, Some(at(7))));
    Settlement {
        copies: copies.clone(),
        ..settlement(id, changes.collect())
    }
}

/// The copies that are kept of a message, read to their ends.
pub async fn copies_of(store: &dyn Store, id: QueueId) -> Vec<(u32, Vec<u8>)> {
    let stored = store.load(id).await.unwrap();
    let mut copies = Vec::new();
    for (index, copy) in &stored.copies {
        let octets = read(&*copy.body).await.unwrap();
        assert_eq!(octets.len() as u64, copy.body.size());
        assert_eq!(copy.method, Method::Pgp);
        copies.push((*index, octets));
    }
    copies
}

pub fn event(number: u8, id: QueueId) -> AuditEvent {
    AuditEvent {
        event: QueueId::from_octets([number; 12]),
        id,
        time: at(0),
        sender: String::new(),
        recipient: "a@x.example".into(),
        state: State::Delivered,
        method: None,
        reason: None,
        reply: None,
        evidence: Evidence::default(),
        actor: None,
        note: None,
    }
}

pub fn dsn(number: u8, about: QueueId, octets: &[u8]) -> NewMessage {
    let ticket = ticket(&["ward@clinic.example"]);
    NewMessage {
        message: Message {
            id: QueueId::new(at(1_000_000), [number; 4]),
            received_at: at(1_000_000),
            origin: Origin::Own(OwnMailKind::Dsn { about }),
            envelope: Envelope {
                sender: None,
                ..ticket.envelope
            },
            facts: ticket.facts,
        },
        octets: Bytes::copy_from_slice(octets),
    }
}

/// All listed messages' ids.
pub async fn listed(store: &dyn Store) -> Vec<QueueId> {
    let all = store.list(&Default::default(), None, usize::MAX).await;
    all.unwrap().iter().map(|s| s.message.id).collect()
}

/// Copies a folder with all that is in it. The index goes first and the
/// journal last, as no snapshot would be taken: nothing then fits together.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let mut entries: Vec<_> = std::fs::read_dir(from).unwrap().flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            // A file that goes away meanwhile is one that need not be there.
            let _ = std::fs::copy(entry.path(), target);
        }
    }
}

/// The segment files of a spool, in order.
pub fn segments(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder.join("spool/seg"))
        .unwrap()
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_none())
        .collect();
    files.sort();
    files
}
