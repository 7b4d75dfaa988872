//! `commands.md`: every command with its options, defaults and examples, as `--help` prints them.

use super::cell;
use crate::cli::Cli;
use clap::builder::StyledStr;
use clap::{Arg, Command, CommandFactory};
use std::fmt::Write;

/// What the page says before the commands.
const HEAD: &str = include_str!("notes/head.txt");
/// What the page says about a command beyond its help.
const NOTES: [(&str, &str); 5] = [
    ("plugin new", include_str!("notes/plugin_new.txt")),
    ("table show", include_str!("notes/table_show.txt")),
    ("dataset validate", include_str!("notes/dataset_validate.txt")),
    ("dataset view-table", include_str!("notes/dataset_view_table.txt")),
    ("demo", include_str!("notes/demo.txt")),
];

pub fn page() -> String {
    let mut command = Cli::command();
    command.build();
    let mut text = HEAD.to_owned();
    text.push_str("\n## Options of every command\n\n");
    let common: Vec<&Arg> = command.get_arguments().filter(|arg| arg.is_global_set()).collect();
    table(&mut text, &common);
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        describe(&mut text, below, "");
    }
    text
}

fn describe(text: &mut String, command: &Command, parent: &str) {
    let name = format!("{parent}{}", command.get_name());
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let _ = write!(text, "\n## `{name}`\n\n{about}.\n");
    if command.has_subcommands() {
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            describe(text, below, &format!("{name} "));
        }
        return;
    }
    let usage = command.clone().render_usage().to_string();
    let usage: Vec<&str> = usage.trim_start_matches("Usage: ").lines().map(str::trim).collect();
    let _ = write!(text, "\n```text\n{}\n```\n\n", usage.join("\n"));
    let own: Vec<&Arg> = command.get_arguments().filter(|arg| !arg.is_global_set() && arg.get_id() != "help").collect();
    if !own.is_empty() {
        table(text, &own);
        text.push('\n');
    }
    if let Some((_, note)) = NOTES.iter().find(|(of, _)| *of == name) {
        let _ = write!(text, "{}\n\n", note.trim_end());
    }
    let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let _ = write!(text, "```text\n{}\n```\n", examples.trim_end());
}

fn table(text: &mut String, arguments: &[&Arg]) {
    text.push_str("| argument or option | default | means |\n| --- | --- | --- |\n");
    for arg in arguments {
        let (help, default) = help_and_default(arg);
        let _ = writeln!(text, "| {} | {} | {} |", names(arg), cell(&default), cell(&help));
    }
}

/// An argument as it is typed.
fn names(arg: &Arg) -> String {
    let values = arg.get_value_names().filter(|_| arg.get_action().takes_values());
    let values: Vec<String> = values.into_iter().flatten().map(ToString::to_string).collect();
    let value = values.join(" ");
    let option = arg.get_long().map(|long| format!("--{long}"));
    let typed = match (option, value.is_empty()) {
        (Some(option), true) => format!("`{option}`"),
        (Some(option), false) => format!("`{option} {value}`"),
        (None, _) => format!("`{value}`"),
    };
    let short = arg.get_short().map(|short| format!("`-{short}`, ")).unwrap_or_default();
    format!("{short}{}", typed.replace('|', "\\|"))
}

/// What an argument means, with its values, and its default.
fn help_and_default(arg: &Arg) -> (String, String) {
    let help = arg.get_help().map(StyledStr::to_string).unwrap_or_default();
    let (mut help, mut default) = match help.split_once(" [default: ") {
        Some((help, default)) => (help.to_owned(), default.trim_end_matches(']').to_owned()),
        None => (help, String::new()),
    };
    if default.is_empty() && arg.get_action().takes_values() {
        let values: Vec<String> =
            arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
        default = values.join(" ");
    }
    let values = if arg.is_hide_possible_values_set() { Vec::new() } else { arg.get_possible_values() };
    let described: Vec<String> = values
        .iter()
        .filter(|_| arg.get_action().takes_values())
        .map(|value| match value.get_help() {
            Some(help) => format!("`{}`: {help}", value.get_name()),
            None => format!("`{}`", value.get_name()),
        })
        .collect();
    if !described.is_empty() {
        let _ = write!(help, ". {}", described.join("; "));
    }
    (help, default)
}
