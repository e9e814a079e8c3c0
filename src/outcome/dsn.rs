//! Delivery status notifications: failed, delayed, expired.
//!
//! Owns their form: multipart/report (RFC 6522) of a text for people, the
//! message/delivery-status of RFC 3464, and the original's header without its
//! subject. Holds always: 7-bit octets in lines under 998 with CRLF ends; a null
//! return path is set by who sends it, `Auto-Submitted: auto-replied` (RFC 3834
//! section 5) stands in it; nothing of the original's subject or body. Called by
//! [`super::Outcome::settle`].

use std::fmt::Write as _;

use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::raw::Raw;
use mail_builder::mime::{BodyPart, MimePart};

use crate::message::headers_for_dsn;
use crate::types::units::print_duration;
use crate::types::{Mailbox, Message, Method, QueueId, Stage, Timestamp};

use super::audit::remote_text;
use super::settle::Case;
use super::{Settings, words};

/// Recipients that the text names one by one; the report names all.
const NAMED_MAX: usize = 50;
/// Columns of the text.
const COLUMNS: usize = 72;
/// Octets of a line, CRLF not counted (RFC 5322 section 2.1.1).
const LINE_MAX: usize = 990;

/// What a DSN tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Refused for good.
    Failed,
    /// Given up after `expire`.
    Expired,
    /// Not yet delivered, still tried.
    Delayed,
}

/// A header field.
pub(super) struct Field(pub(super) &'static str, pub(super) String);

/// All that a DSN is made of.
pub(super) struct Dsn<'a> {
    pub(super) id: QueueId,
    pub(super) settings: &'a Settings,
    pub(super) kind: Kind,
    pub(super) original: &'a Message,
    pub(super) sender: &'a Mailbox,
    pub(super) cases: &'a [&'a Case<'a>],
    pub(super) attempted_at: Timestamp,
    /// The original's header section, empty if it can't be read.
    pub(super) header: &'a [u8],
    /// Random, so that nothing in the original's header can be taken for it.
    pub(super) boundary: String,
    pub(super) now: Timestamp,
}

