use super::*;
use kymhost_plugin::Refusal;
use std::os::unix::process::ExitStatusExt as _;

/// Every error has help, no help inside the message, and no stray blanks.
#[track_caller]
fn check(error: &dyn Diagnose, code: &str) {
    let said = error.diagnose();
    assert_eq!(said.code, code, "{said:?}");
    assert_eq!(error.to_string(), said.message(), "the text of an error is its message");
    let help = said.help.as_deref().unwrap_or_default();
    assert!(!help.is_empty(), "{said:?} has no help");
    for text in [said.message().as_str(), help] {
        assert!(!text.contains("help:"), "help inside of {text:?}");
        assert!(!text.contains("  ") && text.trim() == text, "stray blanks in {text:?}");
    }
}

#[test]
fn errors_have_help_and_no_stray_blanks() {
    let io = || io::Error::other("no");
    let file = || FileError { action: "write", path: "/f".into(), source: io() };
    check(&crate::new::PluginName::new("kym_a").unwrap_err(), "bad_name");
    check(&NewError::Taken { folder: "/f".into(), why: "it is not empty" }, "not_empty");
    check(&NewError::from(file()), "io");
    check(&BuildError::NoSource { path: "/f".into(), source: io() }, "io");
    check(&BuildError::from(file()), "io");
    for tool in [Tool::Cargo, Tool::Make] {
        check(&BuildError::NoTool { tool, source: io() }, "io");
        check(&BuildError::Failed { tool, folder: "/f".into(), status: ExitStatus::from_raw(256) }, "build_failed");
    }
    for kind in [SourceKind::Crate, SourceKind::Makefile, SourceKind::Folder] {
        check(&BuildError::NoPlugin { folder: "/f".into(), kind }, "no_plugin");
    }
    check(&InstallError::NoDataFolder, "no_data_folder");
    check(&InstallError::from(Refusal::new("changed", "why", "run again").of(Path::new("/l.so"))), "changed");
    check(&InstallError::from(BuildError::NoPlugin { folder: "/f".into(), kind: SourceKind::Crate }), "no_plugin");
    let taken = InstallError::NameTaken {
        name: "a".into(),
        version: "a@1".into(),
        library: "/old.so".into(),
        new: "/new.so".into(),
        new_version: "a@2".into(),
    };
    check(&taken, "name_taken");
    check(&InstallError::NotInstalled { name: "a".into(), found: "none".into() }, "not_installed");
    check(&InstallError::BadName { name: "A".into(), why: "it is odd" }, "bad_name");
    check(&InstallError::from(file()), "io");
    check(&CheckError::no_library(Path::new("/l.so"), io()), "internal");
    check(&CheckError::io("make a folder", io()), "internal");
    check(&CheckError::NoImages("/d".into()), "no_images");
    check(
        &CheckError::UnknownIndexer { library: "/l.so".into(), indexer: "a".into(), found: "b".into() },
        "unknown_plugin",
    );
}
