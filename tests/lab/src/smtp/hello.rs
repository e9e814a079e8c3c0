//! What a server finds in a ClientHello that it can't stand, before OpenSSL sees it.

use std::io;
use std::time::Duration;

use crate::wire::Wire;

/// A server, or something on the way to it, that can't stand some ClientHellos. The others get
/// a handshake as usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intolerance {
    /// TLS 1.3 on offer: the connection is closed.
    ClosesAtTls13,
    /// TLS 1.3 on offer: a fatal alert of this number.
    AlertsAtTls13(u8),
}

impl Intolerance {
    /// Looks at the ClientHello and leaves it unread; false if there is no handshake with it.
    pub(super) async fn tolerates(self, wire: &mut Wire) -> io::Result<bool> {
        let hello = wire.peek_record().await?;
        match self {
            Intolerance::ClosesAtTls13 => Ok(!offers_tls13(&hello)),
            Intolerance::AlertsAtTls13(number) if offers_tls13(&hello) => {
                // Fatal (2), in a record of type alert (21).
                wire.write(&[21, 3, 1, 0, 2, 2, number]).await?;
                // The client reads it before the end comes.
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok(false)
            }
            Intolerance::AlertsAtTls13(_) => Ok(true),
        }
    }
}

/// Whether supported_versions (RFC 8446 section 4.2.1) names TLS 1.3.
fn offers_tls13(record: &[u8]) -> bool {
    extensions(record).is_some_and(|mut rest| {
        while let Some((kind, content, behind)) = extension(rest) {
            if kind == 43 {
                let versions = content.get(1..).unwrap_or_default();
                return versions.chunks(2).any(|version| version == [3, 4]);
            }
            rest = behind;
        }
        false
    })
}

/// What stands in a ClientHello behind its fixed part (RFC 8446 section 4.1.2).
fn extensions(record: &[u8]) -> Option<&[u8]> {
    // Record header, handshake header, version, random.
    let rest = record.get(5 + 4 + 2 + 32..)?;
    let rest = behind(rest, 1)?;
    let rest = behind(rest, 2)?;
    let rest = behind(rest, 1)?;
    rest.get(2..)
}

/// What is behind a vector whose length is so many octets long.
fn behind(octets: &[u8], width: usize) -> Option<&[u8]> {
    let length = octets.get(..width)?;
    let length = length.iter().fold(0, |sum, o| sum * 256 + usize::from(*o));
    octets.get(width + length..)
}

fn extension(octets: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let kind = u16::from_be_bytes(octets.get(..2)?.try_into().ok()?);
    let rest = octets.get(2..)?;
    let behind = behind(rest, 2)?;
    let content = rest.get(2..rest.len() - behind.len())?;
    Some((kind, content, behind))
}
