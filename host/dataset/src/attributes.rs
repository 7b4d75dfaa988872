//! Groups and their attributes: `.zgroup`, `.zattrs` and the times in them.
//!
//! kymhost reads and writes them itself, because Python writes `NaN` into attributes and zarrs rejects such groups.

use crate::error::DatasetError;
use crate::error::unreadable;
use crate::limits::{MAX_SMALL_TEXT_BYTES, MAX_SMALL_VALUE_BYTES};
use crate::names::{ATTRIBUTES, GROUP};
use kymhost_plugin_api::Json;
use kymhost_plugin_api::json::Object;
use kymhost_store::time::now_utc;
use kymhost_store::{Key, Store};

/// The content of every `.zgroup`.
pub(crate) const GROUP_TEXT: &str = "{\n    \"zarr_format\": 2\n}";

/// A JSON document that must be an object; `None` if the key is absent.
pub(crate) fn read_object(store: &dyn Store, key: &Key, what: &'static str) -> Result<Option<Object>, DatasetError> {
    let Some(text) = store.get(key, MAX_SMALL_TEXT_BYTES)? else { return Ok(None) };
    match Json::parse_within(&text, MAX_SMALL_VALUE_BYTES) {
        Ok(Json::Object(object)) => Ok(Some(object)),
        Ok(_) => Err(unreadable(store, key, what, "it is JSON, but not an object")),
        Err(error) => Err(unreadable(store, key, what, error)),
    }
}

/// A group's attributes; empty if it has none.
pub(crate) fn read(store: &dyn Store, group: &Key) -> Result<Object, DatasetError> {
    let key = group.join(ATTRIBUTES)?;
    Ok(read_object(store, &key, "attributes (a JSON object)")?.unwrap_or_default())
}

/// Whether there is a group at a key.
pub(crate) fn is_group(store: &dyn Store, group: &Key) -> Result<bool, DatasetError> {
    Ok(store.stat(&group.join(GROUP)?)?.is_some())
}

/// The item that writes a group's attributes.
pub(crate) fn item(group: &Key, attributes: Object) -> Result<(Key, Vec<u8>), DatasetError> {
    Ok((group.join(ATTRIBUTES)?, Json::Object(attributes).to_file_text().into_bytes()))
}

/// The attributes of a group with an array: those that it has, its axes and the time.
pub(crate) fn of_array(mut attributes: Object, axes: &[String]) -> Object {
    attributes.insert("axes".to_owned(), axes.iter().map(String::as_str).collect());
    attributes.insert("updated_utc".to_owned(), now_utc().into());
    attributes
}

/// The attributes of a new image.
pub(crate) fn of_image(axes: &[String]) -> Object {
    let now = now_utc();
    let mut attributes = Object::new();
    attributes.insert("axes".to_owned(), axes.iter().map(String::as_str).collect());
    attributes.insert("created_utc".to_owned(), now.as_str().into());
    attributes.insert("updated_utc".to_owned(), now.into());
    attributes
}

/// The item that makes a group.
pub(crate) fn group_item(group: &Key) -> Result<(Key, Vec<u8>), DatasetError> {
    Ok((group.join(GROUP)?, GROUP_TEXT.into()))
}

/// The item that sets a group's `updated_utc` to now, all other attributes kept. A broken attribute file is an error,
/// not a fresh start.
pub(crate) fn touched(store: &dyn Store, group: &Key) -> Result<(Key, Vec<u8>), DatasetError> {
    let mut attributes = read(store, group)?;
    attributes.insert("updated_utc".to_owned(), now_utc().into());
    item(group, attributes)
}
