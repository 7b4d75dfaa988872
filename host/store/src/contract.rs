//! The contract of [`Store`]: each promise is one named check that runs against any store.
//!
//! Call [`check`] in the tests of a store; an empty list means that the store keeps every promise. Two promises have no
//! check here, because no caller can see them: bytes are on disk when a write returns (fault tests of the program cover
//! it), and no key leads out of the root (a [`Key`] cannot express it; a store that has links tests them itself).
//! Links are checked if the store is a folder in which one can be made.
//!
//! Whole folders, `rename` and `lock` are optional: a store may refuse them with `ErrorKind::Unsupported`.

use crate::{Entry, GuardedWrite, Holder, Key, Stat, Store, StoreError};
use std::fmt::Debug;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::atomic::{AtomicBool, Ordering};

/// One promise of [`Store`].
#[derive(Debug, Clone, Copy)]
pub struct Promise {
    /// A short name.
    pub name: &'static str,
    /// What is promised.
    pub text: &'static str,
    check: fn(&dyn Store, &Key) -> Checked,
}

/// A promise that a store broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenPromise {
    /// [`Promise::name`].
    pub name: &'static str,
    /// What was found instead.
    pub why: String,
}

/// `Err` says what was found instead of what was promised.
type Checked = Result<(), String>;

/// Every promise, in the order in which they build on each other.
pub const PROMISES: &[Promise] = &[
    Promise { name: "put_then_get", text: "`get` returns the bytes that the last `put` wrote", check: put_then_get },
    Promise {
        name: "absent_is_none",
        text: "what is not there is `None` or `false`, never an error",
        check: absent_is_none,
    },
    Promise { name: "get_is_bounded", text: "`get` refuses more bytes than its limit", check: get_is_bounded },
    Promise {
        name: "stat_fits_content",
        text: "`stat`, `glance`, `get_with_stat`, `open` and `put_with` agree on what is known of a key",
        check: stat_fits_content,
    },
    Promise { name: "stat_tells_writes", text: "every write changes the `Stat` of its key", check: stat_tells_writes },
    Promise { name: "list_is_sorted", text: "`list` names what is directly below, sorted", check: list_is_sorted },
    Promise {
        name: "folders_with_agrees",
        text: "`folders_with` finds what `list` and `stat` find",
        check: folders_with_agrees,
    },
    Promise { name: "put_is_atomic", text: "a reader sees the old bytes or the new ones", check: put_is_atomic },
    Promise {
        name: "failed_write_changes_nothing",
        text: "if `write` fails, the key stays as it was and nothing is left next to it",
        check: failed_write_changes_nothing,
    },
    Promise {
        name: "replace_needs_expected",
        text: "`replace_with` writes only if the key is still as expected",
        check: replace_needs_expected,
    },
    Promise {
        name: "put_many_writes_all",
        text: "`put_many` writes every key, and none before all are staged",
        check: put_many_writes_all,
    },
    Promise {
        name: "replace_many_needs_seen",
        text: "`replace_many` writes each key only if what was read is still there, and names the others",
        check: replace_many_needs_seen,
    },
    Promise {
        name: "writes_stop_at_links",
        text: "nothing is written or deleted through a link; a link in the place of a key is itself replaced or removed",
        check: writes_stop_at_links,
    },
    Promise {
        name: "open_file_stays",
        text: "an open file reads what it was opened on, at a position of its own",
        check: open_file_stays,
    },
    Promise { name: "delete_removes", text: "`delete` and `delete_tree` remove, once", check: delete_removes },
    Promise {
        name: "rename_moves",
        text: "`rename` moves a key over another and makes its folders",
        check: rename_moves,
    },
    Promise { name: "lock_is_exclusive", text: "only one holds a lock, and names itself", check: lock_is_exclusive },
    Promise {
        name: "tree_appears_at_once",
        text: "a staged folder is invisible until it is published, and gone if it never is",
        check: tree_appears_at_once,
    },
];

