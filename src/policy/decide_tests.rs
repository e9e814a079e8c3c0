//! Tables over rules and questions.

use super::super::Conditions;
use super::*;
use crate::types::{
    BodyType, Envelope, MessageFacts, MethodsList, OwnMailKind, Protocol, QueueId, Source,
    Timestamp, TlsLevel,
};

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap()
}

fn rule(name: &str, when: Conditions) -> Rule {
    Rule {
        name: name.into(),
        when,
        ..Rule::default()
    }
}

fn words(text: &str) -> Vec<String> {
    vec![text.to_owned()]
}

fn policy(rules: Vec<Rule>) -> Policy {
    let settings = Settings {
        rules,
        ..Settings::default()
    };
    Policy::new(settings, "0123456789abcdef".into())
}

/// Whether one rule with these conditions catches `anna@a.example` →
/// `bob@b.example`, submitted by the account `App` through `[::]:587`.
fn catches(when: Conditions) -> bool {
    let (sender, recipient) = (mailbox("Anna@a.example"), mailbox("bob@b.example"));
    let question = Question {
        recipient: &recipient,
        sender: Some(&sender),
        account: Some("App"),
        listener: Some("[::]:587"),
        own_mail: false,
        content: Content::Ours,
    };
    policy(vec![rule("r", when)])
        .decide(&question)
        .rule
        .is_some()
}

#[test]
fn each_condition() {
    type Set = fn(&mut Conditions, Vec<String>);
    let sets: [(Set, &str, &str); 6] = [
        (|c, v| c.recipient = v, "BOB@*", "anna@*"),
        (|c, v| c.sender = v, "anna@A.example", "bob@*"),
        (|c, v| c.recipient_domain = v, "B.Example.", "a.example"),
        (|c, v| c.sender_domain = v, ".example", ".a.example"),
        (|c, v| c.account = v, "app", "application"),
        (|c, v| c.listener = v, "*:587", "*:25"),
    ];
    for (set, good, bad) in sets {
        for (texts, expected) in [
            (vec![], true),
            (words(good), true),
            (words(bad), false),
            (words(""), false),
            (vec![bad.to_owned(), good.to_owned()], true),
        ] {
            let mut when = Conditions::default();
            set(&mut when, texts.clone());
            assert_eq!(catches(when), expected, "{texts:?}");
        }
    }
}

#[test]
fn all_conditions_must_hold() {
    let both = Conditions {
        recipient_domain: words("b.example"),
        account: words("app"),
        ..Conditions::default()
    };
    assert!(catches(both.clone()));
    assert!(!catches(Conditions {
        account: words("other"),
        ..both
    }));
}

#[test]
fn i19_the_null_sender_is_matched_by_the_empty_pattern_alone() {
    let recipient = mailbox("bob@b.example");
    let question = Question {
        recipient: &recipient,
        sender: None,
        account: None,
        listener: None,
        own_mail: false,
        content: Content::Ours,
    };
    for (text, matches) in [("", true), ("*", false), ("<>", false)] {
        for when in [
            Conditions {
                sender: words(text),
                ..Conditions::default()
            },
            Conditions {
                sender_domain: words(text),
                ..Conditions::default()
            },
            Conditions {
                account: words(text),
                ..Conditions::default()
            },
            Conditions {
                listener: words(text),
                ..Conditions::default()
            },
        ] {
            let decision = policy(vec![rule("r", when)]).decide(&question);
            assert_eq!(decision.rule.is_some(), matches, "{text}");
        }
    }
}

#[test]
fn i16_an_address_literal_is_caught_by_a_rule_for_all_domains() {
    let recipient = mailbox("bob@[IPv6:2001:db8::1]");
    let question = Question {
        recipient: &recipient,
        sender: None,
        account: None,
        listener: None,
        own_mail: false,
        content: Content::Ours,
    };
    for (text, matches) in [
        ("*", true),
        ("[ipv6:2001:DB8::1]", true),
        ("b.example", false),
    ] {
        let when = Conditions {
            recipient_domain: words(text),
            ..Conditions::default()
        };
        let decision = policy(vec![rule("r", when)]).decide(&question);
        assert_eq!(decision.rule.is_some(), matches, "{text}");
    }
}

