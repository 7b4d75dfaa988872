//! Params of images, as people set them: which artifact holds them, what an edit makes of them, what a schema says of
//! that.
//!
//! Responsible for these rules, as functions over values. It does no I/O; what follows from a change is in `staleness`.

use crate::error::ParamsError;
use kymhost_plugin_api::Json;
use kymhost_plugin_api::json::Object;

/// One edit of an image's params.
#[derive(Debug, Clone, PartialEq)]
pub enum Edit {
    /// `KEY=VALUE`
    Set(Path, Json),
    /// `KEY`
    Unset(Path),
}

/// A key, and keys within it: `a.b` is `b` in the object `a`, `"a.b"` one key with a dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(Vec<String>);

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&shown(&self.0))
    }
}

/// Keys as people give them: quoted if they would otherwise be read as something else.
fn shown(keys: &[String]) -> String {
    let one = |key: &String| match key.is_empty() || key.trim() != key || key.contains(['.', '=', '"']) {
        true => Json::from(key.as_str()).to_string(),
        false => key.clone(),
    };
    keys.iter().map(one).collect::<Vec<_>>().join(".")
}

impl Path {
    /// The path at the beginning of a text, and what follows it: nothing, or `=` and more. A key in quotes is a JSON
    /// string, in which dots and `=` are like any other character.
    fn parse(text: &str) -> Option<(Self, &str)> {
        let (mut keys, mut rest) = (Vec::new(), text);
        loop {
            rest = rest.trim_start();
            let key = match rest.strip_prefix('"') {
                Some(quoted) => {
                    let end = 1 + closing_quote(quoted)? + 1;
                    let (key, after) = rest.split_at_checked(end)?;
                    rest = after.trim_start();
                    Json::parse(key.as_bytes()).ok()?.as_str()?.to_owned()
                }
                None => {
                    let (key, after) = rest.split_at(rest.find(['.', '=']).unwrap_or(rest.len()));
                    rest = after;
                    Some(key.trim()).filter(|key| !key.is_empty())?.to_owned()
                }
            };
            keys.push(key);
            match rest.strip_prefix('.') {
                Some(more) => rest = more,
                None if rest.is_empty() || rest.starts_with('=') => return Some((Self(keys), rest)),
                None => return None,
            }
        }
    }
}

/// Where a JSON string, whose opening quote is before the text, ends.
fn closing_quote(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    })
}

impl Edit {
    /// `KEY=VALUE`, with a value that is JSON, or else a text as it stands: `threshold=2.5`, `side=left`, `"id"="7"`.
    ///
    /// # Errors
    /// If there is no `=`, or no key before it.
    pub fn set(text: &str) -> Result<Self, ParamsError> {
        let wrong = || ParamsError::NoEdit { text: text.to_owned(), expected: "KEY=VALUE" };
        let (path, value) = Path::parse(text).ok_or_else(wrong)?;
        let value = value.strip_prefix('=').ok_or_else(wrong)?;
        let value = Json::parse(value.as_bytes()).unwrap_or_else(|_| Json::from(value));
        Ok(Self::Set(path, value))
    }

    /// `KEY`
    ///
    /// # Errors
    /// If it is not a key.
    pub fn unset(text: &str) -> Result<Self, ParamsError> {
        let wrong = || ParamsError::NoEdit { text: text.to_owned(), expected: "KEY" };
        let (path, rest) = Path::parse(text).ok_or_else(wrong)?;
        if rest.is_empty() { Ok(Self::Unset(path)) } else { Err(wrong()) }
    }
}

/// The params artifact of an image among those that an indexer reads: the first that holds an object, else the first
/// that is there, else the first. `held`: what each holds.
pub fn artifact<'a>(names: &'a [String], held: &[Option<Json>]) -> Option<&'a str> {
    let first = |is_it: fn(&Json) -> bool| {
        let found = names.iter().zip(held).find(|(_, held)| held.as_ref().is_some_and(is_it));
        found.map(|(name, _)| name)
    };
    let found = first(|held| held.as_object().is_some()).or_else(|| first(|_| true));
    found.or(names.first()).map(String::as_str)
}

