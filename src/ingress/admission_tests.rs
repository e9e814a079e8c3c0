//! Who may send as whom.

use super::*;
use crate::ingress::session::testing::{account, listener};
use crate::ingress::settings::ListenerKind;

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap()
}

fn relay(networks: &[&str], certificates: &[&str], both: bool) -> Listener {
    Listener {
        networks: networks.iter().map(|n| n.parse().unwrap()).collect(),
        certificates: certificates.iter().map(|c| (*c).to_owned()).collect(),
        require_both: both,
        ..listener(ListenerKind::Relay)
    }
}

#[test]
fn nothing_is_an_open_relay_by_default() {
    let bare = relay(&[], &[], false);
    let names = ["mx.example".to_owned()];
    for client in ["127.0.0.1", "::1", "192.0.2.1"] {
        let client: IpAddr = client.parse().unwrap();
        assert_eq!(
            relay_principal(&bare, client, &names),
            Err(RelayRefusal::Network(client))
        );
    }
}

#[test]
fn networks_and_certificates() {
    let (near, far): (IpAddr, IpAddr) = (
        "192.0.2.1".parse().unwrap(),
        "198.51.100.1".parse().unwrap(),
    );
    let named = ["mail.protection.outlook.com".to_owned()];
    let by_network = Ok(Principal::Network(near));
    let by_name = Ok(Principal::Certificate(named[0].clone()));
    let network = &["192.0.2.0/24"][..];
    let pattern = &["*.protection.outlook.com"][..];

    let either = relay(network, pattern, false);
    assert_eq!(relay_principal(&either, near, &[]), by_network);
    assert_eq!(relay_principal(&either, near, &named), by_name);
    assert_eq!(relay_principal(&either, far, &named), by_name);
    assert_eq!(
        relay_principal(&either, far, &[]),
        Err(RelayRefusal::Neither(far))
    );

    let both = relay(network, pattern, true);
    assert_eq!(relay_principal(&both, near, &named), by_name);
    assert_eq!(
        relay_principal(&both, near, &[]),
        Err(RelayRefusal::Certificate)
    );
    assert_eq!(
        relay_principal(&both, far, &named),
        Err(RelayRefusal::Network(far))
    );

    let mapped = "::ffff:192.0.2.1".parse().unwrap();
    assert_eq!(relay_principal(&either, mapped, &[]), by_network);
    let written = relay(&["::ffff:192.0.2.0/120"], &[], false);
    assert_eq!(relay_principal(&written, near, &[]), by_network);
}

#[test]
fn certificate_names() {
    for (pattern, name, wanted) in [
        ("mx.example", "MX.example", true),
        ("mx.example", "a.mx.example", false),
        ("*.example", "mx.example", true),
        ("*.example", "a.mx.example", true),
        ("*.mail.example", "*.mail.example", true),
        ("*.example", "example", false),
        ("*.example", ".example", false),
        ("*.example", "anexample", false),
        ("*.example", "\u{fc}xample", false),
    ] {
        assert_eq!(name_matches(pattern, name), wanted, "{pattern} {name}");
    }
}

#[test]
fn accounts_send_as_their_patterns() {
    let rights = Rights::Account(account());
    for (address, wanted) in [
        ("anyone@clinic.example", true),
        ("LAB@other.example", true),
        ("labs@other.example", false),
        ("a@sub.clinic.example", false),
        ("a@xclinic.example", false),
        ("a@[192.0.2.1]", false),
    ] {
        let checked = rights.check_sender(Some(&mailbox(address)));
        assert_eq!(checked.is_ok(), wanted, "{address}");
    }
    assert!(rights.check_sender(None).is_ok());
    assert_eq!(
        rights.check_from(None, &FromField::Missing),
        Err(Refusal::FromMissing)
    );
}

#[test]
fn peers_answer_for_the_from_field_only_without_a_sender() {
    let domain = Domain::parse("clinic.example").unwrap();
    let rights = Rights::Peer {
        principal: Principal::Network("192.0.2.1".parse().unwrap()),
        domains: vec![domain].into(),
    };
    let sender = mailbox("a@clinic.example");
    let foreign = FromField::Mailboxes(vec![mailbox("b@elsewhere.example")]);
    assert!(rights.check_from(Some(&sender), &foreign).is_ok());
    assert!(rights.check_from(None, &foreign).is_err());
    assert!(rights.check_from(None, &FromField::Unreadable).is_err());
    assert!(
        rights
            .check_from(None, &FromField::Mailboxes(vec![sender]))
            .is_ok()
    );
}