#[test]
fn the_first_match_decides_and_the_rest_is_explained() {
    let to = |text: &str| Conditions {
        recipient_domain: words(text),
        ..Conditions::default()
    };
    let policy = policy(vec![
        rule("other", to("c.example")),
        Rule {
            methods: Some(MethodsList::parse(&["tls", "drop"]).unwrap()),
            ..rule("first", to("*.example"))
        },
        Rule {
            tls_level: Some(TlsLevel::Authenticated),
            ..rule("second", to("b.example"))
        },
    ]);
    let recipient = mailbox("bob@b.example");
    let question = Question {
        recipient: &recipient,
        sender: None,
        account: None,
        listener: None,
        own_mail: false,
        content: Content::Ours,
    };
    let decision = policy.decide(&question);
    assert_eq!(decision.rule.as_deref(), Some("first"));
    assert_eq!(decision.configuration, "0123456789abcdef");
    assert_eq!(decision.treatment.methods.to_string(), "tls > drop");
    // What the rule leaves unset is the default's.
    assert_eq!(decision.treatment.tls_level, TlsLevel::Encrypted);
    let trials: Vec<_> = policy
        .explain(&question)
        .into_iter()
        .map(|t| (t.rule, t.trial))
        .collect();
    assert_eq!(
        trials,
        [
            ("other".into(), Trial::Fails(Condition::RecipientDomain)),
            ("first".into(), Trial::Decides),
            ("second".into(), Trial::TooLate),
        ]
    );
    let unset = Policy::new(Settings::default(), String::new()).decide(&question);
    assert_eq!((unset.rule, unset.treatment), (None, Treatment::default()));
}

#[test]
fn unset_parts_are_those_of_security() {
    let settings = Settings {
        default: Treatment {
            methods: MethodsList::parse(&["tls", "cleartext"]).unwrap(),
            tls_level: TlsLevel::Authenticated,
            ..Treatment::default()
        },
        rules: vec![rule("r", Conditions::default())],
        dsn_cleartext: false,
        observe: false,
        probe: false,
    };
    let recipient = mailbox("bob@b.example");
    let question = Question {
        recipient: &recipient,
        sender: None,
        account: None,
        listener: None,
        own_mail: false,
        content: Content::Ours,
    };
    let decision = Policy::new(settings.clone(), String::new()).decide(&question);
    assert_eq!(decision.rule.as_deref(), Some("r"));
    assert_eq!(decision.treatment, settings.default);
}

#[test]
fn own_mail_uses_the_recipients_list_without_drop() {
    let recipient = mailbox("anna@a.example");
    let question = Question {
        recipient: &recipient,
        sender: None,
        account: None,
        listener: None,
        own_mail: true,
        content: Content::Ours,
    };
    for (list, dsn_cleartext, methods) in [
        (&["tls", "drop"][..], false, "tls > bounce"),
        (&["tls", "drop"], true, "tls > cleartext > bounce"),
        (&["tls", "cleartext"], false, "tls > cleartext > bounce"),
    ] {
        let settings = Settings {
            rules: vec![Rule {
                methods: Some(MethodsList::parse(list).unwrap()),
                tls_level: Some(TlsLevel::Authenticated),
                ..rule("r", Conditions::default())
            }],
            dsn_cleartext,
            ..Settings::default()
        };
        let decision = Policy::new(settings, String::new()).decide(&question);
        assert_eq!(decision.treatment.methods.to_string(), methods);
        assert_eq!(decision.treatment.tls_level, TlsLevel::Authenticated);
    }
}

