//! Finds recordings and the files next to each: which files count, which recording they belong to, links, order.
//!
//! Never opens a file.

use crate::error::{FileError, FileErrorKind, IngestError};
use crate::files::FileStamp;
use crate::place;
use crate::sidecar::SidecarForm;
use kymhost_dataset::safe_artifact_name;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How deep folders may nest.
const MAX_DEPTH: usize = 64;
/// The most recordings of one ingest.
const MAX_RECORDINGS: usize = 1_000_000;
/// The most files that belong to one recording.
const MAX_BESIDE: usize = 10_000;
/// How deep folders of sidecars may nest: names of artifacts have few parts.
const MAX_PARTS: usize = 8;
/// How many links a note names.
const MAX_NAMED: usize = 5;
/// What an export calls the pixels, and what it lists an image in.
pub const EXPORTED: &str = "image.tif";
/// See [`EXPORTED`].
pub const LISTING: &str = "export.json";
/// Where an export keeps array artifacts.
pub const ARRAYS: &str = "array_artifacts";

/// A TIFF with what belongs to it.
#[derive(Debug, Clone)]
pub struct Recording {
    /// Where it is: absolute.
    pub path: PathBuf,
    /// Its size and time as it was found.
    pub stamp: FileStamp,
    /// What belongs to it, sorted by name.
    pub sidecars: Vec<SidecarFile>,
    /// Its folder is one that an export made.
    pub exported: bool,
}

/// A file that belongs to a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SidecarFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its path below the recording's folder, with `/`.
    pub name: String,
    /// What it is to the recording.
    pub role: SidecarRole,
    /// Its size and time as it was found.
    pub stamp: FileStamp,
}

/// What a file is to its recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SidecarRole {
    /// The payload itself, as an export writes it. It wins over [`SidecarRole::Json`].
    Payload,
    /// kymflow's JSON.
    Json,
    /// The Olympus header.
    Header,
    /// It becomes the artifact of this name.
    Artifact(String, SidecarForm),
    /// The listing of its folder says what it is.
    Listed,
}

/// What was found.
#[derive(Debug, Default)]
pub struct FoundRecordings {
    /// The recordings, sorted by path; each once.
    pub recordings: Vec<Recording>,
    /// What could not be read.
    pub failures: Vec<(PathBuf, FileError)>,
    /// Notes for people: what was skipped.
    pub notes: Vec<String>,
    /// The folders and files that were named, absolute.
    pub roots: Vec<PathBuf>,
}

/// Finds the recordings in folders, and those that are named. The dataset that they are to go into is skipped.
///
/// # Errors
/// If what was named is not there, is neither a folder nor a TIFF, or lies in the dataset.
pub fn find(paths: &[PathBuf], dataset: &Path) -> Result<FoundRecordings, IngestError> {
    let dataset = place::real(dataset);
    let mut walk =
        Walk { found: FoundRecordings::default(), seen: HashSet::new(), links: SkippedLinks::default(), dataset };
    for path in paths {
        let of = |source| IngestError::Path { path: path.clone(), source };
        let root = fs::canonicalize(path).map_err(of)?;
        if root.starts_with(&walk.dataset) {
            return Err(IngestError::Overlaps { path: path.clone(), dataset: walk.dataset });
        }
        let metadata = fs::metadata(&root).map_err(of)?;
        walk.found.roots.push(root.clone());
        if metadata.is_dir() {
            walk.folder(&root, &root, MAX_DEPTH, None).map_err(of)?;
        } else if metadata.is_file() && stem_of(&name_of(&root)).is_some() {
            let folder = root.parent().unwrap_or(Path::new("/")).to_path_buf();
            let name = name_of(&root);
            walk.folder(&folder, &folder, 0, Some(&name)).map_err(of)?;
        } else {
            return Err(IngestError::NoRecording { path: path.clone() });
        }
        if walk.found.recordings.len() > MAX_RECORDINGS {
            return Err(IngestError::TooMany { path: path.clone(), limit: MAX_RECORDINGS });
        }
    }
    let Walk { mut found, links, .. } = walk;
    found.recordings.sort_by(|one, other| one.path.cmp(&other.path));
    found.notes.extend(links.note());
    Ok(found)
}

/// Symbolic links that were skipped.
#[derive(Debug, Default)]
struct SkippedLinks {
    count: usize,
    /// Those that look like recordings, up to [`MAX_NAMED`].
    recordings: Vec<String>,
}

