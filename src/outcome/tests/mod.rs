//! Settlements, DSNs and the audit.

mod audit;
mod audit_chain;
mod audit_domain;
mod audit_folder;
mod audit_writing;
mod dsn;
mod fixture;
mod settle;
