//! The JSON Schema that a plugin declares for its params.
//!
//! Responsible for parsing the schema and for checking params against it. It does no I/O, and it does
//! not know where params are kept.

use kymhost_plugin_api::Json;
use kymhost_store::Diagnose as _;

/// Why a schema, or params checked against it, are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// The schema that the plugin declares cannot be used.
    #[error("{}", self.diagnose().message())]
    Bad(String),
    /// The params would not be as the schema has them: one line each.
    #[error("{}", self.diagnose().message())]
    Invalid(Vec<String>),
}

/// No schema has more to say in a message.
const MAX_VIOLATIONS: usize = 10;

/// A JSON Schema that params are held against.
#[derive(Debug)]
pub struct Schema(jsonschema::Validator);

impl Schema {
    /// The schema of a text; none where it is empty.
    ///
    /// # Errors
    /// [`SchemaError::Bad`].
    pub fn parse(text: &str) -> Result<Option<Self>, SchemaError> {
        if text.is_empty() {
            return Ok(None);
        }
        let bad = |why: String| SchemaError::Bad(why);
        let schema: serde_json::Value = serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
        if !schema.is_object() {
            return Err(bad("it is no JSON object".to_owned()));
        }
        jsonschema::validator_for(&schema).map(|schema| Some(Self(schema))).map_err(|error| bad(error.to_string()))
    }

    /// Whether params are as the schema has them.
    ///
    /// # Errors
    /// [`SchemaError::Invalid`] with what is not.
    pub fn check(&self, params: &Json) -> Result<(), SchemaError> {
        // NaN and the infinities are Python's alone.
        let value: serde_json::Value = serde_json::from_str(&kymhost_plugin_api::canonical_json(params))
            .map_err(|_| SchemaError::Invalid(vec!["NaN and Infinity have no place in params with a schema".into()]))?;
        let violation = |error: jsonschema::ValidationError<'_>| {
            let place = error.instance_path().to_string();
            let place = place.trim_start_matches('/').replace('/', ".");
            if place.is_empty() { error.to_string() } else { format!("{place}: {error}") }
        };
        let mut found: Vec<String> = self.0.iter_errors(&value).take(MAX_VIOLATIONS).map(violation).collect();
        if found.is_empty() {
            return Ok(());
        }
        found.sort();
        Err(SchemaError::Invalid(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn schemas_judge() {
        let schema = r#"{"type": "object", "additionalProperties": false, "properties": {
            "n": {"type": "integer", "minimum": 1}, "in": {"type": "object", "properties": {"x": {"type": "number"}}}}}"#;
        let schema = Schema::parse(schema).unwrap().unwrap();
        for (params, words) in [
            ("{}", &[][..]),
            (r#"{"n": 3, "in": {"x": 1e300}}"#, &[]),
            (r#"{"n": 0}"#, &["n: 0 is less than"]),
            (r#"{"n": "3", "in": {"x": []}}"#, &["n:", "in.x:"]),
            (r#"{"m": 1}"#, &["'m'"]),
            (r#"{"n": NaN}"#, &["NaN"]),
        ] {
            match schema.check(&json(params)) {
                Ok(()) => assert!(words.is_empty(), "{params}"),
                Err(error) => {
                    let text = error.to_string();
                    assert!(!words.is_empty() && words.iter().all(|word| text.contains(word)), "{params}: {text}");
                }
            }
        }
        assert!(Schema::parse("").unwrap().is_none());
        for bad in ["{", "1", r#"{"type": 7}"#] {
            assert!(matches!(Schema::parse(bad), Err(SchemaError::Bad(_))), "{bad}");
        }
    }
}
