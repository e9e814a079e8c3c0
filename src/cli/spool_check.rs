//! `postern spool check`: the report, for people.

use super::spool::failed;
use super::{Exit, output};
use crate::config::Config;
use crate::service::{self, SpoolChecked};

pub(super) fn run(config: &Config, repair: bool, json: bool) -> Result<(), Exit> {
    if repair {
        return run_repair(config, json);
    }
    let checked = service::check_spool(config).map_err(|e| failed(&e))?;
    match json {
        true => output::json(&checked),
        false => {
            tell(&checked);
            advise(&checked);
        }
    }
    match checked.is_well {
        true => Ok(()),
        false => Err(Exit::Failed),
    }
}

/// A repair is done when it is done; what is lost for good makes it exit 1.
fn run_repair(config: &Config, json: bool) -> Result<(), Exit> {
    let repaired = service::repair_spool(config).map_err(|e| failed(&e))?;
    match json {
        true => output::json(&repaired.before),
        false => {
            tell(&repaired.before);
            output::say(format_args!(
                "repaired: index made anew from {} records; {} damaged places set aside in \
                 spool/damaged",
                repaired.opened.replayed,
                repaired.opened.damaged.len()
            ));
        }
    }
    match repaired.before.unreadable.is_empty() {
        true => Ok(()),
        false => Err(Exit::Failed),
    }
}

fn tell(checked: &SpoolChecked) {
    for damaged in &checked.damaged {
        let place = damaged.place;
        let id = damaged.id.as_deref().unwrap_or("unknown");
        output::say(format_args!(
            "damaged: segment {:08} offset {}, {} octets: {}, message {id}",
            place.segment, place.offset, place.octets, damaged.what
        ));
    }
    for message in &checked.unreadable {
        let domains = match message.domains.is_empty() {
            true => "unknown".to_owned(),
            false => message.domains.join(", "),
        };
        let accepted = message.received_at.as_deref().unwrap_or("unknown");
        let what = match message.what {
            "body" => "can't be read to its end",
            "all" => "can't be read at all",
            _ => "can't be read at all, if it was not delivered before",
        };
        output::say(format_args!(
            "lost: {} {what}; to {domains}; accepted {accepted}; segment {:08} offset {}",
            message.id, message.place.segment, message.place.offset
        ));
    }
    if let Some(torn) = checked.torn {
        output::say(format_args!(
            "torn end: segment {:08} offset {}, {} octets, never acknowledged; the next start \
             cuts it",
            torn.segment, torn.offset, torn.octets
        ));
    }
    let index = &checked.index;
    for (ids, what) in [
        (&index.wrong, "is not in the index as it is in the journal"),
        (&index.extra, "is in the index and not in the journal"),
    ] {
        for id in ids {
            output::say(format_args!("index: {id} {what}"));
        }
    }
    let why = index.why.as_ref().map(|why| format!(" ({why})"));
    output::say(format_args!(
        "journal: {} segments, {} sound records, {} octets; index: {}{}",
        checked.segments,
        checked.records,
        checked.octets,
        index.state,
        why.unwrap_or_default()
    ));
    output::say(format_args!(
        "listed: {} messages, {} open recipients; {} messages can't be read any more",
        checked.messages,
        checked.recipients,
        checked.unreadable.len()
    ));
}

fn advise(checked: &SpoolChecked) {
    if checked.is_well {
        output::say("well");
        return;
    }
    if checked.index.state == "unknown" && checked.damaged.is_empty() {
        output::say("no damage in the journal; the index was not looked at");
        return;
    }
    let mut would = vec!["make the index anew from the journal"];
    if !checked.damaged.is_empty() {
        would.push("copy the damaged records to spool/damaged and pass over them");
    }
    output::say(format_args!(
        "DAMAGED: `postern spool check --repair` would {}",
        would.join(", and ")
    ));
    if !checked.unreadable.is_empty() {
        output::say(
            "what is lost it can't bring back: tell the senders (postern audit show ID, where an \
             attempt was made), or take it from an export (postern spool import)",
        );
    }
}
