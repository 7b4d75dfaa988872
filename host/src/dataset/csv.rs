//! CSV (placeholder until merge)
use arrow::array::RecordBatch;
pub(crate) fn parse(bytes: &[u8]) -> Result<RecordBatch, String> {
    Err(format!("{} bytes", bytes.len()))
}
