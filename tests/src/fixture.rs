//! Datasets made for tests by code of their own: a second opinion on the format, not the host's.
