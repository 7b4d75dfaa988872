//! The promises of the store, on a real file system, and what a full disk leaves of them.

use super::folders::TEMP_FOLDER;
use super::staging::WRITE_BUFFER;
use super::*;
use crate::disk::{Change, faults};
use crate::temporary::PREFIX;
use std::fs;
use std::io::SeekFrom;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

/// A store in a fresh folder, with a file `a/b` = "old" and a secret next to the root.
fn fixture() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("a")).unwrap();
    fs::write(root.join("a/b"), "old").unwrap();
    fs::write(folder.path().join("secret"), "secret").unwrap();
    fs::create_dir(folder.path().join("outside")).unwrap();
    fs::write(folder.path().join("outside/x"), "secret").unwrap();
    (folder, root)
}

/// The store as this system keeps its rule, and as others do.
fn both(root: &Path) -> Vec<LocalStore> {
    let open_root = || Root::open(root).unwrap();
    let open = || LocalStore { folders: Folders::new(open_root()), synced: Mutex::default() };
    #[cfg(all(target_os = "linux", not(feature = "portable")))]
    return vec![open(), LocalStore { folders: Folders::new(open_root().without_kernel()), synced: Mutex::default() }];
    #[cfg(not(all(target_os = "linux", not(feature = "portable"))))]
    return vec![open()];
}

/// Every file below a folder, temporary ones too.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder_now) = open.pop() {
        for entry in fs::read_dir(&folder_now).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                open.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn local_store_keeps_the_contract() {
    let (_folder, root) = fixture();
    for store in both(&root) {
        assert_eq!(crate::contract::check(&store, &key("contract")), []);
        assert_eq!(files(&root).iter().filter(|file| file.contains("contract")).count(), 0);
    }
}

#[test]
fn store_reads_files_and_nothing_else() {
    let (_folder, root) = fixture();
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("fifo"), rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    fs::write(root.join("empty"), "").unwrap();
    for store in both(&root) {
        assert_eq!(store.get(&key("a/b"), 3).unwrap().unwrap(), b"old");
        assert_eq!(store.get(&key("empty"), 3).unwrap().unwrap(), b"");
        assert!(matches!(store.get(&key("a/b"), 2), Err(StoreError::TooLarge { limit: 2, .. })));
        for absent in ["x", "a/x", "a/b/c", "a", &"n".repeat(300)] {
            assert!(store.get(&key(absent), 9).unwrap().is_none(), "{absent}");
            assert!(store.open(&key(absent)).unwrap().is_none(), "{absent}");
            assert!(store.stat(&key(absent)).unwrap().is_none(), "{absent}");
        }
        assert!(matches!(store.get(&key("fifo"), 9), Err(StoreError::Io { .. })), "a FIFO is not waited for");
        assert!(matches!(store.open(&key("fifo")), Err(StoreError::Io { .. })));
        assert_eq!(store.stat(&key("a/b")).unwrap().unwrap().size, 3);
        assert!(store.list(&key("x")).unwrap().is_none());
        assert!(store.list(&key("a/b")).unwrap().is_none());
    }
}

