//! Keys: the names of what a store holds.
//! Owns: which texts are keys. Never: touches a file system.

use super::StoreError;
use std::fmt;

/// A relative path of plain segments joined by `/`: none empty, `.` or `..`, no NUL, no `\`. The empty key is the root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// The root folder itself.
    pub fn root() -> Self {
        Self(String::new())
    }

    /// Checks a text.
    pub fn new(text: impl Into<String>) -> Result<Self, StoreError> {
        let text = text.into();
        let why = if text.is_empty() {
            Some("it is empty")
        } else if text.contains('\0') {
            Some("it has a NUL character")
        } else if text.contains('\\') {
            Some("it has a backslash")
        } else if text.split('/').any(str::is_empty) {
            Some("it has an empty segment")
        } else if text.split('/').any(|segment| segment == "." || segment == "..") {
            Some("it has a segment '.' or '..'")
        } else {
            None
        };
        match why {
            Some(why) => Err(StoreError::BadKey { key: text, why }),
            None => Ok(Self(text)),
        }
    }

    /// The key below this one.
    pub fn join(&self, below: &str) -> Result<Self, StoreError> {
        if self.0.is_empty() { Self::new(below) } else { Self::new(format!("{}/{below}", self.0)) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
