//! Passes the compiler's version and the target to the crate, which writes them into every plugin's card.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(rustc)
        .arg("--version")
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned());
    println!("cargo:rustc-env=KYMHOST_RUSTC={version}");
    println!("cargo:rustc-env=KYMHOST_TARGET={}", env::var("TARGET").unwrap_or_else(|_| "unknown".to_owned()));
}