/// Checks every promise in a folder that does not exist yet, and removes it afterwards.
pub fn check(store: &dyn Store, folder: &Key) -> Vec<BrokenPromise> {
    let mut broken = Vec::new();
    for promise in PROMISES {
        let checked = folder
            .join(promise.name)
            .map_err(|error| error.to_string())
            .and_then(|folder| (promise.check)(store, &folder));
        broken.extend(checked.err().map(|why| BrokenPromise { name: promise.name, why }));
    }
    if let Err(error) = store.delete_tree(folder) {
        broken.push(BrokenPromise { name: "delete_removes", why: error.to_string() });
    }
    broken
}

/// The value of an operation that must not fail.
fn done<T>(result: Result<T, StoreError>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

/// The value of an optional operation; `None` if the store does not support it.
fn supported<T>(result: Result<T, StoreError>) -> Result<Option<T>, String> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::Unsupported => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

fn same<T: PartialEq + Debug>(what: &str, found: T, expected: T) -> Checked {
    if found == expected { Ok(()) } else { Err(format!("{what} is {found:?}, expected {expected:?}")) }
}

fn key(folder: &Key, below: &str) -> Result<Key, String> {
    done(folder.join(below))
}

fn has(store: &dyn Store, key: &Key, expected: &[u8]) -> Checked {
    same(key.as_str(), done(store.get(key, expected.len() as u64 + 1))?.as_deref(), Some(expected))
}

/// Names directly below a folder.
fn names(store: &dyn Store, folder: &Key) -> Result<Vec<String>, String> {
    Ok(done(store.list(folder))?.unwrap_or_default().into_iter().map(|entry| entry.name).collect())
}

/// Writes a key from a stream.
fn stream(store: &dyn Store, key: &Key, bytes: &[u8]) -> Result<Stat, String> {
    done(store.put_with(key, &mut |sink| sink.write_all(bytes)))
}

fn put_then_get(store: &dyn Store, folder: &Key) -> Checked {
    let at = key(folder, "deep/er/k")?;
    for bytes in [&b"old"[..], b"", b"longer than before", b"n"] {
        done(store.put(&at, bytes))?;
        has(store, &at, bytes)?;
        stream(store, &at, bytes)?;
        has(store, &at, bytes)?;
    }
    Ok(())
}

fn absent_is_none(store: &dyn Store, folder: &Key) -> Checked {
    done(store.put(&key(folder, "file")?, b"x"))?;
    for name in ["absent", "no/folder", "file/below"] {
        let at = key(folder, name)?;
        same("get", done(store.get(&at, 9))?, None)?;
        same("open", done(store.open(&at))?.is_some(), false)?;
        same("stat", done(store.stat(&at))?, None)?;
        same("glance", done(store.glance(&at))?, None)?;
        same("list", done(store.list(&at))?, None)?;
        same("folders_with", done(store.folders_with(&at, "x"))?, None)?;
        same("delete", done(store.delete(&at))?, false)?;
        same("delete_tree", done(store.delete_tree(&at))?, false)?;
        same("left_overs", done(store.left_overs(&at))?, vec![])?;
        same("lock_holder", store.lock_holder(&at), Holder::default())?;
    }
    // A folder is not a key that holds bytes.
    same("get of a folder", done(store.get(folder, 9))?, None)?;
    same("stat of a folder", done(store.stat(folder))?, None)?;
    let renamed = supported(store.rename(&key(folder, "absent")?, &key(folder, "other")?))?;
    same("rename", renamed.unwrap_or(false), false)
}

fn get_is_bounded(store: &dyn Store, folder: &Key) -> Checked {
    let at = key(folder, "k")?;
    done(store.put(&at, b"four"))?;
    same("get with room", done(store.get(&at, 4))?.as_deref(), Some(&b"four"[..]))?;
    match store.get(&at, 3) {
        Err(StoreError::TooLarge { limit: 3, .. }) => Ok(()),
        other => Err(format!("get of 4 bytes with a limit of 3 is {other:?}")),
    }
}

fn stat_fits_content(store: &dyn Store, folder: &Key) -> Checked {
    let at = key(folder, "k")?;
    let written = stream(store, &at, b"three")?;
    same("its size", written.size, 5)?;
    same("stat", done(store.stat(&at))?, Some(written))?;
    same("glance", done(store.glance(&at))?, Some(written))?;
    same("get_with_stat", done(store.get_with_stat(&at, 9))?, Some((b"three".to_vec(), written)))?;
    same("open", done(store.open(&at))?.map(|file| file.stat()), Some(written))
}

fn stat_tells_writes(store: &dyn Store, folder: &Key) -> Checked {
    let at = key(folder, "k")?;
    let mut before = stream(store, &at, b"same")?;
    for _ in 0..3 {
        let after = stream(store, &at, b"same")?;
        if after == before {
            return Err(format!("two writes of the same bytes have one Stat: {after:?}"));
        }
        before = after;
    }
    Ok(())
}

fn list_is_sorted(store: &dyn Store, folder: &Key) -> Checked {
    for name in ["b", "a/x", "c", "ab", "a/y/z"] {
        done(store.put(&key(folder, name)?, b""))?;
    }
    let entry = |name: &str, is_dir| Entry { name: name.to_owned(), is_dir };
    let expected = vec![entry("a", true), entry("ab", false), entry("b", false), entry("c", false)];
    same("list", done(store.list(folder))?, Some(expected))
}

fn folders_with_agrees(store: &dyn Store, folder: &Key) -> Checked {
    for name in ["c/.mark", "a/.mark", "b/other", "d", "e/.mark/below", "a/b/.mark"] {
        done(store.put(&key(folder, name)?, b""))?;
    }
    let expected = Some(vec!["a".to_owned(), "c".to_owned()]);
    same("folders_with", done(store.folders_with(folder, ".mark"))?, expected)
}

fn put_is_atomic(store: &dyn Store, folder: &Key) -> Checked {
    const WRITES: usize = 40;
    let at = key(folder, "k")?;
    let contents = [vec![b'a'; 70_000], vec![b'b'; 30_000]];
    done(store.put(&at, &contents[1]))?;
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            loop {
                // Looked at first, so that the last write is read as well.
                let was_done = is_done.load(Ordering::SeqCst);
                match done(store.get(&at, 1 << 20))? {
                    Some(bytes) if contents.contains(&bytes) => {}
                    other => return Err(format!("a reader saw {:?} bytes", other.map(|bytes| bytes.len()))),
                }
                if was_done {
                    return Ok(());
                }
            }
        });
        let written = contents.iter().cycle().take(WRITES).try_for_each(|bytes| done(store.put(&at, bytes)));
        is_done.store(true, Ordering::SeqCst);
        let read = reader.join().unwrap_or_else(|_| Err("the reader panicked".to_owned()));
        written.and(read)
    })
}

