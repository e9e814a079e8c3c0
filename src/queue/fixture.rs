//! Values for this room's unit tests.

use crate::types::{
    BodyType, Envelope, Failure, JobRecipient, Mailbox, Message, MessageFacts, Origin, Principal,
    Protocol, QueueId, Reason, Source, Stage, Timestamp,
};

pub(super) fn message(received_at: Timestamp) -> Message {
    Message {
        id: QueueId::new(received_at, [0; 4]),
        received_at,
        origin: Origin::Submitted(Source {
            principal: Principal::Account("clinic".into()),
            listener: "[::]:587".into(),
            client: [192, 0, 2, 1].into(),
            protocol: Protocol::Esmtpsa,
        }),
        envelope: Envelope {
            sender: Mailbox::parse("nurse@clinic.example").ok(),
            recipients: vec![Mailbox::parse("a@x.example").unwrap()],
            body: BodyType::SevenBit,
        },
        facts: MessageFacts {
            size: 0,
            eight_bit: false,
            message_id: None,
            content: None,
        },
    }
}

pub(super) fn recipient(attempts: u32, delay_told: bool) -> JobRecipient {
    JobRecipient {
        index: 0,
        mailbox: Mailbox::parse("a@x.example").unwrap(),
        attempts,
        delay_told,
        copy: None,
        released: false,
    }
}

pub(super) fn failure() -> Failure {
    Failure {
        reason: Reason::Unreachable,
        stage: Stage::Connect,
        status: "4.4.1".into(),
        reply: None,
    }
}
