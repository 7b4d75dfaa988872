//! Keeps panics on their own side of the boundary.
//! Owns: turning a panic into an error. Never: touches the panic hook, which goes on printing.

use super::contract::{Answer, ErrorAbi};
use crate::{ErrorKind, Result};
use abi_stable::std_types::{RErr, ROk};
use std::any::Any;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// Runs one method's body; a panic becomes [`ErrorKind::Panicked`] with the payload's text.
pub(super) fn answer<T>(body: impl FnOnce() -> Result<T>) -> Answer<T> {
    // After a panic the body's captures are not looked at again by us; an indexer's own state is its author's.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => ROk(value),
        Ok(Err(error)) => RErr(error.into()),
        Err(payload) => RErr(ErrorAbi { kind: ErrorKind::Panicked as u8, message: payload_text(payload).into() }),
    }
}

/// Runs a body that has no way to tell of errors; a panic gives `otherwise`.
pub(super) fn value<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        payload_text(payload);
        otherwise
    })
}

pub(super) fn payload_text(payload: Box<dyn Any + Send>) -> String {
    let payload = match payload.downcast::<String>() {
        Ok(text) => return *text,
        Err(payload) => payload,
    };
    match payload.downcast::<&'static str>() {
        Ok(text) => (*text).to_owned(),
        Err(payload) => {
            // Its Drop is foreign code, and a panic in it would end the process: let it leak.
            std::mem::forget(payload);
            "a panic without text".to_owned()
        }
    }
}
