//! What is fuzzed: one function for each thing that reads octets from outside.
//!
//! Each takes whatever octets and panics if something does not hold. Called by the
//! fuzz targets (`fuzz/fuzz_targets`) and, on the kept corpora, by
//! `tests/fuzz_corpus.rs`, which includes this file.

use std::sync::Arc;

use bytes::BytesMut;
use postern::assurance::sts::{Policy, find_record, parse_record};
use postern::ingress::accounts::Account;
use postern::ingress::admission::SenderPattern;
use postern::ingress::auth::Verdict;
use postern::ingress::session::{Action, Answer, Rules, Secured, Session, Sight};
use postern::ingress::{Limits, Listener, ListenerKind};
use postern::message::{self, HeaderCollector, TraceContext};
use postern::protect;
use postern::protect::keys::{AnyCertificate, Terms, Trust};
use postern::protect::smime::Authorities;
use postern::types::{Domain, Host, Mailbox, Protocol, QueueId, TextPattern, Timestamp, Wanted};
use postern::wire::{
    Command, CommandLines, DataDecoder, DataEncoder, LineKind, Reply, ReplyReader,
};

/// A case and its name, which is that of its target and of its corpus.
pub type Case = (&'static str, fn(&[u8]));

/// All of them.
pub const CASES: [Case; 17] = [
    ("command", command),
    ("reply", reply),
    ("address", address),
    ("data", data),
    ("headers", headers),
    ("parts", parts),
    ("configuration", configuration),
    ("control", control),
    ("server_session", server_session),
    ("submission_session", submission_session),
    ("client_session", client_session),
    ("records", records),
    ("sts_record", sts_record),
    ("sts_policy", sts_policy),
    ("keys", keys),
    ("directory", directory),
    ("wrapping", wrapping),
];

const CLIENT: [u8; 4] = [192, 0, 2, 7];

/// Lines are cut the same however they arrive, and are parsed without a panic; an
/// error has a reply.
pub fn command(octets: &[u8]) {
    let lines = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let (mut lines, mut input, mut all) = (CommandLines::new(), BytesMut::new(), Vec::new());
        for piece in pieces {
            input.extend_from_slice(piece);
            loop {
                match lines.next(&mut input, LineKind::Command) {
                    Ok(None) => break,
                    Ok(Some(line)) => all.push(Some(line)),
                    Err(error) => {
                        is_refusal(&error.reply());
                        all.push(None);
                    }
                }
            }
            assert!(input.len() <= 16 * 1024, "an unfinished line is bounded");
        }
        all
    };
    let whole = lines(&mut std::iter::once(octets));
    assert_eq!(lines(&mut octets.chunks(1)), whole);
    for line in whole.into_iter().flatten() {
        match Command::parse(&line) {
            Ok(Command::Mail(mail)) => {
                if let Some(sender) = mail.sender {
                    round_trip(&sender);
                }
            }
            Ok(_) => {}
            Err(error) => {
                is_refusal(&error.reply());
            }
        }
    }
}

/// Replies are the same however they arrive, and what is kept of them is printable.
pub fn reply(octets: &[u8]) {
    let replies = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let (mut reader, mut input, mut all) = (ReplyReader::new(), BytesMut::new(), Vec::new());
        for piece in pieces {
            input.extend_from_slice(piece);
            loop {
                match reader.feed(&mut input) {
                    Ok(None) => break,
                    Ok(Some(reply)) => all.push(format!("{:?}", reply.to_remote())),
                    Err(error) => {
                        all.push(error.to_string());
                        return all;
                    }
                }
            }
            assert!(input.len() <= 64 * 1024, "an unfinished reply is bounded");
        }
        all
    };
    let whole = replies(&mut std::iter::once(octets));
    assert_eq!(replies(&mut octets.chunks(1)), whole);
    for reply in whole {
        assert!(!reply.contains(['\r', '\n']), "{reply:?}");
    }
}

/// What is an address prints as one, and that is the same address.
pub fn address(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else {
        return;
    };
    if let Ok(mailbox) = Mailbox::parse(text) {
        round_trip(&mailbox);
    }
    if let Ok(domain) = Domain::parse(text) {
        assert_eq!(Domain::parse(&domain.to_string()).as_ref(), Ok(&domain));
    }
    if let Ok(host) = Host::parse(text) {
        assert_eq!(Host::parse(&host.to_string()).as_ref(), Ok(&host));
    }
}

