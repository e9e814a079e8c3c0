//! The servers' side of TLS, by OpenSSL: unlike rustls it can offer what nobody should.

use openssl::dh::Dh;
use openssl::error::ErrorStack;
use openssl::ssl::{Ssl, SslContext, SslContextBuilder, SslMethod, SslVerifyMode};
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;

use super::knobs::Knobs;
use super::stage::TlsVersion;
use crate::ca::Identity;

/// The context that the knobs describe. Security level 0 is set first, so that nothing is left
/// out of what they offer; a cipher string may raise it again with `@SECLEVEL`.
pub(super) fn context(knobs: &Knobs) -> Result<SslContext, ErrorStack> {
    let mut builder = SslContextBuilder::new(SslMethod::tls_server())?;
    builder.set_security_level(0);
    let (min, max) = knobs.versions;
    let old = min < TlsVersion::V1_2;
    if let Some(ciphers) = knobs
        .ciphers
        .as_deref()
        .or(old.then_some("ALL:@SECLEVEL=0"))
    {
        builder.set_cipher_list(ciphers)?;
    }
    if let Some(suites) = &knobs.ciphersuites {
        builder.set_ciphersuites(suites)?;
    }
    if let Some(groups) = &knobs.groups {
        builder.set_groups_list(groups)?;
    }
    if let Some(number) = knobs.tickets {
        builder.set_num_tickets(number)?;
        builder.set_session_id_context(b"postern-lab")?;
    }
    builder.set_min_proto_version(Some(min.openssl()))?;
    builder.set_max_proto_version(Some(max.openssl()))?;
    builder.set_tmp_dh(&*Dh::get_2048_256()?)?;
    match &knobs.identity {
        Some(identity) => show(&mut builder, identity)?,
        None => show(&mut builder, &Identity::self_signed(&[&knobs.name]))?,
    }
    if let Some(ca) = &knobs.client_ca {
        ask_for_certificate(&mut builder, ca)?;
    }
    Ok(builder.build())
}

/// One connection's TLS state.
pub(super) fn session(context: &SslContext) -> Result<Ssl, ErrorStack> {
    Ssl::new(context)
}

/// Puts an identity into a context, for either side.
pub(crate) fn show(builder: &mut SslContextBuilder, identity: &Identity) -> Result<(), ErrorStack> {
    let mut chain = identity.x509_chain().into_iter();
    if let Some(own) = chain.next() {
        builder.set_certificate(&own)?;
    }
    for further in chain {
        builder.add_extra_chain_cert(further)?;
    }
    builder.set_private_key(&identity.pkey())
}

/// Clients are asked for a certificate and may refuse; one that is shown must be good.
fn ask_for_certificate(builder: &mut SslContextBuilder, ca: &str) -> Result<(), ErrorStack> {
    let root = X509::from_pem(ca.as_bytes())?;
    builder.add_client_ca(&root)?;
    let mut store = X509StoreBuilder::new()?;
    store.add_cert(root)?;
    builder.set_verify_cert_store(store.build())?;
    builder.set_verify(SslVerifyMode::PEER);
    builder.set_session_id_context(b"postern-lab")
}
