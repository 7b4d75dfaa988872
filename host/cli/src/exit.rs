//! The program's exit codes: the numbers, what they mean, and which one wins if several apply.
//!
//! This file must not decide that something failed.

use std::process::ExitCode;

/// How the program ends. The numbers are a promise to scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// The command did what it was asked to do.
    Done = 0,
    /// A bug in kymhost, or output that could not be written.
    Internal = 1,
    /// The command was used wrongly.
    Usage = 2,
    /// Some recordings failed, the others are committed. Or `verify` or `plugin check` found something.
    SomeFailed = 3,
    /// Another process holds a lock.
    Locked = 4,
    /// The dataset, the plugin or the system cannot be used as it is.
    Unusable = 5,
    /// A safety guard refused.
    Refused = 6,
    /// With `--exit-code`: stale recordings were found, or a dry run found something to do.
    StaleFound = 10,
    /// SIGINT.
    Interrupted = 130,
    /// SIGTERM.
    Terminated = 143,
}

impl Exit {
    /// Every exit code, in the order of the public table.
    pub const ALL: [Self; 10] = [
        Self::Done,
        Self::Internal,
        Self::Usage,
        Self::SomeFailed,
        Self::Locked,
        Self::Unusable,
        Self::Refused,
        Self::StaleFound,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// The first that applies wins. `Usage` is found before anything is done, so in practice it is alone.
    pub const PRECEDENCE: [Self; 9] = [
        Self::Interrupted,
        Self::Terminated,
        Self::Internal,
        Self::Usage,
        Self::Unusable,
        Self::Refused,
        Self::Locked,
        Self::SomeFailed,
        Self::StaleFound,
    ];

    /// The number.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The line of the public table.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Done => "success",
            Self::Internal => "internal error, or the output could not be written",
            Self::Usage => "wrong usage: an unknown command, option, value, recording or table",
            Self::SomeFailed => {
                "some recordings failed, the others are committed; or verify or plugin check found something"
            }
            Self::Locked => "another run holds the table; --wait SECONDS waits for it",
            Self::Unusable => "the dataset, the plugin or the system cannot be used as it is",
            Self::Refused => "refused by a safety guard, nothing was written; --yes confirms if there is that option",
            Self::StaleFound => "with --exit-code: stale recordings were found, or a dry run found something to do",
            Self::Interrupted => "interrupted (SIGINT, Ctrl-C)",
            Self::Terminated => "terminated (SIGTERM)",
        }
    }

    /// The exit code of a command to which all of these apply.
    pub fn combine(all: impl IntoIterator<Item = Self>) -> Self {
        let rank = |exit: &Self| Self::PRECEDENCE.iter().position(|p| p == exit).unwrap_or(usize::MAX);
        all.into_iter().min_by_key(rank).unwrap_or(Self::Done)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_published_numbers() {
        let numbers: Vec<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 10, 130, 143]);
    }

    #[test]
    fn first_in_precedence_wins() {
        use Exit::*;
        let falling =
            [Interrupted, Terminated, Internal, Usage, Unusable, Refused, Locked, SomeFailed, StaleFound, Done];
        for (i, &strong) in falling.iter().enumerate() {
            for &weak in &falling[i..] {
                assert_eq!(Exit::combine([strong, weak]), strong, "{strong:?} and {weak:?}");
                assert_eq!(Exit::combine([weak, strong]), strong, "{weak:?} and {strong:?}");
            }
        }
        assert_eq!(Exit::combine([]), Done);
        assert_eq!(Exit::combine([Done, SomeFailed, Locked, StaleFound, Done]), Locked);
    }
}