/// What is prescribed stays as it was, for the record; own mail is observed too.
#[test]
fn observing_adds_a_list_and_changes_none() {
    let recipient = mailbox("bob@b.example");
    for own_mail in [false, true] {
        let question = Question {
            recipient: &recipient,
            sender: None,
            account: None,
            listener: None,
            own_mail,
            content: Content::Ours,
        };
        let settings = |observe| Settings {
            default: Treatment {
                methods: MethodsList::parse(&["tls", "drop"]).unwrap(),
                tls_level: TlsLevel::Authenticated,
                ..Treatment::default()
            },
            observe,
            ..Settings::default()
        };
        let decide = |observe| Policy::new(settings(observe), String::new()).decide(&question);
        let (enforced, observed) = (decide(false), decide(true));
        assert_eq!(enforced.observe, None);
        let list = observed.observe.clone().unwrap();
        assert_eq!(list.to_string(), "tls > cleartext > bounce");
        let back = Decision {
            observe: None,
            ..observed
        };
        assert_eq!(back, enforced);
    }
}

#[test]
fn questions_about_a_message() {
    let (sender, recipient) = (mailbox("anna@a.example"), mailbox("bob@b.example"));
    let at = Timestamp::from_micros(0);
    let mut message = Message {
        id: QueueId::new(at, [0; 4]),
        received_at: at,
        origin: Origin::Submitted(Source {
            principal: Principal::Account("app".into()),
            listener: "[::]:587".into(),
            client: "192.0.2.1".parse().unwrap(),
            protocol: Protocol::Esmtpsa,
        }),
        envelope: Envelope {
            sender: Some(sender.clone()),
            recipients: vec![recipient.clone()],
            body: BodyType::SevenBit,
        },
        facts: MessageFacts {
            size: 0,
            eight_bit: false,
            message_id: None,
            content: None,
        },
    };
    let question = Question::about(&message, &recipient);
    assert_eq!(question.sender, Some(&sender));
    assert_eq!(
        (question.account, question.listener),
        (Some("app"), Some("[::]:587"))
    );
    assert!(!question.own_mail);
    message.origin = Origin::Own(OwnMailKind::Dsn { about: message.id });
    let question = Question::about(&message, &recipient);
    assert_eq!((question.account, question.listener), (None, None));
    assert!(question.own_mail);
}

fn noted(subject: &str) -> crate::types::ContentFacts {
    crate::types::ContentFacts {
        fields: vec![("subject".into(), vec![subject.into()])],
        ..crate::types::ContentFacts::default()
    }
}

fn by_subject(text: &str) -> Conditions {
    Conditions {
        subject_contains: words(text),
        ..Conditions::default()
    }
}

fn list(words: &[&str]) -> Option<MethodsList> {
    Some(MethodsList::parse(words).unwrap())
}

/// What a message with this Subject gets: rule, methods, level.
fn gets(rules: Vec<Rule>, subject: &str) -> (Option<String>, String, TlsLevel) {
    let (recipient, facts) = (mailbox("bob@b.example"), noted(subject));
    let decision = policy(rules).decide(&Question {
        recipient: &recipient,
        sender: None,
        account: None,
        listener: None,
        own_mail: false,
        content: Content::Noted {
            facts: &facts,
            size: 0,
        },
    });
    let treatment = decision.treatment;
    (
        decision.rule,
        treatment.methods.to_string(),
        treatment.tls_level,
    )
}

/// A content rule may take away and raise, and never gives what the recipient does not
/// get without it: whatever stands in the message, and wherever the rule stands.
#[test]
fn content_rules_only_take_away_and_raise() {
    let lax = Rule {
        methods: list(&["tls", "cleartext"]),
        tls_level: Some(TlsLevel::Encrypted),
        ..rule("lax", by_subject("[lax]"))
    };
    let strict = Rule {
        methods: list(&["tls", "drop"]),
        tls_level: Some(TlsLevel::Secure),
        ..rule("strict", by_subject("[strict]"))
    };
    let all = Conditions {
        recipient_domain: words("*"),
        ..Conditions::default()
    };
    let base = Rule {
        methods: list(&["tls", "bounce"]),
        tls_level: Some(TlsLevel::Authenticated),
        ..rule("base", all.clone())
    };
    let rules = || vec![lax.clone(), strict.clone(), base.clone()];
    let (authenticated, secure) = (TlsLevel::Authenticated, TlsLevel::Secure);
    for (subject, by, methods, level) in [
        ("hello", "base", "tls > bounce", authenticated),
        ("[LAX] hello", "lax", "tls > bounce", authenticated),
        ("[strict] hello", "strict", "tls > drop", secure),
        // The first one decides, as ever.
        ("[strict][lax]", "lax", "tls > bounce", authenticated),
    ] {
        let expected = (Some(by.to_owned()), methods.to_owned(), level);
        assert_eq!(gets(rules(), subject), expected, "{subject}");
    }
    // Where the recipient's own rule has cleartext, a content rule can take it away.
    let open = Rule {
        methods: list(&["tls", "cleartext"]),
        ..rule("open", all)
    };
    let rules = vec![strict.clone(), open];
    assert_eq!(gets(rules.clone(), "x").1, "tls > cleartext > bounce");
    assert_eq!(gets(rules, "[strict]").1, "tls > drop");
}

