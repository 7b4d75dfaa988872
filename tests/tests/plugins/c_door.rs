//! The C door: plugins in C do what plugins in Rust do, and wrong ones harm nothing.
//!
//! Runs the battery over the probe in C, and tests what only C can get wrong and which libraries are refused.
//! The header itself is tested in `c_layout`.

use crate::battery::memory::{MANY, check_loses_nothing, verdict};
use crate::battery::{Door, Fixture, check_refused, check_runs, indexer, load, never};
use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::{Float64Type, Int64Type};
use kymhost::plugin::{FailureKind, PluginError, load_library, read_card};
use kymhost_plugin_api::Table;
use kymhost_tests::c;
use std::path::PathBuf;

fn probe() -> Option<PathBuf> {
    c::plugin("c_probe", "tests/plugins/c_probe/probe.c", &[])
}

/// A plugin in C does everything that one in Rust does.
#[test]
fn c_plugin_does_what_rust_plugin_does() {
    let Some(library) = probe() else { return };
    let card = read_card(&library).expect("a card");
    assert_eq!((card.door.as_str(), card.api.to_string().as_str(), card.sdk.as_str()), ("c-1", "1.1", "1.1.0"));
    assert!(card.target.contains(std::env::consts::ARCH), "{}", card.target);
    check_runs(&library, &Door::C);
}

