//! Which segment is to be emptied next.
//!
//! Owns the two rules: by its own share of live octets, and by all that is dead. Holds
//! always: what is written to, pending, unreadable or stuck is left alone. Called by the
//! keeper.

use super::books::Books;
use super::payload::Position;

/// Below this share of live octets a segment is compacted, in percent.
const LIVE_SHARE: u64 = 20;
/// Dead octets that are borne, in segments, before the emptiest segment is compacted ...
const DEAD_BORNE: u64 = 1;
/// ... and for each live one, in percent: with what index and seals take, the spool
/// stays under twice what lies in it.
const DEAD_SHARE: u64 = 40;
/// Below this share of dead octets, in percent, emptying a segment is not worth it.
const DEAD_LEAST: u64 = 12;

/// Which segment to compact, if any.
///
/// The second rule bounds the disk. Taking the emptiest, it writes on average no more
/// than two octets and a half for each dead octet that goes. What is stuck, since it
/// can't be restated, waits for those that bind it: then these are emptied, the oldest
/// first.
pub(super) fn choose(
    books: &Books,
    segment_size: u64,
    checkpoint: Position,
    stuck: &[u32],
) -> Option<u32> {
    let may = |number: u32| {
        number < checkpoint.segment
            && !books.is_free(number, checkpoint)
            && !books.pending.contains_key(&number)
            && !books.unreadable.contains(&number)
            && !stuck.contains(&number)
    };
    let live = |number: u32| books.live_in(number);
    let candidates = || books.lengths.iter().filter(|(number, _)| may(**number));
    let sparse = candidates()
        .filter(|(number, length)| {
            live(**number) > 0 && live(**number) * 100 < **length * LIVE_SHARE
        })
        .min_by_key(|(number, _)| live(**number));
    if let Some((number, _)) = sparse {
        return Some(*number);
    }
    let all = books.live_octets();
    let dead = books.disk().saturating_sub(all);
    if dead <= (all / 100 * DEAD_SHARE).max(DEAD_BORNE * segment_size) {
        return None;
    }
    let share = |number: u32, length: u64| live(number).saturating_mul(1000) / length.max(1);
    let emptiest = candidates()
        .filter(|(number, length)| share(**number, **length) < 1000 - 10 * DEAD_LEAST)
        .min_by_key(|(number, length)| share(**number, **length));
    let binds = |number: u32| {
        let bound = stuck.iter().filter(|stuck| live(**stuck) == 0);
        let mut pins = bound.filter_map(|stuck| books.pins.get(stuck));
        pins.any(|older| older.contains(&number))
    };
    let oldest = || candidates().find(|(number, _)| binds(**number));
    emptiest.or_else(oldest).map(|(number, _)| *number)
}

#[cfg(test)]
mod tests {
    use super::super::segments::SEGMENT_SIZE;
    use super::*;

    /// Segments of 100 octets each (the rules go by shares), with these live.
    fn books(live: &[(u32, u64)], length: u64) -> Books {
        Books {
            live: live.iter().copied().collect(),
            lengths: live.iter().map(|(n, _)| (*n, length)).collect(),
            ..Books::default()
        }
    }

    fn behind(segment: u32) -> Position {
        Position { segment, offset: 0 }
    }

    #[test]
    fn the_emptiest_sparse_segment_goes_first() {
        let books = books(&[(1, 80), (2, 19), (3, 5), (4, 0), (5, 1)], 100);
        assert_eq!(choose(&books, SEGMENT_SIZE, behind(5), &[]), Some(3));
        assert_eq!(choose(&books, SEGMENT_SIZE, behind(5), &[3]), Some(2));
        assert_eq!(choose(&books, SEGMENT_SIZE, behind(5), &[2, 3]), None);
        let mut pending = books;
        pending.add_pending(3);
        assert_eq!(choose(&pending, SEGMENT_SIZE, behind(5), &[]), Some(2));
        pending.drop_pending(3);
        assert_eq!(choose(&pending, SEGMENT_SIZE, behind(5), &[]), Some(3));
    }

    #[test]
    fn with_much_that_is_dead_the_emptiest_goes_first() {
        let choose = |books: &Books| choose(books, SEGMENT_SIZE, behind(9), &[]);
        let most = SEGMENT_SIZE / 4 * 3;
        let mut some = books(
            &(1..=8).map(|n| (n, most)).collect::<Vec<_>>(),
            SEGMENT_SIZE,
        );
        assert_eq!(choose(&some), None);
        // As much dead as live is too much.
        some.live.extend((1..=8).map(|n| (n, SEGMENT_SIZE / 2)));
        assert_eq!(choose(&some), Some(1));
        some.live.insert(6, SEGMENT_SIZE / 3);
        assert_eq!(choose(&some), Some(6));
        // Moving what hardly frees anything is not worth it.
        let full = SEGMENT_SIZE / 100 * 95;
        some.live.extend((1..=8).map(|n| (n, full)));
        some.lengths.insert(9, SEGMENT_SIZE * 4);
        assert_eq!(choose(&some), None);
    }

    #[test]
    fn what_is_dead_and_pinned_is_restated() {
        let full = SEGMENT_SIZE / 100 * 95;
        let mut pinned = books(
            &(1..=8).map(|n| (n, full)).collect::<Vec<_>>(),
            SEGMENT_SIZE,
        );
        for number in 4..=8 {
            pinned.live.insert(number, 0);
            pinned.pins.insert(number, [1].into());
        }
        assert_eq!(pinned.free(behind(9)), None);
        assert_eq!(
            choose(&pinned, SEGMENT_SIZE, behind(9), &[]),
            Some(4),
            "the pinned ones weigh more than is borne"
        );
        // What can't be restated waits for the one that it is bound to.
        let bound = [4, 5, 6, 7, 8];
        assert_eq!(choose(&pinned, SEGMENT_SIZE, behind(9), &bound), Some(1));
        // One with a message that can't be moved is bound to nobody.
        pinned.live.extend(bound.map(|number| (number, 1)));
        assert_eq!(choose(&pinned, SEGMENT_SIZE, behind(9), &bound), None);
        pinned.live.extend(bound.map(|number| (number, 0)));
        pinned.live.insert(1, 0);
        assert_eq!(pinned.free(behind(9)), Some(1));
        pinned.forget(1);
        assert_eq!(pinned.free(behind(9)), Some(4));
    }
}
