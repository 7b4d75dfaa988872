use super::*;
use crate::{IndexerInfo, Made};
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use kymhost_dataset::Payload;
use kymhost_plugin_api::{ArtifactKind, Json};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Workers that answer whatever they like, for an indexer that declares one artifact.
struct Spoilt {
    declared: [Artifact; 1],
    answers: Vec<Vec<&'static str>>,
}

impl Drive for Spoilt {
    fn declared(&self) -> &[Artifact] {
        &self.declared
    }

    fn library_sha256(&mut self) -> Result<String, PluginError> {
        Ok(String::new())
    }

    fn drive(&mut self, _: Job<'_>, deliver: &mut dyn FnMut(usize, Answer) -> bool) -> Result<(), PluginError> {
        for (index, names) in self.answers.iter().enumerate() {
            let made = |name: &&str| Made { name: (*name).to_owned(), payload: Payload::Json(b"1".to_vec()) };
            let extracted = Extracted {
                rows: RecordBatch::new_empty(Arc::new(Schema::empty())),
                params: ParamsReading::of("h"),
                inputs: Vec::new(),
                artifacts: names.iter().map(made).collect(),
            };
            deliver(index, Answer::Rows(extracted));
        }
        Ok(())
    }
}

/// Whatever a spoilt worker names, the host takes what the indexer declares.
#[test]
fn artifacts_of_a_spoilt_worker_are_refused_by_the_host() {
    let cases: &[(&[&str], Option<&str>)] = &[
        (&[], None),
        (&["own/json"], None),
        (&["somebody/params"], Some("the JSON artifact 'somebody/params', which its WRITES does not name")),
        (&["own/json", "maker_run"], Some("'maker_run'")),
        (&["own/json", "/own/json"], Some("'/own/json' twice")),
    ];
    let declared = [Artifact::new("own/json", ArtifactKind::Json)];
    let answers = cases.iter().map(|(names, _)| names.to_vec()).collect();
    let mut found = Vec::new();
    let images = vec![String::new(); cases.len()];
    Pool::new(Spoilt { declared, answers })
        .extract_rows(&images, &mut |_, answer| {
            found.push(answer);
            true
        })
        .unwrap();
    assert_eq!(found.len(), cases.len());
    for (found, (names, expected)) in found.iter().zip(cases) {
        match (found, expected) {
            (Ok(_), None) => {}
            (Err(failure), Some(words)) => {
                assert_eq!(failure.kind, FailureKind::Error);
                assert!(failure.message.contains(words), "{}", failure.message);
            }
            (found, _) => panic!("{names:?}: {found:?}"),
        }
    }
}

/// How a [`Counting`] indexer gets its params hash.
#[derive(Debug, Clone, Copy, PartialEq)]
enum HashRule {
    /// As the default of the plugin API: the hash of its params, which it evaluates for it.
    OfParams,
    /// Its own, from the artifact itself.
    Own,
}

/// An indexer that counts how often its params are evaluated, over the artifact `p` as params and `x` as data.
struct Counting {
    info: IndexerInfo,
    rule: HashRule,
    evaluations: AtomicUsize,
    /// Done once, by the next extraction.
    during: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Counting {
    fn new(rule: HashRule) -> Self {
        let info =
            IndexerInfo { name: "counting".into(), marker_name: "counting_run".into(), ..IndexerInfo::default() };
        Self { info, rule, evaluations: AtomicUsize::new(0), during: Mutex::new(None) }
    }

    fn evaluations(&self) -> usize {
        self.evaluations.swap(0, Ordering::Relaxed)
    }
}

impl Indexer for Counting {
    fn info(&self) -> &IndexerInfo {
        &self.info
    }

    fn params_hash(&self, record: &Record) -> Result<String, Failure> {
        let params = match self.rule {
            HashRule::OfParams => self.params(record),
            HashRule::Own => record.json("p").ok().flatten(),
        };
        let hash = params.as_ref().map(params_hash);
        let hash = hash.ok_or_else(|| Failure::new(FailureKind::Error, "there are no params".into()))?;
        Ok(if self.rule == HashRule::Own { format!("own {hash}") } else { hash })
    }

    fn params(&self, record: &Record) -> Option<Json> {
        self.evaluations.fetch_add(1, Ordering::Relaxed);
        record.json("p").ok().flatten()
    }

    fn extract(&self, record: &Record, _: usize, _: &(dyn Fn() -> bool + Sync)) -> Result<Produced, Failure> {
        let _ = record.json("x");
        if let Some(during) = self.during.lock().unwrap().take() {
            during();
        }
        Ok(Produced { rows: RecordBatch::new_empty(Arc::new(Schema::empty())), artifacts: Vec::new() })
    }

    fn read_old_marker(&self, _: &[u8]) -> Result<Option<RunMarker>, Failure> {
        Ok(None)
    }
}

impl Drive for (&Counting, &Dataset) {
    fn declared(&self) -> &[Artifact] {
        &[]
    }

