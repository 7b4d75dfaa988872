//! Where paths really lead: whether two places share files, including links and folders that do not exist yet.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// A path as the system would walk it: links are followed as far as files exist; what does not exist yet is kept
/// as it is written.
pub fn real(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mut walked = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::ParentDir => drop(walked.pop()),
            Component::CurDir => {}
            other => {
                walked.push(other);
                if let Ok(real) = fs::canonicalize(&walked) {
                    walked = real;
                }
            }
        }
    }
    walked
}

/// Whether a place is the other one, or inside it.
pub fn is_within(place: &Path, other: &Path) -> bool {
    real(place).starts_with(real(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn place_follows_links() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("data/images")).unwrap();
        fs::create_dir_all(at("other")).unwrap();
        symlink(at("data"), at("link")).unwrap();
        symlink("../data/images", at("other/deep")).unwrap();
        for (place, expected) in [
            ("data", true),
            ("data/", true),
            ("data/images/x/y", true),
            ("data/not/there", true),
            ("link", true),
            ("link/new/folder", true),
            ("other/deep", true),
            ("other/deep/new", true),
            // As the system has it, `..` behind a link is the folder above that to which it leads.
            ("other/deep/../x", true),
            ("other/../data", true),
            ("other/new/../../data", true),
            ("data/..", false),
            ("data2", false),
            ("other", false),
            ("other/new", false),
            (".", false),
        ] {
            assert_eq!(is_within(&at(place), &at("data")), expected, "{place}");
            assert_eq!(is_within(&at(place), &at("link")), expected, "{place} of the link");
        }
    }
}
