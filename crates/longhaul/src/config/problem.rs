//! What is wrong with a configuration, where, and what to do: shown the way rustc shows it.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// Where a value was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// In the file, at these bytes.
    File(Range<usize>),
    /// On the command line, by this flag.
    Flag(&'static str),
    /// In this environment variable.
    Env(&'static str),
    /// Nowhere: something is missing.
    Nowhere,
}

/// One thing that is wrong (an error) or legal but dangerous (a warning).
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) is_error: bool,
    at: Origin,
    /// What is wrong, with the value.
    title: String,
    /// What is wrong at the marked place, in few words.
    label: String,
    /// What to do.
    remedy: String,
    /// What is good to know beside it.
    note: String,
}

impl Problem {
    pub(super) fn error(at: Origin, title: impl Into<String>) -> Self {
        Self {
            is_error: true,
            at,
            title: title.into(),
            label: String::new(),
            remedy: String::new(),
            note: String::new(),
        }
    }

    pub(super) fn warning(at: Origin, title: impl Into<String>) -> Self {
        Self { is_error: false, ..Self::error(at, title) }
    }

    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    pub(super) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

/// Everything that was found, with the text it was found in.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// The file, when there is one.
    pub(crate) path: Option<PathBuf>,
    /// Its text.
    pub(crate) text: String,
    /// In the order of the file, flags last.
    pub(crate) problems: Vec<Problem>,
}

impl Report {
    /// Puts the problems into the order of the file, so that the reader goes through it once.
    pub(super) fn sort(&mut self) {
        self.problems.sort_by_key(|problem| match &problem.at {
            Origin::File(span) => (0, span.start),
            Origin::Nowhere => (1, 0),
            Origin::Env(_) => (2, 0),
            Origin::Flag(_) => (3, 0),
        });
    }

    /// Whether the configuration cannot be used.
    pub(crate) fn has_errors(&self) -> bool {
        self.problems.iter().any(|problem| problem.is_error)
    }

    /// How many errors and warnings there are.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let errors = self.problems.iter().filter(|problem| problem.is_error).count();
        (errors, self.problems.len() - errors)
    }

    /// All problems with their lines, for a terminal (`is_styled`) or a file.
    pub(crate) fn render(&self, is_styled: bool) -> String {
        let renderer = if is_styled { Renderer::styled() } else { Renderer::plain() };
        let texts: Vec<String> =
            self.problems.iter().map(|problem| self.render_one(problem, &renderer)).collect();
        texts.join("\n\n")
    }

    /// One line for each warning, for the log: `longhaul.toml:3:8: …`.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = String> + '_ {
        let warnings = self.problems.iter().filter(|problem| !problem.is_error);
        warnings.map(|problem| self.line(problem))
    }

    /// All errors in the same form, one below the other.
    pub(crate) fn in_lines(&self) -> String {
        let errors = self.problems.iter().filter(|problem| problem.is_error);
        errors.map(|problem| self.line(problem)).collect::<Vec<_>>().join("\n")
    }

    fn line(&self, problem: &Problem) -> String {
        let place = self.place(&problem.at);
        let colon = if place.is_empty() { "" } else { ": " };
        let semicolon = if problem.remedy.is_empty() { "" } else { "; " };
        format!("{place}{colon}{}{semicolon}{}", problem.title, problem.remedy)
    }

    fn render_one(&self, problem: &Problem, renderer: &Renderer) -> String {
        let level = if problem.is_error { Level::ERROR } else { Level::WARNING };
        let title = match &problem.at {
            Origin::Flag(_) | Origin::Env(_) => {
                format!("{}: {}", self.place(&problem.at), problem.title)
            }
            Origin::File(_) | Origin::Nowhere => problem.title.clone(),
        };
        let path = self.path.as_deref().map(|path| path.display().to_string());
        let mut group = Group::with_title(level.primary_title(title));
        if let Origin::File(span) = &problem.at {
            let mut annotation = AnnotationKind::Primary.span(self.in_text(span));
            if !problem.label.is_empty() {
                annotation = annotation.label(problem.label.as_str());
            }
            let snippet = Snippet::source(self.text.as_str()).path(path).annotation(annotation);
            group = group.element(snippet);
        }
        if !problem.remedy.is_empty() {
            group = group.element(Level::HELP.message(problem.remedy.as_str()));
        }
        if !problem.note.is_empty() {
            group = group.element(Level::NOTE.message(problem.note.as_str()));
        }
        renderer.render(&[group])
    }

    /// `longhaul.toml:14:8`, `--ping`, `LONGHAUL_PING` or nothing.
    fn place(&self, at: &Origin) -> String {
        match at {
            Origin::File(span) => {
                let before = &self.text[..self.in_text(span).start];
                let line = before.matches('\n').count() + 1;
                let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
                let path = self.path.as_deref().map(|path| path.display().to_string());
                format!("{}:{line}:{column}", path.as_deref().unwrap_or("config"))
            }
            Origin::Flag(name) | Origin::Env(name) => (*name).to_owned(),
            Origin::Nowhere => String::new(),
        }
    }

    /// A span that surely lies in the text, on characters, and marks one line alone.
    fn in_text(&self, span: &Range<usize>) -> Range<usize> {
        let on_character = |index: usize| {
            let mut index = index.min(self.text.len());
            while !self.text.is_char_boundary(index) {
                index -= 1;
            }
            index
        };
        let start = on_character(span.start);
        let line_end = self.text[start..].find('\n').map_or(self.text.len(), |end| start + end);
        start..on_character(span.end).clamp(start, line_end)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}
