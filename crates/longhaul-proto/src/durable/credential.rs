//! What proves who somebody is, on its way through a link.

use std::fmt;

/// A credential: a token, mostly. It is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential(Box<str>);

impl Credential {
    /// Wraps one.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The credential itself, for who judges or writes it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_not_in_its_debug_form() {
        assert_eq!(format!("{:?}", Credential::new("secret")), "Credential(…)");
    }
}
