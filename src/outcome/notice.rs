//! The notice to the postmaster about a DSN that could not be delivered.
//!
//! Holds always: it names ids, addresses and the reason, and nothing of any
//! message; it is own mail, so a notice that fails itself is `dead` and the end
//! of it (design section 3.3).

use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::raw::Raw;
use mail_builder::mime::{BodyPart, MimePart};

use crate::types::{Mailbox, QueueId, Timestamp};

use super::dsn::{self, Field};
use super::settle::Case;
use super::{Settings, words};

/// What a notice says.
pub(super) struct Notice<'a> {
    pub(super) id: QueueId,
    pub(super) settings: &'a Settings,
    pub(super) postmaster: &'a Mailbox,
    pub(super) dsn: QueueId,
    pub(super) original: QueueId,
    pub(super) dead: &'a [&'a Case<'a>],
    pub(super) now: Timestamp,
}

/// Its octets.
pub(super) fn compose(notice: &Notice<'_>) -> Vec<u8> {
    let mut text = String::new();
    for case in notice.dead {
        let why = case
            .failure()
            .map_or("the reason is not known", |f| words::because(f.reason));
        dsn::paragraph(
            &mut text,
            &format!(
                "A report about an undelivered message could not be delivered to its \
                 sender {}, because {why}. The sender has not been told, so somebody \
                 should tell them.",
                case.recipient.mailbox
            ),
        );
        dsn::detail(
            &mut text,
            "Undelivered message",
            &notice.original.to_string(),
        );
        dsn::detail(&mut text, "Report about it", &notice.dsn.to_string());
        dsn::case_details(&mut text, case);
        text.push_str("\r\n");
    }
    dsn::paragraph(
        &mut text,
        "The report stays in the queue's list as \"dead\". \"postern audit show\" with \
         the ids above tells the whole story.",
    );
    let mut part = MimePart::raw(BodyPart::Text(text.into()));
    let headers = dsn::headers(
        notice.settings,
        notice.id,
        notice.postmaster,
        "A delivery report could not be delivered",
        notice.now,
    );
    for Field(name, value) in headers {
        part = part.header(name, Raw::new(value));
    }
    let content = ContentType::new("text/plain").attribute("charset", "us-ascii");
    let mut octets = Vec::new();
    part.header("Content-Type", content)
        .transfer_encoding("7bit")
        .write_part(&mut octets);
    octets
}