fn failed_write_changes_nothing(store: &dyn Store, folder: &Key) -> Checked {
    let at = key(folder, "k")?;
    let fails = |store: &dyn Store| {
        store.put_with(&at, &mut |sink| {
            sink.write_all(&[7; 300_000])?;
            Err(io::Error::other("the writer gave up"))
        })
    };
    same("a failed first write", fails(store).is_err(), true)?;
    same("what it left", names(store, folder)?, vec![])?;
    let before = stream(store, &at, b"old")?;
    same("a failed write", fails(store).is_err(), true)?;
    let replaced = store.replace_with(&at, Some(before), &mut |_| Err(io::Error::other("the writer gave up")));
    same("a failed replacement", replaced.is_err(), true)?;
    same("stat", done(store.stat(&at))?, Some(before))?;
    same("what is left", names(store, folder)?, vec!["k".to_owned()])?;
    has(store, &at, b"old")
}

fn replace_needs_expected(store: &dyn Store, folder: &Key) -> Checked {
    let at = key(folder, "k")?;
    let replace = |expected, bytes: &[u8]| done(store.replace_with(&at, expected, &mut |sink| sink.write_all(bytes)));
    let first = replace(None, b"first")?;
    same("stat", done(store.stat(&at))?, first)?;
    same("a second first write", replace(None, b"other")?, None)?;
    let theirs = stream(store, &at, b"theirs")?;
    same("replacing an older state", replace(first, b"ours")?, None)?;
    has(store, &at, b"theirs")?;
    same("replacing what is there", replace(Some(theirs), b"ours")?.is_some(), true)?;
    has(store, &at, b"ours")
}

