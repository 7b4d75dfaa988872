//! `plugin new`: makes the folder of a new plugin and prints what to type next.
//!
//! This file must not know what is in the folder: see [`kymhost_author::new`].

use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::{output, shell_quote};
use clap::{Args, ValueEnum};
use kymhost_author::new::{self, Language, PluginName, carried};
use serde::Serialize;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  kymhost plugin new stalls
  kymhost plugin new stalls --lang c
  kymhost plugin new stalls --path ~/src/stall-indexer

The new plugin builds and passes its tests as it is. The commands to type next are printed. All that
it needs of kymhost is in its vendor folder. A folder that is not empty is never changed.";

/// Arguments of `plugin new`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PluginNewArgs {
    /// Name the indexer and its table: a letter, then a-z, 0-9 and _
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Write it in this language
    #[arg(long, value_enum, value_name = "LANG", default_value = "rust")]
    pub lang: LangArg,
    /// Create this folder, which must not exist or must be empty [default: NAME]
    #[arg(long, value_name = "DIR")]
    pub path: Option<PathBuf>,
}

/// The language of a new plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LangArg {
    /// A Rust crate
    Rust,
    /// A folder with a Makefile. It needs neither Rust nor any library
    C,
}

/// `plugin new --json`
#[derive(Debug, Serialize)]
pub struct NewPluginDocument<'a> {
    /// The indexer's name.
    pub name: &'a str,
    /// What it is written in, as `--lang` takes it.
    pub lang: &'static str,
    /// The folder that was made.
    pub folder: String,
    /// The library that a build makes, within the folder.
    pub library: String,
    /// The files in the folder.
    pub files: Vec<&'a str>,
    /// The commands to type next, in order.
    pub next: &'a [String],
}

/// Does `plugin new`.
pub fn new(context: &Context, args: &PluginNewArgs) -> Result<Exit, CliError> {
    let name = PluginName::new(&args.name)?;
    let (language, lang) = match args.lang {
        LangArg::Rust => (Language::Rust, "rust"),
        LangArg::C => (Language::C, "c"),
    };
    let folder = args.path.clone().unwrap_or_else(|| PathBuf::from(name.as_str()));
    let files = new::files(&name, language);
    new::write(&folder, &files)?;

    let library = new::library(&name, language);
    let mut next = vec![format!("cd {}", shell_quote::quoted(&folder))];
    next.extend(new::build_commands(language).iter().map(|command| (*command).to_owned()));
    next.push(format!("{} plugin check {library}", shell_quote::program(&context.program)));
    if context.json {
        output::document(&NewPluginDocument {
            name: name.as_str(),
            lang,
            folder: folder.display().to_string(),
            library,
            files: files.iter().map(|file| file.path.as_str()).collect(),
            next: &next,
        })?;
        return Ok(Exit::Done);
    }
    output::to_stdout(|out| {
        writeln!(
            out,
            "Created {}: the indexer '{name}' in {}, with tests and a README. Its folder vendor has plugin API {}.\n",
            folder.display(),
            language.title(),
            carried::VERSION,
        )?;
        out.write_all(shell_quote::next(&next).as_bytes())
    })?;
    Ok(Exit::Done)
}
