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
use kymhost_store::{GuardedWrite, Key, Seen, Store};

/// The content of every `.zgroup`.
pub(crate) const GROUP_TEXT: &str = "{\n    \"zarr_format\": 2\n}";

/// A JSON document that must be an object; `None` if the key is absent.
pub(crate) fn read_object(store: &dyn Store, key: &Key, what: &'static str) -> Result<Option<Object>, DatasetError> {
    object(store, key, what, store.get(key, MAX_SMALL_TEXT_BYTES)?)
}

fn object(
    store: &dyn Store,
    key: &Key,
    what: &'static str,
    text: Option<Vec<u8>>,
) -> Result<Option<Object>, DatasetError> {
    let Some(text) = text else { return Ok(None) };
    match Json::parse_within(&text, MAX_SMALL_VALUE_BYTES) {
        Ok(Json::Object(object)) => Ok(Some(object)),
        Ok(_) => Err(unreadable(store, key, what, "it is JSON, but not an object")),
        Err(error) => Err(unreadable(store, key, what, error)),
    }
}

/// What attributes must be.
const EXPECTED: &str = "attributes (a JSON object)";

/// A group's attributes; empty if it has none.
pub(crate) fn read(store: &dyn Store, group: &Key) -> Result<Object, DatasetError> {
    let key = group.join(ATTRIBUTES)?;
    Ok(read_object(store, &key, EXPECTED)?.unwrap_or_default())
}

/// Whether there is a group at a key.
pub(crate) fn is_group(store: &dyn Store, group: &Key) -> Result<bool, DatasetError> {
    Ok(store.stat(&group.join(GROUP)?)?.is_some())
}

/// The item that writes a group's attributes.
pub(crate) fn item(group: &Key, attributes: Object) -> Result<(Key, Vec<u8>), DatasetError> {
    Ok((group.join(ATTRIBUTES)?, Json::Object(attributes).to_file_text().into_bytes()))
}

/// The attributes of a new group with an array.
pub(crate) fn of_array(axes: &[String]) -> Object {
    let mut attributes = Object::new();
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

/// Members of a group's attributes that are to be set; all others stay, whoever writes them and when.
#[derive(Debug, Clone)]
pub(crate) struct AttributesEdit {
    group: Key,
    axes: Option<Json>,
}

impl AttributesEdit {
    /// Sets `updated_utc` to now.
    pub(crate) fn touch(group: &Key) -> Self {
        Self { group: group.clone(), axes: None }
    }

    /// Sets `axes`, and `updated_utc` to now.
    pub(crate) fn of_array(group: &Key, axes: &[String]) -> Self {
        Self { group: group.clone(), axes: Some(axes.iter().map(String::as_str).collect()) }
    }

    /// Whether nothing is lost if it is left out.
    pub(crate) fn is_hint(&self) -> bool {
        self.axes.is_none()
    }

    /// The key that it changes.
    pub(crate) fn key(&self) -> Result<Key, DatasetError> {
        Ok(self.group.join(ATTRIBUTES)?)
    }

    /// The write that makes it, over what is there now. A broken attribute file is an error, not a fresh start.
    pub(crate) fn prepare(&self, store: &dyn Store) -> Result<PreparedWrite, DatasetError> {
        let key = self.key()?;
        let (text, seen) = store.get_seen(&key, MAX_SMALL_TEXT_BYTES)?;
        let mut attributes = object(store, &key, EXPECTED, text)?.unwrap_or_default();
        if let Some(axes) = &self.axes {
            attributes.insert("axes".to_owned(), axes.clone());
        }
        attributes.insert("updated_utc".to_owned(), now_utc().into());
        let bytes = Json::Object(attributes).to_file_text().into_bytes();
        Ok(PreparedWrite::of_edit(GuardedWrite { key, bytes, if_still: vec![seen] }, self.clone()))
    }
}

/// The write that sets a group's `updated_utc` to now, all other attributes kept.
pub(crate) fn touched(store: &dyn Store, group: &Key) -> Result<PreparedWrite, DatasetError> {
    AttributesEdit::touch(group).prepare(store)
}
/// A write that is ready.
#[derive(Debug, Clone)]
pub(crate) struct PreparedWrite {
    pub(crate) write: GuardedWrite,
    /// What it sets, if it is a group's attributes: how it is made again.
    pub(crate) edit: Option<AttributesEdit>,
}

impl PreparedWrite {
    pub(crate) fn key(&self) -> &Key {
        &self.write.key
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.write.bytes
    }

    pub(crate) fn of_edit(write: GuardedWrite, edit: AttributesEdit) -> Self {
        Self { write, edit: Some(edit) }
    }

    /// The same, written only if these are still what they were.
    pub(crate) fn if_still(mut self, seen: Vec<Seen>) -> Self {
        self.write.if_still.extend(seen);
        self
    }
}

impl From<(Key, Vec<u8>)> for PreparedWrite {
    fn from(item: (Key, Vec<u8>)) -> Self {
        Self { write: item.into(), edit: None }
    }
}
