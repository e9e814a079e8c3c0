//! A reader of delivery reports (RFC 3464), as far as the tests ask.

use postern_lab::Received;

use crate::world::SENDER;

/// A delivery report, taken apart; reading one checks its form.
pub(crate) struct Dsn {
    /// Everything, header and body.
    pub(crate) raw: String,
    /// The paragraph for people, line breaks taken out.
    pub(crate) sentence: String,
    /// The part for machines.
    pub(crate) status: String,
    /// The header of the message it is about.
    pub(crate) original: String,
}

impl Dsn {
    /// Panics with the message where it is no report to [`SENDER`].
    pub(crate) fn read(message: &Received) -> Dsn {
        let raw = message.text();
        assert_eq!(
            message.mail_from, "",
            "a report goes out with a null sender\n{raw}"
        );
        assert_eq!(message.rcpt_to, [SENDER], "{raw}");
        let kind = message.header("Content-Type").unwrap();
        assert!(kind.contains("multipart/report"), "{raw}");
        assert!(
            kind.contains("report-type=delivery-status")
                || kind.contains("report-type=\"delivery-status\""),
            "{raw}"
        );
        let body = String::from_utf8_lossy(message.body()).into_owned();
        let parts = parts(&body, &boundary(&kind));
        assert_eq!(parts.len(), 3, "{raw}");
        assert!(parts[0].0.contains("text/plain"), "{raw}");
        assert!(parts[1].0.contains("message/delivery-status"), "{raw}");
        assert!(parts[2].0.contains("text/rfc822-headers"), "{raw}");
        let paragraph = parts[0].1.trim_start().split("\r\n\r\n").next().unwrap();
        Dsn {
            sentence: paragraph.replace("\r\n", " "),
            status: parts[1].1.clone(),
            original: parts[2].1.clone(),
            raw,
        }
    }

    /// All values of a field of the machine's part, in order.
    pub(crate) fn fields(&self, name: &str) -> Vec<String> {
        let lines = self
            .status
            .split("\r\n")
            .filter_map(|line| line.split_once(':'));
        let wanted = lines.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        wanted.map(|(_, value)| value.trim().to_owned()).collect()
    }

    /// The recipients it is about.
    pub(crate) fn recipients(&self) -> Vec<String> {
        let all = self.fields("Final-Recipient").into_iter();
        all.map(|value| value.rsplit(';').next().unwrap().trim().to_owned())
            .collect()
    }
}

fn boundary(content_type: &str) -> String {
    let (_, value) = content_type.split_once("boundary=").unwrap();
    let value = value.split(';').next().unwrap();
    value.trim().trim_matches('"').to_owned()
}

/// Header and content of each part.
fn parts(body: &str, boundary: &str) -> Vec<(String, String)> {
    let mark = format!("--{boundary}");
    let (body, end) = body
        .rsplit_once(&format!("{mark}--"))
        .expect("the last boundary");
    assert!(
        end.trim().is_empty(),
        "something behind the last boundary: {end:?}"
    );
    let parts = body.split(mark.as_str()).skip(1);
    let pairs = parts.map(|part| part.trim_start_matches("\r\n").split_once("\r\n\r\n"));
    let owned = pairs.map(|pair| pair.expect("a part has a header and a content"));
    owned
        .map(|(head, content)| (head.to_owned(), content.to_owned()))
        .collect()
}
