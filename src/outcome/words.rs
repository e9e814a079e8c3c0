//! Reasons in words for people: the one table from [`Reason`] to a sentence.
//!
//! Holds always: each reason has a clause that follows "because" and an advice,
//! both understood without knowing mail; neither holds anything of the message.
//! Called by the DSNs and the postmaster's notice.

use crate::types::Reason;

/// Why, as a clause that follows "because".
pub(super) fn because(reason: Reason) -> &'static str {
    match reason {
        Reason::NoSuchDomain => "the part of the address behind the @ does not exist",
        Reason::NullMx => "the recipient's organisation accepts no e-mail at this address",
        Reason::NoHost => "no mail server was found for the recipient's organisation",
        Reason::DnsFailed => "the recipient's mail server could not be looked up",
        Reason::MailLoop => "the recipient's address leads back to this mail server",
        Reason::Blocked => {
            "the recipient's mail server is in a network that we may not send mail to"
        }
        Reason::Unreachable => "the recipient's mail server could not be reached",
        Reason::TimedOut => "the recipient's mail server did not answer in time",
        Reason::ConnectionLost => "the recipient's mail server broke off the connection",
        Reason::ProtocolError => "the recipient's mail server gave answers that make no sense",
        Reason::NoStarttls => {
            "the recipient's mail server does not offer an encrypted connection, \
             which our rules require"
        }
        Reason::StarttlsRefused => {
            "the recipient's mail server refused to make the connection encrypted, \
             which our rules require"
        }
        Reason::NoCommonTls | Reason::BelowFloor => {
            "the recipient's mail server only offers encryption that is too weak \
             for our rules"
        }
        Reason::TlsInterrupted => {
            "the connection to the recipient's mail server broke off before it was encrypted"
        }
        Reason::CertificateName | Reason::CertificateUntrusted | Reason::CertificateInvalid => {
            "the recipient's mail server could not prove that it is the right one, \
             which our rules require"
        }
        Reason::CertificateExpired | Reason::CertificateNotYetValid => {
            "the certificate by which the recipient's mail server proves its identity \
             is not valid at this time"
        }
        Reason::StsHost => {
            "the mail server that we were led to is none of those that the recipient's \
             organisation has published, so we did not trust it"
        }
        Reason::StsUnknown => {
            "it could not be found out how the recipient's organisation wants its mail \
             protected"
        }
        Reason::Rejected => "the recipient's mail server refused it",
        Reason::Deferred => "the recipient's mail server could not take it for the time being",
        Reason::TooLarge => "it is larger than the recipient's mail server accepts",
        Reason::EightBit => "it contains characters that the recipient's mail server can't handle",
        Reason::AuthFailed => "the next mail server did not accept our login",
        Reason::OutcomeUnknown => {
            "the connection broke off at the very end, so that we can't tell whether \
             it has arrived"
        }
        Reason::BodyUnreadable => "it could not be read from our own storage",
        Reason::Shortfall => {
            "the connection to the recipient's mail server was protected less well than \
             our rules require"
        }
        Reason::PatienceOver => {
            "the recipient's mail server could not be reached over a connection that \
             protects it as our rules require"
        }
        Reason::Interrupted => "our mail server was interrupted while sending it",
        Reason::TlsRemembered => {
            "the recipient's mail server does not offer an encrypted connection, as it \
             always did before"
        }
        Reason::Operator => "the administrators of our mail server took it out of the queue",
        Reason::NoKey => {
            "no key of the recipient is known with which the message itself could be encrypted"
        }
        Reason::KeyExpired
        | Reason::KeyNotYetValid
        | Reason::KeyRevoked
        | Reason::KeyTooWeak
        | Reason::KeyNotForEncryption
        | Reason::KeyWrongPurpose
        | Reason::KeyOtherAddress
        | Reason::KeyUnsupported
        | Reason::KeyUntrusted
        | Reason::KeyRevocationUnknown
        | Reason::KeyBroken
        | Reason::KeyTooLittleTrust
        | Reason::KeyAwaitsApproval => {
            "the recipient's key, with which the message itself would be encrypted, can't be used"
        }
        Reason::KeyLookup => {
            "the recipient's key, which it has to be encrypted with, could not be looked up"
        }
        Reason::SigningKey | Reason::ProtectFailed => {
            "it could not be encrypted as our rules require"
        }
        Reason::HeldByRule => "our rules have it looked at before it leaves",
        Reason::DroppedByRule => "our rules do not let it leave",
    }
}

/// What the reader can do about it.
pub(super) fn advice(reason: Reason) -> &'static str {
    match reason {
        Reason::NoSuchDomain | Reason::NullMx | Reason::NoHost => {
            "Please check the address for typing errors, and ask the recipient for the \
             right one."
        }
        Reason::NoStarttls
        | Reason::StarttlsRefused
        | Reason::NoCommonTls
        | Reason::BelowFloor
        | Reason::CertificateName
        | Reason::CertificateExpired
        | Reason::CertificateNotYetValid
        | Reason::CertificateUntrusted
        | Reason::CertificateInvalid
        | Reason::StsHost
        | Reason::Shortfall
        | Reason::TlsRemembered
        | Reason::PatienceOver => {
            "Please reach the recipient in another way, and do not send the content over \
             an unprotected channel. The recipient's IT staff can correct this; show them \
             the technical details below."
        }
        Reason::Rejected => {
            "Please check the address. The answer of the recipient's mail server stands \
             below; it may say what to change."
        }
        Reason::TooLarge => "Please send a smaller message, for example with fewer attachments.",
        Reason::EightBit => "Please send it again without special characters, or as an attachment.",
        Reason::OutcomeUnknown => {
            "Please ask the recipient whether it has arrived before you send it again."
        }
        Reason::NoKey
        | Reason::KeyExpired
        | Reason::KeyNotYetValid
        | Reason::KeyRevoked
        | Reason::KeyTooWeak
        | Reason::KeyNotForEncryption
        | Reason::KeyWrongPurpose
        | Reason::KeyOtherAddress
        | Reason::KeyUnsupported
        | Reason::KeyUntrusted
        | Reason::KeyRevocationUnknown
        | Reason::KeyBroken
        | Reason::KeyTooLittleTrust
        | Reason::KeyAwaitsApproval => {
            "Please reach the recipient in another way, and do not send the content over \
             an unprotected channel. Your own IT staff can add a key of the recipient's; \
             show them the technical details below."
        }
        Reason::MailLoop
        | Reason::SigningKey
        | Reason::ProtectFailed
        | Reason::Blocked
        | Reason::AuthFailed
        | Reason::BodyUnreadable
        | Reason::Interrupted
        | Reason::Operator
        | Reason::HeldByRule
        | Reason::DroppedByRule => {
            "Please tell your own IT staff; show them the technical details below."
        }
        Reason::DnsFailed
        | Reason::KeyLookup
        | Reason::StsUnknown
        | Reason::Unreachable
        | Reason::TimedOut
        | Reason::ConnectionLost
        | Reason::ProtocolError
        | Reason::TlsInterrupted
        | Reason::Deferred => {
            "Please send it again later, or reach the recipient in another way if it is \
             urgent."
        }
    }
}
