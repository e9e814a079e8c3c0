//! Encrypted content all the way: swaks submits, Postern encrypts and signs, Postfix stores, and
//! gpg, rnp, openssl and NSS open and verify what lies in the maildir.

use postern_lab::loopback;

use crate::house::{House, LIMIT, SENDER, TO};
use crate::postfix::Postfix;
use crate::senders::{Sender, Way};
use crate::support::programs::{Gpg, KINDS, Openssl, X509_KINDS, rnp_opens};
use crate::support::{BODY, MESSAGE, has, is_there, part, run};
use crate::table::Table;

const RELAY: &str = "relay@ward.example";

/// The message, with a name by which it is found again.
fn message(id: &str) -> Vec<u8> {
    let at = MESSAGE.len() - BODY.len();
    let head = String::from_utf8(MESSAGE[..at].to_vec()).unwrap();
    let head = head
        .replace("berg@hospital.example", SENDER)
        .replace("anna@clinic.example", TO);
    let name = format!("Message-ID: <{id}@ward.example>\r\n");
    [name.as_bytes(), head.as_bytes(), BODY].concat()
}

/// What Postfix has stored of the message that is submitted now.
fn through(house: &House, id: &str) -> Result<Vec<u8>, String> {
    Sender::Swaks.submit(house, Way::StartTls, &message(id))?;
    house
        .postfix
        .wait_message(&format!("<{id}@ward.example>"), LIMIT)
}

/// The body is what was sent, octet for octet, its own headers with it.
fn same(content: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(content);
    match content.ends_with(BODY) && has(content, "Subject: your blood test\r\n") {
        true if has(content, "hidden@") => Err(format!("Bcc is in it: {text}")),
        true => Ok(()),
        false => Err(format!("not what was sent: {text}")),
    }
}

/// Nothing of it can be read on the way.
fn sealed(stored: &[u8]) -> Result<(), String> {
    let readable = has(stored, "moglobin") || has(stored, "blood test");
    match !readable && has(stored, "Subject: [...]\n") {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(stored).into_owned()),
    }
}

fn by_gpg(gpg: &Gpg, stored: &[u8]) -> Result<String, String> {
    sealed(stored)?;
    let (types, encrypted) = part(stored, 1);
    if types != "multipart/encrypted application/octet-stream" {
        return Err(types);
    }
    let (content, said) = gpg.run(&["--decrypt"], &encrypted);
    if !said.contains("DECRYPTION_OKAY") || !said.contains("GOODSIG") {
        return Err(said);
    }
    same(&content)?;
    Ok("decrypts, verifies; body octet for octet".to_owned())
}

fn by_rnp(keys: &[Vec<u8>], stored: &[u8]) -> Result<String, String> {
    let (_, encrypted) = part(stored, 1);
    let (content, said) = rnp_opens(keys, &encrypted);
    if !said.contains("Good signature") {
        return Err(said);
    }
    same(&content)?;
    Ok("decrypts, verifies; body octet for octet".to_owned())
}

#[tokio::test]
async fn openpgp() {
    if !is_there("gpg") {
        return;
    }
    let gpg = Gpg::new();
    gpg.make("Key-Type: eddsa\nKey-Curve: ed25519", RELAY);
    let folder = tempfile::tempdir().unwrap();
    let signer = folder.path().join("relay.asc");
    std::fs::write(&signer, gpg.export_secret(RELAY)).unwrap();
    let tables = format!(
        "methods = [\"pgp\", \"bounce\"]\n[pgp]\nsigning_key = \"{}\"\n",
        signer.display()
    );
    let (house, mut table) = (House::with(loopback(), &tables).await, Table::default());
    for (n, (name, kind)) in KINDS.iter().enumerate() {
        let gpg_of_owner = Gpg::new();
        gpg_of_owner.make(kind, TO);
        gpg_of_owner.run(&["--import"], &gpg.export(RELAY));
        let file = folder.path().join("owner.asc");
        std::fs::write(&file, gpg_of_owner.export(TO)).unwrap();
        let said = house.daemon.run_ok(&["key", "add", file.to_str().unwrap()]);
        let fingerprint = said.split(' ').nth(2).unwrap().to_owned();
        let stored = through(&house, &format!("pgp-{n}"));
        let result = stored
            .clone()
            .and_then(|stored| by_gpg(&gpg_of_owner, &stored));
        let case = format!(
            "PGP/MIME to {name}, from swaks over Postfix {}",
            Postfix::version()
        );
        table.row("gpg", &version("gpg"), &case, result);
        if is_there("rnp") {
            let keys = [gpg_of_owner.export_secret(TO), gpg.export_secret(RELAY)];
            let result = stored.and_then(|stored| by_rnp(&keys, &stored));
            table.row("rnp", &version("rnp"), &case, result);
        }
        house.daemon.run_ok(&["key", "remove", &fingerprint]);
    }
    house.settled().await;
    table.judge();
}

