//! The part of JSON Schema that kymhost checks params with.
//!
//! Responsible for which keywords are checked, what they demand, and the message for a value that breaks one. Pure rules
//! without I/O.
//!
//! Checked are `type`, `enum`, `const`; `minimum`, `maximum`, `exclusiveMinimum`, `exclusiveMaximum`, `multipleOf`; `minLength`,
//! `maxLength`; `items`, `minItems`, `maxItems`; `required`, `properties`, `additionalProperties`; and the schemas `true` and
//! `false`. They mean what draft 2020-12 says. Annotations (`title`, `description`, `default`, ...) demand nothing.
//!
//! Any other keyword is never an error. [`Schema::unchecked`] lists it, and `plugin check` warns: the plugin has to check what
//! it demands. A plugin has to check its params anyway, because people also write files by hand. If another keyword could
//! widen what a checked one demands (`patternProperties` widens `additionalProperties`), the checked one is not checked either:
//! kymhost never rejects what the whole of JSON Schema accepts.

use kymhost_plugin_api::Json;
use kymhost_plugin_api::json::Object;
use kymhost_store::Diagnose as _;
use std::cmp::Ordering;

/// A schema that params can be checked against.
#[derive(Debug)]
pub struct Schema {
    rule: Rule,
    unchecked: Vec<String>,
    /// The keys of each parameter that the schema names, for suggestions.
    parameters: Vec<Vec<String>>,
}

/// Why a schema cannot be used, or why params do not match it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.diagnose().message())]
pub enum SchemaError {
    /// The text that the plugin declares is not a JSON Schema: what is wrong, and where.
    Bad(String),
    /// The params do not match the schema: one sentence each.
    Invalid(Vec<String>),
}

/// What a schema demands of one value. An empty member demands nothing.
#[derive(Debug, Default)]
struct Rule {
    /// The schema `false`: no value is right.
    is_never: bool,
    types: Vec<Type>,
    /// The values of `enum` and of `const`.
    choices: Vec<Vec<Json>>,
    bounds: Vec<(Bound, Json)>,
    multiple_of: Option<Json>,
    length: Size,
    items: Option<Box<Rule>>,
    item_count: Size,
    required: Vec<String>,
    properties: Vec<(String, Rule)>,
    additional: Option<Box<Rule>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Null,
    Boolean,
    Integer,
    Number,
    String,
    Array,
    Object,
}

#[derive(Debug, Clone, Copy)]
enum Bound {
    AtLeast,
    AtMost,
    Above,
    Below,
}

#[derive(Debug, Default)]
struct Size {
    least: Option<u64>,
    most: Option<u64>,
}

/// Each type: its name in a schema, and in a message.
const TYPES: [(Type, &str, &str); 7] = [
    (Type::Null, "null", "null"),
    (Type::Boolean, "boolean", "true or false"),
    (Type::Integer, "integer", "an integer"),
    (Type::Number, "number", "a number"),
    (Type::String, "string", "a text"),
    (Type::Array, "array", "a list"),
    (Type::Object, "object", "an object"),
];

const BOUNDS: [(Bound, &str); 4] = [
    (Bound::AtLeast, "minimum"),
    (Bound::AtMost, "maximum"),
    (Bound::Above, "exclusiveMinimum"),
    (Bound::Below, "exclusiveMaximum"),
];

/// Keywords that demand nothing.
const ANNOTATIONS: [&str; 17] = [
    "$anchor",
    "$comment",
    "$defs",
    "$id",
    "$schema",
    "$vocabulary",
    "contentEncoding",
    "contentMediaType",
    "default",
    "definitions",
    "deprecated",
    "description",
    "examples",
    "format",
    "readOnly",
    "title",
    "writeOnly",
];

/// An error lists no more violations.
const MAX_VIOLATIONS: usize = 10;
/// A message shows no longer value.
const MAX_SHOWN_CHARS: usize = 60;
/// A message lists no more choices or parameters.
const MAX_LISTED: usize = 12;

