//! Keys: the names of what a store holds. Never touches a file system.

use crate::StoreError;
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
        match fault(&text) {
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

    /// Whether this is the root folder.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The folder of the key, and its last segment; `None` for the root.
    pub fn split(&self) -> Option<(Key, &str)> {
        if self.is_root() {
            return None;
        }
        match self.0.rsplit_once('/') {
            Some((folder, name)) => Some((Key(folder.to_owned()), name)),
            None => Some((Key::root(), &self.0)),
        }
    }
}

/// What keeps a text from being a key. One pass: this is asked for every file of every image.
fn fault(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("it is empty");
    }
    let mut length = 0usize;
    let mut only_dots = true;
    for byte in text.bytes().chain(std::iter::once(b'/')) {
        match byte {
            0 => return Some("it has a NUL character"),
            b'\\' => return Some("it has a backslash"),
            b'/' => {
                if length == 0 {
                    return Some("it has an empty segment");
                }
                if only_dots && length <= 2 {
                    return Some("it has a segment '.' or '..'");
                }
                length = 0;
                only_dots = true;
            }
            _ => {
                length += 1;
                only_dots &= byte == b'.';
            }
        }
    }
    None
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_accepts_plain_segments_only() {
        for good in ["a", "a/b", "images/1/.zgroup", "...", "a/..b", "ä/ö", "a b", ".hidden"] {
            assert!(Key::new(good).is_ok(), "{good:?}");
        }
        for bad in ["", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a/.", "a\\b", "a\0b", "..\\x"] {
            assert!(Key::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn key_splits_into_folder_and_name() {
        for (text, folder, name) in [("a", "", "a"), ("a/b", "a", "b"), ("a/b/c", "a/b", "c")] {
            let key = Key::new(text).unwrap();
            let (found, last) = key.split().unwrap();
            assert_eq!((found.as_str(), last), (folder, name));
        }
        assert!(Key::root().split().is_none());
    }
}
