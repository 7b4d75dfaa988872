//! Which row groups of the new file are copied, and which are written together. Pure functions over counts.

/// What the layout of the new row groups depends on of an old one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// Rows that stay.
    pub kept: u64,
    /// Whether it can be copied: all rows stay, as they are.
    pub copyable: bool,
}

/// A part of the new file: a row group that is copied, or rows that are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// The old groups whose rows it holds, in order.
    pub groups: Vec<usize>,
    pub is_copied: bool,
    /// All its rows.
    pub rows: u64,
    /// Whether the new rows are its last.
    pub has_new: bool,
}

impl Part {
    /// How few rows its first or last row group may have.
    fn edge(&self, target: u64) -> u64 {
        if self.is_copied || self.rows < target + target / 2 { self.rows } else { target / 2 }
    }

    fn join(mut self, next: Self) -> Self {
        self.groups.extend(next.groups);
        Self { groups: self.groups, is_copied: false, rows: self.rows.saturating_add(next.rows), has_new: next.has_new }
    }
}

/// Which groups are copied, and which are written together. Two groups that stand side by side, one of which is
/// written, have more than `target` rows together, and less than a quarter of it is no group of its own; the last one
/// is as it comes. So whatever happens to a table's images, it has no more than two groups for each `target` rows,
/// and a few.
pub(super) fn layout(old: Vec<Size>, new_rows: u64, target: u64) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::with_capacity(old.len() + 1);
    // The groups on both sides were no neighbours.
    let mut has_gap = false;
    for (group, size) in old.into_iter().enumerate() {
        if size.kept == 0 {
            has_gap = true;
            continue;
        }
        let mut part = Part { groups: vec![group], is_copied: size.copyable, rows: size.kept, has_new: false };
        while let Some(before) = parts.pop() {
            let is_small = before.edge(target).saturating_add(part.edge(target)) <= target;
            let is_crumb = !before.is_copied && before.rows < target / 4;
            let is_written = !before.is_copied || !part.is_copied || has_gap;
            let both = !before.is_copied && !part.is_copied;
            if both || (is_written && (is_small || is_crumb)) {
                part = before.join(part);
            } else {
                parts.push(before);
                break;
            }
        }
        has_gap = false;
        parts.push(part);
    }
    if new_rows > 0 {
        let new = Part { groups: Vec::new(), is_copied: false, rows: new_rows, has_new: true };
        match parts.pop() {
            Some(tail) if !tail.is_copied || tail.rows < target => parts.push(tail.join(new)),
            Some(tail) => parts.extend([tail, new]),
            None => parts.push(new),
        }
    }
    parts
}
