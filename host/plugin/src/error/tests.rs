use super::*;
use crate::lockfile::{Locked, Origin};
use crate::trust::{check_no_group, check_writers};
use kymhost_plugin_api::card::API;
use std::io;

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
        let digests = text.replace("it was           ", "it was ");
        assert!(!digests.contains("  ") && text.trim() == text, "stray blanks in {text:?}");
    }
}

#[test]
fn errors_have_help_and_no_stray_blanks() {
    let not_found = |similar: Option<&str>| PluginError::NotFound {
        name: "a".into(),
        searched: "/x".into(),
        found: "b".into(),
        similar: similar.map(Into::into),
    };
    check(&not_found(None), "unknown_plugin");
    check(&not_found(Some("b")), "unknown_plugin");
    check(&Refusal::new("layout", "why", "do this").of(Path::new("/l.so")), "layout");
    check(&Refusal::unreadable(&io::Error::other("no")).of(Path::new("/l.so")), "unreadable");
    check(&PluginError::worker("why"), "worker");
    check(&LockError::Busy { path: "p".into(), holder: Holder::default() }, "locked");
    check(&SchemaError::Bad("why".into()), "bad_schema");
    check(&SchemaError::Invalid(vec!["why".into()]), "params_invalid");
}

/// The help of this error was lost once, when messages and help were one text.
#[test]
fn group_writable_lock_file_has_help() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plugins.lock.json");
    std::fs::write(&file, "{}").unwrap();
    let writers = crate::trust::Writers::by_group(&file, 4242);
    let error = check_no_group(writers).unwrap_err();
    check(&error, "group_writable");
    assert!(error.diagnose().help.unwrap().contains("chmod g-w"));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
    check(&check_writers(&file, false).unwrap_err(), "world_writable");
}

#[test]
fn missing_library_has_help() {
    for origin in [Origin::default(), Origin::new("file", "/o/l.so".into())] {
        let entry = serde_json::from_value::<Locked>(serde_json::json!({
            "indexers": [{"name": "a", "analysis_version": "a@1"}], "sha256": "0".repeat(64), "file": "/no/such/l.so",
            "origin": origin, "locked_utc": "2026-01-01T00:00:00Z"
        }));
        check(&crate::missing(&entry.unwrap()).unwrap(), "missing");
    }
}

#[test]
fn refused_library_is_named_with_its_indexers() {
    let card = CardSummary { indexers: vec!["a".into(), "b".into()], plugin_api: API, needs_api: API };
    let error = Refusal::new("layout", "it is odd", "rebuild it").of(Path::new("/l.so"));
    assert_eq!(error.to_string(), "cannot use /l.so: it is odd");
    assert_eq!(error.with_card(&card).to_string(), "cannot use a, b in /l.so: it is odd");
}
