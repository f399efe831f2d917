//! Who may come in, and who may stay.

pub(crate) mod authority;
mod limits;
mod origin;
mod remote;
mod tokens;
