//! Where a script goes that must run before all others of a page: behind the start tag of its head.
//!
//! The page is neither held nor changed here; whoever streams it asks piece by piece. A page without a
//! `<head>` tag has no such place: HTML allows it, and then nobody guesses.
//!
//! Start at [`HeadFinder::feed`].

/// How far into a page its head may begin, in bytes. Comments and a DOCTYPE come before it, no more.
const SEARCHED_BYTES_MAX: usize = 64 * 1024;

/// Looks for the end of a page's `<head>` tag.
#[derive(Debug, Default)]
pub struct HeadFinder {
    state: State,
    searched_bytes: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// Behind `<` and so many letters of `head`.
    Name(usize),
    /// Inside the tag, and inside quotes of this kind.
    Tag(Option<u8>),
    /// Inside a comment, behind so many of the `-->` that ends it.
    Comment(usize),
    /// Behind `<!` and so many of the dashes that make a comment of it.
    Declaration(usize),
    Done,
}

impl HeadFinder {
    /// Reads the next piece of the page. Returns once, with how many bytes of this piece lie before
    /// the place.
    pub fn feed(&mut self, piece: &[u8]) -> Option<usize> {
        for (at, byte) in piece.iter().enumerate() {
            if self.state == State::Done || self.searched_bytes == SEARCHED_BYTES_MAX {
                self.state = State::Done;
                return None;
            }
            self.searched_bytes += 1;
            self.state = self.state.after(*byte);
            if self.state == State::Done {
                return Some(at + 1);
            }
        }
        None
    }
}

impl State {
    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Name(0), b'!') => Self::Declaration(0),
            (Self::Name(4), b' ' | b'\t' | b'\n' | b'\r' | b'\x0c' | b'/') => Self::Tag(None),
            (Self::Name(4) | Self::Tag(None), b'>') => Self::Done,
            (Self::Name(seen), _) if b"head".get(seen) == Some(&byte.to_ascii_lowercase()) => {
                Self::Name(seen + 1)
            }
            (Self::Tag(None), b'"' | b'\'') => Self::Tag(Some(byte)),
            (Self::Tag(Some(quote)), _) if byte == quote => Self::Tag(None),
            (Self::Tag(_) | Self::Done, _) => self,
            (Self::Declaration(0), b'-') => Self::Declaration(1),
            (Self::Declaration(1), b'-') => Self::Comment(0),
            (Self::Comment(2), b'>') => Self::Text,
            (Self::Comment(dashes), b'-') => Self::Comment((dashes + 1).min(2)),
            (Self::Comment(_), _) => Self::Comment(0),
            (Self::Text | Self::Name(_) | Self::Declaration(_), b'<') => Self::Name(0),
            (Self::Text | Self::Name(_) | Self::Declaration(_), _) => Self::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The place in `page`, however it is cut into pieces.
    #[track_caller]
    fn check(page: &str, expected: Option<&str>) {
        for size in 1..=page.len().max(1) {
            let mut finder = HeadFinder::default();
            let mut passed = 0;
            let mut found = None;
            for piece in page.as_bytes().chunks(size) {
                if let Some(at) = finder.feed(piece) {
                    assert_eq!(found.replace(passed + at), None, "{page}: found twice");
                }
                passed += piece.len();
            }
            assert_eq!(found.map(|at| &page[..at]), expected, "in pieces of {size}");
        }
    }

    #[test]
    fn the_place_is_behind_the_heads_start_tag() {
        check("<!DOCTYPE html><html><head><title>x</title>", Some("<!DOCTYPE html><html><head>"));
        check("<HTML>\n<HEAD\n>x", Some("<HTML>\n<HEAD\n>"));
        check("<head data-x=\"a>b\" lang='>'>x", Some("<head data-x=\"a>b\" lang='>'>"));
        check("<<head>", Some("<<head>"));
    }

    #[test]
    fn what_only_looks_like_it_is_passed_by() {
        check("<header>x</header>", None);
        check("</head>", None);
        check("<html>head></html>", None);
        check("", None);
        check("<!-- <head> --><head>", Some("<!-- <head> --><head>"));
        check("<!-- ---> <head>", Some("<!-- ---> <head>"));
        check("<!-head><head>", Some("<!-head><head>"));
    }

    #[test]
    fn a_page_that_does_not_begin_with_its_head_is_left_alone() {
        let mut finder = HeadFinder::default();
        assert_eq!(finder.feed(&vec![b'x'; SEARCHED_BYTES_MAX]), None);
        assert_eq!(finder.feed(b"<head>"), None);
    }
}
