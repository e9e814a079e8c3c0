//! What counts as encrypted by its sender, and each thing beside it that does not.

use crate::message::Notes;
use crate::types::{Encrypted, Wanted};

fn encrypted(message: &str) -> Option<Encrypted> {
    let end = message.find("\r\n\r\n").unwrap() + 4;
    let (header, body) = message.split_at(end);
    let noted = |step: usize| {
        let mut notes = Notes::new(header.as_bytes(), &Wanted::default());
        body.as_bytes()
            .chunks(step)
            .for_each(|piece| notes.push(piece));
        notes.finish().0.encrypted
    };
    let whole = noted(body.len().max(1));
    assert_eq!(noted(1), whole);
    whole
}

const PGP: &str = "Subject: ...\r\nMIME-Version: 1.0\r\nContent-Type: multipart/encrypted;\r\n \
    protocol=\"application/pgp-encrypted\";\r\n boundary=\"b\"\r\n\r\n\
    This is an OpenPGP/MIME encrypted message (RFC 4880 and 3156)\r\n\
    --b\r\nContent-Type: application/pgp-encrypted\r\nContent-Description: PGP/MIME version identification\r\n\r\n\
    Version: 1\r\n\r\n--b\r\nContent-Type: application/octet-stream; name=\"encrypted.asc\"\r\n\
    Content-Disposition: inline; filename=\"encrypted.asc\"\r\n\r\n\
    -----BEGIN PGP MESSAGE-----\r\nComment: a\r\n\r\nhQEMA/8=\r\n=abcd\r\n-----END PGP MESSAGE-----\r\n\r\n--b--\r\n";

/// The beginning of what `openssl cms -encrypt` writes (indefinite length), and the same
/// with a length of two octets.
const SMIME: &str = "MIME-Version: 1.0\r\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data;\r\n \
    name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n\r\n\
    MIAGCSqGSIb3DQEHA6CAMIACAQAxggFfMIIBWwIBADBDMDcxNTAzBgNVBAMMLHBv\r\nc3Rlcm4=\r\n";

#[test]
fn messages_of_the_usual_kind() {
    assert_eq!(encrypted(PGP), Some(Encrypted::OpenPgp));
    assert_eq!(encrypted(SMIME), Some(Encrypted::Smime));
    let x = SMIME.replace("application/pkcs7", "application/X-pkcs7");
    assert_eq!(encrypted(&x), Some(Encrypted::Smime));
    let long = SMIME.replace("MIAGCSqGSIb3DQEHA6CA", "MIIBAAYJKoZIhvcNAQcDoIIB");
    assert_eq!(encrypted(&long), Some(Encrypted::Smime));
    let auth = SMIME
        .replace("enveloped-data", "authEnveloped-data")
        .replace("MIAGCSqGSIb3DQEHA6CA", "MIAGCyqGSIb3DQEJEAEXoIAw");
    assert_eq!(encrypted(&auth), Some(Encrypted::Smime));
}

#[test]
fn nothing_in_the_clear_may_stand_beside_it() {
    for (from, to) in [
        // Text in front, between, in a further part, behind.
        ("This is an", "This was an"),
        (
            "--b\r\nContent-Type: application/pgp",
            "Hello\r\n--b\r\nContent-Type: application/pgp",
        ),
        ("\r\nVersion: 1\r\n", "\r\nVersion: 1\r\nHello\r\n"),
        ("-----BEGIN", "Hello\r\n-----BEGIN"),
        ("hQEMA/8=\r\n", "hQEMA/8=\r\nHello, you\r\n"),
        (
            "MESSAGE-----\r\n\r\n--b--",
            "MESSAGE-----\r\nHello\r\n--b--",
        ),
        ("--b--\r\n", "--b\r\n\r\nHello\r\n--b--\r\n"),
        ("--b--\r\n", "--b--\r\nHello\r\n"),
        // Not as RFC 3156 has it.
        ("--b--\r\n", ""),
        ("\r\nVersion: 1\r\n", "\r\n"),
        ("application/pgp-encrypted\";", "application/x\";"),
        (
            "Content-Type: application/pgp-encrypted",
            "Content-Type: text/plain",
        ),
        (
            "Content-Type: application/octet-stream",
            "Content-Type: text/plain",
        ),
        ("-----BEGIN PGP MESSAGE", "-----BEGIN PGP PUBLIC KEY BLOCK"),
        ("-----END PGP MESSAGE-----", ""),
        (
            "Subject: ...\r\n",
            "Subject: ...\r\nContent-Type: text/plain\r\n",
        ),
    ] {
        let message = PGP.replacen(from, to, 1);
        assert_ne!(message, PGP, "{from}");
        assert_eq!(encrypted(&message), None, "{from} → {to}");
    }
    for (from, to) in [
        ("enveloped-data", "signed-data"),
        ("smime-type=enveloped-data;", ""),
        ("Content-Transfer-Encoding: base64\r\n", ""),
        ("MIAGCSqGSIb3DQEHA6CA", "MIAGCSqGSIb3DQEHAqCA"),
        ("MIAG", "Hello"),
        ("c3Rlcm4=\r\n", "c3Rlcm4=\r\nHello\r\n"),
        ("c3Rlcm4=\r\n", "c3Rlcm4=\r\nHello, you\r\n"),
        ("application/pkcs7-mime;", "multipart/mixed; boundary=x;"),
    ] {
        let message = SMIME.replacen(from, to, 1);
        assert_ne!(message, SMIME, "{from}");
        assert_eq!(encrypted(&message), None, "{from} → {to}");
    }
}

#[test]
fn armor_in_a_text_does_not_count() {
    let armor =
        "-----BEGIN PGP MESSAGE-----\r\n\r\nhQEMA/8=\r\n=abcd\r\n-----END PGP MESSAGE-----\r\n";
    for header in [
        "Subject: x",
        "Content-Type: text/plain",
        "Content-Type: application/octet-stream",
    ] {
        assert_eq!(encrypted(&format!("{header}\r\n\r\n{armor}")), None);
    }
}
