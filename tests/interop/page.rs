//! The examples of `docs/smarthost.md`, as the tests run them.
//!
//! The page is the only place where they are written: a block is known by the words behind its
//! fence. What is different in the lab (addresses, ports, paths, the domain) is replaced in it.

/// The page.
const PAGE: &str = include_str!("../../docs/smarthost.md");

/// The blocks with a name: the words behind the language, and the text.
pub(crate) fn blocks() -> Vec<(&'static str, &'static str)> {
    let mut found = Vec::new();
    let mut rest = PAGE;
    while let Some(begin) = rest.find("\n```") {
        let (fence, text) = rest[begin + 4..].split_once('\n').unwrap();
        let end = text.find("```").unwrap();
        if let Some((_, name)) = fence.split_once(' ') {
            found.push((name, &text[..end]));
        }
        rest = &text[end + 3..];
    }
    found
}

/// A block with replacements made, one after the other, and the page's domain as the lab's.
pub(crate) fn block(name: &str, replacements: &[(&str, String)]) -> String {
    let (_, text) = blocks()
        .into_iter()
        .find(|(known, _)| *known == name)
        .unwrap_or_else(|| panic!("docs/smarthost.md has no block {name:?}"));
    let text = replacements
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    text.replace("clinic.example", "ward.example")
}

/// The servers, for each of which the page shows each way.
const SERVERS: [&str; 3] = ["postfix", "exim", "opensmtpd"];

/// What the page shows is what the tests run: nothing else stands there under a name.
#[test]
fn every_block_is_run() {
    let mut known = vec!["accounts", "certificate", "network", "both"];
    for server in SERVERS {
        let ways = ["submission", "submissions", "network", "certificate"];
        known.extend(ways.map(|way| format!("{server} {way}").leak() as &str));
    }
    known.extend(["postfix sasl_passwd", "exim router", "exim authenticator"]);
    known.extend(["opensmtpd secrets", "msmtp", "nodemailer", "curl"]);
    let mut found: Vec<_> = blocks().into_iter().map(|(name, _)| name).collect();
    known.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, known);
}
