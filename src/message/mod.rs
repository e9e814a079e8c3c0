//! RFC 5322 on bytes: the header section of a message, read and edited.
//!
//! Owns finding the header section and its fields, the fix-ups of a submission
//! (RFC 6409 section 8), trace fields (RFC 5321 section 4.4), and what of a header
//! may stand in a DSN; and the parts of a body, where rules ask for its text. Holds
//! always: an edit is a splice that leaves every other octet alone; a body is looked at by
//! [`Notes`] alone; whatever a message holds, nothing here panics, and memory is bounded
//! by [`HEADER_MAX`] and [`TEXT_MAX`]. Called by `ingress`
//! (collect, prepare, notes for policy), `delivery` (edits by rule) and `outcome` (headers for a DSN).

pub mod content;
pub mod dsn;
pub mod edit;
pub mod fixup;
pub mod from;
pub mod headers;
mod mime;
pub mod notes;
mod sealed;
pub mod texts;
pub mod trace;

pub use content::content_facts;
pub use dsn::headers_for_dsn;
pub use edit::edit_header;
pub use fixup::{HeaderFault, Kind, Prepared, prepare};
pub use from::FromField;
pub use headers::{Collected, Field, HEADER_MAX, HeaderCollector, HeaderTooLarge, fields};
pub use notes::Notes;
pub use texts::{TEXT_MAX, Texts};
pub use trace::{TlsWords, TraceContext};
