//! Settlements, DSNs and the audit.

mod audit;
mod dsn;
mod fixture;
mod settle;
