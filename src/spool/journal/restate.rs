//! What a segment says of messages in older ones, said again in a newer one.
//!
//! A segment of which nothing lives must stay as long as the records that it says
//! something about: were it gone, a rebuild would bring settled messages back. Owns
//! what is to be said again so that it need not stay. Holds always: of a message that
//! is listed its statuses are restated as they are when that is written, by the
//! committer, who alone changes them; where a segment does not tell which older one it
//! speaks of, it stays. Called by compaction.

use std::collections::BTreeSet;
use std::io;

use tokio::sync::{mpsc, oneshot};

use crate::types::QueueId;

use super::core::{Core, get_entry};
use super::job::Job;
use super::keys::SecretKey;
use super::payload::{FollowHead, RestatementHead, decode};
use super::record::{Header, Kind};
use super::segments::{Segment, SegmentError, Segments};

/// Statuses, and messages without any, restated in one step at most.
const STEP: usize = 4096;

/// What is to be restated of one segment.
pub(super) struct Facts {
    segment: u32,
    /// The segments that it must outlive as long as nothing is restated.
    older: BTreeSet<u32>,
    /// Messages, and the segments of their records.
    facts: BTreeSet<(QueueId, u32)>,
    /// It says something that can't be restated.
    is_bound: bool,
}

impl Facts {
    /// Nothing as yet.
    pub(super) fn new(core: &Core, segment: u32) -> Self {
        let books = core.books();
        let older = books.pins.get(&segment).into_iter().flatten();
        Self {
            segment,
            older: older
                .filter(|older| books.lengths.contains_key(older))
                .copied()
                .collect(),
            facts: BTreeSet::new(),
            is_bound: false,
        }
    }

