//! A table as aligned text, CSV, JSON or Parquet.
//!
//! This file must not choose rows.

use super::names::IMAGE_ID;
use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::Compression;
use ::parquet::file::properties::WriterProperties;
use arrow::array::RecordBatch;
use comfy_table::{CellAlignment, Table, presets};
use kymhost_dataset::cells::{Cell, Column, Kept};
use std::io::{self, Write};

/// The longest text in a cell for people: just enough for a recording's id.
const TEXT_WIDTH: usize = 36;
/// The number of blanks between two columns.
const GAP: usize = 2;

/// The width of the terminal; `None` if standard output is not a terminal.
pub fn terminal_width() -> Option<usize> {
    Table::new().width().map(usize::from)
}

/// Writes aligned text, the recording's id first. Returns the names of the columns that do not fit the width.
pub fn text(out: &mut dyn Write, rows: &RecordBatch, width: Option<usize>) -> io::Result<Vec<String>> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut used = 0;
    let mut left_out = Vec::new();
    let mut shown: Vec<(String, bool, Vec<String>)> = Vec::new();
    let schema = rows.schema();
    let mut columns: Vec<_> = schema.fields().iter().zip(rows.columns()).collect();
    columns.sort_by_key(|(field, _)| field.name() != IMAGE_ID);
    for (field, array) in columns {
        let column = Column::new(array);
        let kept = if field.name().ends_with("path") { Kept::End } else { Kept::Start };
        let cells: Vec<String> = (0..rows.num_rows()).map(|row| column.cell(row).brief(TEXT_WIDTH, kept)).collect();
        let widest = cells.iter().chain([field.name()]).map(|text| text.chars().count()).max().unwrap_or(0);
        // Always show the first column. After one that does not fit, show no other, so that the order stays readable.
        if width.is_some_and(|width| used + widest > width && !shown.is_empty()) || !left_out.is_empty() {
            left_out.push(field.name().clone());
            continue;
        }
        used += widest + GAP;
        shown.push((field.name().clone(), column.is_numeric(), cells));
    }
    table.set_header(shown.iter().map(|(name, ..)| name.as_str()));
    for row in 0..rows.num_rows() {
        table.add_row(shown.iter().filter_map(|(.., cells)| cells.get(row)));
    }
    let last = shown.len().saturating_sub(1);
    for (index, (_, numeric, _)) in shown.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, if index == last { 0 } else { GAP as u16 }));
            column.set_cell_alignment(if *numeric { CellAlignment::Right } else { CellAlignment::Left });
        }
    }
    if !shown.is_empty() {
        for line in table.lines() {
            writeln!(out, "{}", line.trim_end())?;
        }
    }
    Ok(left_out)
}

/// Writes CSV with a header. A missing value is an empty cell.
pub fn csv(out: &mut dyn Write, rows: &RecordBatch) -> io::Result<()> {
    let columns: Vec<Column> = rows.columns().iter().map(Column::new).collect();
    let mut writer = ::csv::Writer::from_writer(out);
    let to_io = |error: ::csv::Error| match error.into_kind() {
        ::csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    };
    writer.write_record(rows.schema().fields().iter().map(|field| field.name())).map_err(to_io)?;
    for row in 0..rows.num_rows() {
        writer.write_record(columns.iter().map(|column| column.cell(row).exact())).map_err(to_io)?;
    }
    writer.flush()
}

