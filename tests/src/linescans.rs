//! The real line scans in the shared folder, with the answers of the predecessor.
//!
//! Reads them with simple code of its own, and judges no result.

use flate2::read::GzDecoder;
use kymhost_plugin_api::Json;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// A recording: pixels, what is known of it, and the predecessor's answer for each window.
#[derive(Debug, Clone)]
pub struct LineScan {
    /// Its file name less the ending.
    pub name: String,
    /// Rows of `width` pixels.
    pub pixels: Vec<u16>,
    /// The number of rows.
    pub lines: usize,
    /// The number of columns.
    pub width: usize,
    /// Header, experiment and ROIs, as in its JSON file.
    pub metadata: Json,
    /// The predecessor's answers, ROI by ROI.
    pub answers: Vec<Answer>,
}

/// What the predecessor says of one window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer {
    /// The ROI.
    pub roi_id: i64,
    /// Seconds.
    pub time: f64,
    /// Degrees.
    pub theta_deg: f64,
    /// mm/s.
    pub velocity_raw: f64,
    /// mm/s, NaN for outliers.
    pub velocity: f64,
}

/// The folder of the line scans; `None`, reported as skipped, if it is absent.
pub fn folder() -> Option<PathBuf> {
    Some(crate::shared()?.join("linescans"))
}

/// All recordings, by name; `None`, reported as skipped, if they are absent.
pub fn all() -> Option<Vec<LineScan>> {
    let folder = folder()?;
    let entries = fs::read_dir(&folder).expect("the folder of the line scans can be listed");
    let paths = entries.map(|entry| entry.expect("an entry of the line scans").path());
    let mut tiffs: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|ending| ending == "tif")).collect();
    tiffs.sort();
    assert!(!tiffs.is_empty(), "no TIFF in {}", folder.display());
    Some(tiffs.iter().map(|tiff| read(tiff)).collect())
}

fn read(tiff: &Path) -> LineScan {
    let name = tiff.file_stem().expect("a file name").to_string_lossy().into_owned();
    let (pixels, lines, width) = plain_tiff(&fs::read(tiff).expect("a TIFF"));
    let text = fs::read(tiff.with_extension("json")).expect("the recording's JSON");
    let metadata = Json::parse(&text).expect("JSON");
    let mut csv = String::new();
    let file = fs::File::open(tiff.with_extension("radon.csv.gz")).expect("the answers");
    GzDecoder::new(file).read_to_string(&mut csv).expect("the answers, unpacked");
    let mut rows = csv.lines();
    assert_eq!(rows.next(), Some("roi_id,window,time,theta_deg,velocity_raw,velocity"));
    let answers = rows.map(|row| {
        let cells: Vec<f64> = row.split(',').map(|cell| cell.parse().unwrap_or(f64::NAN)).collect();
        let [roi_id, _, time, theta_deg, velocity_raw, velocity] = cells[..] else { panic!("six cells in {row}") };
        Answer { roi_id: roi_id as i64, time, theta_deg, velocity_raw, velocity }
    });
    LineScan { name, pixels, lines, width, metadata, answers: answers.collect() }
}

/// A TIFF of one uncompressed grey 16-bit page in little-endian strips: pixels, rows, columns.
fn plain_tiff(bytes: &[u8]) -> (Vec<u16>, usize, usize) {
    let short = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let long = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize;
    assert_eq!(&bytes[..4], b"II*\0", "a little-endian TIFF");
    let folder = long(4);
    let tag = |wanted: usize| -> Vec<usize> {
        let entry = (0..short(folder)).map(|at| folder + 2 + 12 * at).find(|at| short(*at) == wanted);
        let entry = entry.unwrap_or_else(|| panic!("no tag {wanted}"));
        let (kind, count) = (short(entry + 2), long(entry + 4));
        let size = if kind == 3 { 2 } else { 4 };
        let start = if size * count <= 4 { entry + 8 } else { long(entry + 8) };
        (0..count).map(|at| if kind == 3 { short(start + 2 * at) } else { long(start + 4 * at) }).collect()
    };
    assert_eq!((tag(258), tag(259)), (vec![16], vec![1]), "16 bits, uncompressed");
    let strips = tag(273).into_iter().zip(tag(279)).flat_map(|(start, count)| &bytes[start..start + count]);
    let strips: Vec<u8> = strips.copied().collect();
    let pixels: Vec<u16> = strips.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    let (lines, width) = (tag(257)[0], tag(256)[0]);
    assert_eq!(pixels.len(), lines * width);
    (pixels, lines, width)
}
