//! What a recording leaves on the disk.
//!
//! Owns the model of what is durable. Holds always: what was synced is in the
//! image; of what was not, each name, each write and each page of a write is
//! there or not as the seed says. Made by the recording disk alone.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::disk_powercut::{Fate, Step};

/// Octets that reach the disk together.
const PAGE: usize = 4096;

/// The disk's state after some steps.
pub(super) struct Image {
    fate: Fate,
    files: BTreeMap<usize, Content>,
    /// Durable names; `None` is a folder.
    names: BTreeMap<PathBuf, Option<usize>>,
    /// Changes of names not synced yet, with their steps' numbers.
    loose: Vec<(usize, Step)>,
}

/// A file's octets.
#[derive(Default)]
struct Content {
    durable: Vec<u8>,
    loose: Vec<Loose>,
}

/// A change of a file that was not synced.
struct Loose {
    number: usize,
    step: Step,
    /// A failed sync was to flush it: a later one may not.
    is_lost: bool,
}

impl Image {
    /// After these steps.
    pub(super) fn of(steps: &[Step], fate: Fate) -> Self {
        let mut image = Self {
            fate,
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            loose: Vec::new(),
        };
        for (number, step) in steps.iter().enumerate() {
            image.take(number, step);
        }
        image.cut();
        image
    }