/// A 5xx of whole lines.
fn is_refusal(reply: &Reply) {
    let mut octets = BytesMut::new();
    reply.write_to(&mut octets);
    assert!(octets.starts_with(b"5") && octets.ends_with(b"\r\n"));
    is_lines(&octets);
}

fn round_trip(mailbox: &Mailbox) {
    let text = mailbox.to_string();
    assert_eq!(Mailbox::parse(&text).as_ref(), Ok(mailbox), "{text}");
    assert!(!text.contains(['\r', '\n', '\0']), "{text:?}");
}

/// Whether it ended well, the message if so, and what is left behind it.
type Decoded = (Option<bool>, Option<Vec<u8>>, Vec<u8>);

/// A message ends in the same place however it arrives; one that is taken has no
/// bare CR or LF; what was decoded can be encoded and decoded again, and is one
/// message even to a server that takes nearly anything for an end.
pub fn data(octets: &[u8]) {
    let decode = |pieces: &mut dyn Iterator<Item = &[u8]>| -> Decoded {
        let (mut decoder, mut input) = (DataDecoder::new(1 << 20), BytesMut::new());
        let (mut out, mut end) = (BytesMut::new(), None);
        for piece in pieces {
            input.extend_from_slice(piece);
            if end.is_none() {
                end = decoder.decode(&mut input, &mut out);
            }
        }
        let left = if end.is_some() {
            input.to_vec()
        } else {
            Vec::new()
        };
        let taken = matches!(end, Some(Ok(_))).then(|| out.to_vec());
        (end.map(|end| end.is_ok()), taken, left)
    };
    let whole = decode(&mut std::iter::once(octets));
    assert_eq!(decode(&mut octets.chunks(1)), whole);
    let Some(message) = whole.1 else { return };
    is_lines(&message);
    let (mut encoder, mut sent) = (DataEncoder::new(), BytesMut::new());
    for piece in message.chunks(7) {
        assert!(encoder.encode(piece, &mut sent).is_ok());
    }
    assert!(encoder.finish(&mut sent).is_ok());
    assert_eq!(lenient_ends(&sent), 1, "a lenient server sees another end");
    let again = decode(&mut std::iter::once(&sent[..]));
    assert_eq!(again, (Some(true), Some(message), Vec::new()));
}

/// The ends that a server sees which takes CR and LF alone for a line's end, and
/// passes over NUL.
fn lenient_ends(octets: &[u8]) -> usize {
    let lines = octets.split(|octet| matches!(octet, b'\r' | b'\n'));
    let is_dot = |line: &&[u8]| line.iter().filter(|octet| **octet != 0).eq(b".");
    lines.filter(is_dot).count()
}

/// CR and LF only together.
fn is_lines(octets: &[u8]) {
    for (at, octet) in octets.iter().enumerate() {
        match octet {
            b'\r' => assert_eq!(octets.get(at + 1), Some(&b'\n'), "a bare CR"),
            b'\n' => assert!(at > 0 && octets[at - 1] == b'\r', "a bare LF"),
            _ => {}
        }
    }
}

/// A header section is found and prepared without a panic, for both kinds; what was
/// added is there, and nothing with a line end of its own.
pub fn headers(octets: &[u8]) {
    let mut collector = HeaderCollector::new();
    let section = match collector.push(octets) {
        Ok(Some(collected)) => collected.header,
        Ok(None) => collector.finish(),
        Err(_) => return,
    };
    let hostname = Domain::parse("relay.example").expect("a domain");
    let helo = String::from_utf8_lossy(octets.get(..40).unwrap_or(octets)).into_owned();
    let context = TraceContext {
        hostname: &hostname,
        helo: &helo,
        client: CLIENT.into(),
        protocol: Protocol::Esmtpsa,
        tls: None,
        id: QueueId::new(Timestamp::from_micros(7), [0; 4]),
        at: Timestamp::from_micros(7),
    };
    for kind in [message::Kind::Submission, message::Kind::Relay] {
        if let Ok(prepared) = message::prepare(&section, kind, &context) {
            assert!(prepared.header.starts_with(b"Received: from "));
            let received = message::fields(&prepared.header).next().expect("Received");
            assert!(received.is("Received"));
        }
    }
    for field in message::fields(&section) {
        assert!(!field.unfolded().contains('\n'));
    }
    let _ = message::headers_for_dsn(&section);
}

