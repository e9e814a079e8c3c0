//! `[pgp]` and `[smime]`.

use super::reader::Section;
use super::rule::parse_cipher;
use crate::protect::{PgpSettings, Settings, SmimeSettings};

/// Both sections. Each is what makes its method one of those that are used.
pub(super) fn read(top: &Section<'_, '_, '_>) -> Settings {
    Settings {
        pgp: read_pgp(top),
        smime: read_smime(top),
    }
}

fn read_pgp(top: &Section<'_, '_, '_>) -> Option<PgpSettings> {
    let section = top.section("pgp");
    let settings = PgpSettings {
        signing_key: section.path("signing_key"),
    };
    section.finish();
    top.has("pgp").then_some(settings)
}

fn read_smime(top: &Section<'_, '_, '_>) -> Option<SmimeSettings> {
    let section = top.section("smime");
    let certificate = section.path("signing_certificate");
    let signer = certificate.zip(section.path("signing_key"));
    if signer.is_none() && section.has("signing_certificate") != section.has("signing_key") {
        section.fault(
            section.line(),
            "smime.signing_certificate and smime.signing_key need one another",
        );
    }
    let cipher = section.parsed("cipher", parse_cipher);
    let settings = SmimeSettings {
        signer,
        authorities: section.paths("authorities").unwrap_or_default(),
        intermediates: section.paths("intermediates").unwrap_or_default(),
        revocations: section.paths("revocations").unwrap_or_default(),
        cipher: cipher.unwrap_or_default(),
    };
    section.finish();
    top.has("smime").then_some(settings)
}