impl Schema {
    /// The schema of a text; `None` if the text is empty.
    ///
    /// # Errors
    /// If the text is not a JSON object, or a keyword of the subset has a value that JSON Schema does not allow.
    pub fn parse(text: &str) -> Result<Option<Self>, SchemaError> {
        if text.is_empty() {
            return Ok(None);
        }
        let schema =
            Json::parse(text.as_bytes()).map_err(|error| SchemaError::Bad(format!("it is not JSON: {error}")))?;
        if schema.as_object().is_none() {
            return Err(SchemaError::Bad(format!("it is {}, expected a JSON object", shown(&schema))));
        }
        Self::of(&schema).map(Some)
    }

    /// The schema that a JSON value is: an object, `true` or `false`.
    ///
    /// # Errors
    /// As [`Schema::parse`].
    fn of(schema: &Json) -> Result<Self, SchemaError> {
        let mut unchecked = Vec::new();
        let rule = Rule::of(schema, "", &mut unchecked)?;
        let mut parameters = Vec::new();
        rule.name_parameters(&mut Vec::new(), &mut parameters);
        Ok(Self { rule, unchecked, parameters })
    }

    /// The keywords that kymhost does not check, each with its place in the schema: `properties.side.pattern`.
    pub fn unchecked(&self) -> &[String] {
        &self.unchecked
    }

    /// Whether params match the schema.
    ///
    /// # Errors
    /// [`SchemaError::Invalid`] with the first violations.
    pub fn check(&self, params: &Json) -> Result<(), SchemaError> {
        let mut found = self.violations(params);
        found.truncate(MAX_VIOLATIONS);
        if found.is_empty() { Ok(()) } else { Err(SchemaError::Invalid(found)) }
    }

    /// The violations of this schema, in the order of the params.
    fn violations(&self, params: &Json) -> Vec<String> {
        let any = Rule::default();
        let mut check = Check { any: &any, parameters: &self.parameters, keys: Vec::new(), found: Vec::new() };
        check.value(&self.rule, params);
        check.found
    }
}

impl Rule {
    fn of(schema: &Json, place: &str, unchecked: &mut Vec<String>) -> Result<Self, SchemaError> {
        let mut rule = Self::default();
        let members = match schema {
            Json::Bool(accepts) => {
                rule.is_never = !accepts;
                return Ok(rule);
            }
            Json::Object(members) => members,
            other => return Err(bad(place, other, "a schema: an object, true or false")),
        };
        // Draft 7 and older ignore all that stands next to a reference, so nothing of it can be checked.
        if members.contains_key("$ref") {
            unchecked.push(below(place, "$ref"));
            return Ok(rule);
        }
        for (keyword, value) in members {
            rule.add(keyword, value, members, place, unchecked)?;
        }
        Ok(rule)
    }