/// Faults have a place, and a text that is no configuration is one fault or more.
pub fn configuration(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else {
        return;
    };
    // Nothing of it may be looked for on the disk of whoever fuzzes.
    if text.contains("..") || text.contains('/') {
        return;
    }
    let path = std::path::Path::new("/nonexistent/postern.toml");
    if let Err(faults) = postern::config::parse(text, path) {
        assert!(!faults.to_string().is_empty());
    }
}

/// A request of the control socket that is one says itself again.
pub fn control(octets: &[u8]) {
    use postern::control::Request;
    if let Ok(request) = serde_json::from_slice::<Request>(octets) {
        let text = serde_json::to_vec(&request).expect("JSON");
        let again = serde_json::from_slice::<Request>(&text).expect("its own words");
        assert_eq!(again, request);
    }
    if let Ok(text) = std::str::from_utf8(octets) {
        let _ = postern::control::parse_id(text);
        let _ = postern::control::parse_moment(text, Timestamp::from_micros(7));
    }
}

/// What became of a session.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    replies: Vec<u8>,
    messages: Vec<Vec<u8>>,
    secured: bool,
    logged_in: bool,
}

/// A session on a relay listener says and takes the same however the octets arrive;
/// it says whole lines; and takes a message at most for each CRLF.CRLF.
pub fn server_session(octets: &[u8]) {
    let whole = session(ListenerKind::Relay, &mut std::iter::once(octets));
    let ends = octets
        .windows(5)
        .filter(|five| *five == b"\r\n.\r\n")
        .count();
    assert!(whole.messages.len() <= ends, "messages without an end");
    is_lines(&whole.replies);
    for message in &whole.messages {
        is_lines(message);
    }
    // STARTTLS minds what is behind it in the same read, as it must.
    if !octets
        .to_ascii_uppercase()
        .windows(8)
        .any(|w| w == b"STARTTLS")
    {
        let piecemeal = session(ListenerKind::Relay, &mut octets.chunks(1));
        assert_eq!(classes(&piecemeal.replies), classes(&whole.replies));
        assert_eq!(piecemeal.messages, whole.messages);
    }
}

/// A session on a submission listener whose handshakes go well and that knows one
/// account: nothing is believed before TLS, and no message taken before a login or
/// from anybody but the account's senders.
pub fn submission_session(octets: &[u8]) {
    for length in [4096, 1] {
        let told = session(ListenerKind::Submission, &mut octets.chunks(length));
        is_lines(&told.replies);
        let ends = octets
            .windows(5)
            .filter(|five| *five == b"\r\n.\r\n")
            .count();
        assert!(told.messages.len() <= ends, "messages without an end");
        assert!(told.messages.is_empty() || told.logged_in);
        assert!(!told.logged_in || told.secured);
        for message in &told.messages {
            is_lines(message);
        }
    }
}

fn session(kind: ListenerKind, pieces: &mut dyn Iterator<Item = &[u8]>) -> Told {
    let is_relay = kind == ListenerKind::Relay;
    let clinic = Domain::parse("clinic.example").expect("a domain");
    let listener = Listener {
        bind: "[::]:25".to_owned(),
        address: "[::1]:0".parse().expect("an address"),
        kind,
        tls_required: !is_relay,
        networks: match is_relay {
            true => vec!["192.0.2.0/24".parse().expect("a network")],
            false => vec![],
        },
        certificates: vec![],
        require_both: false,
        client_roots: vec![],
        sender_domains: vec![clinic],
        refuse_without_tls: false,
    };
    let rules = Rules {
        hostname: Domain::parse("relay.example").expect("a domain"),
        postmaster: None,
        sender_domains: listener.sender_domains.clone().into(),
        listener,
        limits: Limits {
            message_size: 2_000,
            recipients: 3,
            ..Limits::default()
        },
        wanted: Arc::default(),
        foresight: Sight::default(),
    };
    let mut session = Session::new(Arc::new(rules), CLIENT.into(), None);
    let (mut told, mut body) = (Told::default(), Vec::new());
    let mut is_over = run(&mut session, is_relay, &mut told, &mut body);
    for piece in pieces {
        if is_over {
            break;
        }
        session.receive(piece, Timestamp::from_micros(7));
        is_over = run(&mut session, is_relay, &mut told, &mut body);
    }
    told
}

