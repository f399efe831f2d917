//! Who may come in, and who may stay.

mod origin;