    /// Adds what one keyword demands. `members`: all keywords of this schema.
    fn add(
        &mut self,
        keyword: &str,
        value: &Json,
        members: &Object,
        place: &str,
        unchecked: &mut Vec<String>,
    ) -> Result<(), SchemaError> {
        let place = &below(place, keyword);
        let has = |other: &str| members.contains_key(other);
        match keyword {
            "type" => {
                let names = value.as_array().unwrap_or(std::slice::from_ref(value));
                self.types = names.iter().map(|name| type_of(name, place)).collect::<Result<_, _>>()?;
                if self.types.is_empty() {
                    return Err(bad(place, value, "a type or a list of types"));
                }
            }
            "enum" => self.choices.push(value.as_array().ok_or_else(|| bad(place, value, "a list"))?.to_vec()),
            "const" => self.choices.push(vec![value.clone()]),
            "multipleOf" => {
                let is_right = value.as_f64().is_some_and(|number| number > 0.0 && number.is_finite());
                self.multiple_of =
                    Some(is_right.then(|| value.clone()).ok_or_else(|| bad(place, value, "a number above 0"))?);
            }
            "minLength" => self.length.least = Some(count(value, place)?),
            "maxLength" => self.length.most = Some(count(value, place)?),
            "minItems" => self.item_count.least = Some(count(value, place)?),
            "maxItems" => self.item_count.most = Some(count(value, place)?),
            // Before draft 2020-12 a list: one schema for each item.
            "items" if value.as_array().is_some() || has("prefixItems") => unchecked.push(place.clone()),
            "items" => self.items = Some(Box::new(Self::of(value, place, unchecked)?)),
            "required" => {
                let names = value
                    .as_array()
                    .and_then(|names| names.iter().map(|name| name.as_str().map(str::to_owned)).collect());
                self.required = names.ok_or_else(|| bad(place, value, "a list of texts"))?;
            }
            "properties" => {
                let properties = value.as_object().ok_or_else(|| bad(place, value, "an object"))?;
                for (name, property) in properties {
                    self.properties.push((name.clone(), Self::of(property, &below(place, name), unchecked)?));
                }
            }
            "additionalProperties" if has("patternProperties") => unchecked.push(place.clone()),
            "additionalProperties" => self.additional = Some(Box::new(Self::of(value, place, unchecked)?)),
            _ => match BOUNDS.iter().find(|(_, name)| *name == keyword) {
                Some((bound, _)) => {
                    let is_right = value.as_f64().is_some_and(f64::is_finite);
                    self.bounds
                        .push((*bound, is_right.then(|| value.clone()).ok_or_else(|| bad(place, value, "a number"))?));
                }
                None if ANNOTATIONS.contains(&keyword) => {}
                None => unchecked.push(place.clone()),
            },
        }
        Ok(())
    }

    fn name_parameters(&self, keys: &mut Vec<String>, into: &mut Vec<Vec<String>>) {
        for (name, rule) in &self.properties {
            keys.push(name.clone());
            into.push(keys.clone());
            rule.name_parameters(keys, into);
            keys.pop();
        }
    }
}

fn bad(place: &str, found: &Json, expected: &str) -> SchemaError {
    let place = if place.is_empty() { "it" } else { place };
    SchemaError::Bad(format!("{place} is {}, expected {expected}", shown(found)))
}

fn below(place: &str, key: &str) -> String {
    if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") }
}

fn type_of(name: &Json, place: &str) -> Result<Type, SchemaError> {
    let found = TYPES.iter().find(|(_, known, _)| name.as_str() == Some(known));
    found.map(|(found, ..)| *found).ok_or_else(|| {
        let names: Vec<String> = TYPES.iter().map(|(_, known, _)| (*known).to_owned()).collect();
        bad(place, name, &listed(&names, "or"))
    })
}

/// A number of characters or items. `2.0` is one.
fn count(value: &Json, place: &str) -> Result<u64, SchemaError> {
    let whole = value.as_f64().filter(|number| number.fract() == 0.0 && (0.0..9e15).contains(number));
    whole.map(|number| number as u64).ok_or_else(|| bad(place, value, "a whole number from 0"))
}

/// One pass over params.
struct Check<'a> {
    /// A rule that demands nothing. Values inside may still be NaN, which is wrong.
    any: &'a Rule,
    parameters: &'a [Vec<String>],
    /// The current place: keys, and `[2]` for items.
    keys: Vec<Step<'a>>,
    found: Vec<String>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    Item(usize),
}