/// Scanner, who sends as @clinic.example.
fn account() -> Arc<Account> {
    let senders = vec![SenderPattern::parse("@clinic.example").expect("a pattern")];
    // Nobody verifies a password by it here.
    let hash = format!(
        "$argon2id$v=19$m=8,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg${}",
        "A".repeat(43)
    );
    Arc::new(Account::new("scanner", &hash, senders).expect("an account"))
}

/// Does what the session asks until it wants octets (false) or is over (true).
fn run(session: &mut Session, is_relay: bool, told: &mut Told, body: &mut Vec<u8>) -> bool {
    for _ in 0..1_000_000 {
        match session.advance() {
            Action::Read => return false,
            Action::Send(octets) => told.replies.extend_from_slice(&octets),
            Action::Pause(_) => {}
            // The handshake fails: the socket's task would end the session.
            Action::StartTls if is_relay => return true,
            Action::Close => return true,
            Action::StartTls => {
                told.secured = true;
                session.answer(Answer::Secured(Secured {
                    version: "TLSv1.3".to_owned(),
                    cipher: "TLS13_AES_256_GCM_SHA384".to_owned(),
                    names: vec![],
                }));
            }
            Action::Authenticate(login) => {
                assert!(!is_relay, "AUTH on a relay listener");
                assert!(told.secured, "a password in the clear");
                session.answer(Answer::Verdict(match login.password.as_slice() {
                    b"secret" if login.name == "scanner" => Verdict::Accepted(account()),
                    b"later" => Verdict::Unavailable,
                    b"often" => Verdict::Limited,
                    _ => Verdict::Refused,
                }));
                told.logged_in |= login.name == "scanner" && login.password.as_slice() == b"secret";
            }
            Action::Open => {
                body.clear();
                let id = QueueId::new(Timestamp::from_micros(7), [0; 4]);
                session.answer(Answer::Opened(Ok(id)));
            }
            Action::Body(octets) => {
                body.extend_from_slice(&octets);
                session.answer(Answer::Written(Ok(())));
            }
            Action::Count(texts) => session.answer(Answer::Counted(texts.count(&[]))),
            Action::Commit(ticket) => {
                assert!(!ticket.envelope.recipients.is_empty());
                let sender = ticket.envelope.sender.as_ref().map(ToString::to_string);
                let is_ours = |sender: String| sender.ends_with("@clinic.example");
                assert!(sender.is_none_or(is_ours), "somebody else's name");
                told.messages.push(std::mem::take(body));
                session.answer(Answer::Committed(Ok(())));
            }
            Action::Discard => body.clear(),
        }
    }
    panic!("the session spins");
}

/// The first digit of each reply line. Which of a message's two faults is named
/// depends on how its octets arrive; that it is refused does not.
fn classes(replies: &[u8]) -> Vec<char> {
    let text = String::from_utf8_lossy(replies);
    text.lines()
        .filter_map(|line| line.chars().next())
        .collect()
}

/// A session with a far side that says whatever: nothing of mail or login without a
/// permit; whole lines; each transaction ends once, with an end for each recipient;
/// and only what had its final dot sent can be delivered.
pub fn client_session(octets: &[u8]) {
    let Some((&how, octets)) = octets.split_first() else {
        return;
    };
    let errand = postern::delivery::fuzzing::Errand {
        tls: how & 1 != 0,
        login: how & 2 != 0,
        permits: how & 4 == 0,
        recipients: 1 + usize::from(how >> 3 & 3),
        piece: [4096, 1, 3, 17][usize::from(how >> 5 & 3)],
        slow: how & 128 != 0,
    };
    let played = postern::delivery::fuzzing::play(octets, errand);
    is_lines(&played.said);
    assert!(played.said.is_empty() || played.said.ends_with(b"\r\n"));
    let said = String::from_utf8(played.said).expect("ASCII");
    if !errand.permits {
        for word in ["MAIL", "RCPT", "DATA", "AUTH", "@"] {
            assert!(!said.contains(word), "without a permit: {said:?}");
        }
    }
    assert!(!errand.tls || !said.contains("MAIL") || said.contains("STARTTLS\r\n"));
    assert!(played.is_over, "{said:?}");
    assert_eq!(played.ended.len(), played.begun, "{said:?}");
    for ends in &played.ended {
        assert_eq!(ends.len(), errand.recipients);
    }
    let delivered = played.ended.iter().filter(|ends| ends.contains(&true));
    assert!(delivered.count() <= played.dots, "taken without a dot");
}

