//! `pgp` and `smime`: each recipient's own copy, or a reason and the next method.

mod lookups;

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use openssl::pkey::{PKey, Private};
use sequoia_openpgp as pgp;

use pgp::cert::{CertBuilder, CertRevocationBuilder};
use pgp::serialize::SerializeInto;
use pgp::types::ReasonForRevocation;

use super::*;
use crate::policy::Question;
use crate::protect::keys::KeyStore;
use crate::protect::{PgpSettings, Protector, Settings, SmimeSettings};
use crate::types::{
    AuthenticatedBy, ContentFacts, ContentProof, Encrypted, Reason, SmimeCipher, StoredCopy,
};

/// What no far side may see but inside of an envelope.
const MARKER: &str = "Quetzal-0815";

/// A key store in a folder, of which a [`Protector`] knows.
struct Keys(tempfile::TempDir);

impl Keys {
    fn new() -> Self {
        let keys = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir_all(keys.folder().join("recipients")).unwrap();
        keys
    }

    fn folder(&self) -> PathBuf {
        self.0.path().join("keys")
    }

    /// Puts a file where those that were added by hand are, usable or not.
    fn put(&self, name: &str, octets: &[u8]) {
        std::fs::write(self.folder().join("recipients").join(name), octets).unwrap();
    }

    fn pgp(&self, local: &str) -> pgp::Cert {
        let cert = builder(local).generate().unwrap().0;
        self.put(&format!("{local}.asc"), &armored(&cert));
        cert
    }

    fn smime(&self, local: &str) -> PKey<Private> {
        let (pem, key) = x509(local);
        self.put(&format!("{local}.pem"), &pem);
        key
    }

    fn protector(&self, settings: &Settings) -> Arc<Protector> {
        let protector = Protector::new(
            settings,
            Arc::new(KeyStore::new(self.folder())),
            Arc::new(SystemClock),
            Arc::new(SystemEntropy::default()),
        );
        Arc::new(protector.unwrap())
    }
}

fn both() -> Settings {
    Settings {
        pgp: Some(PgpSettings::default()),
        smime: Some(SmimeSettings::default()),
    }
}

/// A moment as the library wants it.
fn days_ago(days: u64) -> SystemTime {
    let now = SystemClock.now().as_micros().unsigned_abs();
    UNIX_EPOCH + Duration::from_micros(now) - Duration::from_secs(86_400 * days)
}

fn builder(local: &str) -> CertBuilder<'static> {
    CertBuilder::new()
        .add_userid(format!("<{local}@b.example>"))
        .set_creation_time(days_ago(30))
        .set_validity_period(Duration::from_secs(86_400 * 365))
        .add_transport_encryption_subkey()
}

fn armored(cert: &pgp::Cert) -> Vec<u8> {
    let public = cert.clone().strip_secret_key_material();
    public.armored().to_vec().unwrap()
}

/// A certificate that signed itself, PEM, and its key.
fn x509(local: &str) -> (Vec<u8>, PKey<Private>) {
    let mut params = CertificateParams::default();
    let address = format!("{local}@b.example").try_into().unwrap();
    params.subject_alt_names = vec![rcgen::SanType::Rfc822Name(address)];
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyAgreement];
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let key = PKey::private_key_from_der(&key.serialize_der()).unwrap();
    (certificate.pem().into_bytes(), key)
}

fn letter() -> MemoryBody {
    let text = format!("From: s@a.example\r\nSubject: {MARKER}\r\n\r\n{MARKER} is positive\r\n");
    MemoryBody::new([Bytes::from(text)])
}

/// One attempt for these recipients with these keys.
async fn go(world: World, keys: &Keys, recipients: &[&str]) -> Report {
    let deliverer = world.deliverer().0.protecting(keys.protector(&both()));
    let job = job_of(recipients, letter());
    attempt(&deliverer, &job, &mut Lane::default()).await
}

/// What hosts received: `pgp`, `smime` or `clear`, with the recipient's local part.
fn received(mx: &FarSide) -> Vec<(String, &'static str)> {
    let heard = mx.heard();
    let rcpt = |line: &String| {
        let rest = line.strip_prefix("RCPT TO:<")?;
        Some(rest.split('@').next().unwrap_or_default().to_owned())
    };
    let names: Vec<String> = heard.iter().filter_map(rcpt).collect();
    let kinds = mx.bodies().into_iter().map(|body| {
        let text = String::from_utf8_lossy(&body).into_owned();
        let kind = match () {
            () if text.contains("application/pgp-encrypted") => "pgp",
            () if text.contains("smime-type=enveloped-data") => "smime",
            () => "clear",
        };
        assert_eq!(text.contains(MARKER), kind == "clear", "{text}");
        kind
    });
    names.into_iter().zip(kinds).collect()
}