/// Writes a JSON array with one object per row and line. A missing or infinite value is null.
pub fn json(out: &mut dyn Write, rows: &RecordBatch) -> io::Result<()> {
    let columns: Vec<Column> = rows.columns().iter().map(Column::new).collect();
    let names: Vec<String> =
        rows.schema().fields().iter().map(|field| serde_json::to_string(field.name())).collect::<Result<_, _>>()?;
    out.write_all(b"[")?;
    for row in 0..rows.num_rows() {
        out.write_all(if row == 0 { b"\n{" } else { b",\n{" })?;
        for (index, (name, column)) in names.iter().zip(&columns).enumerate() {
            write!(out, "{}{name}:", if index == 0 { "" } else { "," })?;
            match column.cell(row) {
                Cell::Missing => out.write_all(b"null")?,
                Cell::Bool(value) => serde_json::to_writer(&mut *out, &value)?,
                Cell::Int(value) => serde_json::to_writer(&mut *out, &value)?,
                Cell::UInt(value) => serde_json::to_writer(&mut *out, &value)?,
                Cell::Float32(value) => serde_json::to_writer(&mut *out, &value)?,
                Cell::Float64(value) => serde_json::to_writer(&mut *out, &value)?,
                Cell::Text(value) => serde_json::to_writer(&mut *out, value)?,
            }
        }
        out.write_all(b"}")?;
    }
    out.write_all(if rows.num_rows() == 0 { b"]\n" } else { b"\n]\n" })
}

/// Writes a Parquet file, compressed like the tables of a dataset.
pub fn parquet(out: &mut dyn Write, rows: &RecordBatch) -> io::Result<()> {
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, rows.schema(), Some(properties)).map_err(io::Error::other)?;
    writer.write(rows).map_err(io::Error::other)?;
    writer.close().map_err(io::Error::other)?;
    out.write_all(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
    use std::sync::Arc;

    fn rows() -> RecordBatch {
        RecordBatch::try_from_iter([
            ("id", Arc::new(Int64Array::from(vec![Some(1), None])) as ArrayRef),
            ("t", Arc::new(Float64Array::from(vec![0.1 + 0.2, f64::NAN]))),
            ("note", Arc::new(StringArray::from(vec![Some("a,\"b\""), None]))),
            ("ok", Arc::new(BooleanArray::from(vec![true, false]))),
            ("image_id", Arc::new(StringArray::from(vec!["i1", "i2"]))),
        ])
        .unwrap()
    }

    fn written(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_aligns_columns() {
        assert_eq!(
            written(|out| text(out, &rows(), None).map(drop)),
            "image_id  id    t  note   ok\n\
             i1         1  0.3  a,\"b\"  true\n\
             i2                        false\n"
        );
    }

    #[test]
    fn text_leaves_out_columns_that_do_not_fit() {
        let mut out = Vec::new();
        assert_eq!(text(&mut out, &rows(), Some(17)).unwrap(), ["note", "ok"]);
        assert_eq!(String::from_utf8(out).unwrap(), "image_id  id    t\ni1         1  0.3\ni2\n");
    }

    #[test]
    fn text_cuts_paths_at_their_beginning() {
        let path: ArrayRef = Arc::new(StringArray::from(vec!["/lab/recordings/2025/07/22/A89/vessel 7.tif"]));
        let rows = RecordBatch::try_from_iter([("source_primary_path", Arc::clone(&path)), ("note", path)]).unwrap();
        let text = written(|out| text(out, &rows, None).map(drop));
        assert!(
            text.contains("…ordings/2025/07/22/A89/vessel 7.tif  /lab/recordings/2025/07/22/A89/vess…\n"),
            "{text}"
        );
    }

    #[test]
    fn csv_is_exact() {
        assert_eq!(
            written(|out| csv(out, &rows())),
            "id,t,note,ok,image_id\n1,0.30000000000000004,\"a,\"\"b\"\"\",true,i1\n,,,false,i2\n"
        );
    }

    #[test]
    fn json_is_exact() {
        let text = written(|out| json(out, &rows()));
        assert_eq!(
            text,
            "[\n{\"id\":1,\"t\":0.30000000000000004,\"note\":\"a,\\\"b\\\"\",\"ok\":true,\"image_id\":\"i1\"},\n\
             {\"id\":null,\"t\":null,\"note\":null,\"ok\":false,\"image_id\":\"i2\"}\n]\n"
        );
        assert_eq!(written(|out| json(out, &rows().slice(0, 0))), "[]\n");
    }

    #[test]
    fn parquet_has_magic_bytes() {
        let mut out = Vec::new();
        parquet(&mut out, &rows()).unwrap();
        assert_eq!((&out[..4], &out[out.len() - 4..]), (&b"PAR1"[..], &b"PAR1"[..]));
    }
}
