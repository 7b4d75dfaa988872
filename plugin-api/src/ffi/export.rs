//! The plugin's side of the boundary: an author's [`Indexer`] behind the trait object, and what a library exports.
//!
//! This file catches the plugin's panics. A host does not use it.

use super::contract::{Answer, IndexerAbi, IndexerAbi_TO, IndexerObject, Module, ModuleRef, RecordRef, RunRef};
use super::{guard, ArrowTable};
use crate::card::marker_name;
use crate::{Error, ErrorKind, Indexer, Json, Record, Run};
use abi_stable::library::{__call_root_module_loader, CheckTypeLayout, LibHeader, RootModuleResult};
use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{RNone, ROption, RSlice, RSome, RStr, RString, RVec, Tuple2};

struct Adapter<I> {
    indexer: I,
    marker: String,
}

impl<I: Indexer> IndexerAbi for Adapter<I> {
    fn name(&self) -> RStr<'_> {
        I::NAME.into()
    }
    fn analysis_version(&self) -> RStr<'_> {
        I::ANALYSIS_VERSION.into()
    }
    fn marker_name(&self) -> RStr<'_> {
        self.marker.as_str().into()
    }
    fn params_artifacts(&self) -> RVec<RString> {
        I::PARAMS_ARTIFACTS.iter().map(|name| RString::from(*name)).collect()
    }
    fn params(&self, record: RecordRef<'_>) -> Answer<RVec<u8>> {
        guard::answer(|| Ok(self.indexer.params(&Record::new(record))?.to_file_text().into_bytes().into()))
    }
    fn params_hash(&self, record: RecordRef<'_>) -> Answer<RString> {
        guard::answer(|| Ok(self.indexer.params_hash(&Record::new(record))?.into()))
    }
    fn extract_rows(&self, record: RecordRef<'_>, run: RunRef<'_>) -> Answer<ArrowTable> {
        guard::answer(|| Ok(self.indexer.extract_rows(&Record::new(record), &Run::new(run))?.into_c_table()))
    }
    fn read_old_marker(&self, payload: RSlice<'_, u8>) -> Answer<ROption<RVec<u8>>> {
        guard::answer(|| {
            let payload = Json::parse(payload.as_slice())
                .map_err(|error| Error::new(ErrorKind::Unreadable, format!("the marker is not JSON: {error}")))?;
            Ok(match self.indexer.read_old_marker(&payload) {
                Some(marker) => RSome(marker.to_json().to_file_text().into_bytes().into()),
                None => RNone,
            })
        })
    }
    fn writes(&self) -> RVec<Tuple2<RString, u8>> {
        I::WRITES.iter().map(|output| Tuple2(RString::from(output.name()), output.kind() as u8)).collect()
    }
    fn reads(&self) -> RVec<RString> {
        I::READS.iter().map(|name| RString::from(*name)).collect()
    }
    fn params_schema(&self) -> RStr<'_> {
        I::PARAMS_SCHEMA.into()
    }
}

/// The trait object of an indexer, as the host gets it.
pub fn indexer_object<I: Indexer>(indexer: I) -> IndexerObject {
    IndexerAbi_TO::from_value(Adapter { indexer, marker: marker_name::<I>() }, TD_Opaque)
}

/// One indexer of this library, which is made when the host asks for it.
pub struct Registration {
    make: fn() -> IndexerObject,
}

impl Registration {
    /// Registers the function that makes the object.
    pub const fn new(make: fn() -> IndexerObject) -> Self {
        Self { make }
    }
}

inventory::collect!(Registration);

/// The type that `export_plugin!` hands to the root module.
pub trait Export: 'static {
    /// The library's card.
    const CARD: &'static [u8];
}

extern "C" fn indexers() -> Answer<RVec<IndexerObject>> {
    guard::answer(|| {
        let mut objects: Vec<_> =
            inventory::iter::<Registration>.into_iter().map(|registration| (registration.make)()).collect();
        // Constructors run in the linker's order, so the list is sorted.
        objects.sort_by(|a, b| a.name().as_str().cmp(b.name().as_str()));
        Ok(objects.into())
    })
}

fn module<E: Export>() -> ModuleRef {
    // Leaks once per library, because it is called once.
    Module { indexers, card: RSlice::from_slice(E::CARD) }.leak_into_prefix()
}

extern "C" fn construct<E: Export>() -> RootModuleResult {
    // It catches panics itself.
    __call_root_module_loader(module::<E>)
}

/// The static that a library exports as `_1as_0lib_1header_0root_bmodule_bloader`.
pub const fn lib_header<E: Export>() -> LibHeader {
    // SAFETY: `construct` gives a `PrefixRef` that comes from a `ModuleRef`.
    unsafe { LibHeader::from_constructor::<ModuleRef>(construct::<E>, CheckTypeLayout::Yes) }
}
