//! Keeps a panic on the side of the boundary on which it happens, and turns it into an error.
//!
//! This file does not touch the panic hook, which still prints the panic.

use super::contract::{Answer, ErrorAbi};
use crate::{ErrorKind, Result};
use abi_stable::std_types::{RErr, ROk};
use std::any::Any;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// Runs the body of a method. A panic becomes [`ErrorKind::Panicked`] with the text of its payload.
pub(super) fn answer<T>(body: impl FnOnce() -> Result<T>) -> Answer<T> {
    // After a panic this function does not use the captures again. An indexer's own state is its author's
    // responsibility.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => ROk(value),
        Ok(Err(error)) => RErr(error.into()),
        Err(payload) => RErr(ErrorAbi { kind: ErrorKind::Panicked as u8, message: payload_text(payload).into() }),
    }
}

/// Runs the body of a method that cannot report errors. A panic gives `otherwise`.
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
            // Dropping the payload runs foreign code, and a panic in it would end the process. So the payload is
            // leaked.
            std::mem::forget(payload);
            "a panic without text".to_owned()
        }
    }
}