#[test]
fn store_refuses_links_that_lead_out() {
    let (folder, root) = fixture();
    symlink("../a/b", root.join("a/relative")).unwrap();
    symlink(root.join("a/b"), root.join("absolute")).unwrap();
    symlink(root.join("a"), root.join("folder")).unwrap();
    symlink("../secret", root.join("out")).unwrap();
    symlink(folder.path().join("secret"), root.join("out_absolute")).unwrap();
    symlink("../outside", root.join("out_folder")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    for store in both(&root) {
        for within in ["a/relative", "absolute", "folder/b"] {
            assert_eq!(store.get(&key(within), 9).unwrap().unwrap(), b"old", "{within}");
            assert_eq!(store.stat(&key(within)).unwrap().unwrap().size, 3, "{within}");
        }
        for out in ["out", "out_absolute", "out_folder/x", "out_folder/missing"] {
            assert!(matches!(store.get(&key(out), 9), Err(StoreError::LeadsOut { .. })), "{out}");
            assert!(matches!(store.stat(&key(out)), Err(StoreError::LeadsOut { .. })), "{out}");
            assert!(matches!(store.open(&key(out)), Err(StoreError::LeadsOut { .. })), "{out}");
        }
        assert!(matches!(store.list(&key("out_folder")), Err(StoreError::LeadsOut { .. })));
        for write in ["out_folder/y", "out_folder/deep/y"] {
            assert!(matches!(store.put(&key(write), b"new"), Err(StoreError::LeadsOut { .. })), "{write}");
            assert!(matches!(store.delete(&key(write)), Err(StoreError::LeadsOut { .. })), "{write}");
            assert!(matches!(store.delete_tree(&key(write)), Err(StoreError::LeadsOut { .. })), "{write}");
        }
        assert!(store.get(&key("dangling"), 9).unwrap().is_none());
        let listed = store.list(&Key::root()).unwrap().unwrap();
        let folders: Vec<&str> = listed.iter().filter(|e| e.is_dir).map(|e| e.name.as_str()).collect();
        assert_eq!(
            folders.iter().filter(|name| **name != "index").collect::<Vec<_>>(),
            [&"a", &"folder", &"out_folder"]
        );
        // A link that is written to is replaced; what it led to is as it was.
        store.put(&key("out"), b"new").unwrap();
        assert_eq!(store.get(&key("out"), 9).unwrap().unwrap(), b"new");
        assert_eq!(fs::read(folder.path().join("secret")).unwrap(), b"secret");
        assert!(store.delete(&key("out")).unwrap());
        symlink("../secret", root.join("out")).unwrap();
        // A folder that is a link is deleted as a link.
        symlink("../outside", root.join("doomed")).unwrap();
        assert!(store.delete_tree(&key("doomed")).unwrap());
        assert_eq!(fs::read(folder.path().join("outside/x")).unwrap(), b"secret");
    }
}

#[test]
fn put_makes_folders_and_leaves_no_temp_file() {
    let (_folder, root) = fixture();
    for (round, store) in both(&root).into_iter().enumerate() {
        store.put(&key("a/b"), b"new").unwrap();
        assert_eq!(store.get(&key("a/b"), 9).unwrap().unwrap(), b"new");
        let deep = key(&format!("new{round}/x/y/z"));
        store.put(&deep, b"deep").unwrap();
        assert_eq!(store.get(&deep, 9).unwrap().unwrap(), b"deep");
        let before = store.stat(&deep).unwrap().unwrap();
        let after = store.put_with(&deep, &mut |sink| sink.write_all(b"streamed")).unwrap();
        assert_eq!(store.stat(&deep).unwrap().unwrap(), after);
        assert_eq!(after.size, 8);
        assert_ne!(after.identity, before.identity);
        assert!(store.put(&Key::root(), b"x").is_err());
        assert!(store.put(&key("a"), b"x").is_err(), "a folder is not overwritten");
        assert!(store.put(&key("a/b/c"), b"x").is_err(), "a file is not a folder");
        assert!(store.delete(&deep).unwrap() && !store.delete(&deep).unwrap());
        assert!(store.delete_tree(&key(&format!("new{round}"))).unwrap());
        assert!(!store.delete_tree(&key(&format!("new{round}"))).unwrap());
        assert_eq!(files(&root), ["a/b"]);
        let names: Vec<String> = store.list(&Key::root()).unwrap().unwrap().into_iter().map(|e| e.name).collect();
        assert_eq!(names, ["a", "index"]);
    }
}

#[test]
fn put_many_writes_small_and_large_batches() {
    for count in [0, 1, SMALL_BATCH, SMALL_BATCH + 1, 50] {
        let (_folder, root) = fixture();
        let store = LocalStore::open(&root).unwrap();
        faults::fail_after(None);
        let item = |n: usize| (key(&format!("f{}/{n}", n / 3)), n.to_string().into_bytes());
        store.put_many(&mut (0..count).map(item)).unwrap();
        let syncs = faults::seen().iter().filter(|c| matches!(c, Change::Sync | Change::SyncAll)).count();
        if cfg!(all(target_os = "linux", not(feature = "portable"))) && count > SMALL_BATCH {
            assert_eq!(syncs, 2, "{count}: one wait before the renames, one after");
        }
        for n in 0..count {
            assert_eq!(store.get(&item(n).0, 9).unwrap().unwrap(), item(n).1);
        }
        assert_eq!(files(&root).len(), count + 1, "{count}: no temporary file is left");
    }
}

#[test]
fn new_files_follow_the_umask() {
    let (_folder, root) = fixture();
    let store = LocalStore::open(&root).unwrap();
    fs::write(root.join("ordinary"), "").unwrap();
    store.put(&key("ours"), b"").unwrap();
    let mode = |name: &str| fs::metadata(root.join(name)).unwrap().permissions().mode();
    assert_eq!(mode("ours"), mode("ordinary"));
}

#[test]
fn full_disk_leaves_old_bytes_or_new() {
    type Work = fn(&LocalStore) -> Result<(), StoreError>;
    let works: [(&str, Work); 4] = [
        ("put", |store| store.put(&key("a/b"), b"new")),
        ("put_with", |store| store.put_with(&key("a/b"), &mut |sink| sink.write_all(b"new")).map(|_| ())),
        ("put_many, few", |store| {
            store.put_many(&mut [(key("a/b"), b"new".to_vec()), (key("n/c"), b"new".to_vec())].into_iter())
        }),
        ("put_many, many", |store| {
            store.put_many(
                &mut (0..20).map(|n| (key(&if n == 0 { "a/b".into() } else { format!("m/{n}") }), b"new".to_vec())),
            )
        }),
    ];
    for (name, work) in works {
        let mut failures = 0;
        for left in 0.. {
            let (_folder, root) = fixture();
            let store = LocalStore::open(&root).unwrap();
            faults::fail_after(Some(left));
            let result = work(&store);
            let completed = faults::seen().len() <= left;
            faults::fail_after(None);
            let found = fs::read(root.join("a/b")).unwrap();
            if completed {
                result.unwrap();
                assert_eq!(found, b"new", "{name}");
                break;
            }
            failures += 1;
            match result {
                Err(StoreError::Io { source, .. }) => assert_eq!(source.kind(), io::ErrorKind::StorageFull, "{name}"),
                // The one failure that is only warned of: a temporary file that cannot be removed.
                other => panic!("{name}, change {left}: {other:?}"),
            }
            assert!(found == b"old" || found == b"new", "{name}, change {left}: {found:?}");
            let left_over: Vec<String> = files(&root).into_iter().filter(|file| file.contains(PREFIX)).collect();
            assert!(left_over.is_empty(), "{name}, change {left}: {left_over:?}");
        }
        assert!(failures >= 4, "{name}: the faults were asked for");
    }
}

#[test]
fn failed_stream_is_not_seen() {
    let (_folder, root) = fixture();
    let store = LocalStore::open(&root).unwrap();
    let result = store.put_with(&key("a/b"), &mut |sink| {
        sink.write_all(b"half")?;
        Err(io::Error::other("gave up"))
    });
    assert!(matches!(result, Err(StoreError::Io { .. })));
    assert_eq!(files(&root), ["a/b"]);
    assert_eq!(fs::read(root.join("a/b")).unwrap(), b"old");
}

#[test]
fn open_file_has_own_position_and_outlives_replacement() {
    let (_folder, root) = fixture();
    let store = LocalStore::open(&root).unwrap();
    let mut first = store.open(&key("a/b")).unwrap().unwrap();
    let mut second = first.try_clone().unwrap();
    first.seek(SeekFrom::End(-1)).unwrap();
    store.put(&key("a/b"), b"replaced").unwrap();
    let (mut one, mut two) = (String::new(), String::new());
    first.read_to_string(&mut one).unwrap();
    second.read_to_string(&mut two).unwrap();
    assert_eq!((one.as_str(), two.as_str()), ("d", "old"));
    assert_eq!(first.stat().size, 3);
    assert!(first.seek(SeekFrom::Current(-9)).is_err());
}

#[test]
fn list_skips_names_that_no_key_can_have() {
    use std::os::unix::ffi::OsStrExt;
    let (_folder, root) = fixture();
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"bad\xff")), "").unwrap();
    fs::write(root.join("back\\slash"), "").unwrap();
    fs::write(root.join(format!("{PREFIX}1")), "").unwrap();
    for store in both(&root) {
        let entries = store.list(&Key::root()).unwrap().unwrap();
        assert_eq!(entries, [Entry { name: "a".into(), is_dir: true }]);
    }
}

