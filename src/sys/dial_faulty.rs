//! A dialler whose connections break on demand: the twin of the real one.
//!
//! Owns a plan of breaks in front of another [`Dialler`], and the record of what
//! each connection carried. Holds always: without a break due, every octet goes
//! through unchanged, in both directions; what a connection carries is counted in
//! turns (a turn is all that goes one way before something goes the other), so that
//! a test can first watch a good talk and then break it at each of its steps, even
//! where a turn is a few octets longer the next time (signatures are). Passed in as
//! a port; nothing in the daemon knows of it.

use std::cmp::Ordering;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::dial::{Dialler, Stream};
use crate::types::BoxFuture;

/// Which way octets go, seen from the one who dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the far side.
    In,
    /// To the far side.
    Out,
}

/// How a connection breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkFault {
    /// A reset: both directions end with an error, and the far side sees the end.
    Reset,
    /// An orderly end, as a server that is stopped makes one.
    Close,
    /// Nothing moves any more, and nothing more can be written.
    Stall,
    /// The far side vanishes without a word: what is written is taken by the
    /// system, and nothing comes back.
    Vanish,
    /// One octet a second from here on, each way.
    Drip,
}

/// Where and how one connection breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Break {
    /// Which connection, from 0 in the order dialled.
    pub connection: usize,
    /// In which of its turns, from 0 ...
    pub turn: usize,
    /// ... when so many octets of it have passed; at 0, when the first would.
    pub octets: usize,
    /// How.
    pub fault: LinkFault,
}

/// The failing dialler. Clones share plan and record.
#[derive(Clone)]
pub struct FaultyDialler {
    inner: Arc<dyn Dialler>,
    shared: Arc<Mutex<Shared>>,
}

impl std::fmt::Debug for FaultyDialler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FaultyDialler")
    }
}

#[derive(Debug, Default)]
struct Shared {
    planned: Option<Break>,
    /// Of each connection its turns: which way, how many octets.
    turns: Vec<Vec<(Way, usize)>>,
    open: usize,
}

impl FaultyDialler {
    /// In front of `inner`, without a break.
    #[must_use]
    pub fn new(inner: Arc<dyn Dialler>) -> Self {
        Self {
            inner,
            shared: Arc::default(),
        }
    }

    /// Forgets what was, and has one connection of those to come break.
    pub fn plan(&self, planned: Option<Break>) {
        let mut shared = self.lock();
        shared.planned = planned;
        shared.turns.clear();
    }

    /// What each connection since carried.
    #[must_use]
    pub fn turns(&self) -> Vec<Vec<(Way, usize)>> {
        self.lock().turns.clone()
    }

    /// How many connections are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.lock().open
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dialler for FaultyDialler {
    fn dial(
        &self,
        to: SocketAddr,
        from: Option<IpAddr>,
    ) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let (dialler, dialling) = (self.clone(), self.inner.dial(to, from));
        Box::pin(async move {
            let inner = dialling.await?;
            let mut shared = dialler.lock();
            let number = shared.turns.len();
            let planned = shared.planned.filter(|b| b.connection == number);
            shared.turns.push(Vec::new());
            shared.open += 1;
            drop(shared);
            let link = Link {
                dialler,
                number,
                inner: Some(inner),
                planned,
                broken: None,
                next: None,
            };
            Ok(Box::new(link) as Box<dyn Stream>)
        })
    }
}

/// One connection.
struct Link {
    dialler: FaultyDialler,
    number: usize,
    /// `None` after it was reset or closed.
    inner: Option<Box<dyn Stream>>,
    planned: Option<Break>,
    broken: Option<LinkFault>,
    /// When the next octet may pass, of those that drip.
    next: Option<Pin<Box<Sleep>>>,
}

