//! A test fixture: the correct parts that the wrong plugins in `examples/` share.
//!
//! This file has an indexer that passes every check of `kymhost plugin check`, makes its rows as Arrow C data without
//! Arrow, and exports an indexer with any card. Real plugins should not copy it; see `docs/authors/guide.md`.
//!
//! A wrong plugin is an example that implements [`Wrong`] for a unit struct, overrides the part that should be wrong,
//! and ends with [`wrong!`].
#![allow(unsafe_code)]

mod rows;

pub use kymhost_plugin_api;
pub use rows::Rows;

use kymhost_plugin_api::prelude::*;
use std::sync::atomic::{AtomicI64, Ordering};

/// Everything that an example needs.
pub mod prelude {
    pub use crate::{
        Rows, Wrong, at_end, card, count, loaded_at_seconds, on_load, right, wrong, wrong_with_card, wrong_with_writer,
        wrong_without_root,
    };
    pub use kymhost_plugin_api::params_hash;
    pub use kymhost_plugin_api::prelude::*;
}

/// An indexer that is correct except for what an example overrides.
pub trait Wrong: Send + Sync + 'static {
    /// See [`Indexer::NAME`].
    const NAME: &'static str = "wrong";
    /// See [`Indexer::ANALYSIS_VERSION`].
    const VERSION: &'static str = "tests.wrong@1";
    /// See [`Indexer::MARKER`].
    const MARKER: &'static str = "";

    /// See [`Indexer::WRITES`].
    const WRITES: &'static [Output] = &[];
    /// See [`Indexer::READS`].
    const READS: &'static [&'static str] = &[];
    /// See [`Indexer::PARAMS_SCHEMA`].
    const PARAMS_SCHEMA: &'static str = "";

    /// See [`Indexer::params`].
    fn params(&self, record: &Record<'_>) -> Result<Json> {
        right::params(record)
    }

    /// See [`Indexer::params_hash`].
    fn params_hash(&self, record: &Record<'_>) -> Result<String> {
        Ok(kymhost_plugin_api::params_hash(&self.params(record)?))
    }

    /// See [`Indexer::extract_rows`].
    fn rows(&self, record: &Record<'_>, _run: &Run<'_>) -> Result<Rows> {
        right::rows(record)
    }

    /// See [`Indexer::read_old_marker`].
    fn read_old_marker(&self, _payload: &Json) -> Option<RunMarker> {
        None
    }
}

/// The correct behaviour.
pub mod right {
    use super::*;

    /// The artifact that holds the params.
    pub const PARAMS: &str = "wrong/params";

    /// The params: an object, which is empty if there are none.
    pub fn params(record: &Record<'_>) -> Result<Json> {
        Ok(match record.json(PARAMS)? {
            Some(params @ Json::Object(_)) => params,
            _ => Json::object::<&str>([]),
        })
    }

    /// One row per ROI: its id, the mean of all pixels, the threshold and a label.
    pub fn rows(record: &Record<'_>) -> Result<Rows> {
        rows_with(record, record.pixels()?)
    }

    /// The same with these pixels.
    pub fn rows_with(record: &Record<'_>, pixels: Option<Array>) -> Result<Rows> {
        let threshold = params(record)?.get("threshold").and_then(Json::as_f64).unwrap_or(0.5);
        let metadata = record.metadata()?;
        let rois = metadata.as_ref().and_then(|metadata| metadata.get("rois")).and_then(Json::as_array);
        let ids: Vec<i64> =
            rois.unwrap_or_default().iter().filter_map(|roi| roi.get("roi_id").and_then(Json::as_i64)).collect();
        let values = pixels.and_then(|pixels| pixels.to_f64_vec()).unwrap_or_default();
        let mean = if values.is_empty() { f64::NAN } else { values.iter().sum::<f64>() / values.len() as f64 };
        Ok(Rows::new(ids.len())
            .ints("roi_id", |row| ids[row])
            .floats("mean", |_| mean)
            .floats("threshold", |_| threshold)
            .texts("label", |row| format!("ROI {}", ids[row])))
    }
}

/// How often this function was called before in this process.
pub fn count() -> i64 {
    static CALLS: AtomicI64 = AtomicI64::new(0);
    CALLS.fetch_add(1, Ordering::Relaxed)
}

/// The time of the first call, in seconds since the Unix epoch.
pub fn loaded_at_seconds() -> i64 {
    static AT: AtomicI64 = AtomicI64::new(0);
    let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs() as i64);
    match AT.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => now,
        Err(before) => before,
    }
}

/// The struct `Exported`: an indexer that behaves like the given [`Wrong`] one.
#[doc(hidden)]
#[macro_export]
macro_rules! exported {
    ($wrong:ident) => {
        struct Exported;

        impl Indexer for Exported {
            const NAME: &'static str = <$wrong as Wrong>::NAME;
            const ANALYSIS_VERSION: &'static str = <$wrong as Wrong>::VERSION;
            const MARKER: &'static str = <$wrong as Wrong>::MARKER;
            const PARAMS_ARTIFACTS: &'static [&'static str] = &[right::PARAMS];
            const WRITES: &'static [Output] = <$wrong as Wrong>::WRITES;
            const READS: &'static [&'static str] = <$wrong as Wrong>::READS;
            const PARAMS_SCHEMA: &'static str = <$wrong as Wrong>::PARAMS_SCHEMA;

            fn params(&self, record: &Record<'_>) -> Result<Json> {
                $wrong.params(record)
            }

            fn params_hash(&self, record: &Record<'_>) -> Result<String> {
                $wrong.params_hash(record)
            }

            fn extract_rows(&self, record: &Record<'_>, run: &Run<'_>) -> Result<Table> {
                Ok($wrong.rows(record, run)?.into_table())
            }

            fn read_old_marker(&self, payload: &Json) -> Option<RunMarker> {
                $wrong.read_old_marker(payload)
            }
        }
    };
}

