//! Whether an operation of GraphQL may be asked for twice.

use serde::Deserialize;

/// The operation of a `subscribe`.
#[derive(Deserialize)]
struct Subscribe<'a> {
    #[serde(borrow)]
    payload: Operation<'a>,
}

#[derive(Deserialize)]
struct Operation<'a> {
    #[serde(borrow)]
    query: std::borrow::Cow<'a, str>,
}

/// Whether an operation may be asked for twice: it is known, and changes nothing.
pub(super) fn is_repeatable(text: &[u8]) -> bool {
    let Ok(subscribe) = serde_json::from_slice::<Subscribe<'_>>(text) else { return false };
    !defines_mutation(&subscribe.payload.query)
}

/// Whether a document defines a mutation: the word stands outside of braces, parentheses, strings
/// and comments, where only the kinds of definitions, their names and directives stand. So something
/// that is merely called so counts, too; that costs an error where there could have been none.
fn defines_mutation(document: &str) -> bool {
    let mut depth = 0_i32;
    let (mut word, mut signs) = (String::new(), document.chars().peekable());
    while let Some(sign) = signs.next() {
        match sign {
            '#' => while signs.next_if(|next| !matches!(next, '\n' | '\r')).is_some() {},
            '"' => skip_string(&mut signs),
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth -= 1,
            _ => {}
        }
        if depth == 0 && (sign.is_alphanumeric() || sign == '_') {
            word.push(sign);
            continue;
        }
        if word == "mutation" {
            return true;
        }
        word.clear();
    }
    word == "mutation"
}

/// Skips a string behind its first quote. Of a block string (`"""`) each quote begins or ends one, which
/// comes to the same.
fn skip_string(signs: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while let Some(sign) = signs.next() {
        match sign {
            '\\' => drop(signs.next()),
            '"' => return,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutations_are_told_from_what_may_be_asked_again() {
        for document in [
            "mutation { pay }",
            "mutation Pay($a: Int = 1) { pay(a: $a) }",
            "query A { mutation }\nmutation{pay}",
            "fragment F on T { a } # mutation\n mutation M @x(a: \"}\") { ...F }",
        ] {
            assert!(defines_mutation(document), "{document}");
        }
        for document in [
            "{ mutation }",
            "query Q { a(b: \"mutation {\") }",
            "subscription S { mutation { mutation } }",
            "# mutation\nsubscription { a }",
        ] {
            assert!(!defines_mutation(document), "{document}");
        }
        assert!(!is_repeatable(br#"{"payload":{"extensions":{"persistedQuery":1}}}"#));
    }
}
