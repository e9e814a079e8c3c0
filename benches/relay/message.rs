//! The messages: what the source sends and how the sink knows them again.

/// What a domain's name begins with, where nothing else is said.
pub(crate) const DOMAIN: &str = "d";

/// Domain number `site` of those whose names begin with `first`.
pub(crate) fn domain(first: &str, site: u64) -> String {
    format!("{first}{site}.bench.example")
}

/// The mailbox of recipient `n` of message `id`: the local part holds the message's number.
pub(crate) fn recipient(id: u64, n: u64, domain: &str) -> String {
    format!("r{id}-{n}@{domain}")
}

/// Message and recipient number of a RCPT command's address.
pub(crate) fn numbers(command: &[u8]) -> Option<(u64, u64)> {
    let text = std::str::from_utf8(command).ok()?;
    let (_, address) = text.split_once("<r")?;
    let (local, _) = address.split_once('@')?;
    let (id, n) = local.split_once('-')?;
    Some((id.parse().ok()?, n.parse().ok()?))
}

/// Whether the far side defers this message, where it defers so many in a hundred.
pub(crate) fn is_deferred(id: u64, per_cent: u64) -> bool {
    id % 100 < per_cent
}

/// What becomes of a message of the soak at the far side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Taken,
    /// Deferred when it first comes.
    Deferred,
    Refused,
}

/// Of a hundred messages of the soak so many are deferred, and of a thousand one is refused.
pub(crate) const SOAK_DEFERRED: u64 = 5;

/// What becomes of message `id` of the soak.
pub(crate) fn fate(id: u64) -> Fate {
    match mixed(id) % 1000 {
        0 => Fate::Refused,
        n if n <= SOAK_DEFERRED * 10 => Fate::Deferred,
        _ => Fate::Taken,
    }
}

/// The sizes of the soak's messages, and how many of a thousand have each.
pub(crate) const SIZES: [(usize, u64); 6] = [
    (1 << 10, 250),
    (4 << 10, 599),
    (64 << 10, 100),
    (256 << 10, 40),
    (1 << 20, 10),
    (10 << 20, 1),
];

/// Which of the sizes message `id` of the soak has.
pub(crate) fn size_of(id: u64) -> usize {
    let mut rest = mixed(!id) % 1000;
    SIZES
        .iter()
        .position(|(_, share)| {
            let here = rest < *share;
            rest = rest.saturating_sub(*share);
            here
        })
        .unwrap_or_default()
}

/// Numbers in a row to numbers all over the place (the end of splitmix64).
fn mixed(id: u64) -> u64 {
    let id =
        (id.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ (id >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let id = (id ^ (id >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    id ^ (id >> 31)
}

/// The numbers of the messages that a report names.
pub(crate) fn named(report: &[u8]) -> Vec<u64> {
    let text = String::from_utf8_lossy(report);
    let lines = text
        .lines()
        .filter(|line| line.starts_with("Final-Recipient:"));
    let address = |line: &str| {
        let (_, address) = line.split_once(';')?;
        numbers(format!("<{}", address.trim()).as_bytes())
    };
    lines.filter_map(address).map(|(id, _)| id).collect()
}

/// A message of `size` octets with its final line end, without a dot at a line's start.
pub(crate) fn text(size: usize) -> Vec<u8> {
    let mut text = b"From: <load@clinic.example>\r\n\
        To: <undisclosed@bench.example>\r\n\
        Subject: a message of the benchmark\r\n\
        Date: Sat, 28 Nov 2026 05:00:00 +0000\r\n\
        Message-ID: <load@bench.clinic.example>\r\n\
        MIME-Version: 1.0\r\n\
        Content-Type: text/plain; charset=us-ascii\r\n\r\n"
        .to_vec();
    let mut letters = (b'a'..=b'z').cycle();
    while text.len() + 2 < size {
        let line = (size - text.len() - 2).min(76);
        text.extend(letters.by_ref().take(line));
        text.extend_from_slice(b"\r\n");
    }
    text
}
