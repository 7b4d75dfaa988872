//! What can be set of the event detection.
//! Owns: names, defaults, ranges, the JSON form. Never: what they do (see `shifts`, `gaps`).

use crate::roi::short;
use crate::{Error, Result};
use kymhost_plugin_api::Json;

/// All params, with the defaults of kymflow.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Params {
    /// Steps of the speed down or up.
    pub baseline_drop: ShiftParams,
    /// Stretches without velocities.
    pub nan_gap: NanGapParams,
    /// Stretches with velocity 0.
    pub zero_gap: ZeroGapParams,
}

macro_rules! params {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty = $default:expr, $range:expr;)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $kind,)+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl $name {
            fn of_json(group: &str, json: &Json) -> Result<Self> {
                let mut params = Self::default();
                let Some(fields) = json.as_object() else {
                    return Err(wrong(group, json, "an object of params"));
                };
                for (name, value) in fields.iter() {
                    let full = format!("{group}.{name}");
                    match name.as_str() {
                        $(stringify!($field) => params.$field = Value::of_json(&full, value, $range)?,)+
                        _ => return Err(unknown(&full, value, &[$(stringify!($field)),+])),
                    }
                }
                Ok(params)
            }

            fn to_json(self) -> Json {
                Json::object([$((stringify!($field), self.$field.to_json()),)+])
            }
        }
    };
}

params! {
    /// Params of baseline shifts: `baseline_drop`.
    ShiftParams {
        /// Seconds that are compared on each side.
        win_cmp_sec: f64 = 0.25, SECONDS;
        /// Seconds of the median that the onset is looked for in.
        smooth_sec: f64 = 0.1, SECONDS;
        /// How many samples a side needs; `None`: a fifth of the window, 10 at least.
        min_valid_per_side: Option<usize> = None, (0.0, 1e9);
        /// The threshold in robust standard deviations of the scores.
        mad_k: f64 = 3.0, (0.0, 1e9);
        /// The least threshold, mm/s.
        abs_score_floor: f64 = 0.25, (0.0, 1e9);
        /// Seconds between two runs up to which they are one.
        merge_gap_sec: f64 = 0.1, SECONDS;
        /// How many drops there are at least, where there are candidates.
        top_k_total: usize = 2, (0.0, 1e6);
        /// Half the seconds that candidates are apart.
        min_sep_sec: f64 = 0.75, SECONDS;
    }
}

params! {
    /// Params of NaN gaps: `nan_gap`.
    NanGapParams {
        /// Seconds that the fraction of unknown samples is taken over.
        nan_win_sec: f64 = 0.1, SECONDS;
        /// The fraction at which a gap begins.
        enter_frac: f64 = 0.4, (0.0, 1.0);
        /// The fraction at which it ends.
        exit_frac: f64 = 0.2, (0.0, 1.0);
        /// Seconds that a gap lasts at least.
        min_duration_sec: f64 = 0.2, SECONDS;
        /// Seconds between two gaps up to which they are one.
        merge_gap_sec: f64 = 0.05, SECONDS;
    }
}

params! {
    /// Params of zero gaps: `zero_gap`.
    ZeroGapParams {
        /// Up to which speed a sample is zero, mm/s.
        eps0: f64 = 0.0, (0.0, 1e9);
        /// Seconds that the fraction of zeros is taken over.
        zero_win_sec: f64 = 0.1, SECONDS;
        /// The fraction at which a gap begins.
        enter_frac: f64 = 0.4, (0.0, 1.0);
        /// The fraction at which it ends.
        exit_frac: f64 = 0.2, (0.0, 1.0);
        /// Seconds that a gap lasts at least.
        min_duration_sec: f64 = 0.2, SECONDS;
        /// Seconds between two gaps up to which they are one.
        merge_gap_sec: f64 = 0.05, SECONDS;
    }
}

/// The range of a duration.
const SECONDS: (f64, f64) = (0.0, 1e9);

impl Params {
    /// The params in a JSON object: groups `baseline_drop`, `nan_gap`, `zero_gap`, each with some or all of its fields. What is
    /// missing has its default.
    ///
    /// # Errors
    /// [`Error::Param`] where a name is unknown or a value is of the wrong kind or out of its range.
    pub fn of_json(json: &Json) -> Result<Self> {
        let mut params = Self::default();
        let Some(groups) = json.as_object() else { return Err(wrong("the document", json, "an object of params")) };
        for (name, value) in groups.iter() {
            match name.as_str() {
                "baseline_drop" => params.baseline_drop = ShiftParams::of_json(name, value)?,
                "nan_gap" => params.nan_gap = NanGapParams::of_json(name, value)?,
                "zero_gap" => params.zero_gap = ZeroGapParams::of_json(name, value)?,
                _ => return Err(unknown(name, value, &["baseline_drop", "nan_gap", "zero_gap"])),
            }
        }
        Ok(params)
    }