impl Dsn<'_> {
    /// Its octets.
    pub(super) fn compose(&self) -> Vec<u8> {
        let mut parts = vec![
            part(
                ContentType::new("text/plain").attribute("charset", "us-ascii"),
                "Notification",
                self.text(),
            ),
            part(
                ContentType::new("message/delivery-status"),
                "Delivery report",
                self.delivery_status(),
            ),
        ];
        let header = headers_for_dsn(self.header);
        if !header.is_empty() {
            parts.push(part(
                ContentType::new("text/rfc822-headers"),
                "Header of the undelivered message, without its subject",
                String::from_utf8_lossy(&header).into_owned(),
            ));
        }
        let subject = match self.kind {
            Kind::Failed | Kind::Expired => "Your message could not be delivered",
            Kind::Delayed => "Your message is delayed",
        };
        let mut report = MimePart::raw(parts);
        for Field(name, value) in headers(self.settings, self.id, self.sender, subject, self.now) {
            report = report.header(name, Raw::new(value));
        }
        if let Some(message_id) = self.original_message_id() {
            report = report.header("In-Reply-To", Raw::new(message_id));
        }
        let content_type = ContentType::new("multipart/report")
            .attribute("report-type", "delivery-status")
            .attribute("boundary", self.boundary.as_str());
        let mut octets = Vec::new();
        report
            .header("Content-Type", content_type)
            .write_part(&mut octets);
        octets
    }

    /// The original's Message-ID, where it is one that fits a field (RFC 3834
    /// section 3.1.5).
    fn original_message_id(&self) -> Option<&str> {
        let id = self.original.facts.message_id.as_deref()?;
        let fits = id.len() <= 250 && id.bytes().all(|b| b.is_ascii_graphic());
        fits.then_some(id)
    }

    /// The part for people: what happened, why, what to do; then the details.
    fn text(&self) -> String {
        let mut text = String::new();
        match self.cases {
            [case] => paragraph(&mut text, &self.sentence(case)),
            cases => {
                paragraph(&mut text, &self.sentence_for_many(cases.len()));
                for case in cases.iter().take(NAMED_MAX) {
                    let why = format!("{}: {}.", case.recipient.mailbox, capital(&because(case)));
                    paragraph(&mut text, &why);
                }
                if let Some(more @ 1..) = cases.len().checked_sub(NAMED_MAX) {
                    paragraph(
                        &mut text,
                        &format!("And {more} more, listed in the report below."),
                    );
                }
            }
        }
        self.next_steps(&mut text);
        text.push_str("Technical details\r\n");
        detail(&mut text, "Message", &self.original.id.to_string());
        detail(
            &mut text,
            "Accepted",
            &self.original.received_at.to_string(),
        );
        for case in self.cases.iter().take(NAMED_MAX) {
            text.push_str("\r\n");
            case_details(&mut text, case);
        }
        text
    }

    fn sentence(&self, case: &Case<'_>) -> String {
        let (to, why) = (&case.recipient.mailbox, because(case));
        match self.kind {
            Kind::Failed => format!("Your message to {to} was not delivered, because {why}."),
            Kind::Expired => format!(
                "Your message to {to} was not delivered within {}, because {why}.",
                spoken(self.settings)
            ),
            Kind::Delayed => {
                format!("Your message to {to} has not been delivered yet, because {why}.")
            }
        }
    }

    fn sentence_for_many(&self, recipients: usize) -> String {
        match self.kind {
            Kind::Failed => {
                format!("Your message was not delivered to {recipients} of its recipients.")
            }
            Kind::Expired => format!(
                "Your message was not delivered to {recipients} of its recipients within {}.",
                spoken(self.settings)
            ),
            Kind::Delayed => format!(
                "Your message has not been delivered yet to {recipients} of its recipients."
            ),
        }
    }

    /// What the reader can do; each advice once.
    fn next_steps(&self, text: &mut String) {
        if self.kind == Kind::Delayed {
            let until = self.retry_until().to_rfc5322();
            return paragraph(
                text,
                &format!(
                    "You need not do anything: we keep trying until {until}, and will tell \
                     you if it still has not been delivered then. If it is urgent, please \
                     reach the recipient in another way."
                ),
            );
        }
        let mut given = Vec::new();
        for failure in self.cases.iter().filter_map(|case| case.failure()) {
            let advice = words::advice(failure.reason);
            if !given.contains(&advice) {
                paragraph(text, advice);
                given.push(advice);
            }
        }
    }

    fn retry_until(&self) -> Timestamp {
        self.original.received_at + self.settings.expire
    }

    /// RFC 3464 section 2: the fields of the message, then those of each recipient.
    fn delivery_status(&self) -> String {
        let mut text = String::new();
        field(
            &mut text,
            "Reporting-MTA",
            &format!("dns; {}", self.settings.hostname),
        );
        field(
            &mut text,
            "X-Postern-Queue-ID",
            &self.original.id.to_string(),
        );
        field(
            &mut text,
            "Arrival-Date",
            &self.original.received_at.to_rfc5322(),
        );
        for case in self.cases {
            text.push_str("\r\n");
            self.recipient_fields(&mut text, case);
        }
        text
    }

    /// RFC 3464 section 2.3.
    fn recipient_fields(&self, text: &mut String, case: &Case<'_>) {
        let to = format!("rfc822; {}", case.recipient.mailbox);
        field(text, "Final-Recipient", &to);
        let action = match self.kind {
            Kind::Failed | Kind::Expired => "failed",
            Kind::Delayed => "delayed",
        };
        field(text, "Action", action);
        // An expired message keeps the code of its last failure, as RFC 3463
        // section 3.5 asks for under X.4.7.
        field(
            text,
            "Status",
            case.failure().map_or("4.4.7", |f| &f.status),
        );
        if let (Some(remote), Some(_)) = (&case.report.evidence.remote, case.reply()) {
            field(text, "Remote-MTA", &format!("dns; {}", remote.name));
        }
        match (case.reply(), case.failure()) {
            (Some(reply), _) => field(text, "Diagnostic-Code", &format!("smtp; {reply}")),
            (None, Some(failure)) => {
                let code = format!("x-postern; {}", failure.reason);
                field(text, "Diagnostic-Code", &code);
            }
            (None, None) => {}
        }
        if case.was_attempted() {
            field(text, "Last-Attempt-Date", &self.attempted_at.to_rfc5322());
        }
        if self.kind == Kind::Delayed {
            field(text, "Will-Retry-Until", &self.retry_until().to_rfc5322());
        }
    }
}

