//! Octets both ways at once.
//!
//! Owns the one place where a stream is written and read together, so that
//! neither side waits for the other: a server that answers while we still send
//! is heard, and its answers never fill up unread. Called by `connection`.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::sys::Stream;

/// Octets read at once.
const READ: usize = 8 * 1024;

/// A stream with what is still to be written.
pub(super) struct Pump {
    stream: Box<dyn Stream>,
    pending: BytesMut,
    buffer: Box<[u8]>,
    flushed: bool,
    /// Writing failed: the far side is gone, but what it said before is still
    /// worth reading (pitfall E10).
    deaf: bool,
}

/// What happened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Moved<'a> {
    /// All that was pending is written.
    Written,
    /// These octets came; none at the end of the stream.
    Read(&'a [u8]),
}

impl Pump {
    pub(super) fn new(stream: Box<dyn Stream>) -> Self {
        Self {
            stream,
            pending: BytesMut::new(),
            buffer: vec![0; READ].into_boxed_slice(),
            flushed: true,
            deaf: false,
        }
    }

    /// The stream alone, for a handshake: what is pending is lost.
    pub(super) fn into_stream(self) -> Box<dyn Stream> {
        self.stream
    }

    /// What is still to be written; more may be added.
    pub(super) fn pending(&mut self) -> &mut BytesMut {
        self.flushed = false;
        &mut self.pending
    }

    /// Whether the system has taken all that was to be written. While it has not,
    /// the far side can't have the last octets of it.
    pub(super) fn is_written(&self) -> bool {
        self.pending.is_empty() && self.flushed && !self.deaf
    }

    /// Writes what is pending while waiting for octets.
    ///
    /// # Errors
    /// Reading failed.
    pub(super) async fn read(&mut self) -> io::Result<&[u8]> {
        let length = poll_fn(|cx| {
            let _ = self.poll_written(cx);
            self.poll_read(cx)
        })
        .await?;
        Ok(self.buffer.get(..length).unwrap_or_default())
    }

    /// Writes what is pending, or reads if octets come first.
    ///
    /// # Errors
    /// Reading failed.
    pub(super) async fn write(&mut self) -> io::Result<Moved<'_>> {
        let length = poll_fn(|cx| match self.poll_written(cx) {
            Poll::Ready(()) => Poll::Ready(Ok(None)),
            Poll::Pending => self.poll_read(cx).map_ok(Some),
        })
        .await?;
        Ok(match length {
            Some(length) => Moved::Read(self.buffer.get(..length).unwrap_or_default()),
            None => Moved::Written,
        })
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(&mut self.buffer);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Ready once all is written and flushed; never, once writing has failed.
    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.deaf && !self.pending.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.pending)) {
                Ok(0) | Err(_) => self.deaf = true,
                Ok(written) => self.pending.advance(written),
            }
        }
        if !self.deaf && !self.flushed {
            match ready!(Pin::new(&mut self.stream).poll_flush(cx)) {
                Ok(()) => self.flushed = true,
                Err(_) => self.deaf = true,
            }
        }
        match self.deaf {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }
    }

    /// Ends the stream's writing side: close_notify, FIN.
    pub(super) async fn shut_down(&mut self) {
        let stream = &mut self.stream;
        // Nothing follows, so how it ends makes no difference.
        let _ = poll_fn(|cx| Pin::new(&mut *stream).poll_shutdown(cx)).await;
    }
}
