//! What is sent: bodies that break relays. Kept with CRLF line ends.

/// A body with its name.
#[derive(Clone)]
pub(crate) struct Body {
    pub(crate) name: &'static str,
    pub(crate) octets: Vec<u8>,
}

/// One of 20 MiB among them.
pub(crate) fn all() -> Vec<Body> {
    let line = |n: usize| format!("{n:07} .,:;<>\"\\ {}\r\n", "abcdefghij".repeat(6));
    let large: String = (0..20 * 1024 * 1024 / 79).map(line).collect();
    let mut all = small();
    all.push(Body {
        name: "20 MiB",
        octets: large.into_bytes(),
    });
    all
}

/// What receivers get: one of 3 MiB, and lines as long as they may be.
pub(crate) fn receivable() -> Vec<Body> {
    let line = |n: usize| format!(".{n:06} {}\r\n", "0123456789".repeat(7));
    let mut all = small();
    all.extend(envelopes());
    all.push(Body {
        name: "3 MiB",
        octets: (0..3 * 1024 * 1024 / 80)
            .map(line)
            .collect::<String>()
            .into(),
    });
    all.push(Body {
        name: "998 octets a line",
        octets: format!("{}\r\n.{}\r\n", "x".repeat(998), "y".repeat(997)).into(),
    });
    all
}

/// Whom a smuggled envelope would be for.
pub(crate) const VICTIM: &str = "victim@clinic.example";

/// Legal everywhere, and a second envelope for a server behind which a dot was lost.
pub(crate) fn envelopes() -> Vec<Body> {
    let smuggled = format!(
        "MAIL FROM:<dr@ward.example>\r\nRCPT TO:<{VICTIM}>\r\nDATA\r\nSubject: smuggled\r\n\r\nevil\r\n.\r\n"
    );
    let body = |name, octets: String| Body {
        name,
        octets: octets.into_bytes(),
    };
    vec![
        body("a lone dot before an envelope", format!(".\r\n{smuggled}")),
        body("two dots", format!("..\r\n{smuggled}")),
        body("an envelope first", smuggled),
        body("20,000 lone dots", ".\r\n".repeat(20_000)),
    ]
}

/// All but the large one.
pub(crate) fn small() -> Vec<Body> {
    let body = |name, octets: &[u8]| Body {
        name,
        octets: octets.to_vec(),
    };
    vec![
        body("plain", b"hello\r\n"),
        body("empty", b""),
        body("dot lines", b".\r\n..\r\n.x\r\n...\r\n\r\n.\r\nend\r\n"),
        body("no final line end", b"the end"),
        body(
            "utf-8",
            "Gr\u{fc}\u{df}e, \u{4f60}\u{597d}\r\n.\u{df}\r\n".as_bytes(),
        ),
    ]
}

/// With one empty line for the empty body: swaks can't send less.
pub(crate) fn not_empty(mut bodies: Vec<Body>) -> Vec<Body> {
    for body in bodies.iter_mut().filter(|body| body.octets.is_empty()) {
        (body.name, body.octets) = ("one empty line", b"\r\n".to_vec());
    }
    bodies
}

impl Body {
    /// The whole message, as a client would have it in a file.
    pub(crate) fn message(&self, from: &str, to: &str, id: &str) -> Vec<u8> {
        let kind = match self.octets.is_ascii() {
            true => "",
            false => {
                "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
            }
        };
        let head = format!(
            "From: {from}\r\nTo: {to}\r\nSubject: Interop {}\r\nX-Lab-Id: {id}\r\n{kind}\r\n",
            self.name
        );
        [head.as_bytes(), &self.octets].concat()
    }

    /// How it goes over SMTP: the last line end always there, since SMTP can't say that it isn't.
    pub(crate) fn on_the_wire(&self) -> Vec<u8> {
        let mut octets = self.octets.clone();
        if !octets.is_empty() && !octets.ends_with(b"\r\n") {
            octets.extend(b"\r\n");
        }
        octets
    }

    /// How it lies in a maildir: LF line ends.
    pub(crate) fn in_maildir(&self) -> Vec<u8> {
        let mut octets = self.on_the_wire();
        octets.retain(|octet| *octet != b'\r');
        octets
    }
}