/// A header or head that is one says itself again; a changed record is noticed by its
/// seal; and a walk over a segment leaves no octet out and loses no record.
pub fn records(octets: &[u8]) {
    use postern::spool::fuzzing;
    if let Some((header, again)) = fuzzing::header(octets) {
        assert_eq!(header, again);
    }
    for (once, again) in fuzzing::heads(octets) {
        assert_eq!(once, again);
    }
    let (head, body) = octets.split_at(octets.len() / 3);
    let record = fuzzing::seal(head, body).expect("it is small");
    assert_eq!(fuzzing::open(&record), Some((head.to_vec(), body.to_vec())));
    let mut changed = record.clone();
    let at = octets
        .iter()
        .fold(0, |at: usize, o| at * 31 % 65_537 + usize::from(*o))
        % record.len();
    changed[at] ^= octets.first().copied().unwrap_or(0) | 1;
    // The checksum of the content is for telling damage early; the seal does not need it.
    if !(48..52).contains(&at) {
        assert_eq!(fuzzing::open(&changed), None, "octet {at} was changed");
    }
    segment(octets);
}

/// Between octets 0xFF: what is odd is sealed as a record, what is even lies there as it is.
fn segment(octets: &[u8]) {
    let (mut file, mut whole) = (Vec::new(), Vec::new());
    for piece in octets.split(|octet| *octet == 0xFF) {
        let start = file.len() as u64;
        if piece.first().is_some_and(|first| first % 2 == 1) {
            let record = postern::spool::fuzzing::seal(piece, b"").expect("it is small");
            file.extend_from_slice(&record);
            whole.push((start..file.len() as u64, true));
        } else {
            file.extend_from_slice(piece);
        }
    }
    // A raw piece that begins like a record may swallow what follows, with reason.
    let is_imitated = octets.windows(4).any(|four| four == b"PstJ");
    let length = file.len() as u64;
    let found = postern::spool::fuzzing::scan(file).expect("memory does not fail");
    let mut end = 0;
    for (range, _) in &found {
        assert_eq!(range.start, end, "octets left out");
        assert!(range.end > end);
        end = range.end;
    }
    assert_eq!(end, length);
    let sound: Vec<_> = found.into_iter().filter(|(_, sound)| *sound).collect();
    assert!(is_imitated || sound == whole, "{sound:?} for {whole:?}");
}

/// A record that is read has an id that fits; alone among others it is found, beside
/// itself it is not.
pub fn sts_record(octets: &[u8]) {
    let Some(id) = parse_record(octets) else {
        assert_eq!(find_record([octets]), None);
        return;
    };
    let text = id.as_str();
    assert!((1..=32).contains(&text.len()) && text.bytes().all(|o| o.is_ascii_alphanumeric()));
    assert_eq!(find_record([&b"other"[..], octets]), Some(id));
    assert_eq!(find_record([octets, octets]), None);
}

/// A policy that is read is bounded, lists the hosts that it names, and reads the same
/// when it is written anew.
pub fn sts_policy(octets: &[u8]) {
    let Ok(policy) = Policy::parse(octets) else {
        return;
    };
    assert!(policy.mx.len() <= 128 && policy.max_age.as_secs() <= 31_557_600);
    let mut text = format!(
        "version: STSv1\r\nmode: {}\r\nmax_age: {}\r\n",
        policy.mode.as_str(),
        policy.max_age.as_secs()
    );
    for pattern in &policy.mx {
        text += &format!("mx: {pattern}\r\n");
        let name = pattern.to_string();
        // A label more may make the name too long to be one.
        if let Ok(host) = Domain::parse(&name.replace('*', "a")) {
            assert!(policy.lists(&host), "{name}");
        }
        if let (Some(below), true) = (name.strip_prefix("*."), policy.mx.len() == 1) {
            if let Ok(domain) = Domain::parse(below) {
                assert!(!policy.lists(&domain), "{name}");
            }
            if let Ok(deep) = Domain::parse(&format!("a.b.{below}")) {
                assert!(!policy.lists(&deep), "{name}");
            }
        }
    }
    assert_eq!(Policy::parse(text.as_bytes()), Ok(policy));
}