fn put_many_writes_all(store: &dyn Store, folder: &Key) -> Checked {
    for count in [0usize, 1, 9, 40] {
        let name = |at: usize| format!("{count}/{}/{at}", at % 3);
        let mut items = Vec::new();
        for at in 0..count {
            items.push((key(folder, &name(at))?, vec![b'x'; at]));
        }
        let mut seen_early = 0;
        let mut given = items.iter().cloned().inspect(|_| {
            seen_early += items.iter().filter(|(at, _)| !matches!(store.stat(at), Ok(None))).count();
        });
        done(store.put_many(&mut given))?;
        same("keys seen before all are staged", seen_early, 0)?;
        for (at, bytes) in &items {
            has(store, at, bytes)?;
        }
    }
    Ok(())
}

fn replace_many_needs_seen(store: &dyn Store, folder: &Key) -> Checked {
    // A small batch, and one for which a store may sync everything at once.
    for count in [2usize, 30] {
        let at = |number: usize| key(folder, &format!("{count}/{number}"));
        let mut seen = Vec::new();
        for number in 0..count {
            // The first is absent.
            if number > 0 {
                done(store.put(&at(number)?, b"old"))?;
            }
            let (bytes, found) = done(store.get_seen(&at(number)?, 9))?;
            same("get_seen", bytes.as_deref(), (number > 0).then_some(&b"old"[..]))?;
            same("is_still", done(store.is_still(&found))?, true)?;
            seen.push(found);
        }
        let write = |number: usize| -> Result<GuardedWrite, String> {
            let if_still = seen.get(number).cloned().into_iter().collect();
            Ok(GuardedWrite { key: at(number)?, bytes: b"ours".to_vec(), if_still })
        };
        let all = || (0..count).map(write).collect::<Result<Vec<_>, _>>();
        // As long as what was read, so that its size says nothing.
        done(store.put(&at(1)?, b"new"))?;
        same("what differs", done(store.replace_many(&mut all()?.into_iter()))?, vec![at(1)?])?;
        has(store, &at(1)?, b"new")?;
        for number in (0..count).filter(|number| *number != 1) {
            has(store, &at(number)?, b"ours")?;
        }
        let everything: Result<Vec<_>, String> = (0..count).map(at).collect();
        same("what differs afterwards", done(store.replace_many(&mut all()?.into_iter()))?, everything?)?;
        // A write may depend on another key, or on nothing.
        let mut other = write(1)?;
        other.if_still = vec![done(store.get_seen(&at(0)?, 9))?.1];
        let plain = GuardedWrite::from((at(count)?, b"plain".to_vec()));
        same("what differs", done(store.replace_many(&mut [other, plain].into_iter()))?, vec![])?;
        has(store, &at(1)?, b"ours")?;
        has(store, &at(count)?, b"plain")?;
        done(store.delete(&at(1)?))?;
        same("is_still of what is gone", seen.get(1).map(|seen| done(store.is_still(seen))), Some(Ok(false)))?;
    }
    Ok(())
}

