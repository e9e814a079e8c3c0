//! What records say, once opened.
//!
//! Owns the heads of the record kinds and their encoding (postcard). Holds
//! always: a change here is a change of the journal's format and needs a new
//! version in the header, but for what stands behind a head ([`Headed`]). Called by the
//! committer, recovery and body readers.

use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::copies::CopyHead;
use crate::types::{
    AuditEvent, ContentFacts, Encrypted, Message, MessageFacts, QueueId, RecipientChange,
    RecipientStatus, TextCount,
};

/// A place in the journal: where a record begins, or where one would.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub(super) struct Position {
    /// Which segment.
    pub(super) segment: u32,
    /// Octets from its start.
    pub(super) offset: u64,
}

/// Where a message lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Place {
    /// Its record.
    pub(super) at: Position,
    /// Which of a settlement's new messages, counted from 1; 0 elsewhere.
    pub(super) slot: u32,
}

/// One run of a large body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PartRef {
    /// Its part record.
    pub(super) at: Position,
    /// Octets of the body in it.
    pub(super) octets: u32,
}

/// Where a body lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum BodyPlan {
    /// In the same record: so many octets.
    Inline(u64),
    /// In part records, in order.
    Parts(Vec<PartRef>),
}

impl BodyPlan {
    /// Octets in all.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Inline(octets) => *octets,
            Self::Parts(parts) => parts.iter().map(|p| u64::from(p.octets)).sum(),
        }
    }
}

/// The head of an accept record.
#[derive(Serialize, Deserialize)]
pub(super) struct AcceptHead {
    pub(super) message: Message,
    pub(super) body: BodyPlan,
}

/// The head of a carry record.
#[derive(Serialize, Deserialize)]
pub(super) struct CarryHead {
    pub(super) message: Message,
    pub(super) statuses: Vec<RecipientStatus>,
    pub(super) body: BodyPlan,
    pub(super) copies: Vec<CopyHead>,
}

/// The head of a settlement record; the new messages' octets are its body, one
/// behind the other, and behind them those of small copies.
#[derive(Serialize, Deserialize)]
pub(super) struct SettlementHead {
    pub(super) changes: Vec<RecipientChange>,
    pub(super) messages: Vec<NewHead>,
    pub(super) copies: Vec<CopyHead>,
    pub(super) events: Vec<AuditEvent>,
}

/// A new message in a settlement.
#[derive(Serialize, Deserialize)]
pub(super) struct NewHead {
    pub(super) message: Message,
    /// Octets of it in the record's body.
    pub(super) octets: u64,
}

/// The head of a follow record.
#[derive(Serialize, Deserialize)]
pub(super) struct FollowHead {
    /// Where the segment before ends: what lies behind was never acknowledged.
    pub(super) previous: Option<Position>,
}

/// The head of a restatement record.
#[derive(Serialize, Deserialize)]
pub(super) struct RestatementHead {
    pub(super) facts: Vec<Fact>,
}

/// What is to be known of a message's record in a segment beyond what it says itself. It
/// says nothing of other records of that message.
#[derive(Serialize, Deserialize)]
pub(super) struct Fact {
    pub(super) id: QueueId,
    /// The segment of that record.
    pub(super) home: u32,
    /// How its recipients stand; `None`: the record counts no more, since the message is
    /// not listed any more, or lives in another one.
    pub(super) statuses: Option<Vec<RecipientStatus>>,
}

/// A head with one message, behind which stands what was noted of that message's
/// content. Records of before such notes end where those begin, and who knows none
/// reads past them: so old and new daemons read one another's.
pub(super) trait Headed: Serialize + DeserializeOwned {
    fn facts(&self) -> &MessageFacts;
    fn facts_mut(&mut self) -> &mut MessageFacts;

    /// # Errors
    /// As [`encode`].
    fn to_octets(&self) -> Result<Bytes, postcard::Error> {
        let head = postcard::to_stdvec(self)?;
        let Some(content) = &self.facts().content else {
            return Ok(head.into());
        };
        let head = postcard::to_extend(&**content, head)?;
        let further = FurtherNotes::of(content);
        match further == FurtherNotes::default() {
            true => Ok(head.into()),
            false => postcard::to_extend(&further, head).map(Bytes::from),
        }
    }

    /// # Errors
    /// As [`decode`].
    fn from_octets(octets: &[u8]) -> Result<Self, postcard::Error> {
        let (mut head, rest) = postcard::take_from_bytes::<Self>(octets)?;
        if !rest.is_empty() {
            let (mut content, rest) = postcard::take_from_bytes::<ContentFacts>(rest)?;
            if !rest.is_empty() {
                let further: FurtherNotes = postcard::from_bytes(rest)?;
                content.texts = further.texts;
                content.encrypted = further.encrypted;
            }
            head.facts_mut().content = Some(Arc::new(content));
        }
        Ok(head)
    }
}

