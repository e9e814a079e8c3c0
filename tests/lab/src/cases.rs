//! The files of `tests/dialogs`: a file is a case, so a new case needs no code.
//!
//! Owns where they are and how octets are written in them; `tests/dialogs/README.md`
//! tells the formats, and each folder's player reads its own.

use std::path::Path;

/// The cases of a folder: each file's name and text, in the names' order.
///
/// Panics where the folder holds fewer than `least`, so that cases are not lost unseen.
pub fn cases(folder: &str, least: usize) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../dialogs")
        .join(folder);
    let entries = std::fs::read_dir(&folder).expect("a folder of dialogs");
    let mut cases: Vec<(String, String)> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "txt"))
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy();
            let text = std::fs::read_to_string(&path).expect("a readable dialog");
            (name.into_owned(), text)
        })
        .collect();
    cases.sort();
    let found = cases.len();
    assert!(found >= least, "only {found} dialogs in {folder:?}");
    cases
}

/// The lines of a case that say something: neither empty nor a comment, each as its first word
/// and the rest.
pub fn lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(' ').unwrap_or((line, "")))
}

/// Undoes the escapes: `\r`, `\n`, `\t`, `\0`, `\\`, `\xNN`, and `\*N x` for N times `x`.
pub fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match rest.next().expect("something behind a backslash") {
            'r' => out.push('\r'),
            'n' => out.push('\n'),
            't' => out.push('\t'),
            '0' => out.push('\0'),
            'x' => {
                let digits: String = rest.by_ref().take(2).collect();
                out.push(char::from(
                    u8::from_str_radix(&digits, 16).expect("two hex digits"),
                ));
            }
            '*' => {
                let count: String = rest.by_ref().take_while(|c| *c != ' ').collect();
                let what = rest.next().expect("a character to repeat");
                let count = count.parse().expect("a number of times");
                out.extend(std::iter::repeat_n(what, count));
            }
            other => out.push(other),
        }
    }
    out
}
