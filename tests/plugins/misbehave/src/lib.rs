//! A test fixture: indexers that misbehave as an image's JSON artifact `misbehave` says.
//!
//! There is one way of misbehaving for each that a host must survive. Real plugins should not copy it.
//!
//! The artifact is `{"do": WHAT, "when": "params", "file": PATH, "read": NAME}`. Without `when` it happens in the
//! extraction, which first reads the JSON artifact NAME.
#![allow(unsafe_code, clippy::print_stdout)]

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use kymhost_plugin_api::prelude::*;
use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

/// The number of random results so far, so that each differs.
static CALLS: AtomicU32 = AtomicU32::new(0);

/// Misbehaves as its artifact says.
struct Misbehave;

/// Gives one row with the id of its process and the number of threads that it may use.
struct Behave;

export_plugin!(Misbehave, Behave);

impl Indexer for Misbehave {
    const NAME: &'static str = "misbehave";
    const ANALYSIS_VERSION: &'static str = "tests.misbehave@1";
    const PARAMS_ARTIFACTS: &'static [&'static str] = &["params"];

    fn params(&self, record: &Record<'_>) -> Result<Json> {
        let order = order(record)?;
        if text(&order, "when") == "params" {
            if text(&order, "do") == "random" {
                return Ok(CALLS.fetch_add(1, Ordering::Relaxed).into());
            }
            act(&order)?;
        }
        Ok(record.json("params")?.unwrap_or(Json::Null))
    }

    fn extract_rows(&self, record: &Record<'_>, run: &Run<'_>) -> Result<Table> {
        let order = order(record)?;
        let name = text(&order, "read");
        if !name.is_empty() {
            record.json(name)?;
        }
        if text(&order, "do") == "read_much" {
            for number in 0..9 {
                record.json(&format!("{number}{}", "n".repeat(1 << 20)))?;
            }
            return Table::builder().build();
        }
        if text(&order, "when") != "params"
            && let Some(table) = act(&order)?
        {
            return Ok(table);
        }
        run.log(LogLevel::Warn, &format!("extracted {}", record.image_id()));
        Table::builder().column("value", vec![1_i64, 2])?.column("image", vec![record.image_id(); 2])?.build()
    }

    fn read_old_marker(&self, payload: &Json) -> Option<RunMarker> {
        let order = payload.get("misbehave").cloned().unwrap_or(Json::Null);
        if !matches!(act(&order), Ok(None)) {
            return None;
        }
        let rows = payload.get("n_old").and_then(Json::as_i64)?;
        Some(RunMarker::new("misbehave", "old", "tests.misbehave@0", rows.unsigned_abs(), 1))
    }
}

impl Indexer for Behave {
    const NAME: &'static str = "behave";
    const ANALYSIS_VERSION: &'static str = "tests.behave@1";

    fn params(&self, _record: &Record<'_>) -> Result<Json> {
        Ok(Json::Null)
    }

    fn extract_rows(&self, _record: &Record<'_>, run: &Run<'_>) -> Result<Table> {
        let process = i64::from(std::process::id());
        let threads = i64::try_from(run.threads())?;
        Table::builder().column("process", vec![process])?.column("threads", vec![threads])?.build()
    }
}

fn order(record: &Record<'_>) -> Result<Json> {
    Ok(record.json("misbehave")?.unwrap_or(Json::Null))
}

fn text<'a>(order: &'a Json, key: &str) -> &'a str {
    order.get(key).and_then(Json::as_str).unwrap_or_default()
}

