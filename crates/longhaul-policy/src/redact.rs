//! Hides secrets in what is about to be logged.
//!
//! Names stay readable and values of telling names become `***`. It errs towards hiding: a hidden
//! zip code costs nothing, a logged token does.

use std::borrow::Cow;

use crate::query::{decoded, pairs};

/// What stands where a secret was.
pub const HIDDEN: &str = "***";

/// A parameter whose name contains one of these, in any case, holds a secret.
const TELLING: &[&str] = &[
    "token",
    "jwt",
    "key",
    "secret",
    "password",
    "passwd",
    "pwd",
    "pass",
    "auth",
    "signature",
    "sig",
    "code",
    "ticket",
    "credential",
    "session",
    "cookie",
    "otp",
    "assertion",
    "saml",
    "bearer",
];

/// A parameter with one of these names exactly, in any case, holds a secret: `sid` lets its holder
/// take over an Engine.IO session.
const TELLING_WHOLE: &[&str] = &["sid", "pin", "state", "nonce", "hash"];

/// A parameter without a name that is longer than this is taken for a bare token.
const BARE_BYTES_MAX: usize = 24;

/// Returns a request target (path, and query when there is one) fit for a log.
pub fn target(path_and_query: &str) -> Cow<'_, str> {
    match path_and_query.split_once('?') {
        None => Cow::Borrowed(path_and_query),
        Some((path, raw)) => match query(raw) {
            Cow::Borrowed(_) => Cow::Borrowed(path_and_query),
            Cow::Owned(redacted) => Cow::Owned(format!("{path}?{redacted}")),
        },
    }
}

/// Returns a query string (without its `?`) fit for a log. Borrows when there is nothing to hide.
pub fn query(query: &str) -> Cow<'_, str> {
    if !pairs(query).any(|(name, value)| hides(name, value)) {
        return Cow::Borrowed(query);
    }
    let mut redacted = String::with_capacity(query.len());
    for (index, (name, value)) in pairs(query).enumerate() {
        if index > 0 {
            redacted.push('&');
        }
        match value {
            Some(_) if hides(name, value) => {
                // A name that itself looks like a token is one: `?eyJhbGciOi…=`.
                redacted.push_str(if looks_like_token(name) { HIDDEN } else { name });
                redacted.push('=');
                redacted.push_str(HIDDEN);
            }
            None if hides(name, value) => redacted.push_str(HIDDEN),
            Some(value) => {
                redacted.push_str(name);
                redacted.push('=');
                redacted.push_str(value);
            }
            None => redacted.push_str(name),
        }
    }
    Cow::Owned(redacted)
}

fn hides(name: &str, value: Option<&str>) -> bool {
    match value {
        None => looks_like_token(name) || name.len() > BARE_BYTES_MAX,
        Some("") => looks_like_token(name),
        Some(value) => {
            is_telling(name)
                || looks_like_token(name)
                || looks_like_token(&decoded(value))
                // Some servers split at `;` as well: `a=1;token=x` must not slip through.
                || value.split(';').skip(1).any(|piece| {
                    is_telling(piece.split('=').next().unwrap_or(piece))
                })
        }
    }
}

/// Whether logs hide what a parameter of this name holds.
pub fn hides_values_of(name: &str) -> bool {
    is_telling(name)
}

fn is_telling(name: &str) -> bool {
    let name = decoded(name).to_ascii_lowercase();
    TELLING.iter().any(|word| name.contains(word)) || TELLING_WHOLE.contains(&name.as_str())
}

/// JSON web tokens start with the encoding of `{"`.
fn looks_like_token(text: &str) -> bool {
    text.contains("eyJ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(input: &str, expected: &str) {
        assert_eq!(query(input), expected);
    }

    #[test]
    fn values_of_telling_names_are_hidden_and_names_stay() {
        check("access_token=abc&room=7", "access_token=***&room=7");
        check("EIO=4&transport=polling&t=x1&sid=abc", "EIO=4&transport=polling&t=x1&sid=***");
        check(
            "API_KEY=k&Password=p&X-Amz-Signature=s",
            "API_KEY=***&Password=***&X-Amz-Signature=***",
        );
        check("%74oken=abc", "%74oken=***");
        check("code=1&jwt=2&ticket=3&auth=4", "code=***&jwt=***&ticket=***&auth=***");
        check("token=a=b=c", "token=***");
        check("room=1;token=abc", "room=***");
    }

    #[test]
    fn tokens_without_a_telling_name_are_hidden() {
        check("q=eyJhbGciOiJIUzI1NiJ9.e30.x", "q=***");
        check("eyJhbGciOiJIUzI1NiJ9", "***");
        check("eyJhbGciOiJIUzI1NiJ9=", "***=***");
        check("abcdefghijklmnopqrstuvwxyz0123456789&a=1", "***&a=1");
    }

    #[test]
    fn harmless_queries_are_left_alone_without_a_copy() {
        for harmless in ["", "room=7&user=ann", "token=", "token", "a&b=&=c"] {
            assert!(matches!(query(harmless), Cow::Borrowed(_)), "{harmless}");
        }
        assert_eq!(target("/ws?token=abc"), "/ws?token=***");
        assert_eq!(target("/ws/token/abc"), "/ws/token/abc");
    }

    proptest! {
        #[test]
        fn no_secret_is_left_whatever_surrounds_it(
            before in "[a-z0-9=&%;.]{0,20}",
            prefix in "[a-zA-Z_]{0,5}",
            word in prop::sample::select(TELLING),
            after in "[a-z0-9=&%;.]{0,20}",
        ) {
            let query = format!("{before}&{prefix}{word}=S3CRET&{after}");
            prop_assert!(!super::query(&query).contains("S3CRET"));
        }

        #[test]
        fn names_and_harmless_values_stay(value in "[0-9]{1,10}", page in "[0-9]{1,5}") {
            let query = format!("room={value}&token=x&page={page}");
            prop_assert_eq!(super::query(&query), format!("room={value}&token=***&page={page}"));
        }
    }
}