impl<'a> Check<'a> {
    fn value(&mut self, rule: &Rule, value: &'a Json) {
        if matches!(value, Json::Float(number) if !number.is_finite()) {
            return self.wrong(value, "a number other than NaN and Infinity");
        }
        if rule.is_never {
            return self.wrong(value, "no value");
        }
        if !rule.types.is_empty() && !rule.types.iter().any(|kind| is_of_type(value, *kind)) {
            let names = TYPES.iter().filter(|(kind, ..)| rule.types.contains(kind));
            return self.wrong(value, &listed(&names.map(|(.., shown)| (*shown).to_owned()).collect::<Vec<_>>(), "or"));
        }
        for choices in &rule.choices {
            if !choices.iter().any(|choice| is_same_value(choice, value)) {
                self.wrong(value, &listed(&choices.iter().map(shown).collect::<Vec<_>>(), "or"));
            }
        }
        match value {
            Json::Int(_) | Json::Float(_) => self.number(rule, value),
            Json::String(text) => self.size(value, &rule.length, text.chars().count(), "character"),
            Json::Array(items) => {
                self.size(value, &rule.item_count, items.len(), "item");
                for (at, item) in items.iter().enumerate() {
                    self.inside(Step::Item(at), rule.items.as_deref().unwrap_or(self.any), item);
                }
            }
            Json::Object(members) => self.object(rule, members),
            Json::Null | Json::Bool(_) => {}
        }
    }

    fn inside(&mut self, step: Step<'a>, rule: &Rule, value: &'a Json) {
        self.keys.push(step);
        self.value(rule, value);
        self.keys.pop();
    }

    fn number(&mut self, rule: &Rule, value: &Json) {
        for (bound, limit) in &rule.bounds {
            let (is_right, words) = match (bound, compare(value, limit)) {
                (Bound::AtLeast, order) => (order.is_ge(), "at least"),
                (Bound::AtMost, order) => (order.is_le(), "at most"),
                (Bound::Above, order) => (order.is_gt(), "more than"),
                (Bound::Below, order) => (order.is_lt(), "less than"),
            };
            if !is_right {
                self.wrong(value, &format!("{words} {limit}"));
            }
        }
        if let Some(divisor) = rule.multiple_of.as_ref().filter(|divisor| !is_multiple(value, divisor)) {
            self.wrong(value, &format!("a multiple of {divisor}"));
        }
    }

    fn size(&mut self, value: &Json, size: &Size, found: usize, what: &str) {
        let found = found as u64;
        for (limit, words) in [
            (size.least.filter(|least| found < *least), "at least"),
            (size.most.filter(|most| found > *most), "at most"),
        ] {
            if let Some(limit) = limit {
                let plural = if limit == 1 { "" } else { "s" };
                self.wrong(value, &format!("{words} {limit} {what}{plural}"));
            }
        }
    }

    fn object(&mut self, rule: &Rule, members: &'a Object) {
        for name in rule.required.iter().filter(|name| !members.contains_key(*name)) {
            let parameter = below(&self.place(), &key_shown(name));
            self.found.push(format!("'{parameter}' is missing"));
        }
        for (name, value) in members {
            let known = rule.properties.iter().find(|(known, _)| known == name).map(|(_, rule)| rule);
            match known.or(rule.additional.as_deref()) {
                Some(additional) if known.is_none() && additional.is_never => self.unknown(rule, name),
                Some(rule) => self.inside(Step::Key(name), rule, value),
                None => self.inside(Step::Key(name), self.any, value),
            }
        }
    }

    /// Reports a parameter that the schema does not have. `rule`: of the object that holds it.
    fn unknown(&mut self, rule: &Rule, name: &str) {
        let place = self.place();
        let parameter = below(&place, &key_shown(name));
        let near = self.parameters.iter().filter_map(|keys| {
            let key = keys.last()?;
            let distance = strsim::osa_distance(&name.to_lowercase(), &key.to_lowercase());
            let full = keys_shown(keys);
            let is_elsewhere = full != below(&place, &key_shown(key));
            (distance <= 1 + key.len() / 4).then_some((distance, is_elsewhere, full))
        });
        let siblings: Vec<String> = rule
            .properties
            .iter()
            .filter(|(_, rule)| !rule.is_never)
            .map(|(name, _)| format!("'{}'", key_shown(name)))
            .collect();
        let help = match near.min() {
            Some((.., full)) => format!("did you mean '{full}'?"),
            None if siblings.is_empty() => "there is none here".to_owned(),
            None => format!("expected {}", listed(&siblings, "or")),
        };
        self.found.push(format!("no parameter '{parameter}'; {help}"));
    }