/// Notes that came later than the fields, and stand behind them in the same way.
#[derive(PartialEq, Default, Serialize, Deserialize)]
struct FurtherNotes {
    texts: Vec<TextCount>,
    encrypted: Option<Encrypted>,
}

impl FurtherNotes {
    fn of(content: &ContentFacts) -> Self {
        Self {
            texts: content.texts.clone(),
            encrypted: content.encrypted,
        }
    }
}

/// Where the message of each head is.
macro_rules! headed {
    ($($head:ty),*) => {$(
        impl Headed for $head {
            fn facts(&self) -> &MessageFacts {
                &self.message.facts
            }
            fn facts_mut(&mut self) -> &mut MessageFacts {
                &mut self.message.facts
            }
        }
    )*};
}
headed!(AcceptHead, CarryHead, super::archive::ArchiveHead);

/// # Errors
/// If the encoder refuses, which for these types it has no reason to.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Bytes, postcard::Error> {
    postcard::to_stdvec(value).map(Bytes::from)
}

/// # Errors
/// If these octets are no `T`.
pub(super) fn decode<T: DeserializeOwned>(octets: &[u8]) -> Result<T, postcard::Error> {
    postcard::from_bytes(octets)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::types::{BodyType, Envelope, Mailbox, Origin, TextPattern, Timestamp};

    /// Of a message for one recipient.
    pub(in super::super) fn head(content: Option<ContentFacts>) -> AcceptHead {
        AcceptHead {
            message: Message {
                id: QueueId::from_octets([7; 12]),
                received_at: Timestamp::from_micros(9),
                origin: Origin::Test { by: "root".into() },
                envelope: Envelope {
                    sender: None,
                    recipients: vec![Mailbox::parse("a@b.example").unwrap()],
                    body: BodyType::SevenBit,
                },
                facts: MessageFacts {
                    size: 5,
                    eight_bit: false,
                    message_id: None,
                    content: content.map(Arc::new),
                },
            },
            body: BodyPlan::Inline(5),
        }
    }

    #[test]
    fn notes_of_content_come_back_and_old_records_have_none() {
        let noted = ContentFacts {
            fields: vec![("subject".into(), vec!["[encrypt]".into()])],
            ..ContentFacts::default()
        };
        let new = head(Some(noted)).to_octets().unwrap();
        let read = AcceptHead::from_octets(&new).unwrap();
        assert_eq!(
            read.message,
            head(read.message.facts.content.as_deref().cloned()).message
        );
        let content = read.message.facts.content.unwrap();
        assert_eq!(
            content.values("subject"),
            Some(&["[encrypt]".to_owned()][..])
        );
        // As the daemon before wrote it, and as that one reads what this one wrote.
        let old = encode(&head(None)).unwrap();
        assert_eq!(head(None).to_octets().unwrap(), old);
        let read = AcceptHead::from_octets(&old).unwrap();
        assert_eq!(read.message, head(None).message);
        let back: AcceptHead = decode(&new).unwrap();
        assert_eq!(back.message, head(None).message);
        assert_eq!(back.body, BodyPlan::Inline(5));
        assert!(AcceptHead::from_octets(&new[..new.len() - 1]).is_err());
    }

    #[test]
    fn counts_stand_behind_the_fields() {
        let count = TextCount {
            pattern: TextPattern::parse("a+").unwrap().key(),
            count: 3,
        };
        let fields = ContentFacts {
            fields: vec![("subject".into(), vec!["x".into()])],
            ..ContentFacts::default()
        };
        let noted = ContentFacts {
            texts: vec![count],
            encrypted: Some(Encrypted::Smime),
            ..fields.clone()
        };
        let new = head(Some(noted.clone())).to_octets().unwrap();
        let read = AcceptHead::from_octets(&new).unwrap();
        assert_eq!(read.message.facts.content.as_deref(), Some(&noted));
        // As the daemon before reads it, and as it wrote.
        let (_, rest) = postcard::take_from_bytes::<AcceptHead>(&new).unwrap();
        let back: ContentFacts = postcard::from_bytes(rest).unwrap();
        assert_eq!(back, fields);
        let old = head(Some(fields.clone())).to_octets().unwrap();
        assert!(new.starts_with(&old));
        let read = AcceptHead::from_octets(&old).unwrap();
        assert_eq!(read.message.facts.content.as_deref(), Some(&fields));
    }
}