/// Does what `do` says. `None` if the rows should be the usual ones.
fn act(order: &Json) -> Result<Option<Table>> {
    match text(order, "do") {
        "" => {}
        "err" => return Err(Error::msg("told to err")),
        "panic" => panic!("told to panic"),
        "abort" => std::process::abort(),
        "segfault" => segfault(),
        "exit" => std::process::exit(7),
        "overflow" => drop(black_box(overflow(black_box(1)))),
        "hang" => hang(),
        "hold" => hold(text(order, "file")),
        "hang_with_child" => hang_with_child(text(order, "file"))?,
        "eat" => eat(),
        "grab" => drop(black_box(vec![1_u8; 1 << 40])),
        "print" => println!("told to print"),
        "slow" => sleep(Duration::from_millis(300)),
        "ragged" => return table(&[("a", 2), ("b", 3)]).map(Some),
        "duplicate" => return table(&[("a", 2), ("a", 2)]).map(Some),
        "unnamed" => return table(&[("a", 2), ("", 2)]).map(Some),
        "text" => return Table::builder().column("value", vec!["x"])?.build().map(Some),
        "big" => return Table::builder().column("value", vec![7_i64; 1 << 20])?.build().map(Some),
        "rewrite" => {
            std::fs::write(text(order, "file"), format!("{{\"n\": {}}}", CALLS.fetch_add(1, Ordering::Relaxed)))?
        }
        "rewrite_and_err" => {
            std::fs::write(text(order, "file"), format!("{{\"n\": {}}}", CALLS.fetch_add(1, Ordering::Relaxed)))?;
            return Err(Error::msg("told to err"));
        }
        "rewrite_once" => drop(rewrite_once(order)?),
        "rewrite_once_and_err" if rewrite_once(order)? => return Err(Error::msg("told to err once")),
        "rewrite_once_and_err" => {}
        "rewrite_alike" => std::fs::write(text(order, "file"), std::fs::read(text(order, "file"))?)?,
        "err_giant" => return Err(Error::msg("x".repeat(40 << 20))),
        "err_controls" => return Err(Error::msg("nul \0 escape \x1b[31m bell \x07 end")),
        "err_empty" => return Err(Error::msg("")),
        "panic_number" => std::panic::panic_any(7),
        "panic_bomb" => std::panic::panic_any(Bomb),
        "panic_in_drop" => {
            let _bomb = Bomb;
            panic!("told to panic, with a bomb in hand");
        }
        "late_abort" => later(|| std::process::abort()),
        "late_panic" => later(|| panic!("told to panic later")),
        "exit_in_thread" => drop(std::thread::spawn(|| std::process::exit(9)).join()),
        "folder" => std::env::set_current_dir("/")?,
        "flood" => flood(),
        #[cfg(target_os = "linux")]
        "stop" => raw::call(&[("raise", 19)]),
        #[cfg(target_os = "linux")]
        "close_0_1_2" => raw::call(&[("close", 0), ("close", 1), ("close", 2)]),
        #[cfg(target_os = "linux")]
        "close_all" => raw::call(&[("close", 0), ("close", 1), ("close", 2), ("close_rest", 3)]),
        #[cfg(target_os = "linux")]
        "write_to_all" => raw::call(&[("write_all", 3)]),
        #[cfg(target_os = "linux")]
        "write_to_all_and_hang" => {
            raw::call(&[("write_all", 3)]);
            hang()
        }
        #[cfg(target_os = "linux")]
        "fork" => raw::call(&[("fork", 0)]),
        #[cfg(target_os = "linux")]
        "ignore_signals" => (1..32).for_each(|signal| raw::call(&[("ignore", signal)])),
        lie => match lying_table(lie)? {
            Some(table) => return Ok(Some(table)),
            None => return Err(Error::msg(format!("told to do what is unknown: {lie}"))),
        },
    }
    Ok(None)
}

/// Writes fixed contents to a file. Returns whether the file had other contents before.
fn rewrite_once(order: &Json) -> Result<bool> {
    const CONTENT: &str = "{\"n\": \"rewritten\"}";
    let file = text(order, "file");
    let is_new = std::fs::read(file)? != CONTENT.as_bytes();
    if is_new {
        std::fs::write(file, CONTENT)?;
    }
    Ok(is_new)
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the bomb went off");
    }
}

/// Leaves a thread behind that does this a moment after the extraction has returned.
fn later(what: impl FnOnce() + Send + 'static) {
    std::thread::spawn(|| {
        sleep(Duration::from_millis(150));
        what();
    });
}

fn flood() {
    let line = [b'f'; 1 << 16];
    for _ in 0..(64 << 4) {
        let _ = std::io::Write::write_all(&mut std::io::stderr(), &line);
    }
}

