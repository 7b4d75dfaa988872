//! The host's side for C plugins: its records and runs behind the structs that they call, and what takes their
//! answers.
//!
//! This file keeps what a plugin borrowed until its method has returned, catches the host's panics, and limits how
//! much a plugin may give. A plugin does not use it. It trusts a plugin's pointers only as far as the header
//! promises.

use super::c_door::{self, Artifacts, Out, Text, ABSENT, OK};
use super::{artifact_kind, guard, ArrowArray, ArrowSchema, HostRecord, HostRun};
use crate::{array, ArtifactKind, Error, ErrorKind, Json, LogLevel, Result};
use std::ffi::{c_char, c_int, c_void, CString};
use std::mem::size_of;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Mutex, PoisonError};

/// The longest name that a plugin may ask for, in bytes.
const MAX_NAME_BYTES: usize = 4 << 10;
/// How much of a plugin's log line or error is read, in bytes.
const MAX_MESSAGE_BYTES: usize = 64 << 10;
/// How much a method of a plugin may give, in bytes.
pub const MAX_GIVEN_BYTES: usize = 64 << 20;

/// The status that reports an error of this kind.
fn status_of(kind: ErrorKind) -> c_int {
    -(kind as c_int) - 1
}

/// The kind of error that a status reports; `None` if it is not an error of this version.
fn kind_of(status: c_int) -> Option<ErrorKind> {
    [
        ErrorKind::Failed,
        ErrorKind::Panicked,
        ErrorKind::Unreadable,
        ErrorKind::Unsupported,
        ErrorKind::Cancelled,
        ErrorKind::BadTable,
    ]
    .into_iter()
    .find(|kind| status_of(*kind) == status)
}

/// The bytes of a zero-terminated text, at most `most` of them, and whether the zero was found.
///
/// # Safety
/// `text` is null, or readable up to its zero byte or `most` bytes, whichever comes first, for as long as `'a`.
unsafe fn bytes_until_zero<'a>(text: *const c_char, most: usize) -> (&'a [u8], bool) {
    if text.is_null() {
        return (&[], false);
    }
    let mut length = 0;
    // SAFETY: no byte after the zero is read, nor any beyond `most`.
    while length < most && unsafe { *text.add(length) } != 0 {
        length += 1;
    }
    // SAFETY: these bytes were all read just now.
    (unsafe { std::slice::from_raw_parts(text.cast(), length) }, length < most)
}

/// A zero-terminated text that a plugin gives, of at most `most` bytes.
///
/// # Errors
/// What is wrong with it, e.g. `is NULL`, to follow the name of the value.
///
/// # Safety
/// `text` is null, or readable up to its zero byte or `most` bytes, whichever comes first, for as long as `'a`.
pub unsafe fn given_text<'a>(text: *const c_char, most: usize) -> Result<&'a str, String> {
    if text.is_null() {
        return Err("is NULL".to_owned());
    }
    // SAFETY: the caller's promise; one byte more, for the zero.
    let (bytes, is_whole) = unsafe { bytes_until_zero(text, most.saturating_add(1)) };
    if !is_whole {
        return Err(format!("has more than {most} bytes"));
    }
    std::str::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
}

/// The same for a message: cut if it is too long, repaired if it is not UTF-8, empty if it is null.
///
/// # Safety
/// As [`given_text`].
unsafe fn given_message(text: *const c_char) -> String {
    // SAFETY: the caller's promise.
    let (bytes, _) = unsafe { bytes_until_zero(text, MAX_MESSAGE_BYTES) };
    String::from_utf8_lossy(bytes).into_owned()
}

fn zero_terminated(text: &str) -> CString {
    let bytes: Vec<u8> = text.bytes().filter(|byte| *byte != 0).collect();
    CString::new(bytes).unwrap_or_default()
}

/// Something that a plugin borrowed, kept until its method has returned. Boxed parts do not move when the list grows.
enum Loan {
    /// Text, followed by a zero byte.
    Bytes {
        _owner: Vec<u8>,
    },
    Text {
        _owner: CString,
    },
    Array {
        _owner: Box<ArrayLoan>,
    },
    Artifacts {
        _owner: Box<ArtifactsLoan>,
    },
}

