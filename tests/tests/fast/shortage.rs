//! The system has too little of something: a message says of what, and sound data is neither called broken nor
//! remembered as failed.

use kymhost_tests::fixture::{Fixture, TABLE};
use kymhost_tests::{Output, Run, TestDir};

/// A run by a shell that lowers a limit and becomes the program.
fn run(data: &Fixture, limit: &str) -> Output {
    let shell = format!("ulimit {limit}; exec \"$0\" \"$@\"");
    let words = ["run", "--jobs", "1", "--plugin", "velocity_events"];
    Run::new(words).dataset(data.path()).under(["sh", "-c", &shell]).output()
}

/// Whatever the limit: all rows, or a message about the limit and nothing remembered.
#[test]
fn open_file_limit_gives_rows_or_a_shortage() {
    let dir = TestDir::new();
    let mut refused = 0;
    for limit in 8..26 {
        let data = Fixture::with_images(dir.join(format!("{limit}.zarr")), 3, 2);
        let output = run(&data, &format!("-n {limit}"));
        match output.code() {
            Some(0) => assert!(data.key(TABLE).exists(), "{limit}\n{output}"),
            Some(5) => {
                refused += 1;
                let said = output.stderr();
                assert!(said.contains("Too many open files") && said.contains("ulimit -n"), "{limit}\n{output}");
            }
            _ => panic!("{limit}\n{output}"),
        }
        assert!(!data.key("index/kymhost/failures").join("kym_velocity_events.json").exists(), "{limit}\n{output}");
    }
    assert!(refused > 0, "no limit was too low");
}

#[test]
fn file_size_limit_is_an_error_with_help() {
    let dir = TestDir::new();
    let data = Fixture::with_images(dir.join("data.zarr"), 40, 200);
    let output = run(&data, "-f 8").expect_code(5).expect_stderr(&["File too large", "ulimit -f"]);
    assert_eq!(output.signal(), None);
    assert!(!data.key(TABLE).exists());
    Run::new(["run", "--plugin", "velocity_events"]).dataset(data.path()).output().expect_code(0);
}