fn passed(report: &Report, at: usize) -> String {
    let passed = report.recipients[at].evidence.passed_over.iter();
    let words: Vec<String> = passed.map(|(m, r)| format!("{m}:{r}")).collect();
    words.join(" ")
}

const CHAIN: &[&str] = &["tls", "pgp", "smime", "bounce"];

#[tokio::test(start_paused = true)]
async fn each_recipient_has_the_first_method_that_fits() {
    let keys = Keys::new();
    let anna = keys.pgp("anna");
    let otto = keys.smime("otto");
    let mx = FarSide::new(None);
    let world = World::new(Ca::new(), &[&mx]).methods(CHAIN);
    let report = go(world, &keys, &["anna", "nobody", "otto"]).await;
    assert_eq!(
        fates(&report),
        ["delivered", "bounced no-key 5.7.0", "delivered"]
    );
    assert_eq!(
        received(&mx),
        [("anna".to_owned(), "pgp"), ("otto".to_owned(), "smime")]
    );
    // One recipient a transaction, and no other recipient's key in it.
    assert_eq!((mx.count("MAIL"), mx.count("RCPT")), (2, 2));
    assert_eq!(passed(&report, 0), "tls:no-starttls");
    assert_eq!(
        passed(&report, 1),
        "tls:no-starttls pgp:no-key smime:no-key"
    );
    assert_eq!(passed(&report, 2), "tls:no-starttls pgp:no-key");
    let methods: Vec<_> = report
        .recipients
        .iter()
        .map(|r| r.method.unwrap())
        .collect();
    assert_eq!(methods, [Method::Pgp, Method::Smime, Method::Smime]);
    let proof = report.recipients[0].evidence.content.as_ref().unwrap();
    let fingerprint = anna.fingerprint().to_hex();
    assert_eq!(proof.certificate.as_ref(), Some(&fingerprint));
    assert_eq!(report.recipients[0].evidence.achieved, None);
    assert_eq!(report.recipients[1].evidence.content, None);
    // It opens with otto's key, and holds the message.
    let body = String::from_utf8(mx.bodies().remove(1)).unwrap();
    let inner = body.split("\r\n\r\n").nth(1).unwrap();
    let der = openssl::base64::decode_block(&inner.replace(['\r', '\n', '.'], "")).unwrap();
    let cms = openssl::cms::CmsContentInfo::from_der(&der).unwrap();
    let opened = cms.decrypt_without_cert_check(&otto).unwrap();
    assert!(String::from_utf8_lossy(&opened).contains(MARKER));
}

#[tokio::test(start_paused = true)]
async fn protected_content_takes_the_best_tls_on_offer() {
    let keys = Keys::new();
    keys.pgp("anna");
    // A certificate that proves nobody's identity.
    let mx = FarSide::new(Ca::new().tls("mx1.b.example"));
    let world = World::new(Ca::new(), &[&mx])
        .methods(CHAIN)
        .level(TlsLevel::Authenticated);
    let report = go(world, &keys, &["anna"]).await;
    assert_eq!(fates(&report), ["delivered"]);
    assert_eq!(passed(&report, 0), "tls:certificate-untrusted");
    let evidence = evidence(&report);
    assert_eq!(evidence.required, Some(TlsLevel::Encrypted));
    assert_eq!(evidence.achieved, Some(TlsLevel::Encrypted));
    assert_eq!(received(&mx)[0].1, "pgp");

    // At the level: no copy is made.
    let ca = Ca::new();
    let mx = FarSide::new(ca.tls("mx1.b.example"));
    let world = World::new(ca, &[&mx])
        .methods(CHAIN)
        .level(TlsLevel::Authenticated);
    let report = go(world, &keys, &["anna"]).await;
    assert_eq!(report.recipients[0].method, Some(Method::Tls));
    let by = report.recipients[0].evidence.authenticated_by;
    assert_eq!(by, Some(AuthenticatedBy::PkixUnsignedMx));
    assert_eq!(received(&mx)[0].1, "clear");
}

