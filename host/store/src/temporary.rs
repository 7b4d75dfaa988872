//! The names of temporary files, and whether their process still runs.
//!
//! On Linux a name says the boot, the process namespace, the process and its start. So a dead process's files are
//! known at once, and those of a running one are never taken for left over, however old they are. If this is unknown
//! (another host on a network file system, another container, another system), a file is left over after one day.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How temporary names begin; no listing shows them.
pub const PREFIX: &str = ".kymhost-tmp-";
/// When a file is left over of which nothing better is known.
pub(crate) const LEFT_OVER_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// A new name: another one in every process, thread and call.
pub fn name() -> String {
    static MAKER: OnceLock<String> = OnceLock::new();
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let maker = MAKER.get_or_init(|| match Process::this() {
        Some(process) => process.to_text(),
        None => {
            let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
            format!("{:x}-{nanos:x}", std::process::id())
        }
    });
    format!("{PREFIX}{maker}-{:x}", COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// Whether nobody will come back for a temporary file of this name and age (since its last change of any sort).
pub fn is_left_over(name: &str, age: Duration) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else { return false };
    let maker = rest.rsplit_once('-').and_then(|(maker, _)| Process::parse(maker));
    match maker.and_then(|maker| maker.is_alive()) {
        Some(is_alive) => !is_alive,
        None => age > LEFT_OVER_AGE,
    }
}

/// A process, such that no other one is ever the same.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Process {
    /// The boot of its host: random, another one at each boot of each host.
    boot: String,
    /// The namespace that its number counts in: containers have their own.
    namespace: u64,
    pid: u32,
    /// In ticks since the boot: numbers of processes come again.
    start: u64,
}

impl Process {
    fn to_text(&self) -> String {
        format!("{}-{:x}-{:x}-{:x}", self.boot, self.namespace, self.pid, self.start)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let boot = parts.next().filter(|boot| boot.len() == 32 && boot.bytes().all(|b| b.is_ascii_hexdigit()))?;
        let mut number = || u64::from_str_radix(parts.next()?, 16).ok();
        let (namespace, pid, start) = (number()?, number()?, number()?);
        let pid = u32::try_from(pid).ok()?;
        parts.next().is_none().then(|| Self { boot: boot.to_owned(), namespace, pid, start })
    }

    /// This process; `None` if the system does not say enough.
    #[cfg(all(target_os = "linux", not(feature = "portable")))]
    fn this() -> Option<Self> {
        let pid = std::process::id();
        // A `/proc` of another namespace would speak of another process.
        if std::fs::read_link("/proc/self").ok()?.to_str()? != pid.to_string() {
            return None;
        }
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let boot: String = boot.trim().chars().filter(|&c| c != '-').collect();
        let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
        let namespace = namespace.to_str()?.strip_prefix("pid:[")?.strip_suffix(']')?.parse().ok()?;
        let Some(Life::Since(start)) = life(pid) else { return None };
        let this = Self { boot, namespace, pid, start };
        // A name that cannot be parsed again is of no use.
        (Self::parse(&this.to_text()).as_ref() == Some(&this)).then_some(this)
    }

    #[cfg(not(all(target_os = "linux", not(feature = "portable"))))]
    fn this() -> Option<Self> {
        None
    }

    /// Whether it still runs; `None` if this process cannot know.
    #[cfg(all(target_os = "linux", not(feature = "portable")))]
    fn is_alive(&self) -> Option<bool> {
        use rustix::io::Errno;
        use rustix::process::{Pid, test_kill_process};
        static HERE: OnceLock<Option<Process>> = OnceLock::new();
        let here = HERE.get_or_init(Self::this).as_ref()?;
        if (&self.boot, self.namespace) != (&here.boot, here.namespace) {
            return None;
        }
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw)?;
        // Asked this way first: `/proc` may hide other people's processes.
        if test_kill_process(pid) == Err(Errno::SRCH) {
            return Some(false);
        }
        match life(self.pid) {
            Some(Life::Since(start)) => Some(start == self.start),
            Some(Life::Over) => Some(false),
            None => Some(true),
        }
    }

    #[cfg(not(all(target_os = "linux", not(feature = "portable"))))]
    fn is_alive(&self) -> Option<bool> {
        None
    }
}

/// What `/proc` says about a process.
#[cfg(all(target_os = "linux", not(feature = "portable")))]
#[derive(Debug, PartialEq, Eq)]
enum Life {
    /// It runs, since this many ticks after the boot.
    Since(u64),
    /// It has ended; only nobody has asked how.
    Over,
}

#[cfg(all(target_os = "linux", not(feature = "portable")))]
fn life(pid: u32) -> Option<Life> {
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets, which may hold anything; the third is the state, the 22nd
    // the start.
    let text = String::from_utf8_lossy(&text);
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    match fields.next()? {
        "Z" | "X" | "x" => Some(Life::Over),
        _ => fields.nth(18)?.parse().ok().map(Life::Since),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temp_names_differ_and_own_are_never_left_over() {
        let (one, two) = (name(), name());
        assert_ne!(one, two);
        for name in [one, two] {
            assert!(name.starts_with(PREFIX));
            if cfg!(all(target_os = "linux", not(feature = "portable"))) {
                assert!(!is_left_over(&name, LEFT_OVER_AGE * 9), "{name}");
            }
        }
    }

    #[cfg(all(target_os = "linux", not(feature = "portable")))]
    #[test]
    fn temp_file_is_left_over_if_process_gone_or_old() {
        let this = Process::this().unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id();
        let Some(Life::Since(start)) = life(pid) else { panic!("the child does not live") };
        let theirs = Process { pid, start, ..this.clone() };
        let name = |process: &Process| format!("{PREFIX}{}-7", process.to_text());
        let check = |name: &str, young: bool, old: bool| {
            assert_eq!(is_left_over(name, Duration::from_secs(1)), young, "{name}, young");
            assert_eq!(is_left_over(name, LEFT_OVER_AGE + Duration::from_secs(1)), old, "{name}, old");
        };
        check(&name(&theirs), false, false);
        // Its number has come again.
        check(&name(&Process { start: start - 1, ..theirs.clone() }), true, true);
        // Elsewhere.
        check(&name(&Process { boot: "0".repeat(32), ..theirs.clone() }), false, true);
        check(&name(&Process { namespace: 1, ..theirs.clone() }), false, true);
        for other in ["", "1", "theirs", "1-2-3", "1-2-3-4-5", &format!("{}-1-1-1-1-1", this.boot)] {
            check(&format!("{PREFIX}{other}"), false, true);
        }
        check("another's", false, false);
        // Dead, and not asked for yet; then gone.
        child.kill().unwrap();
        while life(pid) != Some(Life::Over) {
            std::thread::sleep(Duration::from_millis(1));
        }
        check(&name(&theirs), true, true);
        child.wait().unwrap();
        check(&name(&theirs), true, true);
    }
}