struct ArrayLoan {
    face: c_door::Array,
    _shape: Vec<u64>,
    _axes: Vec<CString>,
    _axis_pointers: Vec<*const c_char>,
    _bytes: Vec<u8>,
    /// The elements, if the host's own bytes are not aligned for them.
    _aligned: Vec<u64>,
}

struct ArtifactsLoan {
    face: Artifacts,
    _names: Vec<CString>,
    _name_pointers: Vec<*const c_char>,
    _kinds: Vec<u8>,
}

struct RecordState<'a> {
    record: &'a dyn HostRecord,
    image_id: CString,
    loans: Mutex<Vec<Loan>>,
}

/// A host's record as C plugins take it. What it gave to a plugin lives as long as it does.
pub struct CRecord<'a> {
    face: c_door::Record,
    /// The target of `face.context`.
    _state: Box<RecordState<'a>>,
}

impl<'a> CRecord<'a> {
    /// Makes the struct of a record.
    pub fn new(record: &'a dyn HostRecord) -> Self {
        let image_id = zero_terminated(guard::value("", || record.image_id()));
        let state = Box::new(RecordState { record, image_id, loans: Mutex::default() });
        let face = c_door::Record {
            struct_size: size_of::<c_door::Record>(),
            context: std::ptr::from_ref::<RecordState<'_>>(&state).cast(),
            image_id: Some(image_id_of),
            json: Some(json),
            table: Some(table),
            pixels: Some(pixels),
            array: Some(array),
            key: Some(key),
            attributes: Some(attributes),
            artifacts: Some(artifacts),
        };
        Self { face, _state: state }
    }

    /// The pointer that a plugin's method takes. It must not be used after this value is dropped.
    pub fn as_ptr(&self) -> *const c_door::Record {
        &self.face
    }
}

impl RecordState<'_> {
    fn keep(&self, loan: Loan) {
        self.loans.lock().unwrap_or_else(PoisonError::into_inner).push(loan);
    }

    fn keep_bytes(&self, mut bytes: Vec<u8>) -> Text {
        let length = bytes.len();
        bytes.push(0);
        let text = Text { data: bytes.as_ptr().cast(), length };
        self.keep(Loan::Bytes { _owner: bytes });
        text
    }

    fn keep_text(&self, text: &str) -> *const c_char {
        let text = zero_terminated(text);
        let pointer = text.as_ptr();
        self.keep(Loan::Text { _owner: text });
        pointer
    }

    fn keep_array(&self, array: array::Array) -> *const c_door::Array {
        let dtype = array.dtype();
        let shape: Vec<u64> = array.shape().iter().map(|length| *length as u64).collect();
        let axes: Vec<CString> = array.axes().iter().map(|name| zero_terminated(name)).collect();
        let axis_pointers: Vec<*const c_char> = axes.iter().map(|name| name.as_ptr()).collect();
        let mut bytes = array.into_bytes();
        let n_bytes = bytes.len();
        let mut aligned = Vec::new();
        if !bytes.as_ptr().cast::<u64>().is_aligned() {
            aligned = bytes
                .chunks(8)
                .map(|chunk| {
                    let mut element = [0; 8];
                    element[..chunk.len()].copy_from_slice(chunk);
                    u64::from_ne_bytes(element)
                })
                .collect();
            bytes = Vec::new();
        }
        let data = if aligned.is_empty() { bytes.as_ptr().cast() } else { aligned.as_ptr().cast() };
        let face = c_door::Array {
            struct_size: size_of::<c_door::Array>(),
            dtype: c_int::from(dtype.number()),
            n_axes: shape.len(),
            shape: shape.as_ptr(),
            axes: axis_pointers.as_ptr(),
            data,
            n_bytes,
        };
        let kept = Box::new(ArrayLoan {
            face,
            _shape: shape,
            _axes: axes,
            _axis_pointers: axis_pointers,
            _bytes: bytes,
            _aligned: aligned,
        });
        let pointer: *const c_door::Array = &kept.face;
        self.keep(Loan::Array { _owner: kept });
        pointer
    }

    fn keep_artifacts(&self, artifacts: Vec<crate::Artifact>) -> *const Artifacts {
        let kinds: Vec<u8> = artifacts.iter().map(|artifact| artifact.kind as u8).collect();
        let names: Vec<CString> = artifacts.iter().map(|artifact| zero_terminated(&artifact.name)).collect();
        let name_pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let face = Artifacts {
            struct_size: size_of::<Artifacts>(),
            length: names.len(),
            names: name_pointers.as_ptr(),
            kinds: kinds.as_ptr(),
        };
        let kept = Box::new(ArtifactsLoan { face, _names: names, _name_pointers: name_pointers, _kinds: kinds });
        let pointer: *const Artifacts = &kept.face;
        self.keep(Loan::Artifacts { _owner: kept });
        pointer
    }

    fn json(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(text) = self.record.json(name)? else { return Ok(None) };
        Json::parse(&text).map_err(|error| {
            let key = self.record.key(name, ArtifactKind::Json);
            Error::new(ErrorKind::Unreadable, format!("cannot read {key} as JSON: {error}"))
        })?;
        Ok(Some(text))
    }
}

