//! Where an export is written to: a file that is there whole or not at all.
//!
//! Holds always: the file is for its owner alone (mode 0600) and has a name of
//! its own until all of it is durable; what was there under its name is never
//! replaced; given up, nothing of it stays. Called by `postern spool export`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file being written.
#[derive(Debug)]
pub struct ExportFile {
    path: PathBuf,
    partial: PathBuf,
    /// `None` once it has its name.
    file: Option<File>,
}

impl ExportFile {
    /// Begins a file.
    ///
    /// # Errors
    /// What is wrong, with the file's name.
    pub fn create(path: &Path) -> Result<Self, String> {
        if fs::symlink_metadata(path).is_ok() {
            return Err(format!(
                "{} is there already: name another file, or remove that one",
                path.display()
            ));
        }
        let mut name = path.as_os_str().to_owned();
        name.push(".partial");
        let partial = PathBuf::from(name);
        // Left by an export that was killed.
        let _ = fs::remove_file(&partial);
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&partial)
            .map_err(|e| format!("{}: {e}", partial.display()))?;
        Ok(Self {
            path: path.to_owned(),
            partial,
            file: Some(file),
        })
    }

    /// Makes it durable and gives it its name.
    ///
    /// # Errors
    /// What is wrong, with the file's name; nothing of it stays.
    pub fn finish(mut self) -> Result<(), String> {
        let done = self.seal();
        if done.is_ok() {
            self.file = None;
        }
        done.map_err(|e| format!("{}: {e}; nothing was exported", self.path.display()))
    }

    fn seal(&self) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.sync_all()?;
        }
        // Unlike a rename, a link replaces nothing.
        fs::hard_link(&self.partial, &self.path).or_else(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => Err(e),
            // A file system without links.
            _ => fs::rename(&self.partial, &self.path),
        })?;
        let _ = fs::remove_file(&self.partial);
        let folder = self.path.parent().filter(|p| !p.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Write for ExportFile {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) => file.write(octets),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for ExportFile {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = fs::remove_file(&self.partial);
        }
    }
}
