//! The journal with its sled index: the engine that mail is trusted to.
//!
//! Owns the spool's folder. Holds always: the journal, an append-only run of
//! segments, is the truth; the index can be rebuilt from it at any time; all
//! content is sealed. One thread writes (`committer`), one tidies (`keeper`),
//! readings run where they are asked for.
//!
//! ```text
//!  intake, settle ─Job─► committer ─► stage ─► record ─► head (write, fdatasync)
//!                                        └────► apply ─► txn ─► index, books
//!  keeper: events.sync, index flush + fdatasync, checkpoint, removal, compact
//!  open: keys, trust or rebuild, replay ─► scan ─► apply (the same)
//! ```

mod apply;
mod archive;
mod body;
mod books;
pub(in crate::spool) mod check;
pub(in crate::spool) mod checkpoint;
mod choice;
mod committer;
mod compact;
mod compare;
mod copies;
mod core;
mod entry;
mod events;
mod export;
pub mod fuzzing;
mod head;
mod import;
mod import_report;
pub(in crate::spool) mod index;
mod index_copy;
mod intake;
mod job;
mod keeper;
pub(in crate::spool) mod keys;
mod laid;
mod locate;
mod meters;
mod open;
mod overlay;
mod pages;
mod payload;
mod query;
mod reading;
pub(in crate::spool) mod rebuild;
mod record;
mod rekey;
mod replay;
mod report;
mod restate;
mod scan;
mod seal;
pub(in crate::spool) mod sealer;
mod segments;
mod shrink;
mod slots;
mod stage;
mod staged;
mod store;
mod txn;
pub(in crate::spool) mod unlock;

pub use archive::{Archive, ArchiveError, Exported};
pub use check::{
    Checked, DamagedPlace, IndexState, Place, UnreadableMessage, check, discard_index,
};
pub use export::Export;
pub use import::{messages_of, rehearse};
pub use import_report::{Ended, ImportError, Imported, ImportedMessage, Taken, Unreadable};
pub use rekey::{RotateError, Rotated, rotate_key};
pub use report::{CutTail, DamagedRecord, OpenError, Opened, RebuildReason};
pub use store::JournalStore;
