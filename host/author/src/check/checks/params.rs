//! Checks of params and of the schema that is declared for them.

use crate::check::checks::hashes::is_odd;
use crate::check::report::Outcome;
use crate::check::subject::{Judged, Scratch, Subject};
use kymhost_dataset::artifact_keys;
use kymhost_plugin::{MAX_PARAMS_BYTES, Schema, is_same_value};
use kymhost_plugin_api::{Artifact, ArtifactKind, Json, canonical_json, params_hash};
use std::fs;
use std::io;

pub(crate) fn params_agree(subject: &Subject<'_>) -> Judged {
    for (record, hash) in subject.repeating_hashes()? {
        if is_odd(&hash) {
            return Err(Outcome::skipped("it gives no proper params hash: see hash_form"));
        }
        let Some(params) =
            subject.indexer.params(&record).filter(|params| canonical_json(params).len() <= MAX_PARAMS_BYTES)
        else {
            return Ok(Outcome::warned(
                "there is a params_hash, but params give an error, no JSON or more than 64 KiB: `kymhost explain` cannot show them",
            ));
        };
        if params_hash(&params) != hash {
            return Ok(Outcome::warned(format!(
                "params_hash is {hash}, the hash of params {}: what `kymhost explain` shows is not what decides",
                params_hash(&params)
            )));
        }
    }
    Ok(Outcome::passed("params_hash is the hash of params"))
}

/// What is no params, one of each kind.
const NO_PARAMS: [&str; 5] = ["null", "true", "1", "\"text\"", "[]"];

pub(crate) fn params_schema(subject: &Subject<'_>) -> Judged {
    let info = subject.indexer.info();
    let schema = match Schema::parse(&info.params_schema) {
        Ok(Some(schema)) => schema,
        Ok(None) => return Ok(Outcome::passed("it declares none")),
        Err(error) => return Ok(Outcome::failed(error.to_string())),
    };
    let parsed = |text: &str| Json::parse(text.as_bytes()).unwrap_or(Json::Null);
    if let Some(odd) = NO_PARAMS.iter().find(|text| schema.check(&parsed(text)).is_ok()) {
        return Ok(Outcome::failed(format!("it takes {odd}, but params are an object: it lacks \"type\": \"object\"")));
    }
    let Some(artifact) = info.params_artifacts.first() else {
        return Ok(Outcome::failed("there is a schema, and no params artifact that could be as it has it"));
    };
    // Each default by itself: which others have to be given is the schema's own affair.
    let text = parsed(&info.params_schema);
    let properties = text.get("properties").and_then(Json::as_object).cloned().unwrap_or_default();
    for (name, property) in &properties {
        let Some(default) = property.get("default") else { continue };
        let alone = Schema::parse(&canonical_json(property)).ok().flatten();
        if let Some(Err(error)) = alone.map(|schema| schema.check(default)) {
            return Ok(Outcome::failed(format!("the default of '{name}' is one that it does not take: {error}")));
        }
    }
    // What it makes of an image that nobody has set params for.
    let Some(record) = subject.records()?.into_iter().next() else {
        return Ok(Outcome::skipped("there is no record"));
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
        return Ok(Outcome::passed("it is a schema of objects; without params there are none to hold against it"));
    };
    if !default.is_empty() && !default.keys().any(|name| properties.contains_key(name)) {
        return Ok(Outcome::passed("it is a schema of objects; params have another form than their artifact"));
    }
    let shown = Json::Object(default.clone());
    if let Err(error) = schema.check(&shown) {
        return Ok(Outcome::failed(format!(
            "without '{artifact}' params are {shown}, which it does not take: {error}"
        )));
    }
    for (name, property) in &properties {
        if let (Some(said), Some(used)) = (property.get("default"), default.get(name))
            && !is_same_value(said, used)
        {
            return Ok(Outcome::warned(format!("it says that '{name}' is {said} by default, but it is {used}")));
        }
    }
    let mut accepted = format!("it takes what params are without '{artifact}'");
    if !schema.unchecked().is_empty() {
        accepted.push_str(&format!("; kymhost does not check {}, so the plugin must", schema.unchecked().join(", ")));
    }
    Ok(Outcome::passed(accepted))
}