fn writes_stop_at_links(store: &dyn Store, folder: &Key) -> Checked {
    done(store.put(&key(folder, "target/deep/k")?, b"theirs"))?;
    done(store.put(&key(folder, "k")?, b"mine"))?;
    let link =
        |name: &str, to: &str| std::os::unix::fs::symlink(to, store.root().join(folder.as_str()).join(name)).is_ok();
    if !link("link", "target/deep") {
        return Ok(());
    }
    let (through, below) = (key(folder, "link/k")?, key(folder, "link/new/k")?);
    has(store, &through, b"theirs")?;
    let seen = done(store.get_seen(&through, 9))?.1;
    let expected = done(store.stat(&through))?;
    let guarded = |key: &Key| GuardedWrite { key: key.clone(), bytes: b"ours".to_vec(), if_still: vec![seen.clone()] };
    for at in [&through, &below] {
        let refused = [
            ("check_way", store.check_way(at).err()),
            ("put", store.put(at, b"ours").err()),
            ("put_with", store.put_with(at, &mut |sink| sink.write_all(b"ours")).err()),
            ("replace_with", store.replace_with(at, expected, &mut |sink| sink.write_all(b"ours")).err()),
            ("put_many", store.put_many(&mut [(at.clone(), b"ours".to_vec())].into_iter()).err()),
            ("replace_many", store.replace_many(&mut [guarded(at)].into_iter()).err()),
            ("delete", store.delete(at).err()),
            ("delete_tree", store.delete_tree(at).err()),
            ("rename", store.rename(&key(folder, "k")?, at).err()),
            ("rename from", store.rename(at, &key(folder, "other")?).err()),
        ];
        for (what, error) in refused {
            match error {
                Some(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::Unsupported => {}
                Some(StoreError::ThroughLink { link, .. }) if link.ends_with("link") => {}
                other => return Err(format!("{what} of {at} through a link is {other:?}")),
            }
        }
        let items = [(done(Key::new("x"))?, b"ours".to_vec())];
        if let Some(tree) = supported(store.stage_tree(at, &mut items.into_iter()))? {
            let published = store.publish_trees(vec![(at.clone(), tree)]);
            same("publish_trees through a link", published.is_err(), true)?;
        }
    }
    same("what is in the folder", names(store, &key(folder, "target/deep")?)?, vec!["k".to_owned()])?;
    has(store, &key(folder, "target/deep/k")?, b"theirs")?;
    // The link in the very place goes; what it leads to stays.
    same("deleting a link as a tree", done(store.delete_tree(&key(folder, "link")?))?, true)?;
    same("making a link", [link("file", "target/deep/k"), link("tree", "target/deep"), link("gone", "k")], [true; 3])?;
    done(store.put(&key(folder, "file")?, b"ours"))?;
    has(store, &key(folder, "file")?, b"ours")?;
    same("deleting a link", done(store.delete(&key(folder, "gone")?))?, true)?;
    let items = [(done(Key::new("x"))?, b"ours".to_vec())];
    let tree = key(folder, "tree")?;
    if let Some(staged) = supported(store.stage_tree(&tree, &mut items.into_iter()))? {
        done(store.publish_trees(vec![(tree.clone(), staged)]))?;
        same("what took the link's place", names(store, &tree)?, vec!["x".to_owned()])?;
    }
    has(store, &key(folder, "target/deep/k")?, b"theirs")?;
    same("what is in the folder", names(store, &key(folder, "target/deep")?)?, vec!["k".to_owned()])?;
    has(store, &key(folder, "k")?, b"mine")
}

fn open_file_stays(store: &dyn Store, folder: &Key) -> Checked {
    let at = key(folder, "k")?;
    done(store.put(&at, b"0123456789"))?;
    let mut file = done(store.open(&at))?.ok_or("open found nothing")?;
    done(store.put(&at, b"replaced"))?;
    let read = |file: &mut dyn Read| -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map(|_| bytes).map_err(|error| error.to_string())
    };
    file.seek(SeekFrom::Start(7)).map_err(|error| error.to_string())?;
    let mut other = file.try_clone().map_err(|error| error.to_string())?;
    same("the end", read(&mut file)?, b"789".to_vec())?;
    same("another handle", read(&mut other)?, b"0123456789".to_vec())?;
    file.seek(SeekFrom::End(-2)).map_err(|error| error.to_string())?;
    same("what follows a seek from the end", read(&mut file)?, b"89".to_vec())?;
    same("a seek before the beginning", file.seek(SeekFrom::Current(-99)).is_err(), true)
}