impl Link {
    /// How many octets may pass this way before the connection breaks.
    fn left(&self, way: Way) -> usize {
        let Some(planned) = self.planned else {
            return usize::MAX;
        };
        let shared = self.dialler.lock();
        let turns = shared.turns.get(self.number);
        let last = turns.and_then(|turns| turns.last().copied());
        let begun = turns.map_or(0, Vec::len);
        let (turn, passed) = match last {
            Some((last, octets)) if last == way => (begun.saturating_sub(1), octets),
            _ => (begun, 0),
        };
        match turn.cmp(&planned.turn) {
            Ordering::Less => usize::MAX,
            Ordering::Equal => planned.octets.saturating_sub(passed),
            Ordering::Greater => 0,
        }
    }

    fn break_now(&mut self) {
        self.broken = self.planned.take().map(|planned| planned.fault);
        if let Some(LinkFault::Reset | LinkFault::Close) = self.broken {
            self.inner = None;
        }
    }

    /// Reads from the far side.
    fn take(
        &mut self,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
        room: usize,
    ) -> Poll<io::Result<()>> {
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(Err(reset()));
        };
        let mut octets = vec![0; room.min(into.remaining())];
        let mut part = ReadBuf::new(&mut octets);
        ready!(Pin::new(inner).poll_read(context, &mut part))?;
        // Not before there is something to read: until then the turn has not begun.
        if self.left(Way::In) == 0 {
            self.break_now();
            if self.broken != Some(LinkFault::Drip) {
                return self.broken_read();
            }
        }
        let read = part.filled();
        into.put_slice(read);
        self.note(Way::In, read.len());
        Poll::Ready(Ok(()))
    }

    /// What reading comes to where no octet can come.
    fn broken_read(&self) -> Poll<io::Result<()>> {
        match self.broken {
            Some(LinkFault::Reset) => Poll::Ready(Err(reset())),
            Some(LinkFault::Close) => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }

    fn note(&self, way: Way, octets: usize) {
        let mut shared = self.dialler.lock();
        let Some(turns) = shared.turns.get_mut(self.number) else {
            return;
        };
        match turns.last_mut() {
            _ if octets == 0 => {}
            Some((last, sum)) if *last == way => *sum += octets,
            _ => turns.push((way, octets)),
        }
    }

    /// Waits until the next octet may pass.
    fn poll_drop(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let sleep = self
            .next
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + Duration::from_secs(1))));
        ready!(sleep.as_mut().poll(context));
        self.next = None;
        Poll::Ready(())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let mut shared = self.dialler.lock();
        shared.open = shared.open.saturating_sub(1);
    }
}

fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.broken {
            None => {
                let room = self.left(Way::In).max(1);
                self.take(context, into, room)
            }
            Some(LinkFault::Drip) => {
                ready!(self.poll_drop(context));
                self.take(context, into, 1)
            }
            Some(_) => self.broken_read(),
        }
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut room = self.left(Way::Out);
        if room == 0 {
            self.break_now();
        }
        match self.broken {
            None => {}
            Some(LinkFault::Reset | LinkFault::Close) => return Poll::Ready(Err(reset())),
            Some(LinkFault::Stall) => return Poll::Pending,
            Some(LinkFault::Vanish) => return Poll::Ready(Ok(octets.len())),
            Some(LinkFault::Drip) => {
                ready!(self.poll_drop(context));
                room = 1;
            }
        }
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(Err(reset()));
        };
        let part = octets.get(..room).unwrap_or(octets);
        let written = ready!(Pin::new(inner).poll_write(context, part))?;
        self.note(Way::Out, written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match (self.broken, &mut self.inner) {
            (Some(LinkFault::Stall), _) => Poll::Pending,
            (None | Some(LinkFault::Drip), Some(inner)) => Pin::new(inner).poll_flush(context),
            (Some(LinkFault::Vanish), _) => Poll::Ready(Ok(())),
            _ => Poll::Ready(Err(reset())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match (self.broken, &mut self.inner) {
            (Some(LinkFault::Stall), _) => Poll::Pending,
            (None | Some(LinkFault::Drip), Some(inner)) => Pin::new(inner).poll_shutdown(context),
            _ => Poll::Ready(Ok(())),
        }
    }
}