/// Exports the indexer as `export_plugin!` does.
#[macro_export]
macro_rules! wrong {
    ($wrong:ident) => {
        $crate::exported!($wrong);
        $crate::kymhost_plugin_api::export_plugin!(Exported);
    };
}

/// A correct indexer that writes the artifact `wrong/notes`.
pub struct Writer;

impl Indexer for Writer {
    const NAME: &'static str = "wrong_writer";
    const ANALYSIS_VERSION: &'static str = "tests.wrong_writer@1";
    const PARAMS_ARTIFACTS: &'static [&'static str] = &[right::PARAMS];
    const WRITES: &'static [Output] = &[Output::json("wrong/notes")];

    fn params(&self, record: &Record<'_>) -> Result<Json> {
        right::params(record)
    }

    fn extract_rows(&self, record: &Record<'_>, run: &Run<'_>) -> Result<Table> {
        run.put_json("wrong/notes", &Json::from(record.image_id()))?;
        Ok(right::rows(record)?.into_table())
    }
}

/// Exports the indexer together with a correct one that writes the artifact `wrong/notes`.
#[macro_export]
macro_rules! wrong_with_writer {
    ($wrong:ident) => {
        $crate::exported!($wrong);
        $crate::kymhost_plugin_api::export_plugin!(Exported, $crate::Writer);
    };
}

/// The JSON of a card with this API, needed API, name and version.
#[macro_export]
macro_rules! card {
    ($api:literal, $needs:literal, $name:literal, $version:literal) => {
        concat!(
            r#"{"card":1,"api":""#,
            $api,
            r#"","needs_api":""#,
            $needs,
            r#"","door":"abi_stable-0.11","sdk":"1.1.0","rustc":"rustc","target":"any","indexers":[{"name":""#,
            $name,
            r#"","analysis_version":""#,
            $version,
            r#"","marker":""#,
            $name,
            r#"_run","params_artifacts":["wrong/params"]}]}"#
        )
    };
}

/// The length of the card with this JSON, in bytes.
pub const fn card_len(json: &str) -> usize {
    12 + json.len()
}

/// The card with this JSON.
pub const fn card_bytes<const N: usize>(json: &str) -> [u8; N] {
    let mut card = [0; N];
    let magic = &kymhost_plugin_api::card::MAGIC;
    let length = (json.len() as u32).to_le_bytes();
    let mut i = 0;
    while i < N {
        card[i] = match i {
            0..8 => magic[i],
            8..12 => length[i - 8],
            _ => json.as_bytes()[i - 12],
        };
        i += 1;
    }
    card
}

/// Puts this card into the library.
#[doc(hidden)]
#[macro_export]
macro_rules! card_section {
    ($card:expr) => {
        #[used]
        #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__kymhost"))]
        #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".kymhost"))]
        static CARD: [u8; $crate::card_len($card)] = $crate::card_bytes($card);
    };
}

/// Exports the indexer as [`wrong!`] does, but with this card.
#[macro_export]
macro_rules! wrong_with_card {
    ($wrong:ident, $card:expr) => {
        $crate::exported!($wrong);

        #[allow(unsafe_code)]
        const _: () = {
            use $crate::kymhost_plugin_api::ffi;

            ffi::inventory::submit! {
                ffi::Registration::new(|| ffi::indexer_object(Exported))
            }

            $crate::card_section!($card);

            struct Exports;

            impl ffi::Export for Exports {
                const CARD: &'static [u8] = &CARD;
            }

            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            static ROOT: ffi::LibHeader = ffi::lib_header::<Exports>();
        };
    };
}

/// Makes a library with this card that exports nothing.
#[macro_export]
macro_rules! wrong_without_root {
    ($wrong:ident, $card:expr) => {
        $crate::exported!($wrong);

        #[allow(unsafe_code, dead_code)]
        const _: () = {
            $crate::card_section!($card);
            static NOT_EXPORTED: &(dyn Fn() -> Exported + Sync) = &|| Exported;
        };
    };
}

/// Calls this function of `std::process` when the library is loaded: `on_load!(abort)`.
#[macro_export]
macro_rules! on_load {
    ($what:ident) => {
        extern "C" fn on_load() {
            std::process::$what();
        }

        // SAFETY: the loader calls the functions in this section once.
        #[allow(unsafe_code)]
        #[used]
        #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func"))]
        #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
        static ON_LOAD: extern "C" fn() = on_load;
    };
}

/// Calls this function of `std::process` when the process ends: `at_end!(abort)`.
#[macro_export]
macro_rules! at_end {
    ($what:ident) => {
        extern "C" fn at_end() {
            std::process::$what();
        }

        // SAFETY: the loader calls the functions in this section once.
        #[allow(unsafe_code)]
        #[used]
        #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_term_func"))]
        #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".fini_array"))]
        static AT_END: extern "C" fn() = at_end;
    };
}
