//! What `protect` makes, opened by other people's software: gpg, gosop and rnp
//! for OpenPGP, `openssl cms` and NSS' cmsutil for S/MIME. `tests/run` installs them; what is missing is named and skipped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "protect_support/mod.rs"]
mod support;

use std::sync::{Arc, Mutex};

use postern::fetch::{Fetch, FetchError, Request};
use postern::protect::discovery::{Ended, Finder, Settings};
use postern::protect::keys::KeyStore;
use postern::protect::openpgp::{self, Certificate, Signer};
use postern::protect::smime;
use postern::sys::{MemoryTable, SystemClock, SystemEntropy};
use postern::types::BoxFuture;
use support::programs::{Gpg, KINDS, Openssl, X509_KINDS, rnp_opens};
use support::{MESSAGE, PEER, anna, at_inner, has, is_there, now, part, run};

/// A message for Anna, signed by the hospital.
fn make(certificate: &[u8], signer: &[u8]) -> Vec<u8> {
    let certificate = Certificate::read(certificate).unwrap().remove(0);
    let usable = certificate.usable_for(&anna(), now()).unwrap();
    let signer = Signer::read(signer).unwrap();
    let entropy = SystemEntropy::default();
    let made = openpgp::protect(MESSAGE, &usable, Some(&signer), now(), &entropy);
    made.unwrap().octets
}

/// A directory that has one file, for whoever asks; what was asked for is kept.
struct Directory {
    file: Vec<u8>,
    asked: Mutex<Vec<String>>,
}

impl Fetch for Directory {
    fn get(&self, request: Request) -> BoxFuture<'_, Result<Vec<u8>, FetchError>> {
        self.asked.lock().unwrap().push(request.path);
        Box::pin(std::future::ready(Ok(self.file.clone())))
    }
}

/// What gpg publishes is found, where gpg says that it lies.
#[tokio::test]
async fn gpg_and_we_mean_the_same_directory() {
    if !is_there("gpg") {
        return;
    }
    for (name, kind) in KINDS {
        let gpg = Gpg::new();
        gpg.make(kind, "anna@clinic.example");
        let listed = gpg.run(&["--with-wkd-hash", "--list-keys"], b"").0;
        let listed = String::from_utf8(listed).unwrap();
        let mut names = listed
            .split_whitespace()
            .filter_map(|word| word.strip_suffix("@clinic.example"));
        let file = names.find(|name| name.len() == 32).unwrap();
        let directory = Arc::new(Directory {
            file: gpg.run(&["--export", "anna@clinic.example"], b"").0,
            asked: Mutex::default(),
        });
        let folder = tempfile::tempdir().unwrap();
        let finder = Finder::new(
            Settings::default(),
            directory.clone(),
            Arc::new(KeyStore::new(folder.path().join("keys"))),
            Arc::new(MemoryTable::default()),
            Arc::new(SystemClock),
        );
        assert_eq!(finder.look(&anna()).await.ended, Ended::Found);
        let asked = directory.asked.lock().unwrap().clone();
        let wanted = format!("/.well-known/openpgpkey/clinic.example/hu/{file}?l=anna");
        assert_eq!(asked, [wanted]);
        println!("{PEER} gpg | {name} | its key directory is found |");
    }
}

#[test]
fn gpg_opens_and_verifies() {
    if !is_there("gpg") {
        return;
    }
    for (name, kind) in KINDS {
        let gpg = Gpg::new();
        gpg.make(kind, "anna@clinic.example");
        gpg.make(
            "Key-Type: eddsa\nKey-Curve: ed25519",
            "relay@hospital.example",
        );
        let signer = gpg.export_secret("relay@hospital.example");
        let made = make(&gpg.export("anna@clinic.example"), &signer);
        // The part as another reader of MIME finds it.
        let (types, encrypted) = part(&made, 1);
        assert_eq!(types, "multipart/encrypted application/octet-stream");
        let (content, said) = gpg.run(&["--decrypt"], &encrypted);
        assert!(
            said.contains("DECRYPTION_OKAY") && said.contains("GOODSIG"),
            "{name}: {said}"
        );
        at_inner(&content);
        println!("{PEER} gpg | {name} | decrypts, verifies |");
    }
}