    /// Writes it into an empty folder.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn write(&self, root: &Path) -> io::Result<()> {
        // In order of paths, so that folders come before what is in them.
        for (path, file) in &self.names {
            let target = root.join(path);
            match file {
                _ if !target.parent().is_some_and(Path::is_dir) => {}
                None => std::fs::create_dir(&target)?,
                Some(file) => {
                    let octets = self.files.get(file).map(|f| f.durable.as_slice());
                    std::fs::write(&target, octets.unwrap_or_default())?;
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, number: usize, step: &Step) {
        match step {
            Step::Folder(_) | Step::Create(_) | Step::Rename { .. } | Step::Remove(_) => {
                self.loose.push((number, step.clone()));
            }
            Step::SyncFolder(folder) => {
                let is_here = |step: &Step| named(step).parent() == Some(folder.as_path());
                let loose = std::mem::take(&mut self.loose);
                for (number, step) in loose {
                    if is_here(&step) {
                        self.name(number, &step);
                    } else {
                        self.loose.push((number, step));
                    }
                }
            }
            Step::Write { file, .. } | Step::Length { file, .. } => {
                self.files.entry(*file).or_default().loose.push(Loose {
                    number,
                    step: step.clone(),
                    is_lost: false,
                });
            }
            Step::Sync { file, is_ok } => {
                let chance = Chance(self.fate);
                let content = self.files.entry(*file).or_default();
                if !*is_ok {
                    content.loose.iter_mut().for_each(|l| l.is_lost = true);
                    return;
                }
                for loose in std::mem::take(&mut content.loose) {
                    if !loose.is_lost || chance.below(loose.number, 1, 2) == 0 {
                        content.apply(&loose.step);
                    }
                }
            }
        }
    }

    /// Power goes: decides what is there of all that was not synced.
    fn cut(&mut self) {
        let chance = Chance(self.fate);
        for (number, step) in std::mem::take(&mut self.loose) {
            if chance.below(number, 2, 2) == 0 {
                self.name(number, &step);
            }
        }
        for (file, content) in &mut self.files {
            let loose = std::mem::take(&mut content.loose);
            let last = loose.len().saturating_sub(1);
            // All of it, none, torn at the end, some of it, or some pages.
            let mode = chance.below(*file, 3, 5);
            for (place, loose) in loose.into_iter().enumerate() {
                let chosen = mode < 3 || chance.below(loose.number, 4, 2) == 0;
                match (&loose.step, mode) {
                    (_, 1) => {}
                    (Step::Write { offset, octets, .. }, 4) => {
                        content.write_pages(*offset, octets, |page| {
                            chance.below(loose.number, 5 + page as u64, 2) == 0
                        });
                    }
                    (Step::Write { offset, octets, .. }, 2 | 3) if place == last => {
                        let end = chance.below(loose.number, 5, octets.len() as u64 + 1);
                        let end = usize::try_from(end).unwrap_or(0);
                        content.write(*offset, octets.get(..end).unwrap_or_default());
                    }
                    (step, _) if chosen => content.apply(step),
                    _ => {}
                }
            }
        }
    }

    fn name(&mut self, number: usize, step: &Step) {
        match step {
            Step::Folder(path) => {
                self.names.insert(path.clone(), None);
            }
            Step::Create(path) => {
                self.names.insert(path.clone(), Some(number));
            }
            Step::Rename { file, from, to } => {
                self.names.remove(from);
                self.names.insert(to.clone(), Some(*file));
            }
            Step::Remove(path) => {
                self.names.remove(path);
            }
            Step::Write { .. } | Step::Length { .. } | Step::Sync { .. } | Step::SyncFolder(_) => {}
        }
    }
}

impl Content {
    fn apply(&mut self, step: &Step) {
        match step {
            Step::Write { offset, octets, .. } => self.write(*offset, octets),
            Step::Length { length, .. } => {
                self.durable
                    .resize(usize::try_from(*length).unwrap_or(0), 0);
            }
            _ => {}
        }
    }

    fn write(&mut self, offset: u64, octets: &[u8]) {
        let start = usize::try_from(offset).unwrap_or(0);
        let end = start + octets.len();
        if !octets.is_empty() && self.durable.len() < end {
            self.durable.resize(end, 0);
        }
        if let Some(place) = self.durable.get_mut(start..end) {
            place.copy_from_slice(octets);
        }
    }

    /// Writes some pages; the others stay as they were, or empty.
    fn write_pages(&mut self, offset: u64, octets: &[u8], is_there: impl Fn(usize) -> bool) {
        let end = usize::try_from(offset).unwrap_or(0) + octets.len();
        self.durable.resize(self.durable.len().max(end), 0);
        let mut rest = octets;
        let mut at = offset;
        while !rest.is_empty() {
            let in_page = usize::try_from(at % PAGE as u64).unwrap_or(0);
            let (now, later) = rest.split_at(rest.len().min(PAGE - in_page));
            if is_there(usize::try_from(at / PAGE as u64).unwrap_or(0)) {
                self.write(at, now);
            }
            at += now.len() as u64;
            rest = later;
        }
    }
}

/// What a change of names is about.
fn named(step: &Step) -> &Path {
    match step {
        Step::Folder(path) | Step::Create(path) | Step::Remove(path) => path,
        Step::Rename { to, .. } => to,
        Step::Write { .. } | Step::Length { .. } | Step::Sync { .. } | Step::SyncFolder(_) => {
            Path::new("")
        }
    }
}

/// The seed's decisions, each by what it is about.
#[derive(Clone, Copy)]
struct Chance(Fate);

impl Chance {
    /// A number below `bound`; 0, which stands for "as if nothing happened", if
    /// only the process died.
    fn below(self, number: usize, about: u64, bound: u64) -> u64 {
        match self.0 {
            Fate::Kill => 0,
            Fate::PowerCut(seed) => {
                mix(mix(mix(seed).wrapping_add(number as u64)).wrapping_add(about)) % bound.max(1)
            }
        }
    }
}

/// splitmix64's mixing step.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::super::{Disk, PowerCutDisk, RealDisk};
    use super::*;

    /// What `name` may hold after the cut, over many seeds; `None`: no file.
    fn outcomes(disk: &PowerCutDisk, name: &str) -> BTreeSet<Option<Vec<u8>>> {
        let seeds = (0..100).map(Fate::PowerCut);
        let outcome = |fate| {
            let folder = tempfile::tempdir().unwrap();
            disk.image(usize::MAX, fate, folder.path()).unwrap();
            std::fs::read(folder.path().join(name)).ok()
        };
        seeds.map(outcome).collect()
    }

    fn is(octets: &[u8]) -> Option<Vec<u8>> {
        Some(octets.to_vec())
    }

    #[test]
    fn what_was_synced_is_there_and_the_rest_may_be() {
        let root = tempfile::tempdir().unwrap();
        let disk = PowerCutDisk::new(Arc::new(RealDisk), root.path());
        let folder = root.path().join("f");
        disk.create_folder(&folder).unwrap();
        let file = disk.open(&folder.join("a"), true).unwrap();
        file.write_all_at(b"12", 0).unwrap();
        file.sync_data().unwrap();
        assert!(outcomes(&disk, "f/a").contains(&None));
        disk.sync_folder(&folder).unwrap();
        // The folder itself has no durable name yet.
        assert!(outcomes(&disk, "f/a").contains(&None));
        disk.sync_folder(root.path()).unwrap();
        assert_eq!(outcomes(&disk, "f/a"), [is(b"12")].into());
        file.write_all_at(b"34", 2).unwrap();
        let torn = [is(b"12"), is(b"123"), is(b"1234"), is(b"12\0\0")];
        assert_eq!(outcomes(&disk, "f/a"), torn.into());
        file.sync_data().unwrap();
        file.set_len(1).unwrap();
        assert_eq!(outcomes(&disk, "f/a"), [is(b"1"), is(b"1234")].into());
        file.sync_data().unwrap();
        disk.rename(&folder.join("a"), &folder.join("b")).unwrap();
        assert_eq!(outcomes(&disk, "f/a"), [None, is(b"1")].into());
        assert_eq!(outcomes(&disk, "f/b"), [None, is(b"1")].into());
        disk.sync_folder(&folder).unwrap();
        assert_eq!(outcomes(&disk, "f/a"), [None].into());
        disk.remove(&folder.join("b")).unwrap();
        assert_eq!(outcomes(&disk, "f/b"), [None, is(b"1")].into());
    }

    #[test]
    fn what_a_failed_sync_left_is_lost_or_not_for_good() {
        use super::super::{Fault, FaultyDisk, Operation, Planned};
        let root = tempfile::tempdir().unwrap();
        let faulty = FaultyDisk::new(Arc::new(RealDisk));
        let disk = PowerCutDisk::new(Arc::new(faulty.clone()), root.path());
        let path = root.path().join("a");
        let file = disk.open(&path, true).unwrap();
        disk.sync_folder(root.path()).unwrap();
        faulty.plan(Planned {
            operation: Operation::Sync,
            path: String::new(),
            after: 0,
            times: 1,
            fault: Fault::Error(io::ErrorKind::Other),
        });
        file.write_all_at(b"x", 0).unwrap();
        file.sync_data().unwrap_err();
        file.sync_data().unwrap();
        assert_eq!(outcomes(&disk, "a"), [is(b""), is(b"x")].into());
        let again = tempfile::tempdir().unwrap();
        let next = disk.killed(disk.now(), again.path()).unwrap();
        assert_eq!(std::fs::read(again.path().join("a")).unwrap(), b"x");
        let file = next.open(&again.path().join("a"), false).unwrap();
        file.write_all_at(b"x", 0).unwrap();
        file.sync_data().unwrap();
        assert_eq!(outcomes(&next, "a"), [is(b"x")].into());
    }
}
