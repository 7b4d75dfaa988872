//! Checks of params, and of the schema that the plugin declares for them.

use crate::check::checks::hashes::is_odd;
use crate::check::report::{Judged, Outcome, Status};
use crate::check::subject::{Scratch, Subject};
use kymhost_dataset::artifact_keys;
use kymhost_plugin::{MAX_PARAMS_BYTES, Schema, is_same_value};
use kymhost_plugin_api::{Artifact, ArtifactKind, Json, canonical_json, params_hash};
use std::fs;
use std::io;

pub(crate) fn params_agree(subject: &Subject<'_>) -> Judged {
    for (record, hash) in subject.repeating_hashes()? {
        if is_odd(&hash) {
            return Err(Outcome::skipped("its params hash is not valid: see hash_form"));
        }
        let params = subject.indexer.params(&record);
        let Some(params) = params.filter(|params| canonical_json(params).len() <= MAX_PARAMS_BYTES) else {
            return Err(Outcome::warned(
                "params_hash works, but params gives an error, no JSON or more than 64 KiB: `kymhost explain` cannot show it",
            ));
        };
        let expected = params_hash(&params);
        if hash != expected {
            return Err(Outcome::warned(format!(
                "params_hash is {hash}, but the hash of params is {expected}: `kymhost explain` does not show what decides",
            )));
        }
    }
    Ok("params_hash is the hash of params".to_owned())
}

/// One value of each type that params cannot have.
const NOT_PARAMS: [&str; 5] = ["null", "true", "1", "\"text\"", "[]"];

pub(crate) fn params_schema(subject: &Subject<'_>) -> Judged {
    let schema = match Schema::parse(&subject.indexer.info().params_schema) {
        Ok(Some(schema)) => schema,
        Ok(None) => return Ok("it declares none".to_owned()),
        Err(error) => return Err(Outcome::failed(error.to_string())),
    };
    let judged = judge_schema(subject, &schema);
    if schema.unchecked().is_empty() {
        return judged;
    }
    let unchecked = format!("kymhost does not check {}, so params has to", schema.unchecked().join(", "));
    match judged {
        Ok(_) => Err(Outcome::warned(unchecked)),
        Err(Outcome { status: Status::Warned, message }) => Err(Outcome::warned(format!("{message}; {unchecked}"))),
        other => other,
    }
}

fn judge_schema(subject: &Subject<'_>, schema: &Schema) -> Judged {
    let info = subject.indexer.info();
    let parsed = |text: &str| Json::parse(text.as_bytes()).unwrap_or(Json::Null);
    if let Some(odd) = NOT_PARAMS.iter().find(|text| schema.check(&parsed(text)).is_ok()) {
        return Err(Outcome::failed(format!("it accepts {odd}, but params are an object: add \"type\": \"object\"")));
    }
    let Some(artifact) = info.params_artifacts.first() else {
        return Err(Outcome::failed("it belongs to no artifact: declare PARAMS_ARTIFACTS"));
    };
    // Each default alone: only the schema as a whole knows which other properties are required.
    let text = parsed(&info.params_schema);
    let properties = text.get("properties").and_then(Json::as_object).cloned().unwrap_or_default();
    for (name, property) in &properties {
        let Some(default) = property.get("default") else { continue };
        let alone = Schema::parse(&canonical_json(property)).ok().flatten();
        if let Some(Err(error)) = alone.map(|schema| schema.check(default)) {
            return Err(Outcome::failed(format!("it does not accept the default of '{name}': {error}")));
        }
    }
    // The params of an image for which nobody has set any.
    let Some(record) = subject.records()?.into_iter().next() else {
        return Err(Outcome::skipped("there is no record"));
    };
    let scratch = Scratch::new(subject, &record)?;
    for name in &info.params_artifacts {
        for key in artifact_keys(&Artifact::new(name.as_str(), ArtifactKind::Json)).unwrap_or_default() {
            match fs::remove_file(scratch.file(&key)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
    }
    let default = subject.indexer.params(&record);
    scratch.restore()?;
    let Some(Json::Object(default)) = default else {
        return Ok(format!("it is a schema of objects; without '{artifact}' there are no params to compare"));
    };
    if !default.is_empty() && !default.keys().any(|name| properties.contains_key(name)) {
        return Ok("it is a schema of objects; params has another form than the artifact".to_owned());
    }
    let shown = Json::Object(default.clone());
    if let Err(error) = schema.check(&shown) {
        return Err(Outcome::failed(format!(
            "without '{artifact}' params is {shown}, which it does not accept: {error}"
        )));
    }
    for (name, property) in &properties {
        if let (Some(declared), Some(used)) = (property.get("default"), default.get(name))
            && !is_same_value(declared, used)
        {
            return Err(Outcome::warned(format!(
                "it says that '{name}' is {declared} by default, but params gives {used}"
            )));
        }
    }
    Ok(format!("it accepts what params is without '{artifact}'"))
}