fn delete_removes(store: &dyn Store, folder: &Key) -> Checked {
    for name in ["a", "b/x", "b/y/z"] {
        done(store.put(&key(folder, name)?, b"x"))?;
    }
    let (file, tree) = (key(folder, "a")?, key(folder, "b")?);
    same("delete", [done(store.delete(&file))?, done(store.delete(&file))?], [true, false])?;
    same("delete_tree", [done(store.delete_tree(&tree))?, done(store.delete_tree(&tree))?], [true, false])?;
    same("what is left", names(store, folder)?, vec![])?;
    same("a key of the tree", done(store.get(&key(folder, "b/y/z")?, 9))?, None)
}

fn rename_moves(store: &dyn Store, folder: &Key) -> Checked {
    let (from, to) = (key(folder, "from")?, key(folder, "new/folder/to")?);
    done(store.put(&from, b"one"))?;
    if supported(store.rename(&from, &to))?.is_none() {
        return Ok(());
    }
    has(store, &to, b"one")?;
    same("the old name", done(store.get(&from, 9))?, None)?;
    done(store.put(&from, b"two"))?;
    same("rename over a key", done(store.rename(&from, &to))?, true)?;
    has(store, &to, b"two")
}

fn lock_is_exclusive(store: &dyn Store, folder: &Key) -> Checked {
    let at = key(folder, "locks/one")?;
    let holder = Holder { plugin: Some("radon".to_owned()), ..Holder::default() };
    let Some(guard) = supported(store.lock(&at, &holder.to_text()))? else { return Ok(()) };
    same("a first lock", guard.is_some(), true)?;
    same("a second lock", done(store.lock(&at, "{}"))?.is_some(), false)?;
    same("its holder", store.lock_holder(&at), holder)?;
    same("another lock", done(store.lock(&key(folder, "locks/two")?, "{}"))?.is_some(), true)?;
    drop(guard);
    same("a lock that was let go", done(store.lock(&at, "{}"))?.is_some(), true)
}

fn tree_appears_at_once(store: &dyn Store, folder: &Key) -> Checked {
    let at = key(folder, "tree")?;
    let stage = |bytes: &[u8], names: &[&str]| {
        let items: Result<Vec<_>, String> =
            names.iter().map(|name| Ok((done(Key::new(*name))?, bytes.to_vec()))).collect();
        supported(store.stage_tree(&at, &mut items?.into_iter()))
    };
    done(store.put(&key(folder, "next")?, b""))?;
    let Some(first) = stage(b"one", &["a", "b/c"])? else { return Ok(()) };
    same("what is seen of it", names(store, folder)?, vec!["next".to_owned()])?;
    done(store.publish_trees(vec![(at.clone(), first)]))?;
    has(store, &key(&at, "b/c")?, b"one")?;
    drop(stage(b"dropped", &["a"])?);
    has(store, &key(&at, "a")?, b"one")?;
    let Some(second) = stage(b"two", &["a", "d"])? else { return Err("staging worked once only".to_owned()) };
    done(store.publish_trees(vec![(at.clone(), second)]))?;
    has(store, &key(&at, "a")?, b"two")?;
    same("what the tree holds", names(store, &at)?, vec!["a".to_owned(), "d".to_owned()])?;
    same("what is next to it", names(store, folder)?, vec!["next".to_owned(), "tree".to_owned()])
}