#[test]
fn raising_rules_apply_afterwards_all_of_them() {
    let when = Conditions {
        recipient_domain: words("b.example"),
        ..Conditions::default()
    };
    let raising = |name, level, when| Rule {
        raise: true,
        tls_level: Some(level),
        ..rule(name, when)
    };
    let rules = vec![
        raising("secret", TlsLevel::Secure, by_subject("secret")),
        raising("low", TlsLevel::Encrypted, when.clone()),
        Rule {
            tls_level: Some(TlsLevel::Authenticated),
            ..rule("base", when)
        },
    ];
    let level = |subject| {
        let (by, _, level) = gets(rules.clone(), subject);
        (by.unwrap(), level)
    };
    // A raise to less than there is lowers nothing.
    let expected = ("base + low".to_owned(), TlsLevel::Authenticated);
    assert_eq!(level("x"), expected);
    let expected = ("base + secret + low".to_owned(), TlsLevel::Secure);
    assert_eq!(level("Secret"), expected);
    let (recipient, facts) = (mailbox("bob@b.example"), noted("secret"));
    let trials = policy(rules).explain(&Question {
        recipient: &recipient,
        sender: None,
        account: None,
        listener: None,
        own_mail: false,
        content: Content::Noted {
            facts: &facts,
            size: 0,
        },
    });
    let trials: Vec<_> = trials.into_iter().map(|trial| trial.trial).collect();
    assert_eq!(trials, [Trial::Raises, Trial::Raises, Trial::Decides]);
}

proptest::proptest! {
    /// With the configuration fixed, no Subject lowers anything.
    #[test]
    fn no_subject_lowers_anything(subject in "[a-c]{0,6}", methods in 0usize..4, level in 0usize..3,
                                  rules in proptest::collection::vec((0usize..4, 0usize..3, "[a-c]", proptest::bool::ANY), 0..4)) {
        let lists = [None, list(&["tls"]), list(&["tls", "cleartext"]), list(&["tls", "drop"])];
        let levels = [TlsLevel::Encrypted, TlsLevel::Authenticated, TlsLevel::Secure];
        let all = Conditions { recipient_domain: words("*"), ..Conditions::default() };
        let base = Rule {
            methods: lists[methods].clone(),
            tls_level: Some(levels[level]),
            ..rule("base", all)
        };
        let mut with: Vec<Rule> = (0..).zip(&rules).map(|(n, (methods, level, text, raise))| Rule {
            methods: lists[*methods].clone(),
            tls_level: Some(levels[*level]),
            raise: *raise,
            ..rule(&format!("r{n}"), by_subject(text))
        }).collect();
        with.push(base.clone());
        let (_, without, least) = gets(vec![base], &subject);
        let (_, found, level) = gets(with, &subject);
        proptest::prop_assert!(level >= least);
        proptest::prop_assert!(without.contains("cleartext") || !found.contains("cleartext"));
    }
}

