//! Who may come in, and who may stay.

mod authority;
mod limits;
mod origin;
mod remote;
mod tokens;