    fn library_sha256(&mut self) -> Result<String, PluginError> {
        Ok(String::new())
    }

    fn drive(&mut self, job: Job<'_>, deliver: &mut dyn FnMut(usize, Answer) -> bool) -> Result<(), PluginError> {
        for index in 0..job.len() {
            let answer = match &job {
                Job::Params(images, with) => params(self.0, self.1, &images[index], *with).map(Answer::Params),
                Job::Extract(images, readings) => {
                    let known = readings.get(&images[index]).cloned();
                    extract(self.0, self.1, &images[index], known, 1, &|| false).map(Answer::Rows)
                }
                Job::OldMarker(_) => Ok(Answer::Marker(None)),
            };
            deliver(index, answer.unwrap_or_else(Answer::Failed));
        }
        Ok(())
    }
}

fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).unwrap()
}

/// A dataset with one image, `a`, whose artifacts `p` and `x` are old enough for their times to be trusted.
fn dataset(folder: &Path) -> Dataset {
    let dataset = Dataset::create(&folder.join("d.zarr")).unwrap();
    std::fs::create_dir_all(folder.join("d.zarr/images/a")).unwrap();
    std::fs::write(folder.join("d.zarr/images/a/.zgroup"), "{\"zarr_format\": 2}").unwrap();
    let record = dataset.record("a").unwrap();
    record.put_json("p", &json("{\"n\": 1}")).unwrap();
    record.put_json("x", &json("1")).unwrap();
    dataset
}

fn plan(pool: &mut dyn Workforce) -> ParamsReading {
    let mut found = None;
    pool.params_hashes(&["a".to_owned()], &mut |_, answer| found = Some(answer.unwrap())).unwrap();
    found.unwrap()
}

fn rows(pool: &mut dyn Workforce) -> Result<Extracted, Failure> {
    let mut found = None;
    pool.extract_rows(&["a".to_owned()], &mut |_, answer| {
        found = Some(answer);
        true
    })
    .unwrap();
    found.unwrap()
}

/// A stale image costs two evaluations of `params`, the plan's included; one without a plan does, too.
#[test]
fn params_are_evaluated_twice_per_stale_image() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset(folder.path());
    let indexer = Counting::new(HashRule::OfParams);
    let mut pool = Pool::new((&indexer, &dataset));
    let planned = plan(&mut pool);
    assert_eq!((indexer.evaluations(), planned.value), (1, None));
    let extracted = rows(&mut pool).unwrap();
    assert_eq!(indexer.evaluations(), 1);
    assert_eq!((extracted.params.hash, extracted.params.value.as_deref()), (planned.hash, Some("{\"n\":1}")));
    assert_eq!(extracted.params.inputs.len(), planned.inputs.len());
    // The reading is used once.
    rows(&mut pool).unwrap();
    assert_eq!(indexer.evaluations(), 2);
    // A hash of its own needs no params: they are asked for once, to be kept.
    let own = Counting::new(HashRule::Own);
    let mut pool = Pool::new((&own, &dataset));
    plan(&mut pool);
    let extracted = rows(&mut pool).unwrap();
    assert_eq!(own.evaluations(), 1);
    assert!(extracted.params.hash.starts_with("own ") && extracted.params.value.is_some());
}

/// What the plan has read does not hide a change of params between plan and extraction, nor one during it.
#[test]
fn params_that_change_after_the_plan_are_seen() {
    for rule in [HashRule::OfParams, HashRule::Own] {
        let folder = tempfile::tempdir().unwrap();
        let dataset = dataset(folder.path());
        let indexer = Counting::new(rule);
        let mut pool = Pool::new((&indexer, &dataset));
        let put = |n: u32| {
            let record = dataset.record("a").unwrap();
            move || record.put_json("p", &json(&format!("{{\"n\": {n}}}"))).unwrap()
        };
        let planned = plan(&mut pool);
        put(2)();
        let extracted = rows(&mut pool).unwrap();
        assert_ne!(extracted.params.hash, planned.hash, "{rule:?}");
        assert_eq!(extracted.params.value.as_deref(), Some("{\"n\":2}"), "{rule:?}");

        let planned = plan(&mut pool);
        *indexer.during.lock().unwrap() = Some(Box::new(put(3)));
        let extracted = rows(&mut pool).unwrap();
        assert_ne!(extracted.params.hash, planned.hash, "{rule:?}: changed during the extraction, and done again");
        assert_eq!(extracted.params.value.as_deref(), Some("{\"n\":3}"), "{rule:?}");
    }
}

/// A hash that depends on more than the record is still found when the plan's answer is the first one.
#[test]
fn hash_that_differs_from_the_plan_fails() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset(folder.path());
    let indexer = Counting::new(HashRule::OfParams);
    let mut known = params(&indexer, &dataset, "a", false).unwrap();
    known.hash = "another".into();
    let failure = extract(&indexer, &dataset, "a", Some(known), 1, &|| false).unwrap_err();
    assert!(failure.message.contains("two answers for the same inputs"), "{}", failure.message);
}