    /// All params as a JSON object, as [`Params::of_json`] takes it.
    pub fn to_json(&self) -> Json {
        Json::object([
            ("baseline_drop", self.baseline_drop.to_json()),
            ("nan_gap", self.nan_gap.to_json()),
            ("zero_gap", self.zero_gap.to_json()),
        ])
    }
}

/// A value with a JSON form and a range.
trait Value: Sized {
    fn of_json(name: &str, json: &Json, range: (f64, f64)) -> Result<Self>;
    fn to_json(self) -> Json;
}

impl Value for f64 {
    fn of_json(name: &str, json: &Json, (least, most): (f64, f64)) -> Result<Self> {
        match json.as_f64() {
            Some(value) if (least..=most).contains(&value) => Ok(value),
            _ => Err(wrong(name, json, format!("a number from {least} to {most}"))),
        }
    }

    fn to_json(self) -> Json {
        Json::Float(self)
    }
}

impl Value for usize {
    fn of_json(name: &str, json: &Json, (least, most): (f64, f64)) -> Result<Self> {
        match json.as_u64() {
            Some(value) if (least..=most).contains(&(value as f64)) => Ok(value as Self),
            _ => Err(wrong(name, json, format!("a whole number from {least} to {most}"))),
        }
    }

    fn to_json(self) -> Json {
        i64::try_from(self).map_or(Json::Null, Json::from)
    }
}

impl Value for Option<usize> {
    fn of_json(name: &str, json: &Json, range: (f64, f64)) -> Result<Self> {
        if json.is_null() { Ok(None) } else { Value::of_json(name, json, range).map(Some) }
    }

    fn to_json(self) -> Json {
        self.map_or(Json::Null, Value::to_json)
    }
}

fn wrong(name: &str, found: &Json, expected: impl Into<String>) -> Error {
    Error::Param { name: name.to_owned(), found: short(found), expected: expected.into() }
}

fn unknown(name: &str, found: &Json, known: &[&str]) -> Error {
    wrong(&format!("'{name}'"), found, format!("no param of that name, but only {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Params> {
        Params::of_json(&Json::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn what_is_missing_has_its_default() {
        assert_eq!(read("{}"), Ok(Params::default()));
        let mut expected = Params::default();
        expected.baseline_drop.mad_k = 4.0;
        expected.baseline_drop.min_valid_per_side = Some(7);
        expected.zero_gap.eps0 = 0.5;
        let given =
            r#"{"baseline_drop": {"mad_k": 4, "min_valid_per_side": 7}, "zero_gap": {"eps0": 0.5}, "nan_gap": {}}"#;
        assert_eq!(read(given), Ok(expected));
        assert_eq!(read(r#"{"baseline_drop": {"min_valid_per_side": null}}"#), Ok(Params::default()));
        for params in [Params::default(), expected] {
            assert_eq!(Params::of_json(&params.to_json()), Ok(params));
        }
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (text, words) in [
            ("[]", "the document is []"),
            (
                r#"{"basline_drop": {}}"#,
                "'basline_drop' is {}; expected no param of that name, but only baseline_drop, nan_gap",
            ),
            (
                r#"{"nan_gap": {"win_sec": 1}}"#,
                "'nan_gap.win_sec' is 1; expected no param of that name, but only nan_win_sec",
            ),
            (r#"{"nan_gap": 3}"#, "nan_gap is 3; expected an object"),
            (r#"{"nan_gap": {"enter_frac": 1.5}}"#, "nan_gap.enter_frac is 1.5; expected a number from 0 to 1"),
            (r#"{"nan_gap": {"enter_frac": "a"}}"#, "nan_gap.enter_frac is \"a\"; expected a number from 0 to 1"),
            (r#"{"nan_gap": {"enter_frac": true}}"#, "nan_gap.enter_frac is true"),
            (r#"{"baseline_drop": {"win_cmp_sec": -0.1}}"#, "win_cmp_sec is -0.1; expected a number from 0"),
            (r#"{"baseline_drop": {"win_cmp_sec": NaN}}"#, "win_cmp_sec is NaN; expected a number from 0"),
            (r#"{"baseline_drop": {"win_cmp_sec": null}}"#, "win_cmp_sec is null; expected a number from 0"),
            (r#"{"baseline_drop": {"top_k_total": 1.5}}"#, "top_k_total is 1.5; expected a whole number"),
            (r#"{"baseline_drop": {"min_valid_per_side": -1}}"#, "min_valid_per_side is -1; expected a whole number"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
