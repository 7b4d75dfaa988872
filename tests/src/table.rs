//! Tables read back into plain values, for comparing.