/// Tables of Arrow C data that break the specification.
fn lying_table(lie: &str) -> Result<Option<Table>> {
    let texts =
        Table::builder().column("text", vec!["one", "two", "three"])?.column("n", vec![1_i64, 2, 3])?.build()?;
    let (mut array, mut schema) = texts.into_c_data();
    // SAFETY: the table was made above: two children, the first with three buffers. It is made invalid on purpose.
    unsafe {
        let child = &mut **array.children;
        match lie {
            "lie_rows" => array.length = 1 << 40,
            "lie_negative" => array.length = -3,
            "lie_child_rows" => child.length = 1 << 40,
            "lie_utf8" => *(*child.buffers.add(2)).cast_mut().cast::<u8>() = 0xff,
            "lie_offsets" => *(*child.buffers.add(1)).cast_mut().cast::<i32>().add(1) = 1 << 30,
            "lie_no_name" => (**schema.children).name = std::ptr::null(),
            "lie_name" => (**schema.children).name = c"\xff\xfe".to_owned().into_raw(),
            "lie_format" => (**schema.children).format = c"no such format".to_owned().into_raw(),
            "lie_released" => array.release = None,
            "lie_children" => array.n_children = 3,
            "lie_dictionary" => (**schema.children).dictionary = *schema.children,
            "lie_no_buffers" => child.buffers = std::ptr::null_mut(),
            _ => return Ok(None),
        }
        let _ = &mut schema;
        Ok(Some(Table::from_c_data(array, schema)))
    }
}

/// Calls for which Rust has no safe function.
#[cfg(target_os = "linux")]
mod raw {
    use std::ffi::{c_int, c_void};

    unsafe extern "C" {
        safe fn close(fd: c_int) -> c_int;
        safe fn raise(signal: c_int) -> c_int;
        safe fn fork() -> c_int;
        fn write(fd: c_int, bytes: *const c_void, count: usize) -> isize;
        fn signal(number: c_int, handler: usize) -> usize;
    }

    pub(super) fn call(calls: &[(&str, c_int)]) {
        for (what, argument) in calls {
            match *what {
                "close" => _ = close(*argument),
                "close_rest" => (*argument..256).for_each(|fd| _ = close(fd)),
                "raise" => _ = raise(*argument),
                "fork" => _ = fork(),
                // SAFETY: the byte exists; writing to any descriptor is the purpose.
                "write_all" => (*argument..64).for_each(|fd| _ = unsafe { write(fd, [1_u8].as_ptr().cast(), 1) }),
                // SAFETY: SIG_IGN is 1.
                "ignore" => drop(unsafe { signal(*argument, 1) }),
                _ => {}
            }
        }
    }
}

fn table(columns: &[(&str, usize)]) -> Result<Table> {
    let fields: Vec<Field> = columns.iter().map(|(name, _)| Field::new(*name, DataType::Int64, true)).collect();
    let arrays = columns.iter().map(|(_, rows)| Arc::new(Int64Array::from(vec![0; *rows])) as ArrayRef).collect();
    if columns.windows(2).all(|pair| pair[0].1 == pair[1].1) {
        return Table::from_batch(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?);
    }
    let builder = Table::builder();
    columns.iter().try_fold(builder, |builder, (name, rows)| builder.column(*name, vec![0_i64; *rows]))?.build()
}

fn segfault() {
    let nowhere = std::ptr::without_provenance_mut::<u64>(black_box(64));
    // SAFETY: this is unsound on purpose: it accesses memory that does not belong to the process.
    unsafe { nowhere.write_volatile(1) };
}

#[allow(unconditional_recursion)]
fn overflow(depth: u64) -> [u64; 64] {
    let mut frame = black_box([depth; 64]);
    frame[0] += overflow(depth + 1)[1];
    black_box(frame)
}

/// Waits until a file exists.
fn hold(file: &str) {
    while !std::path::Path::new(file).exists() {
        sleep(Duration::from_millis(2));
    }
}

fn hang() -> ! {
    loop {
        black_box(0);
    }
}

fn hang_with_child(file: &str) -> Result<()> {
    let child = Command::new("sleep").arg("600").spawn()?;
    // The rename makes both numbers appear at once.
    let half = format!("{file}.half");
    std::fs::write(&half, format!("{} {}", std::process::id(), child.id()))?;
    std::fs::rename(half, file)?;
    hang()
}

fn eat() {
    let mut eaten = Vec::new();
    loop {
        eaten.push(black_box(vec![1_u8; 4 << 20]));
        sleep(Duration::from_millis(1));
    }
}

/// Misbehaves while the library is loaded, if the environment says so.
#[cfg(target_os = "linux")]
#[used]
// SAFETY: the loader calls the functions in this section once, before anything else of this library.
#[unsafe(link_section = ".init_array")]
static ON_LOAD: extern "C" fn() = on_load;

#[cfg(target_os = "linux")]
extern "C" fn on_load() {
    match std::env::var("KYMHOST_MISBEHAVE_ON_LOAD").as_deref() {
        Ok("abort") => std::process::abort(),
        Ok("exit") => std::process::exit(3),
        Ok("crash") => segfault(),
        _ => {}
    }
}