#[tokio::test(start_paused = true)]
async fn a_hand_on_the_wire_gets_no_more_than_the_copy() {
    let keys = Keys::new();
    keys.pgp("anna");
    for (verb, replies) in [
        ("STARTTLS", ["454 later"; 6]),
        ("SHAKE", ["CLOSE"; 6]),
        ("BANNER", ["421 busy"; 6]),
    ] {
        let ca = Ca::new();
        let mx = FarSide::new(ca.tls("mx1.b.example")).says(verb, &replies);
        let world = World::new(ca, &[&mx]).methods(&["pgp", "bounce"]);
        let report = go(world, &keys, &["anna", "nobody"]).await;
        // Who has a key waits for TLS; who has none is told at once.
        let fates = fates(&report);
        assert!(fates[0].starts_with("deferred"), "{fates:?}");
        assert_eq!(fates[1], "bounced no-key 5.7.0");
        assert!(!mx.heard_any("MAIL"), "{verb}");
    }
}

/// Every way in which a key can't be used leads to the next method and never to clear text.
#[tokio::test(start_paused = true)]
async fn a_key_that_cant_be_used_has_its_reason() {
    let expired = builder("anna")
        .set_creation_time(days_ago(400))
        .set_validity_period(Duration::from_secs(86_400 * 30));
    let sign_only = CertBuilder::new()
        .add_userid("<anna@b.example>")
        .add_signing_subkey();
    let revoked = {
        let cert = builder("anna").generate().unwrap().0;
        let key = cert.primary_key().key().clone();
        let mut signer = key.parts_into_secret().unwrap().into_keypair().unwrap();
        let packet = CertRevocationBuilder::new()
            .set_reason_for_revocation(ReasonForRevocation::KeyCompromised, b"")
            .unwrap()
            .build(&mut signer, &cert, None)
            .unwrap();
        cert.insert_packets(packet).unwrap().0
    };
    let made = |builder: CertBuilder<'_>| armored(&builder.generate().unwrap().0);
    let cases: [(&str, Vec<u8>); 3] = [
        ("key-expired", made(expired)),
        ("key-not-for-encryption", made(sign_only)),
        ("key-revoked", armored(&revoked)),
    ];
    for (reason, certificate) in cases {
        let keys = Keys::new();
        keys.put("anna.asc", &certificate);
        let mx = FarSide::new(None);
        let world = World::new(Ca::new(), &[&mx]).methods(CHAIN);
        let report = go(world, &keys, &["anna"]).await;
        assert_eq!(fates(&report), ["bounced no-key 5.7.0"], "{reason}");
        let all = format!("tls:no-starttls pgp:{reason} smime:no-key");
        assert_eq!(passed(&report, 0), all);
        assert!(!mx.heard_any("MAIL"), "{reason}");
        // With a certificate, that is the way.
        keys.smime("anna");
        let mx = FarSide::new(None);
        let world = World::new(Ca::new(), &[&mx]).methods(CHAIN);
        let report = go(world, &keys, &["anna"]).await;
        assert_eq!(fates(&report), ["delivered"], "{reason}");
        assert_eq!(received(&mx)[0].1, "smime", "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn while_only_observed_nothing_is_encrypted() {
    let keys = Keys::new();
    keys.pgp("anna");
    let mx = FarSide::new(None);
    let mut world = World::new(Ca::new(), &[&mx]).methods(CHAIN);
    world.policy.observe = true;
    let report = go(world, &keys, &["anna", "nobody"]).await;
    assert_eq!(fates(&report), ["delivered", "delivered"]);
    assert_eq!(received(&mx)[0].1, "clear");
    let would = |at: usize| {
        report.recipients[at]
            .evidence
            .would
            .unwrap()
            .method
            .as_str()
    };
    assert_eq!((would(0), would(1)), ("pgp", "bounce"));
    assert_eq!(report.recipients[0].method, Some(Method::Cleartext));
    assert_eq!(report.recipients[0].evidence.content, None);
}

#[tokio::test(start_paused = true)]
async fn a_signing_key_that_cant_sign_keeps_mail_here() {
    let keys = Keys::new();
    keys.pgp("anna");
    let signer = builder("relay").generate().unwrap().0;
    let file = keys.0.path().join("relay.asc");
    std::fs::write(&file, signer.as_tsk().armored().to_vec().unwrap()).unwrap();
    let settings = Settings {
        pgp: Some(PgpSettings {
            signing_key: Some(file),
        }),
        smime: None,
    };
    let protector = keys.protector(&settings);
    assert!(protector.check_signers(&settings).is_err());
    let mx = FarSide::new(None);
    let world = World::new(Ca::new(), &[&mx]).methods(CHAIN);
    let deliverer = world.deliverer().0.protecting(protector);
    let job = job_of(&["anna"], letter());
    let report = attempt(&deliverer, &job, &mut Lane::default()).await;
    assert_eq!(fates(&report), ["deferred signing-key 4.7.5"]);
    assert!(!mx.heard_any("MAIL"));
}

/// What may have arrived is sent again as it was, unless it was for another key.
#[tokio::test(start_paused = true)]
async fn a_retry_sends_the_same_octets() {
    let keys = Keys::new();
    keys.pgp("anna");
    // One command at a time, so that no message begins for nobody.
    let mx = FarSide::offering(None, &["8BITMIME"])
        .says("RCPT", &["451 4.2.0 later"])
        .says("DOT", &["CLOSE"]);
    let world = World::new(Ca::new(), &[&mx]).methods(&["pgp", "bounce"]);
    let deliverer = world.deliverer().0.protecting(keys.protector(&both()));
    let mut job = job_of(&["anna"], letter());
    let go = async |job: &Job| attempt(&deliverer, job, &mut Lane::default()).await;
    // Nothing of it was sent: nothing is kept.
    let report = go(&job).await;
    assert_eq!(fates(&report), ["deferred deferred 4.2.0"]);
    assert_eq!(report.recipients[0].copy, None);
    let report = go(&job).await;
    assert_eq!(fates(&report), ["deferred outcome-unknown 4.4.2"]);
    let kept = report.recipients[0].copy.clone().unwrap();
    assert_eq!((kept.index, kept.method), (0, Method::Pgp));
    assert_eq!(
        Some(&kept.proof),
        report.recipients[0].evidence.content.as_ref()
    );
    job.recipients[0].copy = Some(StoredCopy {
        method: kept.method,
        proof: kept.proof.clone(),
        body: Arc::new(MemoryBody::new([kept.octets.clone()])),
    });
    let report = go(&job).await;
    assert_eq!(fates(&report), ["delivered"]);
    assert_eq!(report.recipients[0].copy, None, "it is there already");
    let bodies = mx.bodies();
    assert_eq!(bodies.len(), 2);
    assert!(bodies[0] == bodies[1]);
    // Another key in its place: another copy.
    std::fs::remove_file(keys.folder().join("recipients/anna.asc")).unwrap();
    let newer = builder("anna").generate().unwrap().0;
    keys.put("newer.asc", &armored(&newer));
    let report = go(&job).await;
    assert_eq!(fates(&report), ["delivered"]);
    let proof = report.recipients[0].evidence.content.as_ref().unwrap();
    assert_eq!(proof.certificate, Some(newer.fingerprint().to_hex()));
    assert!(mx.bodies()[2] != bodies[0]);
}

/// A word in a message brings in encryption, and lets no address go in the clear that would
/// not have gone so without it.
#[tokio::test(start_paused = true)]
async fn content_does_not_lower_what_the_way_must_prove() {
    let keys = Keys::new();
    keys.pgp("anna");
    for (words, fate) in [
        (&["tls", "bounce"][..], "bounced no-starttls 5.7.10"),
        (&["tls", "pgp"][..], "delivered"),
        (&["tls", "cleartext"][..], "delivered"),
    ] {
        let mx = FarSide::new(None);
        let mut world = World::new(Ca::new(), &[&mx]).methods(words);
        world.policy.rules.push(Rule {
            name: "escalate".into(),
            when: Conditions {
                subject_contains: vec![MARKER.into()],
                ..Conditions::default()
            },
            methods: Some(MethodsList::parse(&["pgp"]).unwrap()),
            ..Rule::default()
        });
        // What was not noted of it counts as matching.
        let report = go(world, &keys, &["anna"]).await;
        assert_eq!(fates(&report), [fate], "{words:?}");
        assert_eq!(mx.heard_any("MAIL"), fate == "delivered");
    }
    // With TLS at the level it goes.
    let ca = Ca::new();
    let mx = FarSide::new(ca.tls("mx1.b.example"));
    let mut world = World::new(ca, &[&mx]).methods(&["tls"]);
    world.policy.default.protected_level = Some(TlsLevel::Authenticated);
    world.policy.default.methods = MethodsList::parse(&["pgp"]).unwrap();
    let report = go(world, &keys, &["anna"]).await;
    assert_eq!(fates(&report), ["delivered"]);
    assert_eq!(evidence(&report).required, Some(TlsLevel::Authenticated));
}

/// A rule says which cipher its recipients' readers can open.
#[tokio::test(start_paused = true)]
async fn the_cipher_is_the_rules() {
    let keys = Keys::new();
    keys.smime("otto");
    for (rule, wanted) in [
        (None, "AES-256-CBC"),
        (Some(SmimeCipher::Aes256Gcm), "AES-256-GCM"),
        (Some(SmimeCipher::Aes256Cbc), "AES-256-CBC"),
    ] {
        let mx = FarSide::new(None);
        let mut world = World::new(Ca::new(), &[&mx]).methods(CHAIN);
        world.policy.default.smime_cipher = rule;
        let report = go(world, &keys, &["otto"]).await;
        assert_eq!(fates(&report), ["delivered"]);
        let proof = evidence(&report).content.as_ref().unwrap();
        assert_eq!(proof.cipher.as_deref(), Some(wanted));
    }
}

/// What counts for the far side's SIZE is the copy, which is larger than the message.
#[tokio::test(start_paused = true)]
async fn a_copy_that_is_too_large_is_not_begun() {
    let keys = Keys::new();
    keys.pgp("anna");
    let mx = FarSide::offering(None, &["SIZE 1000", "8BITMIME"]);
    assert!(crate::types::Body::size(&letter()) < 500);
    let world = World::new(Ca::new(), &[&mx]).methods(CHAIN);
    let report = go(world, &keys, &["anna"]).await;
    assert_eq!(fates(&report), ["bounced too-large 5.3.4"]);
    assert!(!mx.heard_any("MAIL"));
}

/// What its sender has encrypted goes as it is where a rule says that this counts.
#[tokio::test(start_paused = true)]
async fn what_came_encrypted_counts_where_a_rule_says_so() {
    for (accept, encrypted, words, fate) in [
        (true, Some(Encrypted::OpenPgp), CHAIN, "delivered"),
        (true, Some(Encrypted::Smime), CHAIN, "delivered"),
        (
            true,
            Some(Encrypted::Smime),
            &["tls", "pgp"][..],
            "delivered",
        ),
        (
            true,
            Some(Encrypted::OpenPgp),
            &["tls"][..],
            "bounced no-starttls 5.7.10",
        ),
        (true, None, CHAIN, "bounced no-key 5.7.0"),
        (
            false,
            Some(Encrypted::OpenPgp),
            CHAIN,
            "bounced no-key 5.7.0",
        ),
    ] {
        let mx = FarSide::new(None);
        let mut world = World::new(Ca::new(), &[&mx]).methods(words);
        world.policy.default.accept_encrypted = accept;
        let keys = Keys::new();
        let deliverer = world.deliverer().0.protecting(keys.protector(&both()));
        let mut job = job_of(&["a", "b"], letter());
        let mut message = Message::clone(&job.message);
        message.facts.content = Some(Arc::new(ContentFacts {
            encrypted,
            ..ContentFacts::default()
        }));
        job.message = Arc::new(message);
        let report = attempt(&deliverer, &job, &mut Lane::default()).await;
        assert_eq!(
            fates(&report),
            [fate, fate],
            "{accept} {encrypted:?} {words:?}"
        );
        if fate != "delivered" {
            assert!(!mx.heard_any("MAIL"));
            continue;
        }
        // One transaction for both, as it came.
        assert_eq!((mx.count("MAIL"), mx.count("RCPT")), (1, 2));
        let content = report.recipients[1].evidence.content.as_ref();
        assert_eq!(content, Some(&ContentProof::by_sender()));
        let method = match (encrypted, words.len()) {
            (Some(Encrypted::Smime), 4) => Method::Smime,
            _ => Method::Pgp,
        };
        assert_eq!(report.recipients[0].method, Some(method));
    }
}

/// A probe finds the same way, and sends nothing.
#[tokio::test(start_paused = true)]
async fn a_probe_tells_of_the_copy() {
    let keys = Keys::new();
    let cert = keys.pgp("anna");
    let mx = FarSide::new(None);
    let world = World::new(Ca::new(), &[&mx]).methods(CHAIN);
    let deliverer = world.deliverer().0.protecting(keys.protector(&both()));
    let recipient = Mailbox::parse("anna@b.example").unwrap();
    let question = Question {
        recipient: &recipient,
        sender: None,
        account: None,
        listener: None,
        own_mail: false,
        content: crate::policy::Content::Ours,
    };
    let (explanation, prospect) = deliverer.probe(question).await.unwrap();
    assert_eq!(prospect.fate, None);
    assert_eq!(prospect.method, Some(Method::Pgp));
    assert_eq!(
        prospect.evidence.passed_over,
        [(Method::Tls, Reason::NoStarttls)]
    );
    assert!(!mx.heard_any("MAIL"));
    let (pgp, smime) = (&explanation.keys[0].1, &explanation.keys[1].1);
    let fingerprint = cert.fingerprint().to_hex();
    assert!(matches!(pgp, KeyKnown::Usable { fingerprint: f, .. } if *f == fingerprint));
    assert!(matches!(smime, KeyKnown::None(_)));
}