/// Params with edits made; no params are an empty object.
///
/// # Errors
/// [`ParamsError::NoParams`], [`ParamsError::NoObject`].
pub fn edited(params: Option<&Json>, edits: &[Edit]) -> Result<Json, ParamsError> {
    let mut members = match params {
        None => Object::new(),
        Some(Json::Object(members)) => members.clone(),
        Some(other) => return Err(ParamsError::NoParams { found: kind(other) }),
    };
    for edit in edits {
        match edit {
            Edit::Set(path, value) => set(&mut members, path, value)?,
            Edit::Unset(path) => unset(&mut members, &path.0),
        }
    }
    Ok(Json::Object(members))
}

fn set(members: &mut Object, path: &Path, value: &Json) -> Result<(), ParamsError> {
    let Some((last, way)) = path.0.split_last() else { return Ok(()) };
    let mut object = members;
    for (depth, key) in way.iter().enumerate() {
        let held = object.entry(key.clone()).or_insert_with(|| Json::Object(Object::new()));
        let found = kind(held);
        let Json::Object(inner) = held else {
            let at = shown(path.0.get(..=depth).unwrap_or_default());
            return Err(ParamsError::NoObject { path: path.to_string(), at, found });
        };
        object = inner;
    }
    object.insert(last.clone(), value.clone());
    Ok(())
}

/// What is not there is unset already.
fn unset(members: &mut Object, keys: &[String]) {
    match keys {
        [] => {}
        [last] => {
            members.shift_remove(last);
        }
        [first, rest @ ..] => {
            if let Some(Json::Object(inner)) = members.get_mut(first) {
                unset(inner, rest);
            }
        }
    }
}

fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Int(_) | Json::Float(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn edits_are_read() {
        let path = |keys: &[&str]| Path(keys.iter().map(|&key| key.to_owned()).collect());
        /// The text, and the keys and value that it sets.
        type Case<'a> = (&'a str, Option<(&'a [&'a str], &'a str)>);
        let cases: &[Case<'_>] = &[
            ("a=1", Some((&["a"], "1"))),
            ("a = 1", Some((&["a"], "1"))),
            ("a.b=[1, null]", Some((&["a", "b"], "[1,null]"))),
            ("a=left", Some((&["a"], "\"left\""))),
            ("a=", Some((&["a"], "\"\""))),
            ("a=\"7\"", Some((&["a"], "\"7\""))),
            ("a=b=c", Some((&["a"], "\"b=c\""))),
            ("a=NaN", Some((&["a"], "NaN"))),
            // A key with a dot, or with a sign that means something here, stands in quotes.
            (r#""a.b".c=1"#, Some((&["a.b", "c"], "1"))),
            (r#" "a=b" . "c\"d" = 1"#, Some((&["a=b", "c\"d"], "1"))),
            (r#""\u00e4\\"=1"#, Some((&["ä\\"], "1"))),
            (r#""" = 1"#, Some((&[""], "1"))),
            (r#"a"b=1"#, Some((&["a\"b"], "1"))),
            (r#""a"b=1"#, None),
            (r#""a=1"#, None),
            (r#""\x"=1"#, None),
            (r#""a"."#, None),
            ("=1", None),
            ("a", None),
            ("a..b=1", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|(keys, value)| Edit::Set(path(keys), json(value)));
            // As text: NaN is not itself.
            assert_eq!(format!("{:?}", Edit::set(text).ok()), format!("{expected:?}"), "{text}");
        }
        assert_eq!(Edit::unset("a.b").ok(), Some(Edit::Unset(path(&["a", "b"]))));
        assert_eq!(Edit::unset(r#""a.b""#).ok(), Some(Edit::Unset(path(&["a.b"]))));
        for text in ["a.b", r#""a.b".c"#, r#""a=""#, r#""""#, r#"" a""#] {
            assert_eq!(Path::parse(text).expect(text).0.to_string(), text);
        }
        for text in ["", "a=1", ".", "a."] {
            assert!(Edit::unset(text).is_err(), "{text}");
        }
    }

    #[test]
    fn edits_are_made() {
        /// The params, the edits, and what comes of them.
        type Case<'a> = (Option<&'a str>, &'a [&'a str], Result<&'a str, &'a str>);
        let cases: &[Case<'_>] = &[
            (None, &["a=1"], Ok(r#"{"a":1}"#)),
            // What is no object is not written over.
            (Some("[1]"), &["a=1"], Err("a list, not an object")),
            (Some("null"), &["-a"], Err("null, not an object")),
            (Some(r#"{"a.b":1,"a":{"b":2}}"#), &["\"a.b\"=3"], Ok(r#"{"a.b":3,"a":{"b":2}}"#)),
            (Some(r#"{"a.b":1,"a":{"b":2}}"#), &["-\"a.b\""], Ok(r#"{"a":{"b":2}}"#)),
            (Some(r#"{"a.b":1}"#), &["\"a.b\".c=3"], Err("'\"a.b\"' is a number")),
            (Some(r#"{"b":2,"a":0}"#), &["a=1"], Ok(r#"{"b":2,"a":1}"#)),
            (Some(r#"{"a":{"b":1,"c":2}}"#), &["a.b=3", "d.e.f=4"], Ok(r#"{"a":{"b":3,"c":2},"d":{"e":{"f":4}}}"#)),
            (Some(r#"{"a":{"b":1},"c":2}"#), &["-a.b", "-c", "-gone", "-a.gone.too"], Ok(r#"{"a":{}}"#)),
            (Some(r#"{"a":1}"#), &["a.b=3"], Err("'a' is a number")),
            (Some(r#"{"a":{"b":[]}}"#), &["a.b.c=3"], Err("'a.b' is a list")),
        ];
        for (params, edits, expected) in cases {
            let edits: Vec<Edit> = edits
                .iter()
                .map(|text| text.strip_prefix('-').map_or_else(|| Edit::set(text), Edit::unset).unwrap())
                .collect();
            match (edited(params.map(json).as_ref(), &edits), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found.to_string(), json(expected).to_string()),
                (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{error}"),
                (found, _) => panic!("{params:?} {edits:?}: {found:?}"),
            }
        }
    }

    #[test]
    fn first_object_is_edited() {
        let names = ["one".to_owned(), "two".to_owned()];
        let of = |held: [Option<&str>; 2]| artifact(&names, &held.map(|text| text.map(json))).unwrap();
        assert_eq!(of([None, None]), "one");
        assert_eq!(of([None, Some("{}")]), "two");
        assert_eq!(of([Some("1"), Some("{}")]), "two");
        assert_eq!(of([Some("{}"), Some("{}")]), "one");
        assert_eq!(of([Some("1"), Some("2")]), "one");
        assert_eq!(of([None, Some("2")]), "two");
        assert_eq!(artifact(&[], &[]), None);
    }

    proptest! {
        #[test]
        fn set_param_exists_unset_param_does_not(
            before in prop::collection::btree_map("[a-c]", -3..3_i64, 0..3),
            key in "[a-c](\\.[x-z]){0,2}",
            value in any::<i64>(),
        ) {
            let params: Json = Json::object(before.iter().map(|(key, value)| (key.clone(), Json::from(*value))));
            let set = Edit::set(&format!("{key}={value}")).unwrap();
            if let Ok(after) = edited(Some(&params), &[set]) {
                let found = key.split('.').try_fold(&after, |at, key| at.get(key));
                prop_assert_eq!(found, Some(&Json::from(value)));
                let gone = edited(Some(&after), &[Edit::unset(&key).unwrap()]).unwrap();
                prop_assert_eq!(key.split('.').try_fold(&gone, |at, key| at.get(key)), None);
                prop_assert!(before.keys().all(|kept| key.starts_with(kept.as_str()) || gone.get(kept) == params.get(kept)));
            }
        }
    }
}
