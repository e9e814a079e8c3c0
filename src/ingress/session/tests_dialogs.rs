//! Dialogs with clients, a file a case: `tests/dialogs/ingress`, where README.md
//! tells the format. Each is played line by line, then octet by octet, and must
//! come to the same. A case is added without touching code.

use postern_lab::{cases, lines, unescape};

use super::testing::*;
use crate::ingress::settings::ListenerKind;
use crate::spool::SpoolError;

#[test]
fn every_dialog_goes_as_its_file_says() {
    let mut wrong = Vec::new();
    for (name, text) in cases("ingress", 55) {
        for by_octets in [false, true] {
            if let Err(fault) = play(&text, by_octets) {
                wrong.push(format!("{name}, octet by octet: {by_octets}: {fault}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Plays a dialog up to the first thing that goes otherwise.
fn play(text: &str, by_octets: bool) -> Result<(), String> {
    let mut driven = None;
    let mut heard = String::new();
    for (word, rest) in lines(text) {
        if word == "listener" {
            driven = Some(session(rest));
            continue;
        }
        let driven = driven.as_mut().expect("a listener first");
        match word {
            "spool" => driven.commit = spool(rest),
            // A whole line; or octets as they are, to be cut in the midst of one.
            "C:" => heard += &say(driven, &(unescape(rest) + "\r\n"), by_octets),
            "C>" => heard += &say(driven, &unescape(rest), by_octets),
            // In one piece, however the case is played: what comes behind STARTTLS in
            // pieces would come over TLS.
            "C!" => heard += &say(driven, &unescape(rest), false),
            "S:" => {
                let (said, left) = heard
                    .split_once("\r\n")
                    .ok_or_else(|| format!("expected \"{rest}\", and nothing was said"))?;
                if !said.starts_with(rest) {
                    return Err(format!("expected \"{rest}\", and \"{said}\" was said"));
                }
                heard = left.to_owned();
            }
            "=>" => expect(rest, driven)?,
            other => panic!("\"{other}\" begins no line of a dialog"),
        }
    }
    match heard.is_empty() {
        true => Ok(()),
        false => Err(format!("\"{heard}\" was said too")),
    }
}

fn session(kind: &str) -> Driven {
    match kind {
        "submission" => Driven::submission(),
        "submissions" => Driven::with(rules(ListenerKind::Submissions), Some(secured())),
        "logged-in" => Driven::logged_in(),
        "relay" => Driven::relay(),
        other => panic!("\"{other}\" is no kind of listener"),
    }
}

/// What the spool says at the end of a message.
fn spool(word: &str) -> Result<(), SpoolError> {
    match word {
        "full" => Err(SpoolError::Full),
        "sick" => {
            let error = std::io::Error::from(std::io::ErrorKind::StorageFull);
            Err(SpoolError::Sick(std::sync::Arc::new(error)))
        }
        "well" => Ok(()),
        other => panic!("\"{other}\" is no state of a spool"),
    }
}

fn say(driven: &mut Driven, octets: &str, by_octets: bool) -> String {
    // Escapes stand for octets, so characters up to 255 are taken for these.
    let octets: Vec<u8> = octets.chars().map(|c| u8::try_from(c).unwrap()).collect();
    match by_octets {
        true => driven.trickle(octets),
        false => driven.say(octets),
    }
}

fn expect(what: &str, driven: &Driven) -> Result<(), String> {
    let (word, rest) = what.split_once(' ').unwrap_or((what, ""));
    let last = || driven.commits.last().ok_or("no message was taken");
    let found = match word {
        "messages" => driven.commits.len().to_string(),
        "closed" => driven.closed.to_string(),
        "secured" => driven.session.secured.is_some().to_string(),
        "order" => driven.order.join(" "),
        "sender" => {
            let sender = &last()?.0.envelope.sender;
            sender.as_ref().map(ToString::to_string).unwrap_or_default()
        }
        "recipients" => {
            let recipients = &last()?.0.envelope.recipients;
            let texts: Vec<_> = recipients.iter().map(ToString::to_string).collect();
            texts.join(" ")
        }
        "ends" => {
            let (wanted, body) = (unescape(rest), &last()?.1);
            return match body.ends_with(&wanted) {
                true => Ok(()),
                false => Err(format!("the message ends otherwise: {body:?}")),
            };
        }
        "contains" => {
            let (wanted, body) = (unescape(rest), &last()?.1);
            return match body.contains(&wanted) {
                true => Ok(()),
                false => Err(format!("not in the message: {body:?}")),
            };
        }
        "lacks" => {
            return match last()?.1.contains(&unescape(rest)) {
                true => Err(format!("\"{rest}\" is in the message")),
                false => Ok(()),
            };
        }
        other => panic!("\"{other}\" can't be expected"),
    };
    match found == rest {
        true => Ok(()),
        false => Err(format!("expected \"{what}\", found \"{found}\"")),
    }
}
