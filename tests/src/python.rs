//! A Python with the libraries that the labs use, from PyPI.
//!
//! Makes the virtual environments, and reports why if there can be none. It runs no script.

use crate::skip;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// What is installed next to pandas.
const PACKAGES: [&str; 4] = ["zarr>=2.18,<3", "numcodecs<0.16", "numpy", "pyarrow>=15"];

/// What pip says if there is no network, in contrast to a wrong request.
const NO_NETWORK: [&str; 5] =
    ["NewConnectionError", "name resolution", "ConnectTimeout", "ProxyError", "Network is unreachable"];

/// A Python with the packages and this pandas; `None`, reported as skipped, if there cannot be one.
///
/// The environment is made once in `folder`, which the tests of all files share.
pub fn interpreter(folder: &Path, pandas: &str) -> Option<PathBuf> {
    let name = format!("python-pandas{}", pandas.replace('<', "-below-").replace(">=", "-from-"));
    let packages = PACKAGES.iter().map(|package| (*package).to_owned()).chain([format!("pandas{pandas}")]);
    known(folder, &name, packages.collect())
}

/// A Python with scikit-image, as [`interpreter`].
pub fn with_scikit_image(folder: &Path) -> Option<PathBuf> {
    known(folder, "python-scikit-image", vec!["numpy".to_owned(), "scikit-image".to_owned()])
}

fn known(folder: &Path, name: &str, packages: Vec<String>) -> Option<PathBuf> {
    // One test makes an environment while the others wait. Nothing is tried twice.
    static KNOWN: Mutex<BTreeMap<String, Option<PathBuf>>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(name.to_owned()).or_insert_with(|| install(folder, name, &packages)).clone()
}

fn install(folder: &Path, name: &str, packages: &[String]) -> Option<PathBuf> {
    let works = |program: &Path| Command::new(program).arg("--version").output().is_ok_and(|out| out.status.success());
    if !works(Path::new("python3")) {
        skip("there is no python3; nothing is compared with Python's libraries");
        return None;
    }
    // Another test's process may be making it.
    fs::create_dir_all(folder).expect("the target folder can be made");
    let lock = fs::File::create(folder.join(format!("{name}.lock"))).expect("a file in the target folder");
    lock.lock().expect("a lock in the target folder");
    let folder = folder.join(name);
    let interpreter = folder.join("bin/python");
    let complete = folder.join("complete");
    if complete.exists() && works(&interpreter) {
        return Some(interpreter);
    }
    let run = |command: &mut Command| -> Result<(), String> {
        let output = command.output().map_err(|error| error.to_string())?;
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.success() { Ok(()) } else { Err(format!("{command:?}\n{text}")) }
    };
    if let Err(why) = run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder)) {
        // Debian keeps this in a package of its own, python3-venv.
        skip(&format!("python3 has no working venv: {}", why.trim().lines().last().unwrap_or_default()));
        return None;
    }
    let mut pip = Command::new(&interpreter);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]);
    pip.args([
        "--only-binary",
        "numpy,pandas,pyarrow,numcodecs,scikit-image,scipy",
        "--retries",
        "2",
        "--timeout",
        "20",
    ]);
    match run(pip.args(packages)) {
        Ok(()) => {
            fs::write(&complete, "").expect("a file in the target folder");
            Some(interpreter)
        }
        Err(why) => {
            let offline = NO_NETWORK.iter().any(|sign| why.contains(sign));
            let wanted = std::env::var("CI").is_ok_and(|ci| ci == "true");
            assert!(offline || !wanted, "Python's packages cannot be installed, and CI=true wants this check:\n{why}");
            let last = why.trim().lines().last().unwrap_or_default();
            skip(&format!("{} cannot be installed: {last}", packages.join(", ")));
            None
        }
    }
}