impl SkippedLinks {
    fn add(&mut self, path: &Path) {
        self.count += 1;
        if self.recordings.len() < MAX_NAMED && has_tiff_ending(&name_of(path)) {
            self.recordings.push(path.display().to_string());
        }
    }

    fn note(&self) -> Option<String> {
        if self.count == 0 {
            return None;
        }
        let named = if self.recordings.is_empty() {
            String::new()
        } else {
            format!("; among them {}", self.recordings.join(", "))
        };
        Some(format!(
            "{} symbolic links were skipped: they lead to folders, out of the folder, or nowhere{named}",
            self.count
        ))
    }
}

struct Walk {
    found: FoundRecordings,
    /// Files by what they really are: one that two names lead to is one recording.
    seen: HashSet<PathBuf>,
    links: SkippedLinks,
    /// The dataset that they go into; it is not searched.
    dataset: PathBuf,
}

/// What an entry of a folder is.
enum EntryKind {
    File,
    Folder,
    /// A link to a folder, or one that leads out.
    LinkOut,
    /// A link to nothing.
    Dangling,
    Other,
}

impl EntryKind {
    /// Links to files count as files if they stay within `root`.
    fn of(entry: &fs::DirEntry, root: &Path) -> io::Result<Self> {
        let kind = entry.file_type()?;
        Ok(if kind.is_symlink() {
            match fs::canonicalize(entry.path()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Self::Dangling,
                Ok(target) if target.starts_with(root) && fs::metadata(&target).is_ok_and(|file| file.is_file()) => {
                    Self::File
                }
                _ => Self::LinkOut,
            }
        } else if kind.is_file() {
            Self::File
        } else if kind.is_dir() {
            Self::Folder
        } else {
            Self::Other
        })
    }
}

