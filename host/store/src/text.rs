//! Text of other programs in messages: names, paths and errors that somebody else wrote.
//!
//! Responsible for: text that fits on one line and that no terminal obeys; short lists of names.
//! Never decides what a message says.

use std::path::Path;

/// A text as one line. Line breaks become blanks and control characters become `U+FFFD`, so that a name can neither
/// break a message apart nor send commands to a terminal.
pub fn one_line(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    // Blanks around a line break go with it: many libraries indent the lines of their errors.
    let parts: Vec<&str> = text.lines().map(str::trim).filter(|part| !part.is_empty()).collect();
    parts.join(" ").chars().map(|c| if c == '\t' { ' ' } else { printable(c) }).collect()
}

/// The start of a text as one line of at most `max_chars` characters. `…` stands for the rest.
pub fn one_line_start(text: &str, max_chars: usize) -> String {
    let line = one_line(text);
    if line.chars().nth(max_chars).is_none() {
        return line;
    }
    line.chars().take(max_chars.saturating_sub(1)).chain(['…']).collect()
}

/// The end of a text as one line of at most `max_chars` characters. `…` stands for the rest.
pub fn one_line_end(text: &str, max_chars: usize) -> String {
    let line = one_line(text);
    let count = line.chars().count();
    if count <= max_chars {
        return line;
    }
    ['…'].into_iter().chain(line.chars().skip(count - max_chars.saturating_sub(1))).collect()
}

/// A text of several lines: line breaks and tabs stay, all other control characters become `U+FFFD`.
pub fn printable_lines(text: &str) -> String {
    text.chars().map(|c| if matches!(c, '\n' | '\t') { c } else { printable(c) }).collect()
}

/// A path as one line.
pub fn path_text(path: &Path) -> String {
    one_line(&path.to_string_lossy())
}

/// At most `max` items, each as one line: `a, b and 3 more`. Empty if there are none.
pub fn listed<T: AsRef<str>>(items: impl IntoIterator<Item = T>, max: usize) -> String {
    let mut items = items.into_iter();
    let named: Vec<String> = items.by_ref().take(max).map(|item| one_line(item.as_ref())).collect();
    match (named.join(", "), items.count()) {
        (named, 0) => named,
        (named, more) if named.is_empty() => format!("{more}"),
        (named, more) => format!("{named} and {more} more"),
    }
}

fn printable(c: char) -> char {
    if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_replaces_breaks_and_control_characters() {
        for (text, expected) in [
            ("", ""),
            ("a  b ä", "a  b ä"),
            ("a\tb", "a b"),
            ("error:\n    expected x\r\n\n    found y\n", "error: expected x found y"),
            ("l\u{1b}[2Jab\0", "l\u{fffd}[2Jab\u{fffd}"),
        ] {
            assert_eq!(one_line(text), expected, "{text:?}");
        }
        assert_eq!(printable_lines("a\n\tb\u{7}"), "a\n\tb\u{fffd}");
        assert_eq!(path_text(Path::new("/a\n/b")), "/a /b");
    }

    #[test]
    fn long_text_is_cut_to_its_bound() {
        for (text, start, end) in [("ä23", "ä23", "ä23"), ("ä234", "ä2…", "…34"), ("1\n2\n3", "1 …", "… 3")]
        {
            assert_eq!((one_line_start(text, 3).as_str(), one_line_end(text, 3).as_str()), (start, end), "{text:?}");
        }
        assert_eq!((one_line_start("ab", 1), one_line_end("ab", 1)), ("…".to_owned(), "…".to_owned()));
    }

    #[test]
    fn listed_names_the_first_and_counts_the_rest() {
        for (items, expected) in [
            (&[][..], ""),
            (&["a"], "a"),
            (&["a", "b"], "a, b"),
            (&["a", "b\n", "c"], "a, b and 1 more"),
            (&["a", "b", "c", "d"], "a, b and 2 more"),
        ] {
            assert_eq!(listed(items, 2), expected);
        }
        assert_eq!(listed(["a", "b"], 0), "2");
    }
}