    /// Takes in a segment of which nothing lives: its headers, and the few heads that
    /// matter, since beside a queue that waits most of what flows by ends here.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) fn read_dead(
        &mut self,
        segments: &Segments,
        segment: &Segment,
    ) -> Result<(), SegmentError> {
        let length = segment.file.len()?;
        let mut offset = 0;
        while offset < length && !self.is_bound {
            let header = match segment.header(offset) {
                Ok(header) if header.record_len() <= length - offset => header,
                Ok(_) | Err(SegmentError::Damaged) => {
                    self.read_damage();
                    break;
                }
                Err(error) => return Err(error),
            };
            let sealed = match header.kind {
                Kind::Follow | Kind::Restatement => segment.sealed_head(&header, offset)?,
                _ => Vec::new(),
            };
            self.read(segments, &segment.key, &header, &sealed);
            offset += header.record_len();
        }
        Ok(())
    }

    /// Takes in a record of the segment, with its sealed head.
    pub(super) fn read(
        &mut self,
        segments: &Segments,
        key: &SecretKey,
        header: &Header,
        sealed: &[u8],
    ) {
        if self.older.is_empty() {
            return;
        }
        match header.kind {
            Kind::Settlement | Kind::Carry if header.number == 0 => self.is_bound = true,
            Kind::Settlement | Kind::Carry => self.note(header.id, header.number),
            Kind::Restatement => {
                let head = header.open_head(key, sealed).ok();
                match head.and_then(|head| decode::<RestatementHead>(&head).ok()) {
                    None => self.is_bound = true,
                    Some(head) => {
                        let facts = head.facts.iter();
                        facts.for_each(|fact| self.note(fact.id, fact.home));
                    }
                }
            }
            Kind::Follow => {
                let head = header.open_head(key, sealed).ok();
                match head.and_then(|head| decode::<FollowHead>(&head).ok()) {
                    None => self.is_bound = true,
                    Some(head) => {
                        self.is_bound |= head.previous.is_some_and(|previous| {
                            // Behind its end lies what was refused: nothing else says so.
                            let length = segments.length(previous.segment);
                            self.older.contains(&previous.segment)
                                && length.map_or(true, |length| length > previous.offset)
                        })
                    }
                }
            }
            Kind::Accept | Kind::Part | Kind::End => {}
        }
    }

    /// Takes in octets that are no sound record: what they said is not known.
    pub(super) fn read_damage(&mut self) {
        self.is_bound |= !self.older.is_empty();
    }

    fn note(&mut self, id: QueueId, home: u32) {
        if self.older.contains(&home) {
            self.facts.insert((id, home));
        }
    }

    /// Whether the segment has to stay.
    pub(super) fn is_bound(&self) -> bool {
        self.is_bound
    }

    /// Restates some; says whether there are more. After the last the segment says
    /// nothing that it is needed for.
    ///
    /// # Errors
    /// Why it had to stop for now.
    pub(super) fn step(&mut self, core: &Core, jobs: &mpsc::Sender<Job>) -> io::Result<bool> {
        if self.is_bound || self.older.is_empty() {
            return Ok(false);
        }
        let (mut facts, mut weight) = (Vec::new(), 0);
        while weight < STEP
            && let Some((id, home)) = self.facts.pop_first()
        {
            let entry = core.read(|index| get_entry(index, id));
            let entry = entry.map_err(io::Error::other)?;
            weight += 1 + entry.map_or(0, |entry| entry.recipients as usize);
            facts.push((id, home));
        }
        let is_last = self.facts.is_empty();
        let (reply, answer) = oneshot::channel();
        let job = Job::Restate {
            facts,
            gives_up: is_last.then_some(self.segment),
            reply,
        };
        let ended = |_| io::Error::other("the committer has ended");
        jobs.blocking_send(job).map_err(|_| ended(()))?;
        let answer = answer.blocking_recv().map_err(|_| ended(()))?;
        answer.map_err(io::Error::other)?;
        Ok(!is_last)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::super::payload::{Fact, Position, encode};
    use super::super::record::{Draft, HEADER_LEN};
    use super::*;
    use crate::sys::{RealDisk, SystemEntropy};

    struct Scene {
        facts: Facts,
        segments: Segments,
        key: SecretKey,
        _folder: tempfile::TempDir,
    }

    impl Scene {
        /// Segment 5, which speaks of 1 to 3.
        fn new() -> Self {
            let key = || SecretKey::generate(&SystemEntropy::default()).unwrap();
            let folder = tempfile::tempdir().unwrap();
            Self {
                facts: Facts {
                    segment: 5,
                    older: [1, 2, 3].into(),
                    facts: BTreeSet::new(),
                    is_bound: false,
                },
                segments: Segments::new(Arc::new(RealDisk), folder.path().to_owned(), key()),
                key: key(),
                _folder: folder,
            }
        }

        fn read(&mut self, kind: Kind, number: u32, head: Bytes) {
            let mut record = Vec::new();
            let draft = Draft {
                kind,
                id: id(7),
                number,
                salt: [9; 16],
                head,
                body: &[],
            };
            draft.write(&self.key, &mut record).unwrap();
            let (header, content) = record.split_at(HEADER_LEN);
            let header = Header::parse(header.try_into().unwrap()).unwrap();
            let sealed = &content[..header.head_len as usize];
            self.facts.read(&self.segments, &self.key, &header, sealed);
        }

        fn noted(&self) -> Vec<(QueueId, u32)> {
            self.facts.facts.iter().copied().collect()
        }
    }

    fn id(octet: u8) -> QueueId {
        QueueId::from_octets([octet; 12])
    }

    #[test]
    fn what_concerns_older_segments_that_are_there_is_noted_once() {
        let mut scene = Scene::new();
        for number in [2, 2, 4, 5, 1] {
            scene.read(Kind::Settlement, number, Bytes::new());
        }
        scene.read(Kind::Carry, 3, Bytes::new());
        let facts = [(id(8), 2), (id(9), 4)].map(|(id, home)| Fact {
            id,
            home,
            statuses: None,
        });
        let head = RestatementHead {
            facts: facts.into(),
        };
        scene.read(Kind::Restatement, 0, encode(&head).unwrap());
        scene.read(Kind::Accept, 0, Bytes::new());
        assert_eq!(
            scene.noted(),
            [(id(7), 1), (id(7), 2), (id(7), 3), (id(8), 2)]
        );
        assert!(!scene.facts.is_bound());
    }

    /// As a Postern wrote it that did not know of this yet.
    #[test]
    fn where_a_record_does_not_tell_of_whom_it_speaks_the_segment_stays() {
        let mut scene = Scene::new();
        scene.read(Kind::Settlement, 0, Bytes::new());
        assert!(scene.facts.is_bound());
        let mut alone = Scene::new();
        alone.facts.older.clear();
        alone.read(Kind::Settlement, 0, Bytes::new());
        alone.facts.read_damage();
        assert!(!alone.facts.is_bound());
    }

    #[test]
    fn what_cannot_be_read_or_restated_binds_it() {
        let mut scene = Scene::new();
        scene.read(Kind::Restatement, 0, Bytes::from_static(b"\xff\xff"));
        assert!(scene.facts.is_bound());
        let mut damaged = Scene::new();
        damaged.facts.read_damage();
        assert!(damaged.facts.is_bound());
        let follow = |segment| {
            let previous = Some(Position { segment, offset: 9 });
            encode(&FollowHead { previous }).unwrap()
        };
        let mut scene = Scene::new();
        scene.read(Kind::Follow, 0, follow(4));
        assert!(!scene.facts.is_bound(), "of one that is gone");
        std::fs::write(scene.segments.folder().join("00000002"), [0; 9]).unwrap();
        scene.read(Kind::Follow, 0, follow(2));
        assert!(!scene.facts.is_bound(), "nothing is behind its end");
        std::fs::write(scene.segments.folder().join("00000002"), [0; 10]).unwrap();
        scene.read(Kind::Follow, 0, follow(2));
        assert!(scene.facts.is_bound());
    }
}