/// Whatever a message is like and however it is cut: the same is noted of it, and its
/// text is counted or is not.
pub fn parts(octets: &[u8]) {
    let pattern = TextPattern::parse("[0-9]+").expect("a pattern");
    let wanted = Wanted {
        fields: Vec::new(),
        patterns: vec![pattern],
    };
    let mut collector = HeaderCollector::new();
    let (header, body) = match collector.push(octets) {
        Ok(Some(collected)) => (collected.header, collected.rest),
        Ok(None) => (collector.finish(), bytes::Bytes::new()),
        Err(_) => return,
    };
    let noted = |step: usize| {
        let mut notes = message::Notes::new(&header, &wanted);
        body.chunks(step).for_each(|piece| notes.push(piece));
        let (facts, texts) = notes.finish();
        let counts = texts.map(|texts| texts.count(&wanted.patterns));
        (facts, counts)
    };
    let whole = noted(octets.len().max(1));
    assert!(whole.1.is_some(), "a pattern was asked for");
    assert!(noted(1) == whole && noted(7) == whole);
}

/// A certificate that was read can be looked at, and written and read again; one
/// that is not valid at all times is refused at some.
pub fn keys(octets: &[u8]) {
    let Ok(read) = AnyCertificate::read(octets) else {
        return;
    };
    let authorities = Authorities::default();
    for certificate in &read {
        assert!(!certificate.addresses().is_empty() && !certificate.fingerprint().is_empty());
        let text = match certificate {
            AnyCertificate::OpenPgp(one) => one.to_armored(),
            AnyCertificate::X509(one) => one.to_pem(),
        };
        let again = AnyCertificate::read(&text.expect("it can be written"));
        let again = again.expect("and read again");
        assert_eq!(again[0].fingerprint(), certificate.fingerprint());
        for micros in [0, 1_800_000_000_000_000, i64::MAX] {
            let terms = Terms {
                least: Trust::Manual,
                authorities: &authorities,
                now: Timestamp::from_micros(micros),
            };
            for address in certificate.addresses() {
                let _ = certificate.usable_for(&address, true, &terms);
            }
            let _ = certificate.expires(terms.now);
        }
        let _ = (certificate.algorithm(), certificate.created());
    }
}

/// Of a key directory's answer only what names the address is kept, and nothing of it
/// names anybody else; what is kept can be read again.
pub fn directory(octets: &[u8]) {
    let anna = Mailbox::parse("anna@clinic.example").expect("an address");
    for kept in protect::fuzzing::directory(octets, &anna) {
        let Ok(kept) = kept else {
            continue;
        };
        let again = AnyCertificate::read(&kept).expect("it can be read");
        assert_eq!(again.len(), 1);
        for named in again[0].addresses() {
            assert!(named.host() == anna.host());
            assert!(named.local().eq_ignore_ascii_case(anna.local()));
        }
    }
}

/// Whatever a message is like: its body goes in whole, and outside stand only
/// fields that may.
pub fn wrapping(octets: &[u8]) {
    let Some((outer, inner, body)) = protect::fuzzing::wrap(octets) else {
        return;
    };
    assert!(octets.ends_with(&body) && inner.ends_with(b"\r\n\r\n"));
    assert!(outer.is_empty() || outer.ends_with(b"\n"));
    let mut covered = 0;
    for field in message::fields(&outer) {
        covered += field.range.len();
        let name = field.name.to_ascii_lowercase();
        assert!(!name.starts_with("content-") && !name.starts_with("x-mailer"));
        assert!(name != "bcc" && name != "hp-outer" && name != "mime-version");
        assert!(name != "subject" || field.value == b" [...]\r\n");
    }
    assert_eq!(covered, outer.len(), "fields and nothing else");
    let first = message::fields(&inner).next();
    assert!(first.is_some(), "a reader finds fields inside");
    for field in message::fields(&inner) {
        assert!(!field.is("Bcc") && !field.is("Received"));
    }
}
