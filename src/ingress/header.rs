//! stub
use bytes::Bytes;
use super::intake::HeaderContext;
use crate::wire::Reply;

pub(super) struct Prepared { pub(super) octets: Bytes, pub(super) message_id: Option<String> }

pub(super) fn prepare(header: Bytes, _context: &HeaderContext) -> Result<Prepared, Reply> {
    Ok(Prepared { octets: header, message_id: None })
}
