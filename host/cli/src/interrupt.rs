//! SIGINT and SIGTERM: the first asks a run to stop and commit finished recordings, a second ends the program at once.
//!
//! This file must not decide what a command does about a signal.

use crate::error::CliError;
use crate::exit::Exit;
use kymhost_store::Class;
use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// From here on a write beyond the process's file size limit is an error with a message, like one to a full disk. By
/// default the system ends the program without a word. Not inherited by programs that this one starts.
pub fn report_file_size_limit() {
    if let Err(error) = flag::register(SIGXFSZ, Arc::default()) {
        tracing::warn!("cannot handle SIGXFSZ; a file size limit will end the program: {error}");
    }
}

/// Whether the program was asked to stop. The default never is.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    stop: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Handles the signals from here on.
    pub fn listen() -> Self {
        let interrupt = Self::default();
        for signal in [SIGINT, SIGTERM] {
            if let Err(error) = interrupt.take(signal) {
                tracing::warn!(
                    signal,
                    "cannot handle this signal; it will end the program without a last commit: {error}"
                );
            }
        }
        interrupt
    }

    fn take(&self, signal: i32) -> io::Result<()> {
        // The order matters: the flag that the second signal looks at is set last by the first.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&self.stop))?;
        flag::register_usize(signal, Arc::clone(&self.signal), usize::try_from(signal).unwrap_or_default())?;
        flag::register(signal, Arc::clone(&self.stop))?;
        Ok(())
    }

    /// Becomes true with the first signal.
    pub fn stop(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// The exit code for the signal that came; `None` if none has.
    pub fn exit(&self) -> Option<Exit> {
        if !self.stop.load(Ordering::Acquire) {
            return None;
        }
        let terminated = usize::try_from(SIGTERM).is_ok_and(|number| number == self.signal.load(Ordering::Acquire));
        Some(if terminated { Exit::Terminated } else { Exit::Interrupted })
    }

    /// The error of an indexer that was not reached.
    pub fn error(&self, message: &str) -> CliError {
        CliError {
            exit: self.exit().unwrap_or(Exit::Interrupted),
            ..CliError::new(
                Class::Interrupted,
                "interrupted",
                message,
                "nothing is lost: run the command again to do the rest",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_code_follows_signal() {
        let interrupt = Interrupt::default();
        assert_eq!(interrupt.exit(), None);
        interrupt.stop.store(true, Ordering::Release);
        for (signal, exit) in [(SIGINT, Exit::Interrupted), (SIGTERM, Exit::Terminated)] {
            interrupt.signal.store(usize::try_from(signal).unwrap(), Ordering::Release);
            assert_eq!(interrupt.exit(), Some(exit));
            assert_eq!(interrupt.error("m").exit, exit);
        }
    }
}