impl Walk {
    /// Looks through one folder; with `only`, for that file and what is next to it.
    fn folder(&mut self, root: &Path, folder: &Path, depth: usize, only: Option<&str>) -> io::Result<()> {
        let (mut files, mut folders) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = match entry.file_name().into_string() {
                Ok(name) => name,
                Err(name) => {
                    if has_tiff_ending(&name.to_string_lossy()) {
                        let why = "its name is not UTF-8, so the dataset could not record where it came from";
                        self.found.failures.push((entry.path(), FileError::new(FileErrorKind::Io, why)));
                    }
                    continue;
                }
            };
            if name.starts_with('.') {
                continue;
            }
            match EntryKind::of(&entry, root)? {
                EntryKind::File => files.push(name),
                EntryKind::Folder if is_dataset(&name) || entry.path() == self.dataset => {}
                EntryKind::Folder => folders.push(name),
                EntryKind::Dangling if has_tiff_ending(&name) && only.is_none_or(|only| only == name) => {
                    let target = fs::read_link(entry.path()).unwrap_or_default();
                    let why = format!("it is a symbolic link to {}, which is not there", target.display());
                    self.found.failures.push((entry.path(), FileError::new(FileErrorKind::Io, why)));
                }
                EntryKind::Dangling | EntryKind::LinkOut => self.links.add(&entry.path()),
                EntryKind::Other => {}
            }
        }
        files.sort_unstable();
        folders.sort_unstable();
        let exported = files.iter().any(|name| name == EXPORTED) && files.iter().any(|name| name == LISTING);
        self.recordings(root, folder, &files, &folders, exported, only);
        // What is below an exported image belongs to it.
        if only.is_some() || exported {
            return Ok(());
        }
        if depth == 0 && !folders.is_empty() {
            self.found.notes.push(format!("{}: folders deeper than {MAX_DEPTH} were skipped", folder.display()));
            return Ok(());
        }
        for name in folders {
            let below = folder.join(name);
            if let Err(error) = self.folder(root, &below, depth - 1, None) {
                self.found.failures.push((below.clone(), FileError::io(&below, &error)));
            }
            if self.found.recordings.len() > MAX_RECORDINGS {
                return Ok(());
            }
        }
        Ok(())
    }

    fn recordings(
        &mut self,
        root: &Path,
        folder: &Path,
        files: &[String],
        folders: &[String],
        exported: bool,
        only: Option<&str>,
    ) {
        let stems: HashSet<&str> = files.iter().filter_map(|name| stem_of(name)).collect();
        let mut sidecars: HashMap<&str, Vec<(String, SidecarRole)>> = HashMap::new();
        for name in files.iter().filter(|name| stem_of(name).is_none()) {
            let Some((stem, body)) = owner(name, &stems) else { continue };
            match role_of(body) {
                Some(role) => sidecars.entry(stem).or_default().push((name.clone(), role)),
                None => continue,
            }
        }
        for name in folders {
            let Some((stem, first)) = owner(name, &stems).filter(|(_, first)| !first.is_empty()) else { continue };
            let mut side = SideFolder { root, files: Vec::new(), too_deep: false };
            // A folder with recordings in it is searched for these, and its other files are theirs.
            if side.collect(&folder.join(name), first, name, MAX_PARTS).is_none() {
                continue;
            }
            if side.too_deep {
                let path = folder.join(name);
                let note = format!("{}: folders deeper than {MAX_PARTS} were skipped", path.display());
                self.found.notes.push(note);
            }
            sidecars.entry(stem).or_default().extend(side.files);
        }
        let has_payload = files.iter().any(|name| name == "metadata.json");
        for name in files.iter().filter(|name| only.is_none_or(|only| only == name.as_str())) {
            let Some(stem) = stem_of(name) else { continue };
            let path = folder.join(name);
            let metadata = match fs::metadata(&path).and_then(|metadata| Ok((fs::canonicalize(&path)?, metadata))) {
                Ok((real, _)) if !self.seen.insert(real.clone()) => continue,
                Ok((_, metadata)) => metadata,
                Err(error) => {
                    self.found.failures.push((path.clone(), FileError::io(&path, &error)));
                    continue;
                }
            };
            let is_export = exported && name == EXPORTED;
            let mut names = if is_export {
                below(folder, files, folders)
            } else {
                let mut names = sidecars.get(stem).cloned().unwrap_or_default();
                // As kymflow's exports are: files next to it are known by their places, not by their names.
                if name == EXPORTED {
                    if has_payload {
                        names.push(("metadata.json".to_owned(), SidecarRole::Payload));
                    }
                    if folders.iter().any(|name| name == ARRAYS) {
                        names.extend(arrays(&folder.join(ARRAYS)));
                    }
                }
                names
            };
            names.sort_by(|one, other| one.0.cmp(&other.0));
            if names.len() > MAX_BESIDE {
                let path = path.display();
                self.found.notes.push(format!(
                    "{path}: {} files belong to it; those after the first {MAX_BESIDE} were skipped",
                    names.len()
                ));
                names.truncate(MAX_BESIDE);
            }
            let sidecars = names.into_iter().filter_map(|(name, role)| {
                let path = folder.join(&name);
                let stamp = FileStamp::of(&fs::metadata(&path).ok()?);
                Some(SidecarFile { path, name, role, stamp })
            });
            let sidecars = sidecars.collect();
            self.found.recordings.push(Recording {
                path,
                stamp: FileStamp::of(&metadata),
                sidecars,
                exported: is_export,
            });
        }
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn has_tiff_ending(name: &str) -> bool {
    stem_of(name).is_some()
}

/// The name without `.tif` or `.tiff`, in upper or lower case; `None` for any other file.
fn stem_of(name: &str) -> Option<&str> {
    let (stem, ending) = name.rsplit_once('.')?;
    let is_tiff = ending.eq_ignore_ascii_case("tif") || ending.eq_ignore_ascii_case("tiff");
    (is_tiff && !stem.is_empty()).then_some(stem)
}

/// The longest name of a recording that a file's begins with, and what follows the `.` behind it.
fn owner<'a>(name: &'a str, stems: &HashSet<&'a str>) -> Option<(&'a str, &'a str)> {
    name.rmatch_indices('.').find_map(|(at, _)| {
        let (stem, body) = name.split_at_checked(at)?;
        stems.get(stem).map(|stem| (*stem, body.get(1..).unwrap_or_default()))
    })
}

/// What a file is by what follows `NAME.`.
fn role_of(body: &str) -> Option<SidecarRole> {
    match body.to_ascii_lowercase().as_str() {
        "json" => return Some(SidecarRole::Json),
        "txt" => return Some(SidecarRole::Header),
        "metadata.json" => return Some(SidecarRole::Payload),
        // The ingest records where an image came from.
        "provenance.json" => return None,
        _ => {}
    }
    let (name, form) = SidecarForm::of(body)?;
    Some(SidecarRole::Artifact(safe_artifact_name(name).ok()?, form))
}

/// What a folder `NAME.<part>` holds for the recording NAME: artifacts with `/` in their names.
struct SideFolder<'a> {
    root: &'a Path,
    files: Vec<(String, SidecarRole)>,
    too_deep: bool,
}