/// The Message-ID of own mail, in one pair of angle brackets (E55).
pub(super) fn message_id(settings: &Settings, id: QueueId) -> String {
    format!("<{id}@{}>", settings.hostname)
}

/// The header that DSNs and notices share.
pub(super) fn headers(
    settings: &Settings,
    id: QueueId,
    to: &Mailbox,
    subject: &str,
    now: Timestamp,
) -> Vec<Field> {
    let host = &settings.hostname;
    vec![
        Field("Date", now.to_rfc5322()),
        Field(
            "From",
            format!("Mail Delivery System <MAILER-DAEMON@{host}>"),
        ),
        Field("To", format!("<{to}>")),
        Field("Subject", subject.to_owned()),
        Field("Message-ID", message_id(settings, id)),
        Field("Auto-Submitted", "auto-replied".to_owned()),
        Field("MIME-Version", "1.0".to_owned()),
    ]
}

/// Adds a paragraph, wrapped, with an empty line behind it.
pub(super) fn paragraph(text: &mut String, words: &str) {
    let mut column = 0;
    for word in words.split_whitespace() {
        if column > 0 && column + 1 + word.len() > COLUMNS {
            text.push_str("\r\n");
            column = 0;
        } else if column > 0 {
            text.push(' ');
            column += 1;
        }
        text.extend(word.chars().map(seven_bit));
        column += word.len();
    }
    text.push_str("\r\n\r\n");
}

/// Adds a line of technical detail.
pub(super) fn detail(text: &mut String, name: &str, value: &str) {
    field(text, &format!("  {name}"), value);
}

/// Adds the technical details of one recipient.
pub(super) fn case_details(text: &mut String, case: &Case<'_>) {
    detail(text, "Recipient", &case.recipient.mailbox.to_string());
    if let Some(failure) = case.failure() {
        detail(text, "Reason", failure.reason.as_str());
        detail(text, "Status", &failure.status);
    }
    for (method, reason) in &case.report.evidence.passed_over {
        detail(text, "Not by", &format!("{method}: {reason}"));
    }
    if let Some(remote) = &case.report.evidence.remote {
        detail(text, "Server", &remote_text(remote));
    }
    if let Some(reply) = case.reply() {
        detail(text, "Answer", &reply.to_string());
    }
}

/// Adds a line `name: value`, in 7 bits and not too long.
fn field(text: &mut String, name: &str, value: &str) {
    // Writing to a String can't fail.
    let _ = write!(text, "{name}: ");
    let room = LINE_MAX.saturating_sub(name.len() + 2);
    text.extend(value.chars().take(room).map(seven_bit));
    text.push_str("\r\n");
}

/// What a remote server or an original's header wrote, as one printable octet
/// a character: such text can't end a line or a part.
fn seven_bit(c: char) -> char {
    match c {
        '\t' | ' '..='~' => c,
        _ => '?',
    }
}

/// Why, as a clause. Where the last method failed for want of a key, what was wrong with the
/// server comes first.
fn because(case: &Case<'_>) -> String {
    let Some(failure) = case.failure() else {
        return "the reason is not known".to_owned();
    };
    let why = words::because(failure.reason);
    let mut passed = case.report.evidence.passed_over.iter();
    let of_server = passed.find(|(method, _)| *method == Method::Tls);
    match of_server {
        Some((_, reason)) if failure.stage == Stage::Protect => {
            format!("{}, and {why}", words::because(*reason))
        }
        _ => why.to_owned(),
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// The time until expiry in words.
fn spoken(settings: &Settings) -> String {
    let hours = settings.expire.as_secs() / 3600;
    match (hours / 24, hours % 24) {
        (0, 0) => print_duration(settings.expire),
        (0, 1) => "an hour".to_owned(),
        (1, 0) => "a day".to_owned(),
        (days, 0) => format!("{days} days"),
        _ => format!("{hours} hours"),
    }
}

fn part<'x>(
    content_type: ContentType<'x>,
    description: &'static str,
    text: String,
) -> MimePart<'x> {
    MimePart::raw(BodyPart::Text(text.into()))
        .header("Content-Type", content_type)
        .header("Content-Description", Raw::new(description))
        .transfer_encoding("7bit")
}