/// Writes a value to where a plugin wants it; does nothing if that is null.
///
/// # Safety
/// `place` is null or may be written.
unsafe fn put<T>(place: *mut T, value: T) {
    if !place.is_null() {
        // SAFETY: the caller's promise. Nobody relies on a destructor of the value that is overwritten.
        unsafe { place.write(value) };
    }
}

/// Runs the body of a record's function and returns the status. The text of an error goes to `error`.
///
/// # Safety
/// `record` is null or comes from a [`CRecord`] that is still alive; `error` is null or may be written.
unsafe fn answer(
    record: *const c_door::Record,
    error: *mut Text,
    body: impl FnOnce(&RecordState<'_>) -> Result<c_int>,
) -> c_int {
    const NO_RECORD: &std::ffi::CStr = c"the record is NULL";
    if record.is_null() {
        // SAFETY: the caller's promise.
        unsafe { put(error, Text { data: NO_RECORD.as_ptr(), length: NO_RECORD.count_bytes() }) };
        return status_of(ErrorKind::Failed);
    }
    // SAFETY: `CRecord::new` set the context to a state that lives as long as the record; all of it may be shared.
    let state = unsafe { &*(*record).context.cast::<RecordState<'_>>() };
    let result = catch_unwind(AssertUnwindSafe(|| body(state)))
        .unwrap_or_else(|payload| Err(Error::new(ErrorKind::Panicked, guard::payload_text(payload))));
    let (status, text) = match result {
        Ok(status) => (status, Text { data: c"".as_ptr(), length: 0 }),
        Err(problem) => (status_of(problem.kind()), state.keep_bytes(problem.message().as_bytes().to_vec())),
    };
    // SAFETY: the caller's promise.
    unsafe { put(error, text) };
    status
}

/// # Safety
/// As [`given_text`].
unsafe fn name<'a>(text: *const c_char) -> Result<&'a str> {
    // SAFETY: the caller's promise.
    unsafe { given_text(text, MAX_NAME_BYTES) }.map_err(|why| Error::msg(format!("the artifact's name {why}")))
}

fn check_place<T>(place: *mut T) -> Result<()> {
    if place.is_null() {
        return Err(Error::msg("the pointer for the result is NULL"));
    }
    Ok(())
}

// The functions of `kymhost_record`. SAFETY of all: the header's promises, which are those of `answer`, `name` and
// `put`.

unsafe extern "C" fn image_id_of(record: *const c_door::Record) -> *const c_char {
    if record.is_null() {
        return c"".as_ptr();
    }
    // SAFETY: as in `answer`.
    unsafe { &*(*record).context.cast::<RecordState<'_>>() }.image_id.as_ptr()
}

unsafe extern "C" fn json(
    record: *const c_door::Record,
    artifact: *const c_char,
    place: *mut Text,
    error: *mut Text,
) -> c_int {
    // SAFETY: see above.
    unsafe {
        answer(record, error, |state| {
            check_place(place)?;
            let Some(text) = state.json(name(artifact)?)? else { return Ok(ABSENT) };
            put(place, state.keep_bytes(text));
            Ok(OK)
        })
    }
}

unsafe extern "C" fn table(
    record: *const c_door::Record,
    artifact: *const c_char,
    kind: c_int,
    array: *mut ArrowArray,
    schema: *mut ArrowSchema,
    error: *mut Text,
) -> c_int {
    // SAFETY: see above.
    unsafe {
        answer(record, error, |state| {
            check_place(array)?;
            check_place(schema)?;
            let kind = match u8::try_from(kind).ok().and_then(artifact_kind) {
                Some(kind @ (ArtifactKind::Parquet | ArtifactKind::Csv)) => kind,
                _ => {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        format!("this kymhost does not know table artifacts of kind {kind}; upgrade kymhost"),
                    ))
                }
            };
            let Some(table) = state.record.table(name(artifact)?, kind)? else { return Ok(ABSENT) };
            let (data, of) = table.into_c_data();
            put(array, data);
            put(schema, of);
            Ok(OK)
        })
    }
}

unsafe extern "C" fn pixels(
    record: *const c_door::Record,
    place: *mut *const c_door::Array,
    error: *mut Text,
) -> c_int {
    // SAFETY: see above.
    unsafe {
        answer(record, error, |state| {
            check_place(place)?;
            let Some(array) = state.record.pixels()? else { return Ok(ABSENT) };
            put(place, state.keep_array(array));
            Ok(OK)
        })
    }
}

unsafe extern "C" fn array(
    record: *const c_door::Record,
    artifact: *const c_char,
    place: *mut *const c_door::Array,
    error: *mut Text,
) -> c_int {
    // SAFETY: see above.
    unsafe {
        answer(record, error, |state| {
            check_place(place)?;
            let Some(array) = state.record.array(name(artifact)?)? else { return Ok(ABSENT) };
            put(place, state.keep_array(array));
            Ok(OK)
        })
    }
}

unsafe extern "C" fn key(record: *const c_door::Record, artifact: *const c_char, kind: c_int) -> *const c_char {
    let mut found = c"".as_ptr();
    // SAFETY: see above.
    unsafe {
        answer(record, std::ptr::null_mut(), |state| {
            if let Some(kind) = u8::try_from(kind).ok().and_then(artifact_kind) {
                found = state.keep_text(&state.record.key(name(artifact)?, kind));
            }
            Ok(OK)
        })
    };
    found
}

unsafe extern "C" fn attributes(record: *const c_door::Record, place: *mut Text, error: *mut Text) -> c_int {
    // SAFETY: see above.
    unsafe {
        answer(record, error, |state| {
            check_place(place)?;
            put(place, state.keep_bytes(state.record.attributes()?));
            Ok(OK)
        })
    }
}

unsafe extern "C" fn artifacts(record: *const c_door::Record, place: *mut *const Artifacts, error: *mut Text) -> c_int {
    // SAFETY: see above.
    unsafe {
        answer(record, error, |state| {
            check_place(place)?;
            put(place, state.keep_artifacts(state.record.artifacts()?));
            Ok(OK)
        })
    }
}

struct RunState<'a> {
    run: &'a dyn HostRun,
    /// Texts of errors, which live until the plugin's method has returned. A `Vec` keeps its bytes in place when it
    /// moves.
    texts: Mutex<Vec<Vec<u8>>>,
}

