//! The rules that the protocol rests on, and a way for tests to break one.

/// A rule of the protocol's section 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// `resume.recv` may be older than an acknowledgement that came before it.
    OlderRecv,
    /// Tokens are accepted from the floor to the last issued.
    TokenRange,
    /// Only an acknowledgement on the newest link confirms it.
    NewestConfirms,
    /// A late resume with an older link number is refused.
    LateResume,
    /// The last acknowledgement is repeated on a new link.
    AckPerLink,
    /// A full c2b never stops the reading of the link.
    AlwaysRead,
    /// Superseded, on a link below the client's highest, is a lost link.
    LowerSuperseded,
    /// `recv` counts the chunks of an unfinished message.
    RecvCountsChunks,
}

impl Rule {
    /// All of them, in the order of the protocol's text.
    pub const ALL: [Self; 8] = [
        Self::OlderRecv,
        Self::TokenRange,
        Self::NewestConfirms,
        Self::LateResume,
        Self::AckPerLink,
        Self::AlwaysRead,
        Self::LowerSuperseded,
        Self::RecvCountsChunks,
    ];
}

/// Which rules a machine keeps: all of them, unless a simulation wants to see what breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keeps {
    broken: Option<Rule>,
}

impl Keeps {
    /// All of them.
    pub const ALL: Self = Self { broken: None };

    /// All but one. For tests that show that the rule is needed.
    pub fn all_but(rule: Rule) -> Self {
        Self { broken: Some(rule) }
    }

    pub(super) fn keeps(self, rule: Rule) -> bool {
        self.broken != Some(rule)
    }
}