impl SideFolder<'_> {
    /// Collects what is in `folder`; `artifact` is how its artifacts' names begin, `name` its path below the
    /// recording's folder. `None` if it contains a TIFF, because then it is not such a folder.
    fn collect(&mut self, folder: &Path, artifact: &str, name: &str, depth: usize) -> Option<()> {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(file) = entry.file_name().into_string() else { continue };
            if file.starts_with('.') {
                continue;
            }
            let below = format!("{name}/{file}");
            match EntryKind::of(&entry, self.root) {
                Ok(EntryKind::File) if has_tiff_ending(&file) => return None,
                Ok(EntryKind::File) => {
                    let found = SidecarForm::of(&file)
                        .and_then(|(stem, form)| Some((safe_artifact_name(&format!("{artifact}/{stem}")).ok()?, form)));
                    if let Some((artifact, form)) = found.filter(|_| self.files.len() <= MAX_BESIDE) {
                        self.files.push((below, SidecarRole::Artifact(artifact, form)));
                    }
                }
                Ok(EntryKind::Folder) if is_dataset(&file) => {}
                Ok(EntryKind::Folder) if depth == 0 => self.too_deep = true,
                Ok(EntryKind::Folder) => {
                    self.collect(&entry.path(), &format!("{artifact}/{file}"), &below, depth - 1)?;
                }
                _ => {}
            }
        }
        Some(())
    }
}

/// Whether a folder's name is that of a Zarr store.
fn is_dataset(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(".zarr")
}

/// Whether a file that stood next to a recording was one that its metadata is made of.
pub fn is_metadata(recording: &Path, sidecar: &str) -> bool {
    let name = name_of(recording);
    let body = stem_of(&name).and_then(|stem| sidecar.strip_prefix(stem)?.strip_prefix('.'));
    let role = body.filter(|body| !body.contains('/')).and_then(role_of);
    matches!(role, Some(SidecarRole::Payload | SidecarRole::Json | SidecarRole::Header))
        || (name == EXPORTED && sidecar == "metadata.json")
}

/// Every file of an exported image's folder except the pixels.
fn below(folder: &Path, files: &[String], folders: &[String]) -> Vec<(String, SidecarRole)> {
    let mut found: Vec<(String, SidecarRole)> =
        files.iter().filter(|name| *name != EXPORTED).map(|name| (name.clone(), SidecarRole::Listed)).collect();
    let mut open: Vec<(String, usize)> = folders.iter().map(|name| (name.clone(), MAX_DEPTH)).collect();
    while let Some((prefix, depth)) = open.pop() {
        for entry in fs::read_dir(folder.join(&prefix)).into_iter().flatten().flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let name = format!("{prefix}/{name}");
            match entry.file_type() {
                Ok(kind) if kind.is_file() => found.push((name, SidecarRole::Listed)),
                Ok(kind) if kind.is_dir() && depth > 0 => open.push((name, depth - 1)),
                _ => {}
            }
            if found.len() > MAX_BESIDE {
                return found;
            }
        }
    }
    found
}

