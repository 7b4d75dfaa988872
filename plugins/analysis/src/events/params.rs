//! The params of the event detection: names, defaults, ranges and the JSON form.
//!
//! What they do is in `shifts` and `gaps`.

use crate::error::short;
use crate::{AnalysisError, Result};
use kymhost_plugin_api::Json;

/// All params, with the defaults of kymflow.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct EventParams {
    /// Drops and rises of the speed.
    pub baseline_drop: ShiftParams,
    /// Stretches without known velocities.
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
                        _ => return Err(unknown(full, &[$(stringify!($field)),+])),
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
    /// EventParams of baseline shifts: `baseline_drop`.
    ShiftParams {
        /// The window that is compared on each side, in seconds.
        win_cmp_sec: f64 = 0.25, SECONDS;
        /// The window of the median in which the onset is searched, in seconds.
        smooth_sec: f64 = 0.1, SECONDS;
        /// How many known samples a side needs; `None` means a fifth of the window, but at least 10.
        min_valid_per_side: Option<usize> = None, (0.0, 1e9);
        /// The threshold in robust standard deviations of the scores.
        mad_k: f64 = 3.0, (0.0, 1e9);
        /// The lowest threshold, in mm/s.
        abs_score_floor: f64 = 0.25, (0.0, 1e9);
        /// Runs with at most this time between them are joined, in seconds.
        merge_gap_sec: f64 = 0.1, SECONDS;
        /// The minimum number of drops, if there are enough candidates.
        top_k_total: usize = 2, (0.0, 1e6);
        /// Half the minimum distance of candidates, in seconds.
        min_sep_sec: f64 = 0.75, SECONDS;
    }
}

params! {
    /// EventParams of NaN gaps: `nan_gap`.
    NanGapParams {
        /// The window for the fraction of unknown samples, in seconds.
        nan_win_sec: f64 = 0.1, SECONDS;
        /// A gap begins when the fraction reaches this value, 0 to 1.
        enter_frac: f64 = 0.4, (0.0, 1.0);
        /// A gap ends when the fraction falls to this value, 0 to 1.
        exit_frac: f64 = 0.2, (0.0, 1.0);
        /// The minimum duration of a gap, in seconds.
        min_duration_sec: f64 = 0.2, SECONDS;
        /// Gaps with at most this time between them are joined, in seconds.
        merge_gap_sec: f64 = 0.05, SECONDS;
    }
}

params! {
    /// EventParams of zero gaps: `zero_gap`.
    ZeroGapParams {
        /// The highest speed that counts as zero, in mm/s.
        eps0: f64 = 0.0, (0.0, 1e9);
        /// The window for the fraction of zeros, in seconds.
        zero_win_sec: f64 = 0.1, SECONDS;
        /// A gap begins when the fraction reaches this value, 0 to 1.
        enter_frac: f64 = 0.4, (0.0, 1.0);
        /// A gap ends when the fraction falls to this value, 0 to 1.
        exit_frac: f64 = 0.2, (0.0, 1.0);
        /// The minimum duration of a gap, in seconds.
        min_duration_sec: f64 = 0.2, SECONDS;
        /// Gaps with at most this time between them are joined, in seconds.
        merge_gap_sec: f64 = 0.05, SECONDS;
    }
}

/// The range of a duration, in seconds.
const SECONDS: (f64, f64) = (0.0, 1e9);

impl EventParams {
    /// Reads the params from a JSON object: groups `baseline_drop`, `nan_gap`, `zero_gap`, each with some or all of its
    /// fields. Missing ones have their defaults.
    ///
    /// # Errors
    /// [`AnalysisError::UnknownParam`] for an unknown name, [`AnalysisError::Param`] for a value that has the wrong
    /// type or is out of its range.
    pub fn of_json(json: &Json) -> Result<Self> {
        let mut params = Self::default();
        let Some(groups) = json.as_object() else { return Err(wrong("the document", json, "an object of params")) };
        for (name, value) in groups.iter() {
            match name.as_str() {
                "baseline_drop" => params.baseline_drop = ShiftParams::of_json(name, value)?,
                "nan_gap" => params.nan_gap = NanGapParams::of_json(name, value)?,
                "zero_gap" => params.zero_gap = ZeroGapParams::of_json(name, value)?,
                _ => return Err(unknown(name.clone(), &["baseline_drop", "nan_gap", "zero_gap"])),
            }
        }
        Ok(params)
    }

    /// All params as a JSON object that [`EventParams::of_json`] accepts.
    pub fn to_json(&self) -> Json {
        Json::object([
            ("baseline_drop", self.baseline_drop.to_json()),
            ("nan_gap", self.nan_gap.to_json()),
            ("zero_gap", self.zero_gap.to_json()),
        ])
    }
}

/// A value of a param: its JSON form and its range.
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

fn wrong(name: &str, found: &Json, expected: impl Into<String>) -> AnalysisError {
    AnalysisError::Param { name: name.to_owned(), found: short(found), expected: expected.into() }
}

fn unknown(name: String, known: &'static [&'static str]) -> AnalysisError {
    AnalysisError::UnknownParam { name, known }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<EventParams> {
        EventParams::of_json(&Json::parse(text.as_bytes()).unwrap())
    }

    /// Missing params have their defaults, and all params survive a round trip.
    #[test]
    fn params_missing_ones_have_defaults() {
        assert_eq!(read("{}"), Ok(EventParams::default()));
        let mut expected = EventParams::default();
        expected.baseline_drop.mad_k = 4.0;
        expected.baseline_drop.min_valid_per_side = Some(7);
        expected.zero_gap.eps0 = 0.5;
        let given =
            r#"{"baseline_drop": {"mad_k": 4, "min_valid_per_side": 7}, "zero_gap": {"eps0": 0.5}, "nan_gap": {}}"#;
        assert_eq!(read(given), Ok(expected));
        assert_eq!(read(r#"{"baseline_drop": {"min_valid_per_side": null}}"#), Ok(EventParams::default()));
        for params in [EventParams::default(), expected] {
            assert_eq!(EventParams::of_json(&params.to_json()), Ok(params));
        }
    }

    /// The error names the param, its value and what was expected.
    #[test]
    fn params_wrong_value_is_refused_by_name() {
        for (text, words) in [
            ("[]", "the document is []"),
            (r#"{"basline_drop": {}}"#, "there is no param 'basline_drop'; expected one of baseline_drop, nan_gap"),
            (r#"{"nan_gap": {"win_sec": 1}}"#, "there is no param 'nan_gap.win_sec'; expected one of nan_win_sec"),
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