/// What stops a message with such a Subject, or of whose content nothing is known, and
/// what does once it is released.
fn stops(rules: &[Rule], subject: Option<&str>, own_mail: bool) -> (String, String, String) {
    let recipient = mailbox("bob@b.example");
    let facts = subject.map(noted);
    let question = Question {
        recipient: &recipient,
        sender: None,
        account: None,
        listener: None,
        own_mail,
        content: match &facts {
            Some(facts) => Content::Noted { facts, size: 1 },
            None => Content::Unknown,
        },
    };
    let mut decision = policy(rules.to_vec()).decide(&question);
    let note = |decision: &Decision| decision.stop.as_ref().map(Stop::note).unwrap_or_default();
    let before = note(&decision);
    decision.release();
    (before, note(&decision), decision.rule.unwrap_or_default())
}

#[test]
fn rules_hold_and_drop() {
    let reason = || Some("why".to_owned());
    let everyone = || Conditions {
        recipient: words("*"),
        ..Conditions::default()
    };
    let hold = Rule {
        hold: reason(),
        ..rule("hold", by_subject("x"))
    };
    let drop = Rule {
        drop: reason(),
        ..rule("drop", by_subject("x"))
    };
    let raise = |rule: &Rule| Rule {
        raise: true,
        ..rule.clone()
    };
    let plain = Rule {
        hold: reason(),
        ..rule("plain", everyone())
    };
    let list = Rule {
        methods: list(&["tls"]),
        ..rule("list", by_subject("x"))
    };
    let (held, dropped) = (
        "held by rule \"hold\": why",
        "dropped by rule \"drop\": why",
    );
    let of_plain = "held by rule \"plain\": why";
    for (rules, subject, expected) in [
        (vec![hold.clone()], "x", (held, "", "hold")),
        (vec![hold.clone()], "y", ("", "", "")),
        (vec![drop.clone()], "x", (dropped, dropped, "drop")),
        // The first match decides, and what raises applies with it; a hold goes first.
        (vec![list.clone(), hold.clone()], "x", ("", "", "list")),
        (
            vec![list.clone(), raise(&drop), raise(&hold)],
            "x",
            (held, dropped, "list + drop + hold"),
        ),
        // A rule that asks content does not take away what the recipient has without it.
        (
            vec![list.clone(), plain.clone()],
            "x",
            (of_plain, "", "list + plain"),
        ),
        (vec![list, plain], "y", (of_plain, "", "plain")),
    ] {
        let (before, after, rule) = stops(&rules, Some(subject), false);
        assert_eq!((before.as_str(), after.as_str(), rule.as_str()), expected);
        assert_eq!(stops(&rules, Some(subject), true).0, "", "own mail");
    }
    // Nothing is dropped for what nobody has looked at.
    let (before, after, _) = stops(&[drop], None, false);
    assert!(
        before.starts_with("held by rule \"drop\": why (held, not"),
        "{before}"
    );
    assert_eq!(after, "");
    assert_eq!(stops(&[hold], None, false).0, held);
}

#[test]
fn encrypted_content_is_accepted_by_the_operator_and_taken_away_by_content() {
    let accepts = |rules: Vec<Rule>, default: bool| {
        let settings = Settings {
            default: Treatment {
                accept_encrypted: default,
                ..Treatment::default()
            },
            rules,
            ..Settings::default()
        };
        let (recipient, facts) = (mailbox("bob@b.example"), noted("x"));
        let question = Question {
            recipient: &recipient,
            sender: None,
            account: None,
            listener: None,
            own_mail: false,
            content: Content::Noted {
                facts: &facts,
                size: 1,
            },
        };
        let decision = Policy::new(settings, String::new()).decide(&question);
        decision.treatment.accept_encrypted
    };
    let plain = |accept| Rule {
        accept_encrypted: accept,
        ..rule(
            "plain",
            Conditions {
                recipient: words("*"),
                ..Conditions::default()
            },
        )
    };
    let content = |accept| Rule {
        accept_encrypted: accept,
        ..rule("content", by_subject("x"))
    };
    assert!(!accepts(vec![], false) && accepts(vec![], true));
    assert!(accepts(vec![plain(Some(true))], false));
    assert!(!accepts(vec![plain(Some(false))], true) && accepts(vec![plain(None)], true));
    assert!(!accepts(vec![content(Some(true))], false));
    assert!(!accepts(vec![content(Some(false))], true));
    assert!(accepts(vec![content(None), plain(Some(true))], false));
}
