//! The man pages and completions in `docs/` say what `--help` says.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../examples/generate/pages.rs"]
mod pages;

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn man_pages_and_completions_are_in_step() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let made = pages::all().unwrap();
    assert!(made.contains_key("man/postern-account-add.8"));
    for (path, text) in &made {
        let kept = std::fs::read(docs.join(path)).unwrap_or_default();
        assert!(
            kept == *text,
            "docs/{path} is out of step: cargo run --example generate"
        );
    }
    let known: BTreeSet<&String> = made.keys().collect();
    for folder in ["man", "completions"] {
        for entry in std::fs::read_dir(docs.join(folder)).unwrap() {
            let name = format!("{folder}/{}", entry.unwrap().file_name().display());
            assert!(known.contains(&name), "docs/{name} is of no command");
        }
    }
}
