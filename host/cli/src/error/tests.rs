use super::*;
use kymhost_plugin::Refusal;
use serde_json::json;
use std::path::Path;

#[test]
fn error_document_has_published_keys() {
    let error = CliError::usage("usage", "m", "h");
    let document = |error: &CliError| serde_json::to_value(ErrorDocument::new(error)).unwrap();
    assert_eq!(
        document(&error),
        json!({"error": {"code": "usage", "message": "m", "what": "m", "why": null, "help": "h"}})
    );
    assert_eq!(
        document(&error.why("w")),
        json!({"error": {"code": "usage", "message": "m: w", "what": "m", "why": "w", "help": "h"}})
    );
}

#[test]
fn refused_plugin_keeps_what_and_help_apart() {
    let why = "it has several indexers: a, b";
    let error = CliError::from(Refusal::new("several_indexers", why, "say which").of(Path::new("l.so")));
    assert_eq!(error.message(), "cannot use l.so: it has several indexers: a, b");
    assert_eq!(error.said.help.as_deref(), Some("say which"));
}
