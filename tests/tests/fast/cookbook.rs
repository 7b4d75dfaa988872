//! The cookbook's plugins as users meet them: built, run by the program in workers, up to date, and stale for
//! what changed.

use kymhost_tests::fixture::{Fixture, Image, batch, floats, image_id, ints};
use kymhost_tests::table::Table;
use kymhost_tests::{Run, TestDir, assert_untouched, example, snapshot};
use serde_json::{Value, json};

/// Results of a velocity analysis: one region, three samples, of which the middle one moves.
fn velocities(image: &Image<'_>, middle: f64) {
    let rows = batch([
        ("roi_id", ints([1, 1, 1])),
        ("time", floats([0.0, 1.0, 2.0])),
        ("velocity", floats([0.0, middle, 0.0])),
    ]);
    image.parquet("radon/results", &rows);
}

fn regions(image: &Image<'_>, rois: &[(i64, [i64; 4])]) {
    let rois = rois.iter().map(|(id, [y0, y1, x0, x1])| {
        json!({
            "roi_id": id, "roi_type": "rect", "version": "1.0", "name": "", "note": "", "channel": 0, "z": 0,
            "data": {"x0": x0, "x1": x1, "y0": y0, "y1": y1}, "meta": {}
        })
    });
    image.json("metadata", &json!({"version": "2.0", "rois": rois.collect::<Vec<_>>()}));
}

fn events(image: &Image<'_>, starts: &[f64]) {
    let count = starts.len();
    let rows = batch([
        ("roi_id", ints(vec![1; count])),
        ("t_start_s", floats(starts.iter().copied())),
        ("t_end_s", floats(starts.iter().map(|start| start + 1.0))),
        ("score", floats(vec![0.75; count])),
    ]);
    image.parquet("velocity_events/events", &rows);
}

/// Three images with all that the cookbook reads.
fn dataset(dir: &TestDir) -> Fixture {
    let data = Fixture::new(dir.join("data.zarr"));
    for number in 0..3 {
        // Pixels 0 to 11 in four lines of three.
        let image = data.add_image(&image_id(number));
        velocities(&image, 2.0 + number as f64);
        // One region reaches out of the image, one is the wrong way round.
        regions(&image, &[(1, [0, 2, 1, 9]), (2, [4, 3, 0, 1])]);
        events(&image, &[0.5, 1.0]);
    }
    data
}

/// One recipe: what it makes of the first image, and of the second once `change` has been there.
struct Recipe {
    name: &'static str,
    columns: &'static [&'static str],
    rows: Value,
    change: fn(&Fixture, &Image<'_>),
    rows_then: Value,
}

fn recipes() -> Vec<Recipe> {
    let std = |squares: f64, count: f64| (squares / count).sqrt();
    vec![
        Recipe {
            name: "intensity",
            columns: &["n_pixels", "n_nan", "mean", "std", "min", "max"],
            rows: json!([[12, 0, 5.5, std(143.0, 12.0), 0.0, 11.0]]),
            change: |data, _| {
                let sevens: Vec<u8> = [7_u16; 12].iter().flat_map(|value| value.to_le_bytes()).collect();
                data.put(&format!("images/{}/data/0.0", image_id(1)), sevens);
            },
            rows_then: json!([[12, 0, 7.0, 0.0, 7.0, 7.0]]),
        },
        Recipe {
            name: "roi_summary",
            columns: &["roi_id", "n_pixels", "mean", "std", "min", "max"],
            // Of the first one 1, 2, 4, 5 are inside.
            rows: json!([[1, 4, 3.0, std(10.0, 4.0), 1.0, 5.0], [2, 1, 9.0, 0.0, 9.0, 9.0]]),
            change: |_, image| regions(image, &[(5, [1, 2, 0, 3])]),
            rows_then: json!([[5, 3, 4.0, std(2.0, 3.0), 3.0, 5.0]]),
        },
        Recipe {
            name: "threshold_crossings",
            columns: &["roi_id", "t_s", "direction"],
            rows: json!([[1, 0.5, "up"], [1, 1.5, "down"]]),
            change: |_, image| {
                image.json("threshold_crossings/params", &json!({"threshold_mm_s": 0.75, "direction": "up"}));
            },
            rows_then: json!([[1, 0.25, "up"]]),
        },
        Recipe {
            name: "event_velocity",
            columns: &["roi_id", "t_start_s", "n_samples", "mean_mm_s"],
            rows: json!([[1, 0.5, 1, 2.0], [1, 1.0, 2, 1.0]]),
            change: |_, image| velocities(image, 8.0),
            rows_then: json!([[1, 0.5, 1, 8.0], [1, 1.0, 2, 4.0]]),
        },
        Recipe {
            name: "event_summary",
            columns: &["roi_id", "n_events", "n_open", "total_duration_s", "max_score"],
            rows: json!([[1, 2, 0, 2.0, 0.75]]),
            change: |_, image| events(image, &[4.0]),
            rows_then: json!([[1, 1, 0, 1.0, 0.75]]),
        },
    ]
}

/// The rows of one image, less what the host adds.
#[track_caller]
fn rows_of(data: &Fixture, recipe: &Recipe, number: u64) -> Value {
    let table = Table::read(&data.key(&format!("tables/kym_{}.parquet", recipe.name)));
    let count = recipe.columns.len();
    assert_eq!(table.columns[..count], *recipe.columns, "{}", recipe.name);
    assert_eq!(table.columns.len(), count + 3, "{}: {:?}", recipe.name, table.columns);
    table.rows_of(&image_id(number)).into_iter().map(|row| row[..count].to_vec()).collect::<Vec<_>>().into()
}

/// Each recipe of the cookbook runs, then has nothing to do, and redoes exactly what changed.
#[test]
fn recipes_run_once_and_redo_changes() {
    for recipe in recipes() {
        let dir = TestDir::new();
        let data = dataset(&dir);
        let name = recipe.name;
        let kymhost = |command: &str| {
            Run::new([command, "--json", "--plugin"]).arg(example(name)).dataset(data.path()).output().expect_code(0)
        };
        let run = |updated: u64| {
            let output = kymhost("run");
            let stats = output.json()["stats"].clone();
            let found = (&stats["updated"], &stats["failed"], &stats["skipped_fresh"]);
            assert_eq!(found, (&updated.into(), &0.into(), &(3 - updated).into()), "{name}\n{output}");
        };

        run(3);
        assert_eq!(rows_of(&data, &recipe, 0), recipe.rows, "{name}");
        let others = [0, 2].map(|number| rows_of(&data, &recipe, number));
        let before = snapshot(data.path());
        run(0);
        assert_untouched(&before, &snapshot(data.path()));

        let image = data.image(&image_id(1));
        (recipe.change)(&data, &image);
        let status = kymhost("status").json();
        let images = status["images"].as_array().expect("images");
        let stale: Vec<&Value> =
            images.iter().filter(|image| image["is_stale"] == true).map(|image| &image["image_id"]).collect();
        assert_eq!(stale, [&Value::from(image_id(1))], "{name}: {status:#}");
        run(1);
        assert_eq!(rows_of(&data, &recipe, 1), recipe.rows_then, "{name}");
        assert_eq!([0, 2].map(|number| rows_of(&data, &recipe, number)), others, "{name}");
        run(0);
    }
}
