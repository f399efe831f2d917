//! Who may come in, and who may stay.

mod limits;
mod origin;
