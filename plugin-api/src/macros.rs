//! The macro `export_plugin!`: everything that a plugin's library exports.

/// Makes a library of one or more indexers, each named by the path of a unit struct: `export_plugin!(Stalls,
/// Diameters);`.
///
/// Use it once in a `cdylib` crate. A name or version that a host would refuse stops the build. The crate may not
/// have `#![forbid(unsafe_code)]`, because exporting a symbol counts as unsafe; `#![deny(unsafe_code)]` is fine.
#[macro_export]
macro_rules! export_plugin {
    ($($indexer:path),+ $(,)?) => {
        #[doc(hidden)]
        #[allow(dead_code, missing_docs)]
        struct ExportPluginIsUsedOnceInALibrary;

        #[allow(unsafe_code)]
        const _: () = {
            $($crate::ffi::inventory::submit! {
                $crate::ffi::Registration::new(|| $crate::ffi::indexer_object($indexer))
            })+

            const INDEXERS: &[$crate::card::CardEntry] = &[$($crate::card::CardEntry::of::<$indexer>()),+];

            #[used]
            #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__kymhost"))]
            #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".kymhost"))]
            static CARD: [u8; $crate::card::encoded_len(INDEXERS)] = $crate::card::encode(INDEXERS);

            struct Exports;

            impl $crate::ffi::Export for Exports {
                const CARD: &'static [u8] = &CARD;
            }

            // The name of abi_stable's root symbol.
            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            static ROOT: $crate::ffi::LibHeader = $crate::ffi::lib_header::<Exports>();
        };
    };
}