#[test]
fn gosop_opens_and_verifies() {
    if !is_there("gosop") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, octets: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, octets).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (anna, _) = run("gosop", &["generate-key", "<anna@clinic.example>"], b"");
    let (relay, _) = run("gosop", &["generate-key", "<relay@hospital.example>"], b"");
    let certificate = |key: &[u8]| run("gosop", &["extract-cert"], key).0;
    let (_, encrypted) = part(&make(&certificate(&anna), &relay), 1);
    let (secret, signed_by) = (file("key", &anna), file("cert", &certificate(&relay)));
    let verified = folder.path().join("verified");
    let arguments = [
        "decrypt",
        &format!("--verify-with={signed_by}"),
        &format!("--verify-out={}", verified.display()),
        &secret,
    ];
    let (content, said) = run("gosop", &arguments, &encrypted);
    // It prints with line ends of its own; gpg and rnp print what there was.
    let lines = String::from_utf8(content).unwrap().replace('\n', "\r\n");
    at_inner(lines.as_bytes());
    let verified = std::fs::read_to_string(verified).unwrap_or_default();
    assert!(!verified.trim().is_empty(), "{said}");
    println!("{PEER} gosop | its own key | decrypts, verifies |");
}

#[test]
fn rnp_opens_and_verifies() {
    if !is_there("rnp") || !is_there("gpg") {
        return;
    }
    for (name, kind) in KINDS {
        let gpg = Gpg::new();
        gpg.make(kind, "anna@clinic.example");
        gpg.make(
            "Key-Type: eddsa\nKey-Curve: ed25519",
            "relay@hospital.example",
        );
        let signer = gpg.export_secret("relay@hospital.example");
        let (_, encrypted) = part(&make(&gpg.export("anna@clinic.example"), &signer), 1);
        let keys = [gpg.export_secret("anna@clinic.example"), signer];
        let (content, said) = rnp_opens(&keys, &encrypted);
        assert!(said.contains("Good signature"), "{name}: {said}");
        at_inner(&content);
        println!("{PEER} rnp | {name} | decrypts, verifies |");
    }
}

/// What gpg makes may be read back, and what is no certificate may not.
#[test]
fn gpgs_keys_are_read() {
    if !is_there("gpg") {
        return;
    }
    let gpg = Gpg::new();
    gpg.make(KINDS[2].1, "anna@clinic.example");
    let binary = gpg.run(&["--export", "anna@clinic.example"], b"").0;
    assert!(!has(&binary, "BEGIN PGP"));
    let read = Certificate::read(&binary).unwrap();
    assert_eq!(read[0].addresses(), [anna()]);
    let secret = gpg.export_secret("anna@clinic.example");
    assert!(Certificate::read(&secret).is_err());
}

trait Mail {
    fn make_both(&self, kind: &[&str]);
    fn message(&self, cipher: smime::Cipher) -> Vec<u8>;
}

impl Mail for Openssl {
    /// Anna, with a key of that kind, and the hospital.
    fn make_both(&self, kind: &[&str]) {
        let usage = match kind.contains(&"ec") {
            true => "keyAgreement",
            false => "keyEncipherment",
        };
        self.make("anna", kind, "anna@clinic.example", usage);
        let relay = X509_KINDS[2].1;
        self.make("relay", relay, "relay@hospital.example", "digitalSignature");
    }

