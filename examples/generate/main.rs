//! Writes the man pages and the shell completions anew: `cargo run --example generate`.
//!
//! An example, so that what it needs is in no binary that anyone installs.

mod pages;

use std::path::Path;

fn main() -> std::io::Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for folder in ["man", "completions"] {
        // Pages of commands that are gone go too.
        let folder = docs.join(folder);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(folder)?;
    }
    for (path, text) in pages::all()? {
        std::fs::write(docs.join(path), text)?;
    }
    Ok(())
}