fn by_openssl(openssl: &Openssl, stored: &[u8]) -> Result<String, String> {
    sealed(stored)?;
    let mail = openssl.write("mail", stored);
    let (certificate, key) = (openssl.path("owner.pem"), openssl.path("owner.key"));
    let open = [
        "cms",
        "-decrypt",
        "-in",
        &mail,
        "-recip",
        &certificate,
        "-inkey",
        &key,
    ];
    let (signed, said) = run("openssl", &open, b"");
    if !has(&signed, "multipart/signed") {
        return Err(said);
    }
    let (signed, authority) = (openssl.write("signed", &signed), openssl.path("relay.pem"));
    let verify = ["cms", "-verify", "-in", &signed, "-CAfile", &authority];
    let (content, said) = run("openssl", &verify, b"");
    if !said.contains("successful") {
        return Err(said);
    }
    same(&content)?;
    Ok("decrypts, verifies; body octet for octet".to_owned())
}

/// NSS opens it; what it holds is signed, which openssl has verified.
fn by_nss(openssl: &Openssl, stored: &[u8]) -> Result<String, String> {
    let (store, said) = openssl.nss("owner");
    let (_, sealed) = part(stored, 0);
    let sealed = openssl.write("sealed", &sealed);
    let (content, more) = run("cmsutil", &["-D", "-d", &store, "-i", &sealed], b"");
    match has(&content, "multipart/signed") && has(&content, "moglobin") {
        true => Ok("decrypts".to_owned()),
        false => Err(format!("{said} {more}")),
    }
}

#[tokio::test]
async fn smime() {
    if !is_there("openssl") {
        return;
    }
    let openssl = Openssl::new();
    openssl.make("relay", X509_KINDS[2].1, RELAY, "digitalSignature");
    let tables = format!(
        "methods = [\"smime\", \"bounce\"]\n[smime]\nsigning_certificate = \"{}\"\n\
         signing_key = \"{}\"\n",
        openssl.path("relay.pem"),
        openssl.path("relay.key")
    );
    let (house, mut table) = (House::with(loopback(), &tables).await, Table::default());
    for (n, (name, kind)) in X509_KINDS.iter().enumerate() {
        let usage = match kind.contains(&"ec") {
            true => "keyAgreement",
            false => "keyEncipherment",
        };
        openssl.make("owner", kind, TO, usage);
        let said = house
            .daemon
            .run_ok(&["key", "add", &openssl.path("owner.pem")]);
        let fingerprint = said.split(' ').nth(2).unwrap().to_owned();
        let stored = through(&house, &format!("smime-{n}"));
        let result = stored
            .clone()
            .and_then(|stored| by_openssl(&openssl, &stored));
        let case = format!(
            "S/MIME to {name}, from swaks over Postfix {}",
            Postfix::version()
        );
        table.row("openssl", &version("openssl"), &case, result);
        // Of key agreement NSS knows nothing but what it makes itself (`protect_peers`).
        if is_there("cmsutil") && !kind.contains(&"ec") {
            let result = stored.and_then(|stored| by_nss(&openssl, &stored));
            table.row("NSS cmsutil", "-", &case, result);
        }
        house.daemon.run_ok(&["key", "remove", &fingerprint]);
    }
    house.settled().await;
    table.judge();
}

/// The first number that a program says of itself.
fn version(program: &str) -> String {
    let argument = match program {
        "openssl" => "version",
        _ => "--version",
    };
    let (said, _) = run(program, &[argument], b"");
    let said = String::from_utf8_lossy(&said).into_owned();
    let mut words = said.split_whitespace();
    let number = words.find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    number.unwrap_or("?").to_owned()
}