#[test]
fn staging_uses_target_folder_if_tmp_not_writable() {
    let (_folder, root) = fixture();
    // A file where the folder should be: as good as one that cannot be entered.
    fs::create_dir_all(root.join("index/kymhost")).unwrap();
    fs::set_permissions(root.join("index/kymhost"), fs::Permissions::from_mode(0o555)).unwrap();
    let store = LocalStore::open(&root).unwrap();
    if rustix::process::geteuid().is_root() {
        let _ = io::stderr().write_all(b"SKIPPED staging next to the target: root may write everywhere\n");
    } else {
        store.put(&key("a/b"), b"new").unwrap();
        assert_eq!(files(&root), ["a/b"]);
    }
    fs::set_permissions(root.join("index/kymhost"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn target_on_other_file_system_is_staged_next_to_it() {
    let (_folder, root) = fixture();
    let store = LocalStore::open(&root).unwrap();
    let aside = Arc::new(store.folders.staging_folder(&key("a/b")).unwrap());
    let (staged, _) =
        store.folders.stage(&key("a/b"), &aside, &mut |file| Writer { file, label: "a/b" }.write_all(b"new")).unwrap();
    // What `publish` does when the kernel says EXDEV, which needs a mount to be seen.
    let target = store.folders.make_folders(&key("a"), true).unwrap();
    assert!(!store.folders.publish_across(&key("a/b"), &staged, &target, &|| Ok(false)).unwrap());
    assert_eq!(fs::read(root.join("a/b")).unwrap(), b"old");
    assert!(store.folders.publish_across(&key("a/b"), &staged, &target, &|| Ok(true)).unwrap());
    drop(staged);
    assert_eq!(fs::read(root.join("a/b")).unwrap(), b"new");
    assert_eq!(files(&root), ["a/b"]);
}

/// Another program writes before each change in turn: its write is kept, until the rename itself begins.
#[test]
fn writes_of_others_are_kept_up_to_the_rename() {
    // In place with another size, in place with the same size, by a rename, by a delete.
    let others: [fn(&Path); 4] = [
        |path| fs::write(path, "longer").unwrap(),
        |path| fs::write(path, "new").unwrap(),
        |path| {
            fs::write(path.with_extension("n"), "new").unwrap();
            fs::rename(path.with_extension("n"), path).unwrap();
        },
        |path| fs::remove_file(path).unwrap(),
    ];
    for other in others {
        for at in 0.. {
            let (_folder, root) = fixture();
            let store = LocalStore::open(&root).unwrap();
            // The folder for temporary files is there.
            store.put(&key("c"), b"").unwrap();
            let seen = store.get_seen(&key("a/b"), 9).unwrap().1;
            let path = root.join("a/b");
            faults::fail_after(None);
            faults::run_after(at, move || other(&path));
            let write = GuardedWrite { key: key("a/b"), bytes: b"ours".to_vec(), if_still: vec![seen] };
            let differing = store.replace_many(&mut [write].into_iter()).unwrap();
            let seen = faults::seen();
            faults::fail_after(None);
            let now = fs::read(root.join("a/b")).ok();
            match seen.get(at) {
                None => {
                    assert!(at > 3, "the hook was never reached");
                    break;
                }
                // After the last look: the window that the documentation names; or after the write.
                Some(Change::Rename) => assert_eq!((differing.len(), now.as_deref()), (0, Some(&b"ours"[..]))),
                Some(_) if seen.iter().take(at).any(|change| *change == Change::Rename) => {
                    assert!(differing.is_empty())
                }
                Some(change) => {
                    assert_eq!(differing, [key("a/b")], "{change:?}");
                    assert_ne!(now.as_deref(), Some(&b"ours"[..]), "{change:?}");
                }
            }
            assert_eq!(files(&root).iter().filter(|file| file.contains(PREFIX)).count(), 0);
        }
    }
}

/// Measures the window between the last look and the end of the rename: the figures in `docs/concepts/reliability.md`.
/// `cargo test --release -p kymhost-store --lib -- --ignored --nocapture window_between` (KYMHOST_WINDOW: a folder on the
/// disk that is to be measured).
#[test]
#[ignore = "a measurement"]
#[allow(clippy::print_stdout, reason = "it prints what it measures")]
fn window_between_look_and_rename_is_measured() {
    use std::cell::Cell;
    use std::time::Instant;
    let place = std::env::var_os("KYMHOST_WINDOW").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(place).unwrap();
    let store = LocalStore::open(folder.path()).unwrap();
    let at = key("images/0/analysis/metadata.json");
    let mut taken: Vec<Duration> = (0..2_000)
        .map(|number| {
            store.put_many(&mut [(at.clone(), format!("{number}").into_bytes())].into_iter()).unwrap();
            let seen = store.get_seen(&at, 99).unwrap().1;
            let stage = Arc::new(store.folders.staging_folder(&at).unwrap());
            let (staged, file) = store.folders.stage(&at, &stage, &mut |mut file| file.write_all(b"ours")).unwrap();
            disk::sync_file(&file, at.as_str()).unwrap();
            let target = store.folders.make_folders(&folder_of(&at).unwrap().0, false).unwrap();
            // From before the last byte is compared, so that all of the window is in it.
            let looked = Cell::new(Instant::now());
            let is_due = || {
                looked.set(Instant::now());
                store.is_still(&seen)
            };
            assert!(store.folders.publish(&at, staged, &target, false, &is_due).unwrap());
            looked.get().elapsed()
        })
        .collect();
    taken.sort_unstable();
    let at = |share: usize| taken[(taken.len() - 1) * share / 1000];
    println!("half {:?}, 99 % {:?}, 99.9 % {:?}, longest {:?}", at(500), at(990), at(999), at(1000));
}

/// Two writes of one size within a tick leave the same times and the same inode: only the bytes differ.
#[test]
fn young_file_is_compared_by_its_bytes() {
    let (_folder, root) = fixture();
    let store = LocalStore::open(&root).unwrap();
    let (_, seen) = store.get_seen(&key("a/b"), 9).unwrap();
    assert!(seen.young_sha256().is_some(), "it was just written");
    fs::write(root.join("a/b"), "new").unwrap();
    // What a file system with a slow clock would say: the times of before.
    let now = store.stat(&key("a/b")).unwrap().unwrap();
    let as_before = crate::Seen::new(key("a/b"), now.changed.unwrap(), Some((b"old", now)));
    assert_eq!(as_before.stat(), Some(now));
    assert!(!store.is_still(&as_before).unwrap());
    assert!(store.is_still(&crate::Seen::new(key("a/b"), now.changed.unwrap(), Some((b"new", now)))).unwrap());
}

#[test]
fn temp_files_of_others_go_after_a_day() {
    let (_folder, root) = fixture();
    fs::create_dir_all(root.join(TEMP_FOLDER).join(format!("{PREFIX}doomed/deep"))).unwrap();
    let theirs = [format!("{TEMP_FOLDER}/{PREFIX}theirs"), format!("{TEMP_FOLDER}/{PREFIX}doomed/deep/x")];
    theirs.iter().for_each(|file| fs::write(root.join(file), "").unwrap());
    fs::write(root.join(TEMP_FOLDER).join("another's"), "").unwrap();
    let store = LocalStore::open(&root).unwrap();
    store.put(&key("a/b"), b"new").unwrap();
    assert_eq!(files(&root).len(), 4, "young ones may be at work");
    let folder = store.folders.root.open_beneath(TEMP_FOLDER, FOLDER).unwrap();
    store.folders.sweep(
        &key(TEMP_FOLDER),
        &folder,
        SystemTime::now() + temporary::LEFT_OVER_AGE + Duration::from_secs(60),
    );
    assert_eq!(files(&root), ["a/b".to_owned(), format!("{TEMP_FOLDER}/another's")]);
}

#[test]
fn lock_works_without_holder_text() {
    let lock = key("index/kymhost/locks/t.lock");
    // The changes: three folders, the file, its text.
    for (left, held) in [(0, false), (1, false), (2, false), (3, false), (4, true), (5, true)] {
        let (_folder, root) = fixture();
        let store = LocalStore::open(&root).unwrap();
        faults::fail_after(Some(left));
        let guard = store.lock(&lock, "me");
        assert_eq!(faults::seen().len(), if held { 5 } else { left + 1 }, "{left}");
        faults::fail_after(None);
        match guard {
            Ok(guard) => {
                assert!(held && guard.is_some(), "{left}");
                assert!(store.lock(&lock, "me").unwrap().is_none(), "{left}");
                drop(guard);
                assert!(store.lock(&lock, "me").unwrap().is_some(), "{left}");
            }
            Err(error) => assert!(!held && error.to_string().to_lowercase().contains("no space"), "{left}: {error}"),
        }
    }
}

#[test]
fn folders_with_agrees_with_list_and_stat() {
    let (folder, root) = fixture();
    let images = root.join("images");
    for (path, content) in [("plain/.zgroup", Some("{}")), ("bare", None), ("nested/.zgroup", None), ("file", Some(""))]
    {
        let path = images.join(path);
        match content {
            Some(content) => {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            None => fs::create_dir_all(path).unwrap(),
        }
    }
    fs::create_dir(images.join("linked")).unwrap();
    symlink("../plain/.zgroup", images.join("linked/.zgroup")).unwrap();
    fs::create_dir(images.join("dangling")).unwrap();
    symlink("nowhere", images.join("dangling/.zgroup")).unwrap();
    symlink("plain", images.join("another name")).unwrap();
    for store in both(&root) {
        let found = store.folders_with(&key("images"), ".zgroup").unwrap();
        assert_eq!(found.unwrap(), ["another name", "linked", "plain"]);
        assert!(store.folders_with(&key("nothing"), ".zgroup").unwrap().is_none());
    }
    fs::write(folder.path().join("outside_group"), "{}").unwrap();
    fs::create_dir(images.join("out")).unwrap();
    symlink("../../../outside_group", images.join("out/.zgroup")).unwrap();
    for store in both(&root) {
        let refused = store.folders_with(&key("images"), ".zgroup");
        assert!(matches!(refused, Err(StoreError::LeadsOut { .. })), "{refused:?}");
    }
}

/// Set in a process that a test started: the root, and what it is to do there.
const CHILD: &str = "KYMHOST_TEST_STORE_CHILD";

/// Not a test by itself: the process in which changes fail, or which is killed.
#[test]
fn work_of_a_child() {
    let Some(child) = std::env::var_os(CHILD) else { return };
    let (work, root) = child.to_str().unwrap().split_once(':').unwrap();
    let store = LocalStore::create(Path::new(root)).unwrap();
    match work {
        // Each sort of change.
        "work" => {
            let mut failed = Vec::new();
            let mut tell = |result: Result<(), StoreError>| failed.extend(result.err().map(|error| error.to_string()));
            tell(store.lock(&key("index/kymhost/locks/t.lock"), "held by a child").map(drop));
            tell(store.put(&key("a/b"), b"new"));
            tell(store.put_with(&key("t/u"), &mut |sink| sink.write_all(&[7; WRITE_BUFFER + 1])).map(drop));
            tell(store.put_many(&mut (0..20).map(|n| (key(&format!("m/{n}/x")), b"new".to_vec()))));
            tell(store.delete_tree(&key("m")).map(drop));
            tell(store.delete(&key("t/u")).map(drop));
            fs::write(Path::new(root).join("../failed"), failed.join("\n")).unwrap();
        }
        // Stages a file, says so, and never comes back to it.
        _ => {
            let beside = Arc::new(store.folders.make_folders(&key("a"), true).unwrap());
            let aside = Arc::new(store.folders.staging_folder(&key("a/b")).unwrap());
            let staged =
                [&beside, &aside].map(|folder| store.folders.stage(&key("a/b"), folder, &mut |_| Ok(())).unwrap());
            fs::write(Path::new(root).join("../staged"), "").unwrap();
            std::thread::sleep(Duration::from_secs(60));
            drop(staged);
        }
    }
}

fn child(work: &str, root: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "local::tests::work_of_a_child"]).stdout(std::process::Stdio::null());
    command.env(CHILD, format!("{work}:{}", root.display()));
    command
}

#[cfg(debug_assertions)]
#[test]
fn every_disk_change_can_fail_or_be_the_last() {
    use std::os::unix::process::ExitStatusExt;
    let run = |fault: Option<&str>| {
        let (folder, root) = fixture();
        let mut command = child("work", &root);
        command.env("KYMHOST_FAULT_LOG", folder.path().join("log"));
        if let Some(fault) = fault {
            command.env("KYMHOST_FAULT", fault);
        }
        let status = command.status().unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap_or_default();
        let (log, failed) = (read("log"), read("failed"));
        (folder, root, status, log.lines().map(str::to_owned).collect::<Vec<_>>(), failed)
    };
    let (_folder, _, status, whole, failed) = run(None);
    assert!(status.success() && failed.is_empty(), "{failed}");
    assert_eq!(run(None).3, whole, "two runs that do the same count the same");
    for (at, line) in whole.iter().enumerate() {
        assert!(line.starts_with(&format!("{} ", at + 1)), "{line}");
    }
    for kind in ["create", "write", "sync", "sync_all", "rename", "mkdir", "remove"] {
        if kind != "sync_all" || cfg!(all(target_os = "linux", not(feature = "portable"))) {
            assert!(
                whole.iter().any(|line| line.split(' ').nth(1) == Some(kind)),
                "{kind} was never visited: {whole:?}"
            );
        }
    }
    assert!(whole.iter().any(|line| line.ends_with(" rename t/u")), "{whole:?}");

    for (at, line) in whole.iter().enumerate() {
        let at = at + 1;
        let kind = line.split(' ').nth(1).unwrap();
        // Killed right before it, or in the middle of it.
        for how in ["KILL", "TORN"] {
            let (folder, root, status, log, _) = run(Some(&format!("{at}:{how}")));
            assert_eq!(status.signal(), Some(9), "{line}, {how}");
            assert_eq!(log, whole[..at], "{line}, {how}");
            let found = fs::read(root.join("a/b")).unwrap();
            assert!(found == b"old" || found == b"new", "{line}, {how}: {found:?}");
            let large = fs::metadata(root.join("t/u")).map_or(0, |meta| meta.len());
            assert!([0, WRITE_BUFFER as u64 + 1].contains(&large), "{line}, {how}: {large}");
            // What is left over is gone with the next write.
            let left = |root: &Path| files(root).into_iter().filter(|file| file.contains(PREFIX)).count();
            if how == "TORN" && kind == "write" && !line.contains("lock") {
                assert!(left(&root) > 0, "{line}: half of it was written");
            }
            LocalStore::open(&root).unwrap().put(&key("a/c"), b"").unwrap();
            assert!(
                left(&root) == 0 || !cfg!(all(target_os = "linux", not(feature = "portable"))),
                "{line}, {how}: {:?}",
                files(&root)
            );
            drop(folder);
        }
    }
    // Three sorts of failure, of one change and of all from then on.
    for (at, fault, says) in [(1, "EIO", "Input/output"), (9, "EACCES", "denied"), (9, "ENOSPC", "No space")] {
        for more in ["", "+"] {
            let (_folder, _, status, log, failed) = run(Some(&format!("{at}{more}:{fault}")));
            if at == 1 {
                assert!(!status.success(), "the root cannot be made");
                continue;
            }
            assert!(status.success() && failed.contains(says), "{fault}: {failed}");
            assert_eq!(failed.lines().count() > 1, more == "+", "{fault}: {failed}");
            assert!(log.len() > at, "{fault}: it goes on");
        }
    }
    let (.., failed) = run(Some("nonsense"));
    assert_eq!(failed, "", "nothing is done, not even the root");
}

#[cfg(all(target_os = "linux", not(feature = "portable")))]
#[test]
fn temp_files_stay_until_their_process_ends() {
    let (folder, root) = fixture();
    let mut at_work = child("stage", &root).spawn().unwrap();
    let begun = std::time::Instant::now();
    while !folder.path().join("staged").exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the child does not stage");
        std::thread::sleep(Duration::from_millis(5));
    }
    let temporary = || files(&root).into_iter().filter(|file| file.contains(PREFIX)).collect::<Vec<_>>();
    let in_use = temporary();
    assert!(in_use.len() == 2 && in_use[0].starts_with("a/") && in_use[1].starts_with(TEMP_FOLDER), "{in_use:?}");
    let write = || {
        let store = LocalStore::open(&root).unwrap();
        store.put_with(&key("a/b"), &mut |sink| sink.write_all(b"new")).unwrap();
        [TEMP_FOLDER, "a"].map(|folder| store.left_overs(&key(folder)).unwrap().len())
    };
    assert_eq!((write(), temporary()), ([0, 0], in_use), "they are in use");
    at_work.kill().unwrap();
    at_work.wait().unwrap();
    let store = LocalStore::open(&root).unwrap();
    assert_eq!([TEMP_FOLDER, "a", "nowhere"].map(|folder| store.left_overs(&key(folder)).unwrap().len()), [1, 1, 0]);
    assert_eq!((write(), temporary()), ([0, 0], vec![]));
}

#[test]
fn rename_replaces_and_makes_folders() {
    let (folder, root) = fixture();
    for store in both(&root) {
        store.put(&key("a/b"), b"old").unwrap();
        store.put(&key("c/d/e"), b"older").unwrap();
        assert!(store.rename(&key("a/b"), &key("c/d/e")).unwrap());
        assert_eq!(files(&root), ["c/d/e"]);
        assert_eq!(store.get(&key("c/d/e"), 10).unwrap().as_deref(), Some(&b"old"[..]));
        for absent in ["a/b", "x/y", "c/d/e/f"] {
            let renamed = store.rename(&key(absent), &key("z/y"));
            assert!(matches!(renamed, Ok(false) | Err(StoreError::Io { .. })), "{absent}: {renamed:?}");
            assert!(!root.join("z/y").exists());
        }
        // A link that leads out is moved, not followed.
        symlink(folder.path().join("secret"), root.join("link")).unwrap();
        assert!(store.rename(&key("link"), &key("moved")).unwrap());
        assert!(fs::symlink_metadata(root.join("moved")).unwrap().is_symlink());
        assert_eq!(fs::read(folder.path().join("secret")).unwrap(), b"secret");
        fs::remove_file(root.join("moved")).unwrap();
        symlink(folder.path().join("outside"), root.join("out")).unwrap();
        assert!(matches!(store.rename(&key("c/d/e"), &key("out/x")), Err(StoreError::LeadsOut { .. })));
        assert_eq!(fs::read(folder.path().join("outside/x")).unwrap(), b"secret");
        fs::remove_file(root.join("out")).unwrap();
        store.delete_tree(&key("c")).unwrap();
    }
}
