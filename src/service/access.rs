//! Whether the service's user may use what the configuration names, asked by root.
//!
//! Holds always: owner and mode decide, of the file and of every folder above
//! it, as they are now; access control lists are not looked at. Called by
//! `inspect`: root itself may read everything, so it would find no fault.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{User, geteuid, getgrouplist};

use crate::config::{Config, DEFAULT_PATH};

/// The user that `systemd/postern.service` runs the daemon as.
const SERVICE_USER: &str = "postern";

/// What the service does with a file or folder, as the bits of a mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Enter = 0o1,
    Read = 0o4,
    /// Read, write and enter: its own folders.
    Own = 0o7,
}

/// A user and the groups it is in.
#[derive(Debug)]
struct Who {
    uid: u32,
    groups: BTreeSet<u32>,
}

impl Who {
    fn named(name: &str) -> Option<Self> {
        let user = User::from_name(name).ok().flatten()?;
        let groups = getgrouplist(&CString::new(name).ok()?, user.gid).ok()?;
        Some(Self {
            uid: user.uid.as_raw(),
            groups: groups.into_iter().map(nix::unistd::Gid::as_raw).collect(),
        })
    }

    /// Owner, group or others: the first that fits decides alone.
    fn may(&self, what: Use, file: &Metadata) -> bool {
        let shift = if file.uid() == self.uid {
            6
        } else if self.groups.contains(&file.gid()) {
            3
        } else {
            0
        };
        let wanted = what as u32;
        (file.mode() >> shift) & wanted == wanted
    }

    /// What keeps the user from a path: a folder above it, or itself.
    fn obstacle(&self, what: Use, path: &Path) -> io::Result<Option<PathBuf>> {
        let path = path.canonicalize()?;
        let mut steps: Vec<&Path> = path.ancestors().skip(1).collect();
        steps.reverse();
        for folder in steps {
            if !self.may(Use::Enter, &folder.metadata()?) {
                return Ok(Some(folder.to_owned()));
            }
        }
        Ok(Some(path.clone()).filter(|_| !path.metadata().is_ok_and(|m| self.may(what, &m))))
    }
}

/// What the service's user can't use, as paths with words. Nothing unless root
/// asks about the service's own configuration: the one in its place, or one
/// whose data folder belongs to that user.
pub(super) fn denied(config: &Config) -> Vec<(PathBuf, String)> {
    let Some(who) = Who::named(SERVICE_USER).filter(|_| geteuid().is_root()) else {
        return Vec::new();
    };
    let owned = config.data_dir.metadata().is_ok_and(|m| m.uid() == who.uid);
    if !owned && config.path != Path::new(DEFAULT_PATH) {
        return Vec::new();
    }
    let wanted = uses(config).into_iter();
    wanted
        .filter_map(|(path, what)| {
            // What is not there (yet) is told elsewhere, or made by the service.
            let obstacle = who.obstacle(what, &path).ok().flatten()?;
            Some((path.clone(), words(&path, what, &obstacle)))
        })
        .collect()
}

/// What the service needs, each path once.
fn uses(config: &Config) -> Vec<(PathBuf, Use)> {
    let own = [
        &config.data_dir,
        &config.spool.folder,
        &config.outcome.audit_folder,
    ];
    let named = config.named.iter().filter(|named| {
        // The socket is made by the service, in a folder that systemd makes.
        named.key != "control" && named.key != "data_dir"
    });
    let unnamed = [config.path.as_path(), &config.ingress.accounts];
    let read: BTreeSet<&Path> = named
        .map(|named| named.path.as_path())
        .chain(unnamed)
        .chain([config.spool.master_key.path()])
        .collect();
    let read = read.into_iter().map(|path| (path.to_owned(), Use::Read));
    let own = own.into_iter().map(|path| (path.clone(), Use::Own));
    own.chain(read).collect()
}

fn words(path: &Path, what: Use, obstacle: &Path) -> String {
    let (path, closed) = (path.display(), obstacle.display());
    let remedy = match what {
        Use::Own => format!("chown -R {SERVICE_USER}:{SERVICE_USER} {path}"),
        _ if obstacle.is_dir() => {
            format!("chgrp {SERVICE_USER} {closed}; chmod g+rx {closed}")
        }
        _ => format!("chgrp {SERVICE_USER} {closed}; chmod g+r {closed}"),
    };
    format!("{path}: the user {SERVICE_USER} may not use {closed} (try: {remedy})")
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Somebody who owns nothing here, in the group of `path`, or in none.
    fn stranger(path: &Path, in_group: bool) -> Who {
        let group = path.metadata().unwrap().gid();
        Who {
            uid: 54_321,
            groups: in_group.then_some(group).into_iter().collect(),
        }
    }

    #[test]
    fn the_first_closed_door_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let (inner, file) = (folder.join("tls"), folder.join("tls/key.pem"));
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(&file, "key").unwrap();
        let mode = |path: &Path, mode| set_permissions(path, Permissions::from_mode(mode)).unwrap();
        let (member, other) = (stranger(&file, true), stranger(&file, false));
        let blocked = |who: &Who| who.obstacle(Use::Read, &file).unwrap();
        mode(&folder, 0o750);
        mode(&inner, 0o710);
        mode(&file, 0o640);
        assert_eq!(blocked(&member), None);
        assert_eq!(blocked(&other), Some(folder.clone()));
        mode(&file, 0o604);
        assert_eq!(blocked(&member), Some(file.clone()), "the group decides");
        mode(&inner, 0o700);
        assert_eq!(blocked(&member), Some(inner.clone()));
        mode(&inner, 0o750);
        let own = |who: &Who| who.obstacle(Use::Own, &inner).unwrap();
        assert_eq!(own(&member), Some(inner.clone()));
        mode(&inner, 0o770);
        assert_eq!(own(&member), None);
        assert!(member.obstacle(Use::Read, &folder.join("gone")).is_err());
    }
}
