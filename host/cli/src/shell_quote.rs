//! Commands that people can copy into a shell: quoting, the program's own name, the form of "next:".

use std::ffi::OsStr;
use std::fmt::Write;
use std::path::Path;

/// A path, quoted for a POSIX shell.
pub fn quoted(path: &Path) -> String {
    word(&path.to_string_lossy())
}

/// A word, quoted for a POSIX shell.
pub fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// The program as it was called, in a form that works from any folder.
pub fn program(called: &OsStr) -> String {
    let program = Path::new(called);
    // The shell finds a bare name from any folder.
    let is_name = program.components().count() < 2 && !called.to_string_lossy().contains('/');
    match std::path::absolute(program) {
        Ok(absolute) if !is_name => quoted(&absolute),
        _ => quoted(program),
    }
}

/// What to type next: `next: COMMAND`, or a line `next:` and one command per line below it.
pub fn next(commands: &[String]) -> String {
    if let [command] = commands {
        return format!("next: {command}\n");
    }
    let mut text = "next:\n".to_owned();
    for command in commands {
        let _ = writeln!(text, "  {command}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_follows_shell_rules() {
        for (path, text) in [
            ("kymhost-demo.zarr", "kymhost-demo.zarr"),
            ("/a/b_c.d", "/a/b_c.d"),
            ("a b", "'a b'"),
            ("it's", "'it'\\''s'"),
            ("$x", "'$x'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(Path::new(path)), text);
        }
    }

    #[test]
    fn program_works_from_any_folder() {
        let here = std::env::current_dir().unwrap();
        for (called, text) in [
            ("kymhost", "kymhost".to_owned()),
            ("/usr/bin/kymhost", "/usr/bin/kymhost".to_owned()),
            ("./kymhost", quoted(&here.join("kymhost"))),
            ("target/debug/kymhost", quoted(&here.join("target/debug/kymhost"))),
        ] {
            assert_eq!(program(OsStr::new(called)), text, "{called}");
        }
    }

    #[test]
    fn next_lists_commands() {
        assert_eq!(next(&["cd a".to_owned(), "make".to_owned()]), "next:\n  cd a\n  make\n");
        assert_eq!(next(&["make".to_owned()]), "next: make\n");
    }
}
