//! Each TLS knob of the servers, seen through the lab's client; certificates of each kind.

use std::io;

use postern_lab::{Ca, Client, ClientTls, Identity, SmtpBuilder, TlsSeen, TlsVersion};

use crate::{anywhere, pair};

/// STARTTLS by a client of this kind with a server of that kind: the facts, or the error.
async fn secured(
    tls: ClientTls,
    turn: impl FnOnce(SmtpBuilder) -> SmtpBuilder,
) -> io::Result<TlsSeen> {
    let (_server, mut client, _) = pair(turn).await;
    let reply = client.starttls(&tls, "mx.clinic.example").await?;
    assert_eq!(reply.code, 220, "{reply:?}");
    assert!(client.line("EHLO again").await?.is_ok());
    client.tls().ok_or(io::ErrorKind::NotConnected.into())
}

#[tokio::test]
async fn by_default_modern_tls_with_a_self_signed_certificate() {
    let seen = secured(ClientTls::insecure(), |b| b.name("mx.x.example"))
        .await
        .expect("TLS");
    assert_eq!(seen.version, "TLSv1.3");
    assert_eq!(seen.peer_subject.as_deref(), Some("mx.x.example"));
    assert!(
        secured(ClientTls::trusting(&Ca::new()), |b| b)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn versions_down_to_tls_1_1() {
    for (version, text) in [
        (TlsVersion::V1_0, "TLSv1"),
        (TlsVersion::V1_1, "TLSv1.1"),
        (TlsVersion::V1_2, "TLSv1.2"),
        (TlsVersion::V1_3, "TLSv1.3"),
    ] {
        let client = ClientTls::insecure()
            .versions(TlsVersion::V1_0, TlsVersion::V1_3)
            .ciphers("ALL:@SECLEVEL=0");
        let seen = secured(client, |b| b.tls_versions(version, version))
            .await
            .expect(text);
        assert_eq!(seen.version, text);
        let modern = ClientTls::insecure().versions(TlsVersion::V1_2, TlsVersion::V1_3);
        let result = secured(modern, |b| b.tls_versions(version, version)).await;
        assert_eq!(result.is_ok(), version >= TlsVersion::V1_2, "{text}");
    }
}

#[tokio::test]
async fn weak_ciphers_and_single_groups() {
    let rsa = Ca::new().rsa(2048).issue(&["mx.clinic.example"]);
    let v12 = (TlsVersion::V1_2, TlsVersion::V1_2);
    for cipher in [
        "AES256-SHA",
        "DHE-RSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-SHA384",
    ] {
        let seen = secured(ClientTls::insecure().ciphers("ALL"), |b| {
            b.identity(rsa.clone())
                .tls_versions(v12.0, v12.1)
                .ciphers(cipher)
        });
        assert_eq!(seen.await.expect(cipher).cipher, cipher);
    }
    let p384 = secured(ClientTls::insecure().groups("P-384"), |b| b.groups("P-384")).await;
    assert!(p384.is_ok(), "{p384:?}");
    let apart = secured(ClientTls::insecure().groups("P-256"), |b| b.groups("P-384")).await;
    assert!(apart.is_err());
    let one = secured(ClientTls::insecure(), |b| {
        b.ciphersuites("TLS_AES_128_GCM_SHA256")
    })
    .await;
    assert_eq!(one.expect("TLS").cipher, "TLS_AES_128_GCM_SHA256");
}

#[tokio::test]
async fn certificates_good_and_bad() {
    let ca = Ca::new();
    let names = &["mx.clinic.example"];
    let good = [
        ca.issue(names),
        ca.rsa(2048).issue(names),
        ca.issue(names).with_chained(&ca.pem()),
    ];
    for identity in good {
        secured(ClientTls::trusting(&ca), |b| b.identity(identity))
            .await
            .expect("trusted");
    }
    let bad = [
        ca.issue_expired(names),
        ca.issue_not_yet_valid(names),
        ca.issue(&["mx.other.example"]),
        Ca::new().issue(names),
        Identity::self_signed(names),
        Identity::self_signed_rsa(names, 1024),
    ];
    for identity in bad {
        let show = identity.clone();
        assert!(
            secured(ClientTls::trusting(&ca), |b| b.identity(show))
                .await
                .is_err()
        );
        secured(ClientTls::insecure(), |b| b.identity(identity))
            .await
            .expect("works unverified");
    }
}

#[tokio::test]
async fn client_certificates_and_server_names_are_seen() {
    let ca = Ca::new();
    let (server, mut client, _) = pair(|b| b.client_certificates(&ca)).await;
    let tls = ClientTls::insecure().identity(ca.issue_client("relay.example"));
    client
        .starttls(&tls, "mx.clinic.example")
        .await
        .expect("a handshake");
    client.line("EHLO relay.example").await.expect("a reply");
    client
        .submit("a@x.example", &["b@y.example"], "hi")
        .await
        .expect("a reply");
    let seen = server.messages()[0].tls.clone().expect("TLS");
    assert_eq!(seen.peer_subject.as_deref(), Some("relay.example"));
    assert_eq!(seen.sni.as_deref(), Some("mx.clinic.example"));
    // Without one it works too; a stranger's is refused.
    secured(ClientTls::insecure(), |b| b.client_certificates(&ca))
        .await
        .expect("none shown");
    let stranger = ClientTls::insecure().identity(Ca::new().issue_client("relay.example"));
    assert!(
        secured(stranger, |b| b.client_certificates(&ca))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn broken_handshakes() {
    assert!(
        secured(ClientTls::insecure(), |b| b.handshake_cut())
            .await
            .is_err()
    );
    assert!(
        secured(ClientTls::insecure(), |b| b
            .handshake_garbage(b"nonsense\r\n"))
        .await
        .is_err()
    );
    let injected = secured(ClientTls::insecure(), |b| {
        b.inject_after_starttls(b"250 evil\r\n")
    })
    .await;
    // The lab's client throws plaintext away that came before the handshake, and says so.
    let error = injected
        .expect_err("plaintext before the handshake")
        .to_string();
    assert!(error.contains("10 octets"), "{error}");
    let (server, mut client, _) = pair(|b| b.handshake_stall()).await;
    assert_eq!(client.line("STARTTLS").await.expect("a reply").code, 220);
    drop(client);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn implicit_tls_offers_no_starttls() {
    let server = postern_lab::SmtpServer::builder(anywhere())
        .implicit_tls()
        .start();
    let tls = ClientTls::insecure();
    let mut client = Client::tls_connect(server.addr(), &tls, "mx.example")
        .await
        .expect("TLS");
    let reply = client.greet("relay.example").await.expect("a reply");
    assert!(
        reply.offers("PIPELINING") && !reply.offers("STARTTLS"),
        "{reply:?}"
    );
}

#[test]
fn identities_go_to_files_with_a_private_key_that_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let identity = Ca::new().issue(&["relay.example", "127.0.0.1"]);
    let files = identity.write(folder.path(), "relay");
    let read = |path| std::fs::read_to_string(path).expect("a file");
    assert_eq!(read(&files.certificate), identity.chain);
    assert_eq!(read(&files.private_key), identity.key);
    let mode = std::fs::metadata(&files.private_key)
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(identity.tlsa_3_1_1().len(), 32);
}
