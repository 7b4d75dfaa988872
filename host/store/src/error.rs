//! What can go wrong with a key of a store.

use crate::diagnosis::{Class, Diagnose, Diagnosis};
use crate::shortage::{SHORTAGE_HELP, is_shortage};
use std::fmt;
use std::io;

/// What can go wrong with a key.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The text is not a key.
    BadKey {
        /// The text.
        key: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A symbolic link on the way leads out of the dataset.
    LeadsOut {
        /// The key.
        key: String,
    },
    /// A symbolic link is on the way to what is to be written or deleted.
    ThroughLink {
        /// The key.
        key: String,
        /// The link.
        link: String,
    },
    /// The file has more bytes than the caller is ready to take.
    TooLarge {
        /// The key.
        key: String,
        /// The limit.
        limit: u64,
    },
    /// The operating system refused.
    Io {
        /// What was tried: `read`, `write`, `list`, `delete` and so on.
        action: &'static str,
        /// The key.
        key: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl StoreError {
    /// Whether the system had too little of something: it says nothing about what is stored.
    pub fn is_shortage(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_shortage(source))
    }

    /// What a store answers if it does not have an operation.
    pub(crate) fn unsupported(action: &'static str, key: String, why: &'static str) -> Self {
        Self::Io { action, key, source: io::Error::new(io::ErrorKind::Unsupported, why) }
    }
}

impl Diagnose for StoreError {
    fn diagnose(&self) -> Diagnosis {
        let unusable = |code, what: String| Diagnosis::new(Class::Unusable, code, what);
        match self {
            Self::BadKey { key, why } => unusable("bad_key", format!("'{key}' is not a key of a dataset")).why(why),
            Self::LeadsOut { key } => unusable("leads_out", format!("kymhost does not follow {key}"))
                .why("a symbolic link on the way leads out of the dataset")
                .help("replace the symbolic link with the file or folder that it points to"),
            Self::ThroughLink { key, link } => unusable("through_link", format!("cannot write {key}"))
                .why(format!("{link} is a symbolic link, and kymhost never writes or deletes through one"))
                .help("replace the symbolic link with the file or folder that it points to, or remove it"),
            Self::TooLarge { key, limit } => unusable("too_large", format!("cannot read {key}"))
                .why(format!("it has more than {limit} bytes, the limit for such a file")),
            Self::Io { action, key, source } if is_shortage(source) => {
                unusable("shortage", format!("the system refused to {action} {key}")).why(source).help(SHORTAGE_HELP)
            }
            Self::Io { action, key, source } => Diagnosis {
                help: io_help(source).map(str::to_owned),
                ..unusable("io", format!("cannot {action} {key}")).why(source)
            },
        }
    }
}

fn io_help(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Some("check who owns the dataset's files and their permissions"),
        io::ErrorKind::ReadOnlyFilesystem => {
            Some("the disk is mounted read-only; copy the dataset to where you may write")
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("free some space and run again; the table is as it was before")
        }
        io::ErrorKind::FileTooLarge => {
            Some("raise the file size limit (`ulimit -f`) and run again; the table is as it was before")
        }
        _ => None,
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnose().message())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_error_help_fits_the_cause() {
        let io = |kind: io::ErrorKind| StoreError::Io { action: "write", key: "d/k".into(), source: kind.into() };
        for (error, code, says, help) in [
            (StoreError::BadKey { key: "../x".into(), why: "it is empty" }, "bad_key", "'../x'", None),
            (StoreError::LeadsOut { key: "d/k".into() }, "leads_out", "d/k", Some("symbolic link")),
            (
                StoreError::ThroughLink { key: "d/l/k".into(), link: "d/l".into() },
                "through_link",
                "cannot write d/l/k: d/l is a symbolic link",
                Some("remove it"),
            ),
            (StoreError::TooLarge { key: "d/k".into(), limit: 7 }, "too_large", "7 bytes", None),
            (io(io::ErrorKind::StorageFull), "io", "cannot write d/k: ", Some("space")),
            (io(io::ErrorKind::PermissionDenied), "io", "d/k", Some("permissions")),
            (io(io::ErrorKind::Other), "io", "d/k", None),
        ] {
            let found = error.diagnose();
            assert_eq!((found.class, found.code), (Class::Unusable, code));
            assert!(error.to_string().contains(says), "{error}");
            match (found.help, help) {
                (Some(found), Some(says)) => assert!(found.contains(says), "{found}"),
                (found, says) => assert_eq!(found.as_deref(), says, "{error}"),
            }
        }
    }
}