/// The NPY files of kymflow's folder of array artifacts.
fn arrays(folder: &Path) -> Vec<(String, SidecarRole)> {
    let names = fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|entry| {
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        let name = entry.file_name().into_string().ok().filter(|name| is_file && !name.starts_with('.'))?;
        let artifact = safe_artifact_name(name.strip_suffix(".npy")?).ok()?;
        Some((format!("{ARRAYS}/{name}"), SidecarRole::Artifact(artifact, SidecarForm::Npy)))
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A dataset elsewhere.
    const NOWHERE: &str = "/nowhere/lab.zarr";

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        folder
    }

    fn names(found: &FoundRecordings) -> Vec<String> {
        let root = &found.roots[0];
        found.recordings.iter().map(|r| r.path.strip_prefix(root).unwrap().display().to_string()).collect()
    }

    #[test]
    fn find_accepts_tiff_names_only() {
        let folder = folder(&[
            "b.tif",
            "a.TIFF",
            "sub/deep/c.tif",
            ".hidden.tif",
            ".git/d.tif",
            "x.zarr/e.tif",
            "notes.txt",
            ".tif",
            "f.tif.bak",
        ]);
        let found = find(&[folder.path().to_path_buf()], Path::new(NOWHERE)).unwrap();
        assert_eq!(names(&found), ["a.TIFF", "b.tif", "sub/deep/c.tif"]);
        let one = find(&[folder.path().join("b.tif")], Path::new(NOWHERE)).unwrap();
        assert_eq!(one.recordings.len(), 1);
        let both = find(&[folder.path().join("b.tif"), folder.path().to_path_buf()], Path::new(NOWHERE)).unwrap();
        assert_eq!(both.recordings.len(), 3, "each once");
        assert!(matches!(
            find(&[folder.path().join("notes.txt")], Path::new(NOWHERE)),
            Err(IngestError::NoRecording { .. })
        ));
        assert!(matches!(find(&[folder.path().join("absent")], Path::new(NOWHERE)), Err(IngestError::Path { .. })));
    }

    #[test]
    fn find_skips_links_that_lead_out() {
        let outside = folder(&["out.tif", "out/o.tif"]);
        let folder = folder(&["a.tif", "sub/b.tif", ".store/real"]);
        let link = |target: &Path, name: &str| std::os::unix::fs::symlink(target, folder.path().join(name)).unwrap();
        link(&outside.path().join("out.tif"), "linked.tif");
        link(&outside.path().join("out"), "linked");
        link(Path::new("sub"), "again");
        link(Path::new("."), "loop");
        link(Path::new("a.tif"), "same.tif");
        link(Path::new(".store/real"), "annexed.tif");
        link(Path::new("nowhere"), "dangling.tif");
        let found = find(&[folder.path().to_path_buf()], Path::new(NOWHERE)).unwrap();
        assert_eq!(names(&found), ["a.tif", "annexed.tif", "sub/b.tif"]);
        assert!(found.notes[0].starts_with("4 symbolic links"), "{:?}", found.notes);
        assert!(found.notes[0].ends_with("linked.tif"), "{:?}", found.notes);
        let [(path, error)] = found.failures.as_slice() else { panic!("{:?}", found.failures) };
        assert!(path.ends_with("dangling.tif") && error.message.contains("nowhere"), "a link to nothing is named");
    }

    #[test]
    fn sidecars_belong_to_longest_matching_name() {
        let folder = folder(&[
            "a.tif",
            "a.b.tif",
            "a.json",
            "a.txt",
            "a.radon.csv.gz",
            "a.b.json",
            "a.b.events.parquet",
            "a.x y.npy",
            "a.z.csv",
            "a.params.json",
            "a.provenance.json",
            "a.metadata.json",
            "a.doc",
            "ab.json",
            "expected_events.json",
        ]);
        let found = find(&[folder.path().to_path_buf()], Path::new(NOWHERE)).unwrap();
        let sidecars = |at: usize| -> Vec<(String, SidecarRole)> {
            found.recordings[at].sidecars.iter().map(|sidecar| (sidecar.name.clone(), sidecar.role.clone())).collect()
        };
        let artifact = |name: &str, form| SidecarRole::Artifact(name.to_owned(), form);
        assert_eq!(
            sidecars(0),
            [
                ("a.b.events.parquet".to_owned(), artifact("events", SidecarForm::Parquet)),
                ("a.b.json".to_owned(), SidecarRole::Json)
            ]
        );
        assert_eq!(
            sidecars(1),
            [
                ("a.json".to_owned(), SidecarRole::Json),
                ("a.metadata.json".to_owned(), SidecarRole::Payload),
                ("a.params.json".to_owned(), artifact("params", SidecarForm::Json)),
                ("a.radon.csv.gz".to_owned(), artifact("radon", SidecarForm::CsvGz)),
                ("a.txt".to_owned(), SidecarRole::Header),
                ("a.x y.npy".to_owned(), artifact("x_y", SidecarForm::Npy)),
                ("a.z.csv".to_owned(), artifact("z", SidecarForm::Csv)),
            ]
        );
    }

    #[test]
    fn exported_folder_is_one_recording() {
        let ours = folder(&["i/image.tif", "i/export.json", "i/a/b.json", "i/array_artifacts/x.npy", "i/a/more.tif"]);
        let found = find(&[ours.path().to_path_buf()], Path::new(NOWHERE)).unwrap();
        assert_eq!(names(&found), ["i/image.tif"]);
        assert!(found.recordings[0].exported);
        assert_eq!(found.recordings[0].sidecars.len(), 4);
        let theirs = folder(&["i/image.tif", "i/metadata.json", "i/array_artifacts/x.npy", "i/image.e.csv"]);
        let found = find(&[theirs.path().to_path_buf()], Path::new(NOWHERE)).unwrap();
        let roles: Vec<&SidecarRole> = found.recordings[0].sidecars.iter().map(|sidecar| &sidecar.role).collect();
        assert_eq!(
            roles,
            [
                &SidecarRole::Artifact("x".into(), SidecarForm::Npy),
                &SidecarRole::Artifact("e".into(), SidecarForm::Csv),
                &SidecarRole::Payload
            ]
        );
    }
}