    /// A message for Anna, signed by the hospital.
    fn message(&self, cipher: smime::Cipher) -> Vec<u8> {
        let certificate = smime::Certificate::read(&self.read("anna.pem")).unwrap();
        let nobody = smime::Authorities::default();
        let usable = certificate[0].usable_for(&anna(), true, &nobody, now());
        let signer = smime::Signer::read(&self.read("relay.pem"), &self.read("relay.key"));
        let made = smime::protect(
            MESSAGE,
            &usable.unwrap(),
            Some(&signer.unwrap()),
            cipher,
            now(),
            &SystemEntropy::default(),
        );
        made.unwrap().octets
    }
}

#[test]
fn openssl_opens_and_verifies() {
    if !is_there("openssl") {
        return;
    }
    for (name, kind) in X509_KINDS {
        let openssl = Openssl::new();
        openssl.make_both(kind);
        for cipher in [smime::Cipher::Aes256Cbc, smime::Cipher::Aes256Gcm] {
            // The mail as it is, headers and all.
            let mail = openssl.write("mail", &openssl.message(cipher));
            let (certificate, key) = (openssl.path("anna.pem"), openssl.path("anna.key"));
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
            assert!(
                has(&signed, "multipart/signed"),
                "{name} {cipher:?}: {said}"
            );
            let signed = openssl.write("signed", &signed);
            let authority = openssl.path("relay.pem");
            let verify = ["cms", "-verify", "-in", &signed, "-CAfile", &authority];
            let (content, said) = run("openssl", &verify, b"");
            assert!(said.contains("successful"), "{name} {cipher:?}: {said}");
            at_inner(&content);
            let cipher = cipher.as_str();
            println!("{PEER} openssl cms | {name}, {cipher} | decrypts, verifies |");
        }
    }
}

#[test]
fn nss_opens() {
    if !is_there("cmsutil") || !is_there("openssl") {
        return;
    }
    for (name, kind) in X509_KINDS {
        let openssl = Openssl::new();
        openssl.make_both(kind);
        let (store, said) = openssl.nss("anna");
        let certificate = openssl.path("anna.pem");
        let (types, sealed) = part(&openssl.message(smime::Cipher::Aes256Cbc), 0);
        assert_eq!(types, "application/pkcs7-mime application/pkcs7-mime");
        let sealed = openssl.write("sealed", &sealed);
        let (content, more) = run("cmsutil", &["-D", "-d", &store, "-i", &sealed], b"");
        let content = first_part(&content);
        if content.is_empty() && kind.contains(&"ec") {
            // Key agreement is new in NSS: what other software makes it can't open
            // either, or the fault is ours.
            let other = openssl.path("other");
            let encrypt = [
                "cms",
                "-encrypt",
                "-binary",
                "-aes256",
                "-outform",
                "DER",
                "-out",
                &other,
                &certificate,
            ];
            run("openssl", &encrypt, MESSAGE);
            let (opened, _) = run("cmsutil", &["-D", "-d", &store, "-i", &other], b"");
            assert!(opened.is_empty(), "{name}: {said} {more}");
            println!("{PEER} NSS cmsutil | {name}, AES-256-CBC | NOT OPENED, as openssl's own |");
            continue;
        }
        assert!(!content.is_empty(), "{name}: {said} {more}");
        at_inner(&content);
        println!("{PEER} NSS cmsutil | {name}, AES-256-CBC | decrypts |");
    }
}

/// The signed part of a `multipart/signed`.
fn first_part(entity: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(entity).into_owned();
    let boundary = text.split("boundary=\"").nth(1).unwrap_or_default();
    let cut = format!("--{}\r\n", boundary.split('"').next().unwrap());
    let Some(start) = find(entity, &cut) else {
        return Vec::new();
    };
    let rest = &entity[start + cut.len()..];
    let end = find(rest, &format!("\r\n{cut}")).unwrap_or(rest.len());
    rest[..end].to_vec()
}

fn find(octets: &[u8], text: &str) -> Option<usize> {
    octets
        .windows(text.len())
        .position(|w| w == text.as_bytes())
}
