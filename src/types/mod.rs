//! The vocabulary of the house: plain values that carry their proof.
//!
//! Owns every term that crosses a room's wall: addresses, the envelope, what is
//! known of a message, levels and the `Permit`, methods, outcomes with their
//! reasons, and the one Settlement. Holds always: a value that exists is valid
//! (parsing is the only constructor), levels only rise, and a "no" has a reason.
//! No I/O, no clock; every room may use it, and it uses none.

pub mod address;
pub mod body;
pub mod content;
pub mod copy;
pub mod domain_event;
pub mod envelope;
pub mod evidence;
pub mod hand;
pub mod id;
pub mod job;
pub mod learnt;
pub mod level;
pub mod log;
pub mod method;
pub mod outcome;
pub mod protection;
pub mod recipient;
pub mod settlement;
pub mod sts;
pub mod text_pattern;
pub mod time;
pub mod tls_words;
pub mod units;
pub mod would;

pub use address::{AddressError, Domain, Host, Mailbox};
pub use body::{Body, BodyError, BodyReader, BoxFuture, MemoryBody};
pub use content::{ContentFacts, Encrypted, HeaderEdits, TextCount, Wanted};
pub use copy::{KeptCopy, StoredCopy};
pub use domain_event::{DomainChange, DomainEvent};
pub use envelope::{
    BodyType, Envelope, Message, MessageFacts, Origin, OwnMailKind, Principal, Protocol, Source,
};
pub use evidence::{AuthenticatedBy, CertificateFacts, Evidence, Remote, TlsFacts};
pub use hand::{Action, Hand};
pub use id::{EventId, QueueId};
pub use job::{Job, JobRecipient};
pub use learnt::{Foreseen, Foresight, HostSeen, Learnt, NoForesight, Offer, Remembered, Waiver};
pub use level::{Achieved, BelowFloor, Demand, Permit, Required, Shortfall, TlsLevel};
pub use log::{LogLevel, LogLevelError};
pub use method::{Ending, Method, MethodsError, MethodsList, Transport};
pub use outcome::{
    Failure, Fate, Reason, RecipientReport, RemoteReply, Report, Site, Stage, Waiting,
};
pub use protection::{ContentProof, EncryptedBy, SmimeCipher, Trust};
pub use recipient::{RecipientStatus, State};
pub use settlement::{AuditEvent, EventSink, NewMessage, RecipientChange, Settlement};
pub use sts::{StsFacts, StsMode, StsSource};
pub use text_pattern::{PatternKey, TextPattern, TextPatternError};
pub use time::Timestamp;
pub use tls_words::tls_words;
pub use would::{Course, CourseError, Would};
