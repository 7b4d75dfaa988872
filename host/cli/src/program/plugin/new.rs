//! `plugin new`: the folder of a new plugin, and what to type next.
//! Owns: what is said of it. Never: what is in the folder (see `author::new`).

use crate::program::args::{LangArg, PluginNewArgs};
use crate::program::documents::NewPluginDocument;
use crate::program::error::CliError;
use crate::program::exit::Exit;
use crate::program::{Context, output, typed};
use kymhost_author::new::{self, Language, PluginName, carried};
use std::path::PathBuf;

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
    let mut next = vec![format!("cd {}", typed::quoted(&folder))];
    next.extend(new::build_commands(language).iter().map(|command| (*command).to_owned()));
    next.push(format!("{} plugin check {library}", typed::program(context)));
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
            "Made {}: the indexer '{name}' in {}, with tests and a README, and plugin API {} in its folder vendor.\n",
            folder.display(),
            language.title(),
            carried::VERSION,
        )?;
        out.write_all(typed::next(&next).as_bytes())
    })?;
    Ok(Exit::Done)
}
