//! An audit record as a line of CSV.
//!
//! Owns the columns, whose names and order are a contract: new ones come last.
//! Holds always: RFC 4180; and a value that a spreadsheet would take for a formula
//! (what remote servers say is theirs to choose) gets a `'` put before it, as does
//! one that begins with `'` itself, so that taking one `'` off gives every value
//! back. Called for `postern audit export`.

use super::{AuditLine, DomainRecord, Record};

/// The first line, with its end.
pub const CSV_HEADER: &str = "time,id,event,sender,recipient,state,method,reason,\
tls_version,tls_cipher,tls_group,authenticated_by,certificate_sha256,certificate_names,\
certificate_not_after,remote,reply,rule,configuration,required,achieved,passed_over,\
would,would_reason,sts_mode,sts_id,sts_finding,\
content_by,content_certificate,content_keys,content_cipher,content_signed_by,\
content_trust,kind,actor,domain,host,change,what\r\n";

/// Columns before `kind`, which are a recipient's.
const RECIPIENT_COLUMNS: usize = 33;

/// A line's row, with its end. What is absent is empty; lists are joined by spaces.
#[must_use]
pub fn csv_row(line: &AuditLine) -> String {
    let cells = match line {
        AuditLine::Recipient(record) => recipient_cells(record),
        AuditLine::Domain(record) => domain_cells(record),
    };
    let cells: Vec<String> = cells.into_iter().map(cell).collect();
    cells.join(",") + "\r\n"
}

fn domain_cells(record: &DomainRecord) -> Vec<String> {
    let mut cells = vec![String::new(); RECIPIENT_COLUMNS];
    cells[0].clone_from(&record.time);
    cells[2].clone_from(&record.event);
    cells.extend([
        "domain".to_owned(),
        text(record.actor.as_ref()),
        record.domain.clone(),
        text(record.host.as_ref()),
        record.change.to_string(),
        record.what.clone(),
    ]);
    cells
}

fn recipient_cells(record: &Record) -> Vec<String> {
    let tls = record.tls.as_ref();
    let content = record.content.as_ref();
    let certificate = tls.and_then(|tls| tls.certificate.as_ref());
    let passed_over = record.passed_over.iter();
    let passed_over = passed_over.map(|passed| format!("{}:{}", passed.method, passed.reason));
    vec![
        record.time.clone(),
        record.id.clone(),
        record.event.clone(),
        record.sender.clone(),
        record.recipient.clone(),
        record.state.to_string(),
        text(record.method),
        text(record.reason.as_ref()),
        text(tls.map(|tls| &tls.version)),
        text(tls.map(|tls| &tls.cipher)),
        text(tls.map(|tls| &tls.group)),
        text(tls.and_then(|tls| tls.authenticated_by.as_ref())),
        text(certificate.map(|c| &c.sha256)),
        text(certificate.map(|c| c.names.join(" "))),
        text(certificate.and_then(|c| c.not_after.as_ref())),
        text(record.remote.as_ref()),
        text(record.reply.as_ref()),
        text(record.rule.as_ref()),
        record.configuration.clone(),
        text(record.required),
        text(record.achieved),
        passed_over.collect::<Vec<_>>().join(" "),
        text(record.would.map(|would| would.method)),
        text(record.would.and_then(|would| would.reason)),
        text(record.sts.as_ref().map(|sts| sts.mode.as_str())),
        text(record.sts.as_ref().map(|sts| &sts.id)),
        text(record.sts.as_ref().and_then(|sts| sts.finding)),
        text(content.map(|content| content.by)),
        text(content.and_then(|content| content.certificate.as_ref())),
        text(content.map(|content| content.keys.join(" "))),
        text(content.and_then(|content| content.cipher.as_ref())),
        text(content.and_then(|content| content.signed_by.as_ref())),
        text(content.and_then(|content| content.trust)),
        "recipient".to_owned(),
        text(record.actor.as_ref()),
        String::new(),
        String::new(),
        String::new(),
        String::new(),
    ]
}

fn text(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn cell(mut value: String) -> String {
    if value.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '\'']) {
        value.insert(0, '\'');
    }
    if value.contains(['"', ',', '\r', '\n']) {
        value = format!("\"{}\"", value.replace('"', "\"\""));
    }
    value
}