/// The headers compile in every C standard and in C++.
#[test]
fn headers_compile_in_every_c_standard_and_cpp() {
    let Some(_) = c::compiler() else { return };
    for (name, flags) in [
        ("c_probe_c99", &["-std=c99", "-O2"][..]),
        ("c_probe_c11", &["-std=c11"]),
        ("c_probe_c17", &["-std=c17", "-Wconversion", "-Wno-sign-conversion"]),
        // A linker that drops unreferenced items must keep the card.
        ("c_probe_sections", &["-O2", "-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections", "-s"]),
        ("c_probe_lto", &["-O2", "-flto"]),
    ] {
        if cfg!(target_vendor = "apple") && name == "c_probe_sections" {
            continue;
        }
        let library = c::plugin(name, "tests/plugins/c_probe/probe.c", flags).expect("a compiler");
        assert_eq!(load(&library).len(), 2, "{name}");
    }
    // The same header as C++, if there is such a compiler.
    let cpp = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    if std::process::Command::new(&cpp).arg("--version").output().is_err() {
        return kymhost_tests::skip("there is no C++ compiler");
    }
    let folder = kymhost_tests::TestDir::new();
    let library = folder.join("libcpp.so");
    let output = std::process::Command::new(&cpp)
        .args(["-x", "c++", "-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fPIC", "-shared", "-o"])
        .args([&library, &kymhost_tests::repository().join("plugins/intensity_c/intensity_c.c")])
        .arg("-I")
        .arg(c::include())
        .output()
        .expect("the compiler runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(load(&library).len(), 1);
}

/// No answer of a plugin in C harms the host.
#[test]
fn any_answer_of_c_plugin_is_harmless() {
    let Some(library) = probe() else { return };
    let fixture = Fixture::new();
    let indexers = load(&library);
    let probe = indexer(&indexers, "abi_probe");
    for (what, kind, words) in [
        ("absent", FailureKind::Error, "return a table without rows instead"),
        ("status_1000", FailureKind::Error, "status 1000"),
        ("status_minus_1000", FailureKind::Error, "status -1000"),
        ("status_later", FailureKind::Error, "of a later version"),
        ("nothing_filled", FailureKind::BadTable, "did not fill in the array"),
        ("no_schema", FailureKind::BadTable, "did not fill in the schema"),
        ("filled_and_failed", FailureKind::Error, "filled and failed"),
        ("no_format", FailureKind::BadTable, "not valid Arrow data"),
        ("null_child", FailureKind::BadTable, "is missing"),
        ("not_utf8", FailureKind::Error, "caf\u{fffd} \u{fffd}[31m"),
        ("ragged_builder", FailureKind::BadTable, "column 'b' has another number of cells"),
        ("wrong_cell", FailureKind::BadTable, "column 'a' got a cell of another type"),
        ("null_pointers", FailureKind::Error, "12 wrong"),
    ] {
        let failure = probe.extract_rows(&fixture.image(what), 1, &never).expect_err(what);
        assert!(failure.kind == kind && failure.message.contains(words), "{what}: {failure:?}");
    }
}

/// Tables cross both ways without an Arrow library in the plugin.
#[test]
fn c_tables_cross_both_ways() {
    let Some(library) = probe() else { return };
    let fixture = Fixture::new();
    let indexers = load(&library);
    let probe = indexer(&indexers, "abi_probe");

    let rows = probe.extract_rows(&fixture.image("all_types"), 1, &never).expect("rows");
    assert_eq!(rows.num_rows(), 20);
    let integers = rows.column_by_name("i").expect("i").as_primitive::<Int64Type>().clone();
    let floats = rows.column_by_name("f").expect("f").as_primitive::<Float64Type>().clone();
    let bools = rows.column_by_name("b").expect("b").as_boolean().clone();
    let texts = rows.column_by_name("u").expect("u").as_string::<i32>().clone();
    let text = "äzwanzig Zeichen lang!";
    for row in 0..20 {
        let is_missing = row % 3 == 2;
        let nulls = [integers.is_null(row), floats.is_null(row), bools.is_null(row), texts.is_null(row)];
        assert_eq!(nulls, [is_missing; 4], "{row}");
        if !is_missing {
            assert_eq!(integers.value(row), i64::MIN + row as i64);
            assert_eq!(floats.value(row), row as f64 / 2.0);
            assert_eq!(bools.value(row), row % 2 == 1);
            let expected = if row == 1 { "" } else { text.get(..row).unwrap_or("?") };
            assert_eq!(texts.value(row), expected, "{row}");
        }
    }

    let record = fixture.image("read_back");
    let table = Table::builder()
        .column("a", vec![Some(1.5), None, Some(-2.0)])
        .and_then(|table| table.column("b", vec![Some("x"), Some(""), None]))
        .and_then(|table| table.build())
        .and_then(Table::into_batch)
        .expect("a table");
    record.put_parquet("probe/table", &table).expect("a table artifact");
    let rows = probe.extract_rows(&record, 1, &never).expect("rows");
    let cells: Vec<_> = rows.column(0).as_string::<i32>().iter().flatten().map(str::to_owned).collect();
    // The last one is beyond the rows.
    assert_eq!(cells, ["1.5 x", "-1 ", "-2 -", "-1 -"]);

    let rows = probe.extract_rows(&fixture.image("threads"), 4, &never).expect("rows");
    let fine: Vec<_> = rows.column(0).as_primitive::<Int64Type>().iter().flatten().collect();
    assert_eq!(fine, [50; 4], "reads from four threads");
}

/// Wrong libraries in C are refused.
#[test]
fn wrong_c_library_is_refused() {
    let Some(_) = c::compiler() else { return };
    let build = |wrong: &str, more: &[&str]| {
        let define = format!("-DWRONG_{wrong}");
        let flags: Vec<&str> = [define.as_str()].into_iter().chain(more.iter().copied()).collect();
        c::plugin(&format!("c_wrong_{}", wrong.to_lowercase()), "tests/plugins/c_wrong/wrong.c", &flags)
            .expect("a compiler")
    };
    // What all of them are but for one mistake.
    assert_eq!(load(&build("NOTHING", &[])).len(), 1);
    assert_eq!(load(&build("LATER", &[])).len(), 1, "structs of a later header");
    let cases: &[(&str, &[&str], &str, &str)] = &[
        ("NO_ENTRY", &[], "no_root", "not the function kymhost_plugin_c1"),
        ("NULL_PLUGIN", &[], "bad_door", "kymhost_plugin is NULL"),
        ("PLUGIN_SIZE_0", &[], "bad_door", "struct_size 0, expected"),
        ("PLUGIN_SIZE_SMALL", &[], "bad_door", "struct_size 47, expected at least 48"),
        ("PLUGIN_SIZE_HUGE", &[], "bad_door", "struct_size 18446744073709551615"),
        ("PLUGIN_ADDRESS", &[], "bad_door", "not a multiple of 8"),
        ("PLUGIN_MAJOR", &[], "card_mismatch", "card says plugin API 1.0, its kymhost_plugin 2.0"),
        ("PLUGIN_MINOR", &[], "card_mismatch", "its kymhost_plugin 1.9"),
        ("NO_CARD", &[], "bad_door", "no card"),
        ("CARD_LENGTH", &[], "bad_door", "of 18446744073709551615 bytes"),
        ("CARD_SHORT", &[], "bad_door", "of 3 bytes"),
        ("CARD", &[], "card_mismatch", "not the one that it was built with"),
        ("NO_LIST", &[], "bad_door", "no list of indexers"),
        ("LIST_LENGTH", &[], "bad_door", "18446744073709551615 of them"),
        ("EMPTY_LIST", &[], "card_mismatch", "lists the indexer 'wrong', which it does not have"),
        ("NULL_INDEXER", &[], "bad_door", "its indexer 1 is NULL"),
        ("INDEXER_SIZE_0", &[], "bad_door", "its indexer 1 has struct_size 0, expected at least 72"),
        ("INDEXER_ADDRESS", &[], "bad_door", "its indexer 1 is at an address"),
        ("NO_NAME", &[], "bad_door", "its indexer 1's name is NULL"),
        ("LONG_NAME", &[], "bad_door", "its indexer 1's name has more than 256 bytes"),
        ("NAME_BYTES", &[], "bad_door", "its indexer 1's name is not UTF-8"),
        ("OTHER_NAME", &[], "card_mismatch", "lists the indexer 'wrong', which it does not have"),
        ("VERSION", &[], "card_mismatch", "analysis version of 'wrong' is 'wrong@1', the library 'wrong@2'"),
        ("NO_VERSION", &[], "bad_door", "analysis_version is NULL"),
        ("MARKER", &[], "card_mismatch", "marker of 'wrong'"),
        ("NO_MARKER", &[], "bad_door", "marker_name is NULL"),
        ("ARTIFACTS", &[], "card_mismatch", "params artifacts of 'wrong'"),
        ("ARTIFACTS_JSON", &[], "bad_door", "params_artifacts is not a JSON list"),
        ("NO_ARTIFACTS", &[], "bad_door", "params_artifacts is NULL"),
        ("TWICE", &[], "card_mismatch", "two indexers 'wrong'"),
        ("NO_PARAMS", &[], "bad_door", "('wrong') has no function params"),
        ("NO_EXTRACT_ROWS", &[], "bad_door", "('wrong') has no function extract_rows"),
        ("MAJOR", &["-DCARD_API=\"2.0\""], "api_major", "upgrade kymhost"),
        ("OLD_MAJOR", &["-DCARD_API=\"0.9\""], "api_major", "upgrade the plugin"),
        ("NEEDS", &["-DCARD_API=\"1.99\""], "api_minor", "upgrade kymhost"),
        ("DOOR", &["-DCARD_DOOR=\"c-2\""], "door", "'abi_stable-0.11' and 'c-1'"),
    ];
    for (wrong, more, code, words) in cases {
        let library = build(wrong, more);
        check_refused(&library, &[words]);
        match load_library(&library) {
            Err(error @ PluginError::Refused { .. }) => assert_eq!(error.code(), *code, "{wrong}"),
            Err(other) => panic!("{wrong}: {other:?}"),
            Ok(_) => panic!("{wrong} was loaded"),
        }
    }
}

/// The frozen headers of 1.0.
fn frozen(file: &str) -> PathBuf {
    kymhost_tests::repository().join("tests/museum/1.0").join(file)
}

/// A plugin in C of 1.0 runs in the host of today.
#[test]
fn c_plugin_1_0_runs_in_host_of_today() {
    let Some(_) = c::compiler() else { return };
    let folder = kymhost_tests::TestDir::new();
    let library = folder.join("libc_probe_1_0.so");
    let flags = ["-fPIC", "-shared", "-fvisibility=hidden"];
    c::compile(&frozen("c_probe.c"), &frozen("include"), &library, &flags).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(read_card(&library).expect("a card").sdk, "1.0.0");
    check_runs(&library, &Door::C);
    // Libraries are never unloaded: the file stays as long as the process.
    std::mem::forget(folder);
}

/// The plugin of a later API, built against today's header with a function more for records and runs.
fn later(folder: &std::path::Path) -> PathBuf {
    for name in ["kymhost_table.h", "kymhost_json.h"] {
        std::fs::copy(c::include().join(name), folder.join(name)).expect("a copied header");
    }
    let header = std::fs::read_to_string(c::include().join("kymhost_plugin.h")).expect("the header");
    let appended = |header: String, record: &str, member: &str| {
        let at = header.find(record).unwrap_or_else(|| panic!("the header changed: no '{record}'"));
        let end = at + header[at..].find("\n};").expect("the struct's end");
        format!("{}\n    {member}{}", &header[..end], &header[end..])
    };
    let header = appended(
        header,
        "struct kymhost_record {",
        "int (*later)(const kymhost_record *record, const char *name, kymhost_text *error);",
    );
    let header = appended(header, "struct kymhost_run {", "int (*later)(const kymhost_run *run, kymhost_text *error);");
    std::fs::write(folder.join("kymhost_plugin.h"), header).expect("a written header");
    let library = folder.join("liblater.so");
    let source = kymhost_tests::repository().join("tests/plugins/c_later/later.c");
    c::compile(&source, folder, &library, &["-fPIC", "-shared"]).unwrap_or_else(|errors| panic!("{errors}"));
    library
}

/// A plugin in C gets the names of functions that the host lacks.
#[test]
fn c_plugin_learns_what_host_lacks() {
    let Some(_) = c::compiler() else { return };
    let folder = kymhost_tests::TestDir::new();
    let library = later(folder.path());
    let words = |function: &str| format!("this kymhost is older than {function}; upgrade kymhost");
    let indexers = load(&library);
    let rows = indexer(&indexers, "later").extract_rows(&Fixture::new().image(""), 1, &never).expect("rows");
    let answers: Vec<_> = rows.column(0).as_string::<i32>().iter().flatten().map(str::to_owned).collect();
    assert_eq!(answers, [words("kymhost_record_later"), words("kymhost_run_later")]);
    std::mem::forget(folder);
}

/// A plugin in C of today runs in the host of 1.0.
#[test]
fn c_plugin_of_today_runs_in_host_1_0() {
    let (Some(_), Some(intensity)) = (c::compiler(), c::intensity_c()) else { return };
    let folder = kymhost_tests::TestDir::new();
    let host = folder.join("c_host");
    let flags: &[&str] = if cfg!(target_os = "linux") { &["-D_DEFAULT_SOURCE", "-ldl"] } else { &[] };
    c::compile(&frozen("c_host.c"), &frozen("include"), &host, flags).unwrap_or_else(|errors| panic!("{errors}"));
    let run = |library: &std::path::Path, indexer: &str, what: &str| {
        let output = std::process::Command::new(&host).arg(library).args([indexer, what]).output().expect("it runs");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let text = run(&intensity, "intensity_c", "");
    for line in [
        "params: 0 {\"threshold\": 3}",
        "rows: 1",
        "pixel_count: | 6",
        "mean_intensity: | 3.5",
        "fraction_above: | 0.5",
    ] {
        assert!(text.lines().any(|found| found == line), "no line '{line}':\n{text}");
    }
    let text = run(&later(folder.path()), "later", "");
    for function in ["kymhost_record_later", "kymhost_run_later"] {
        assert!(text.contains(&format!("this kymhost is older than {function}; upgrade kymhost")), "{text}");
    }
    // Those that 1.1 has really got. Its card keeps it from such a host; this one does not look.
    let maker = c::plugin("c_maker", "tests/plugins/c_maker/maker.c", &[]).expect("a compiler");
    let text = run(&maker, "c_maker", "");
    for function in ["kymhost_run_put_json", "kymhost_run_put_table", "kymhost_run_put_array"] {
        assert!(text.contains(&format!("this kymhost is older than {function}; upgrade kymhost")), "{text}");
    }
    let probe = probe().expect("a compiler");
    assert!(run(&probe, "abi_probe", "report").contains("museum-image"));
    assert!(run(&probe, "abi_probe", "error").contains("error: -1 the probe gives up"));
}

/// Rows of every type and size, tables read, errors of every kind, and tables that come with an error or in pieces.
const MANY_TIMES: [&str; 10] = [
    "all_types",
    "no_rows",
    "error",
    "unreadable",
    "ragged",
    "cancelled",
    "filled_and_failed",
    "no_schema",
    "null_child",
    "null_pointers",
];

/// What reads much, and takes valgrind long: the rest is the same code as above.
const FEWER_TIMES: [&str; 5] = ["read_back", "params_error", "cut_to_no_rows", "panic", "duplicate"];

/// A plugin in C leaks no memory, by valgrind.
#[test]
#[ignore = "slow"]
fn c_plugin_leaks_no_memory() {
    let Some(library) = probe() else { return };
    check_loses_nothing(&library, &MANY_TIMES, 8, MANY);
}

/// A plugin in C that reads much leaks no memory, by valgrind.
#[test]
#[ignore = "slow"]
fn c_plugin_reading_much_leaks_no_memory() {
    let Some(library) = probe() else { return };
    check_loses_nothing(&library, &FEWER_TIMES, 2, 800);
}

/// The faults that the check above must find: memory lost with each extraction, and reads outside of allocated memory.
#[test]
#[ignore = "slow"]
fn valgrind_finds_wrong_memory_use() {
    for (wrong, words) in [("LEAKS", "bytes are lost"), ("OVERREADS", "memory is used wrongly")] {
        let define = format!("-D{wrong}");
        let name = format!("c_probe_{}", wrong.to_lowercase());
        let Some(library) = c::plugin(&name, "tests/plugins/c_probe/probe.c", &[&define]) else { return };
        let Some(verdict) = verdict(&library, &["no_rows"], 0, 800) else { return };
        let why = verdict.expect_err(wrong);
        assert!(why.contains(words), "{wrong}: {why}");
    }
}
