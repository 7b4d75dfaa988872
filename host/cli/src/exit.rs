//! The program's exit codes: the public table, and which one wins where several hold.
//! Owns: the numbers, their meaning in words, their precedence. Never: decides that something failed.

use std::process::ExitCode;

/// How the program ends. The numbers are a promise to scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// All that was asked for is done.
    Done = 0,
    /// A bug of ours, or output that could not be written.
    Internal = 1,
    /// The command line asks for what cannot be.
    Usage = 2,
    /// Some images failed; the others are committed. Or `verify` found something.
    SomeFailed = 3,
    /// Another run holds the table.
    Locked = 4,
    /// The dataset or the plugin cannot be used.
    Unusable = 5,
    /// A safety guard refused.
    Refused = 6,
    /// `--exit-code`: stale images were found, or a dry run would do something.
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

    /// First that holds wins. `Usage` is found before anything is done, so it stands alone in practice.
    const PRECEDENCE: [Self; 9] = [
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
            Self::Done => "done",
            Self::Internal => "internal error",
            Self::Usage => "wrong usage (an unknown option, mode, image or table)",
            Self::SomeFailed => {
                "some images failed; the others are committed (verify, plugin check: something was found)"
            }
            Self::Locked => "another run holds this table (--wait SECONDS waits for it)",
            Self::Unusable => "the dataset or the plugin cannot be used",
            Self::Refused => "refused by a safety guard; nothing was written (--yes where it is meant)",
            Self::StaleFound => "stale images found (--exit-code of status, explain and run --dry-run)",
            Self::Interrupted => "interrupted (SIGINT)",
            Self::Terminated => "terminated (SIGTERM)",
        }
    }

    /// The one exit code of a command of which all of these hold.
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
    fn the_numbers_are_the_published_ones() {
        let numbers: Vec<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 10, 130, 143]);
    }

    #[test]
    fn the_first_in_precedence_wins_in_either_order() {
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