/// A host's run as C plugins take it.
pub struct CRun<'a> {
    face: c_door::Run,
    /// The target of `face.context`.
    _state: Box<RunState<'a>>,
}

impl<'a> CRun<'a> {
    /// Makes the struct of a run.
    pub fn new(run: &'a dyn HostRun) -> Self {
        let state = Box::new(RunState { run, texts: Mutex::default() });
        let face = c_door::Run {
            struct_size: size_of::<c_door::Run>(),
            context: std::ptr::from_ref::<RunState<'_>>(&state).cast(),
            cancelled: Some(cancelled),
            threads: Some(threads),
            log: Some(log),
            progress: Some(progress),
            put_json: Some(put_json),
            put_table: Some(put_table),
            put_array: Some(put_array),
        };
        Self { face, _state: state }
    }

    /// The pointer that a plugin's method takes. It must not be used after this value is dropped.
    pub fn as_ptr(&self) -> *const c_door::Run {
        &self.face
    }
}

/// Runs the body of a run's function. Returns `otherwise` if there is no run or the host panics.
///
/// # Safety
/// `run` is null or comes from a [`CRun`] that is still alive.
unsafe fn of_run<T>(run: *const c_door::Run, otherwise: T, body: impl FnOnce(&dyn HostRun) -> T) -> T {
    if run.is_null() {
        return otherwise;
    }
    // SAFETY: `CRun::new` set the context to a state that lives as long as the run.
    let state = unsafe { &*(*run).context.cast::<RunState<'_>>() };
    guard::value(otherwise, || body(state.run))
}

unsafe extern "C" fn cancelled(run: *const c_door::Run) -> c_int {
    // SAFETY: the header's promise. A host that panicked here is in no state to accept rows.
    c_int::from(unsafe { of_run(run, true, |run| run.cancelled()) })
}

unsafe extern "C" fn threads(run: *const c_door::Run) -> u32 {
    // SAFETY: the header's promise.
    unsafe { of_run(run, 1, |run| u32::try_from(run.threads()).unwrap_or(u32::MAX).max(1)) }
}

unsafe extern "C" fn log(run: *const c_door::Run, level: c_int, message: *const c_char) {
    let level = match level {
        0 => LogLevel::Error,
        1 => LogLevel::Warn,
        2 => LogLevel::Info,
        _ => LogLevel::Debug,
    };
    // SAFETY: the header's promise.
    unsafe { of_run(run, (), |run| run.log(level, &given_message(message))) }
}

unsafe extern "C" fn progress(run: *const c_door::Run, fraction: f64) {
    // SAFETY: the header's promise.
    unsafe { of_run(run, (), |run| run.progress(fraction)) }
}

/// Hands an artifact to the host's run and returns the status. The text of an error goes to `error`.
///
/// # Safety
/// `run` is null or comes from a [`CRun`] that is still alive; `error` is null or may be written.
unsafe fn hand_over(run: *const c_door::Run, error: *mut Text, body: impl FnOnce(&dyn HostRun) -> Result<()>) -> c_int {
    const NO_RUN: &std::ffi::CStr = c"the run is NULL";
    if run.is_null() {
        // SAFETY: the caller's promise.
        unsafe { put(error, Text { data: NO_RUN.as_ptr(), length: NO_RUN.count_bytes() }) };
        return status_of(ErrorKind::Failed);
    }
    // SAFETY: as in `of_run`.
    let state = unsafe { &*(*run).context.cast::<RunState<'_>>() };
    let result = catch_unwind(AssertUnwindSafe(|| body(state.run)))
        .unwrap_or_else(|payload| Err(Error::new(ErrorKind::Panicked, guard::payload_text(payload))));
    let (status, text) = match result {
        Ok(()) => (OK, Text { data: c"".as_ptr(), length: 0 }),
        Err(problem) => {
            let mut bytes = problem.message().as_bytes().to_vec();
            let length = bytes.len();
            bytes.push(0);
            let text = Text { data: bytes.as_ptr().cast(), length };
            state.texts.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
            (status_of(problem.kind()), text)
        }
    };
    // SAFETY: the caller's promise.
    unsafe { put(error, text) };
    status
}

unsafe extern "C" fn put_json(
    run: *const c_door::Run,
    artifact: *const c_char,
    json: *const c_char,
    length: usize,
    error: *mut Text,
) -> c_int {
    // SAFETY: the header's promises: a name, and `length` bytes of text.
    unsafe {
        hand_over(run, error, |run| {
            if length > MAX_GIVEN_BYTES || (json.is_null() && length > 0) {
                return Err(Error::msg(format!("the JSON is NULL, or has more than {MAX_GIVEN_BYTES} bytes")));
            }
            let text = if length == 0 { &[][..] } else { std::slice::from_raw_parts(json.cast::<u8>(), length) };
            run.put_json(name(artifact)?, text)
        })
    }
}

unsafe extern "C" fn put_table(
    run: *const c_door::Run,
    artifact: *const c_char,
    array: *mut ArrowArray,
    schema: *mut ArrowSchema,
    error: *mut Text,
) -> c_int {
    // SAFETY: the header's promises: each is null, or Arrow C data that the host owns from now on.
    let given = unsafe { (taken_array(array), taken_schema(schema)) };
    // SAFETY: the header's promise: a name. The data that was taken is released here, even if anything else is wrong.
    unsafe {
        hand_over(run, error, move |run| {
            let (Some(data), Some(of)) = given else {
                return Err(Error::new(ErrorKind::BadTable, "the table's array or its schema is NULL"));
            };
            if data.release.is_none() || of.release.is_none() {
                return Err(Error::new(ErrorKind::BadTable, "the table was released before it was handed over"));
            }
            run.put_table(name(artifact)?, crate::Table::from_c_data(data, of))
        })
    }
}

/// Moves Arrow C data out, as Arrow's specification describes: the caller's struct is then marked as released. `None`
/// for null.
///
/// # Safety
/// `array` is null, or points to a valid struct that the caller gives away.
unsafe fn taken_array(array: *mut ArrowArray) -> Option<ArrowArray> {
    if array.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    unsafe {
        let data = array.read();
        std::ptr::addr_of_mut!((*array).release).write(None);
        Some(data)
    }
}

/// As [`taken_array`], for a schema.
///
/// # Safety
/// `schema` is null, or points to a valid struct that the caller gives away.
unsafe fn taken_schema(schema: *mut ArrowSchema) -> Option<ArrowSchema> {
    if schema.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    unsafe {
        let of = schema.read();
        std::ptr::addr_of_mut!((*schema).release).write(None);
        Some(of)
    }
}

unsafe extern "C" fn put_array(
    run: *const c_door::Run,
    artifact: *const c_char,
    array: *const c_door::Array,
    error: *mut Text,
) -> c_int {
    // SAFETY: the header's promises: a name, and an array with everything that it points to.
    unsafe { hand_over(run, error, |run| run.put_array(name(artifact)?, given_array(array)?)) }
}

/// A copy of a plugin's array.
///
/// # Safety
/// `array` is null, or a struct of the size that it claims, with everything that it points to.
unsafe fn given_array(array: *const c_door::Array) -> Result<array::Array> {
    const MAX_AXES: usize = 32;
    if array.is_null() || !array.is_aligned() {
        return Err(Error::msg("the array is NULL, or not aligned"));
    }
    // SAFETY: every struct begins with its size.
    if unsafe { (*array).struct_size } < size_of::<c_door::Array>() {
        return Err(Error::msg("the array's struct_size is not sizeof(kymhost_array)"));
    }
    // SAFETY: it has that size.
    let face = unsafe { &*array };
    let dtype = u8::try_from(face.dtype)
        .ok()
        .and_then(array::DType::from_number)
        .ok_or_else(|| Error::msg(format!("the array has the unknown dtype {}", face.dtype)))?;
    let has_parts = face.n_axes == 0 || !(face.shape.is_null() || face.axes.is_null());
    if face.n_axes > MAX_AXES || !has_parts || (face.data.is_null() && face.n_bytes > 0) {
        return Err(Error::msg("the array has more than 32 axes, or no shape, axes or data"));
    }
    let (mut shape, mut axes) = (Vec::new(), Vec::new());
    for place in 0..face.n_axes {
        // SAFETY: both have `n_axes` entries.
        let (length, axis) = unsafe { (*face.shape.add(place), *face.axes.add(place)) };
        shape.push(usize::try_from(length).map_err(|_| Error::msg("the array's shape does not fit this machine"))?);
        // SAFETY: the header promises a zero-terminated text.
        let axis = unsafe { given_text(axis, MAX_NAME_BYTES) };
        axes.push(axis.map_err(|why| Error::msg(format!("the name of axis {place} {why}")))?.to_owned());
    }
    let expected = shape.iter().try_fold(dtype.size(), |product, length| product.checked_mul(*length));
    if expected != Some(face.n_bytes) {
        return Err(Error::msg(format!(
            "the array has {} bytes, which does not match its shape and dtype",
            face.n_bytes
        )));
    }
    let bytes = match face.n_bytes {
        0 => Vec::new(),
        // SAFETY: the header promises `n_bytes` bytes there.
        count => unsafe { std::slice::from_raw_parts(face.data.cast::<u8>(), count) }.to_vec(),
    };
    array::Array::new(dtype, shape, axes, bytes)
}

#[derive(Default)]
struct OutState {
    bytes: Vec<u8>,
    error: String,
    /// Whether the plugin gave more than `MAX_GIVEN_BYTES`.
    is_too_much: bool,
}

/// Takes what one call of a plugin's method gives.
pub struct COut {
    face: Box<Out>,
    /// The target of `face.context`; it comes from a box.
    state: *mut OutState,
}

impl Default for COut {
    fn default() -> Self {
        Self::new()
    }
}

impl COut {
    /// A receiver to which nothing has been given yet.
    pub fn new() -> Self {
        let state = Box::into_raw(Box::<OutState>::default());
        let face = Out { struct_size: size_of::<Out>(), context: state.cast(), write: Some(write), error: Some(error) };
        Self { face: Box::new(face), state }
    }

    /// The pointer that a plugin's method takes. It must not be used after this value is dropped.
    pub fn as_ptr(&mut self) -> *mut Out {
        &mut *self.face
    }

    /// What the method gave, according to the status that it returned; `None` for [`ABSENT`].
    ///
    /// # Errors
    /// The plugin's error, or that the status has no meaning.
    pub fn finish(self, status: c_int) -> Result<Option<Vec<u8>>> {
        // SAFETY: the method has returned, so nobody else uses the state.
        let state = std::mem::take(unsafe { &mut *self.state });
        match status {
            OK if state.is_too_much => {
                Err(Error::msg(format!("the indexer gave more than {MAX_GIVEN_BYTES} bytes, which is the limit")))
            }
            OK => Ok(Some(state.bytes)),
            ABSENT => Ok(None),
            status => match kind_of(status) {
                Some(kind) => Err(Error::new(kind, state.error)),
                None if status < 0 && !state.error.is_empty() => Err(Error::msg(state.error)),
                None => Err(Error::msg(format!("the indexer returned the unknown status {status}"))),
            },
        }
    }
}

impl Drop for COut {
    fn drop(&mut self) {
        // SAFETY: it was made by `Box::into_raw` in `new`, and is freed only here.
        drop(unsafe { Box::from_raw(self.state) });
    }
}

unsafe extern "C" fn write(out: *mut Out, bytes: *const c_void, length: usize) -> c_int {
    if out.is_null() || (bytes.is_null() && length > 0) {
        return status_of(ErrorKind::Failed);
    }
    // SAFETY: `COut::new` set the context, and the header allows one thread at a time.
    let state = unsafe { &mut *(*out).context.cast::<OutState>() };
    let fits = state.bytes.len().checked_add(length).is_some_and(|total| total <= MAX_GIVEN_BYTES);
    if !fits || state.bytes.try_reserve(length).is_err() {
        state.is_too_much = true;
        return status_of(ErrorKind::Failed);
    }
    if length > 0 {
        // SAFETY: the header promises `length` bytes there, and it is at most `MAX_GIVEN_BYTES`.
        state.bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), length) });
    }
    OK
}

unsafe extern "C" fn error(out: *mut Out, text: *const c_char) {
    if out.is_null() {
        return;
    }
    // SAFETY: as in `write`.
    let state = unsafe { &mut *(*out).context.cast::<OutState>() };
    // SAFETY: the header promises a zero-terminated text.
    state.error = unsafe { given_message(text) };
}
