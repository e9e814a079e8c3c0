//! The escapes of the dialogs in `tests/dialogs`, whose README.md tells them.
//!
//! For tests alone, and here because both sides' tests read dialogs.

/// `\r`, `\n`, `\t`, `\0`, `\\`, `\xNN`, and `\*N x` for N times `x`.
pub(crate) fn unescape(text: &str) -> String {
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
                out.push(char::from(u8::from_str_radix(&digits, 16).unwrap()));
            }
            '*' => {
                let count: String = rest.by_ref().take_while(|c| *c != ' ').collect();
                let what = rest.next().expect("a character to repeat");
                out.extend(std::iter::repeat_n(what, count.parse().unwrap()));
            }
            other => out.push(other),
        }
    }
    out
}
