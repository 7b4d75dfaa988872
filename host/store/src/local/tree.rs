//! Whole folders: written aside, put into their place by one rename each. Never knows what the files mean.

use super::folders::{FOLDER, Folders, folder_of, remove_tree};
use crate::disk::{self, Writer};
use crate::{Key, StoreError, temporary};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::CString;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A folder that was written aside. Nobody sees it until it is published. If it never is, it is removed.
#[derive(Debug)]
pub struct StagedTree {
    /// The folder above it, and its name there.
    above: Arc<OwnedFd>,
    name: String,
    label: String,
    published: bool,
}

impl Drop for StagedTree {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        let removed = CString::new(self.name.as_str())
            .map_err(io::Error::from)
            .and_then(|name| remove_tree(&self.above, &name, &self.label));
        if let Err(error) = removed {
            tracing::warn!(name = %self.name, %error, "a temporary folder could not be removed");
        }
    }
}

impl Folders {
    pub(crate) fn stage_folder(
        &self,
        folder: &Key,
        items: &mut dyn Iterator<Item = (Key, Vec<u8>)>,
    ) -> Result<StagedTree, StoreError> {
        let failed = |source: io::Error| self.io("write", folder, source);
        let above = Arc::new(self.staging_folder(folder)?);
        let label = folder.as_str().to_owned();
        let mut tree = None;
        for _ in 0..64 {
            let name = temporary::name();
            if disk::make_folder(&above, &name, &label).map_err(failed)? {
                tree = Some(StagedTree { above: Arc::clone(&above), name, label: label.clone(), published: false });
                break;
            }
        }
        let Some(tree) = tree else {
            return Err(failed(io::Error::other("no name was free for a temporary folder")));
        };
        let open = |above: &OwnedFd, name: &str| {
            rustix::fs::openat(above, name, FOLDER | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| failed(errno.into()))
        };
        let mut open_folders: HashMap<String, OwnedFd> = HashMap::new();
        open_folders.insert(String::new(), open(&above, &tree.name)?);
        for (key, bytes) in items {
            let (parent, name) = folder_of(&key)?;
            // From the first folder on the way that is not open yet.
            let mut so_far = String::new();
            for segment in parent.as_str().split('/').filter(|segment| !segment.is_empty()) {
                let below = if so_far.is_empty() { segment.to_owned() } else { format!("{so_far}/{segment}") };
                if !open_folders.contains_key(&below) {
                    let Some(above) = open_folders.get(&so_far) else { continue };
                    disk::make_folder(above, segment, &label).map_err(failed)?;
                    let opened = open(above, segment)?;
                    open_folders.insert(below.clone(), opened);
                }
                so_far = below;
            }
            let Some(parent) = open_folders.get(&so_far) else { continue };
            let file = disk::create(parent, name, &label).map_err(failed)?;
            Writer { file: &file, label: &label }.write_all(&bytes).map_err(failed)?;
            if !disk::CAN_SYNC_ALL {
                disk::sync_file(&file, &label).map_err(failed)?;
            }
        }
        if !disk::CAN_SYNC_ALL {
            for folder in open_folders.values() {
                disk::sync_folder(folder, &label).map_err(failed)?;
            }
        }
        Ok(tree)
    }

    pub(crate) fn publish_folders(&self, trees: Vec<(Key, StagedTree)>) -> Result<(), StoreError> {
        let Some((first, tree)) = trees.first() else { return Ok(()) };
        if disk::CAN_SYNC_ALL {
            disk::sync_all(&tree.above, first.as_str()).map_err(|source| self.io("write", first, source))?;
        }
        let last = first.clone();
        for (key, tree) in trees {
            self.publish_folder(&key, tree)?;
        }
        // The entries of the folders: one wait for all of them.
        let (parent, _) = folder_of(&last)?;
        let folder = self.make_folders(&parent, true)?;
        let sync = if disk::CAN_SYNC_ALL { disk::sync_all } else { disk::sync_folder };
        sync(&folder, parent.as_str()).map_err(|source| self.io("write", &parent, source))
    }

    fn publish_folder(&self, key: &Key, mut tree: StagedTree) -> Result<(), StoreError> {
        let failed = |source: io::Error| self.io("write", key, source);
        let (parent, name) = folder_of(key)?;
        let target = self.make_folders(&parent, true)?;
        match disk::rename(&tree.above, &tree.name, &target, name, key.as_str()) {
            Ok(()) => {
                tree.published = true;
                return Ok(());
            }
            // Something is there already: exchange the two, so that a reader sees the old folder or the new one.
            Err(error)
                if matches!(Errno::from_io_error(&error), Some(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR)) => {}
            Err(error) => return Err(failed(error)),
        }
        match disk::exchange(&tree.above, &tree.name, &target, name, key.as_str()) {
            // What is dropped now is the old one.
            Ok(()) => return Ok(()),
            Err(error)
                if !matches!(Errno::from_io_error(&error), Some(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)) =>
            {
                return Err(failed(error));
            }
            Err(_) => {}
        }
        // A file system that cannot exchange: for a moment there is neither.
        let aside = temporary::name();
        disk::rename(&target, name, &tree.above, &aside, key.as_str()).map_err(failed)?;
        let old =
            StagedTree { above: Arc::clone(&tree.above), name: aside, label: tree.label.clone(), published: false };
        disk::rename(&tree.above, &tree.name, &target, name, key.as_str()).map_err(failed)?;
        tree.published = true;
        drop(old);
        Ok(())
    }
}