    fn wrong(&mut self, value: &Json, expected: &str) {
        let parameter = self.place();
        let place = if parameter.is_empty() { String::new() } else { format!("{parameter}: ") };
        self.found.push(format!("{place}{}, expected {expected}", shown(value)));
    }

    fn place(&self) -> String {
        self.keys.iter().fold(String::new(), |place, step| match step {
            Step::Key(key) => below(&place, &key_shown(key)),
            Step::Item(at) => format!("{place}[{at}]"),
        })
    }
}

/// A key as `params set` takes it: in quotes if it would be read as something else.
fn key_shown(key: &str) -> String {
    match key.is_empty() || key.trim() != key || key.contains(['.', '=', '"']) {
        true => Json::from(key).to_string(),
        false => key.to_owned(),
    }
}

/// Keys within each other as `params set` takes them: `baseline_drop.mad_k`.
fn keys_shown(keys: &[String]) -> String {
    keys.iter().map(|key| key_shown(key)).collect::<Vec<_>>().join(".")
}

fn shown(value: &Json) -> String {
    let text = value.to_string();
    match text.char_indices().nth(MAX_SHOWN_CHARS) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// `a, b or c`
fn listed(items: &[String], word: &str) -> String {
    let more = items.len().saturating_sub(MAX_LISTED);
    match items {
        [] => "no value".to_owned(),
        [one] => one.clone(),
        [first @ .., last] if more == 0 => format!("{} {word} {last}", first.join(", ")),
        many => format!("{} {word} {more} more", many.get(..MAX_LISTED).unwrap_or_default().join(", ")),
    }
}

fn is_of_type(value: &Json, kind: Type) -> bool {
    match value {
        Json::Null => kind == Type::Null,
        Json::Bool(_) => kind == Type::Boolean,
        Json::Int(_) => matches!(kind, Type::Integer | Type::Number),
        Json::Float(number) => kind == Type::Number || kind == Type::Integer && number.fract() == 0.0,
        Json::String(_) => kind == Type::String,
        Json::Array(_) => kind == Type::Array,
        Json::Object(_) => kind == Type::Object,
    }
}

/// An integer that fits, also if it is written `1.0`.
fn whole(value: &Json) -> Option<i128> {
    match value {
        Json::Int(int) => int.as_i64().map(i128::from).or_else(|| int.as_u64().map(i128::from)),
        Json::Float(number) if number.fract() == 0.0 && number.abs() < 1e30 => Some(*number as i128),
        _ => None,
    }
}

fn compare(one: &Json, other: &Json) -> Ordering {
    if let (Some(one), Some(other)) = (whole(one), whole(other)) {
        return one.cmp(&other);
    }
    let number = |value: &Json| value.as_f64().unwrap_or(f64::NAN);
    number(one).total_cmp(&number(other))
}

fn is_multiple(value: &Json, divisor: &Json) -> bool {
    if let (Some(value), Some(divisor)) = (whole(value), whole(divisor)) {
        return value.checked_rem(divisor) == Some(0);
    }
    // 0.3 is a multiple of 0.1, which the quotient of the two nearest floats is not quite.
    let quotient = value.as_f64().unwrap_or(f64::NAN) / divisor.as_f64().unwrap_or(f64::NAN);
    (quotient - quotient.round()).abs() <= 1e-9 * quotient.abs().max(1.0)
}

/// Whether two values are the same for JSON Schema: `1` and `1.0` are.
pub fn is_same_value(one: &Json, other: &Json) -> bool {
    match (one, other) {
        (Json::Int(_) | Json::Float(_), Json::Int(_) | Json::Float(_)) => compare(one, other).is_eq(),
        (Json::Array(one), Json::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same_value(one, other))
        }
        (Json::Object(one), Json::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| other.get(key).is_some_and(|it| is_same_value(value, it)))
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests;
