//! The messages: what the source sends and how the sink knows them again.

/// Domain number `site`. The recipient's local part holds the number of the message.
pub(crate) fn domain(site: u64) -> String {
    format!("d{site}.bench.example")
}

/// The mailbox of recipient `n` of message `id`.
pub(crate) fn recipient(id: u64, n: u64, sites: u64) -> String {
    format!("r{id}-{n}@{}", domain(id % sites))
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
