//! The kept corpora of the fuzz targets, replayed: what was found once stays mended.

// A case fails by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../fuzz/src/cases.rs"]
#[allow(unreachable_pub)]
mod cases;

use std::path::Path;

#[test]
fn every_kept_input_is_survived() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, case) in cases::CASES {
        let mut inputs = 0;
        for entry in std::fs::read_dir(corpora.join(name)).unwrap() {
            let octets = std::fs::read(entry.unwrap().path()).unwrap();
            case(&octets);
            inputs += 1;
        }
        assert!(inputs >= 3, "{name} has only {inputs} inputs");
    }
}
