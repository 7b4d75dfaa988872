//! The locks of tables: one run at a time changes a table.
//!
//! Responsible for taking one and for waiting for it. Reading needs none.
//!
//! They are kernel locks: they die with the process that holds them, so none ever needs to be broken. Python takes
//! none; the table's identity shows what it has written in the meantime.

use crate::error::IndexError;
use crate::names::TableName;
use crate::observer::Observer;
use kymhost_dataset::{Dataset, DatasetError};
use kymhost_store::{Holder, LockGuard};
use std::time::{Duration, Instant};

/// The first pause between two tries; each is longer than the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Takes a table's lock, waiting at most `wait` for another run to release it. `what`: the indexer and what is
/// done with it, for those who wait for us.
///
/// # Errors
/// [`IndexError::Locked`] if another run still holds it then; [`IndexError::Interrupted`] if the observer says so.
pub(crate) fn hold(
    dataset: &Dataset,
    name: &TableName,
    what: &str,
    wait: Duration,
    observer: &mut dyn Observer,
) -> Result<LockGuard, IndexError> {
    // No deadline: a wait longer than the clock can count.
    let until = Instant::now().checked_add(wait);
    let key = name.lock_key()?;
    let store = dataset.store();
    let mut pause = FIRST_PAUSE;
    let mut has_reported = false;
    loop {
        let us = Holder::this_process(what).to_text();
        if let Some(guard) = store.lock(&key, &us).map_err(DatasetError::from)? {
            return Ok(guard);
        }
        let left = until.map_or(LONGEST_PAUSE, |until| until.saturating_duration_since(Instant::now()));
        let holder = store.lock_holder(&key);
        if left.is_zero() {
            return Err(IndexError::Locked { table: name.key_text(), holder });
        }
        if !has_reported {
            observer.waiting(&holder);
            has_reported = true;
        }
        if observer.interrupted() {
            return Err(IndexError::Interrupted);
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};
    use std::sync::mpsc;

    /// Set in a process that this test started to hold a lock: the dataset.
    const HOLDER: &str = "KYMHOST_TEST_LOCK_HOLDER";
    const LONG: Duration = Duration::from_secs(60);

    fn fixture() -> (tempfile::TempDir, Dataset) {
        let folder = tempfile::tempdir().unwrap();
        let dataset = Dataset::create(&folder.path().join("d.zarr")).unwrap();
        (folder, dataset)
    }

    fn table(name: &str) -> TableName {
        TableName::of(name).unwrap()
    }

    /// Remembers whom it was told to wait for, and interrupts after so many questions.
    #[derive(Default)]
    struct Waiter {
        told: Vec<Holder>,
        asked: usize,
        patience: Option<usize>,
        on_wait: Option<Box<dyn FnOnce()>>,
    }

    impl Observer for Waiter {
        fn waiting(&mut self, holder: &Holder) {
            self.told.push(holder.clone());
            if let Some(work) = self.on_wait.take() {
                work();
            }
        }
        fn interrupted(&mut self) -> bool {
            self.asked += 1;
            self.patience.is_some_and(|patience| self.asked > patience)
        }
    }

    #[test]
    fn second_run_sees_lock_holder() {
        let (_folder, dataset) = fixture();
        let mut waiter = Waiter::default();
        let guard = hold(&dataset, &table("radon"), "radon, incremental", Duration::ZERO, &mut waiter).unwrap();
        // Another table is another lock.
        drop(hold(&dataset, &table("stalls"), "stalls", Duration::ZERO, &mut waiter).unwrap());
        for wait in [Duration::ZERO, Duration::from_millis(120)] {
            let mut waiter = Waiter::default();
            let begun = Instant::now();
            let error = hold(&dataset, &table("radon"), "another", wait, &mut waiter).unwrap_err();
            assert!(begun.elapsed() >= wait);
            let IndexError::Locked { table, holder } = &error else { panic!("{error}") };
            assert_eq!(table, "tables/kym_radon.parquet");
            assert_eq!((holder.pid, holder.plugin.as_deref()), (Some(std::process::id()), Some("radon, incremental")));
            assert!(error.to_string().contains("radon, incremental, since 2"), "{error}");
            // Told once, if at all.
            assert_eq!(waiter.told.len(), usize::from(!wait.is_zero()));
        }
        drop(guard);
        assert!(waiter.told.is_empty());
        hold(&dataset, &table("radon"), "another", Duration::ZERO, &mut waiter).unwrap();
    }

    #[test]
    fn waiting_run_gets_released_table() {
        let (_folder, dataset) = fixture();
        let (release, released) = mpsc::channel::<()>();
        let (held, is_held) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let dataset = &dataset;
            scope.spawn(move || {
                let guard = hold(dataset, &table("radon"), "first", Duration::ZERO, &mut Waiter::default()).unwrap();
                held.send(()).unwrap();
                released.recv().unwrap();
                drop(guard);
            });
            is_held.recv().unwrap();
            let mut waiter = Waiter { on_wait: Some(Box::new(move || release.send(()).unwrap())), ..Waiter::default() };
            let _guard = hold(dataset, &table("radon"), "second", LONG, &mut waiter).unwrap();
            assert_eq!(waiter.told.len(), 1);
            assert_eq!(waiter.told[0].plugin.as_deref(), Some("first"));
            let said = dataset.store().lock_holder(&table("radon").lock_key().unwrap());
            assert_eq!(said.plugin.as_deref(), Some("second"));
        });
    }

    #[test]
    fn waiting_can_be_interrupted() {
        let (_folder, dataset) = fixture();
        let _guard = hold(&dataset, &table("radon"), "", Duration::ZERO, &mut Waiter::default()).unwrap();
        for wait in [LONG, Duration::MAX] {
            let mut waiter = Waiter { patience: Some(2), ..Waiter::default() };
            let result = hold(&dataset, &table("radon"), "", wait, &mut waiter);
            assert!(matches!(result, Err(IndexError::Interrupted)), "{result:?}");
            assert_eq!((waiter.told.len(), waiter.asked), (1, 3));
        }
    }

    /// Not a test by itself: the process that [`lock_released_when_holder_dies`] kills.
    #[test]
    fn hold_until_killed() {
        let Some(path) = std::env::var_os(HOLDER) else { return };
        let dataset = Dataset::open(path.as_ref()).unwrap();
        let _guard = hold(&dataset, &table("radon"), "doomed", Duration::ZERO, &mut Waiter::default()).unwrap();
        std::thread::sleep(LONG);
    }

    fn start_holder(dataset: &Dataset) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "locks::tests::hold_until_killed"])
            .env(HOLDER, dataset.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    #[test]
    fn lock_released_when_holder_dies() {
        let (_folder, dataset) = fixture();
        let mut child = start_holder(&dataset);
        let key = table("radon").lock_key().unwrap();
        let begun = Instant::now();
        while dataset.store().lock_holder(&key).pid != Some(child.id()) {
            assert!(begun.elapsed() < LONG, "the child does not take the lock");
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut waiter = Waiter::default();
        let error = hold(&dataset, &table("radon"), "", Duration::ZERO, &mut waiter).unwrap_err();
        assert!(error.to_string().contains(&format!("process {}, doomed", child.id())), "{error}");
        child.kill().unwrap();
        child.wait().unwrap();
        // Though its file still names the dead one.
        assert_eq!(dataset.store().lock_holder(&key).pid, Some(child.id()));
        hold(&dataset, &table("radon"), "", Duration::ZERO, &mut waiter).unwrap();
        assert!(waiter.told.is_empty());
    }
}
