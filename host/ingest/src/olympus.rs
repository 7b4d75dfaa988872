//! The text header that Olympus (Evident) writes next to an exported recording.
//!
//! Lines have two quoted fields with a tab between them; a line `"[Name]"` begins a section. Keys recur: `Image Size`
//! is in `[Image]` and in `[Reference Image]`. So a key counts only in its section, or before any section if there is
//! none.

/// What a header says: each figure that could be read.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Header {
    /// Micrometres from one pixel to the next.
    pub um_per_pixel: Option<f64>,
    /// How long the recording took.
    pub duration_sec: Option<f64>,
    /// Pixels of a line, and lines.
    pub size: Option<(u64, u64)>,
    /// The clock on the wall as it began, taken as if it were UTC's.
    pub acquired_local_epoch_ns: Option<i64>,
}

/// Reads a header; `None` if the text is not one.
pub fn parse(bytes: &[u8]) -> Option<Header> {
    let text = decode(bytes);
    let mut header = Header::default();
    let mut section = String::new();
    for line in text.split(['\n', '\r']) {
        let (key, value) = match line.split_once('\t') {
            Some((key, value)) => (unquoted(key), unquoted(value)),
            None => (unquoted(line), String::new()),
        };
        if let Some(name) = key.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.trim().to_owned();
            continue;
        }
        let within = |name: &str| section.is_empty() || section.eq_ignore_ascii_case(name);
        match key.as_str() {
            "X Dimension" if within("Dimensions") => {
                header.um_per_pixel = header.um_per_pixel.or_else(|| um_per_pixel(&value));
            }
            "T Dimension" if within("Dimensions") => {
                header.duration_sec = header.duration_sec.or_else(|| duration_sec(&value));
            }
            "Image Size" if within("Image") => {
                header.size = header.size.or_else(|| size(&value));
            }
            "Date" if within("General") => {
                header.acquired_local_epoch_ns = header.acquired_local_epoch_ns.or_else(|| epoch_ns(&value));
            }
            _ => {}
        }
    }
    (header != Header::default()).then_some(header)
}

/// UTF-8, UTF-16 of either order (known by its mark, or by every other byte being zero), else Latin-1.
fn decode(bytes: &[u8]) -> String {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = bytes.as_chunks::<2>().0.iter().map(|pair| unit(*pair));
        char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect::<String>()
    };
    if let Some(rest) = bytes.strip_prefix(b"\xff\xfe") {
        return utf16(rest, u16::from_le_bytes);
    }
    if let Some(rest) = bytes.strip_prefix(b"\xfe\xff") {
        return utf16(rest, u16::from_be_bytes);
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match bytes.get(..4) {
        Some([a, 0, b, 0]) if *a != 0 && *b != 0 => return utf16(bytes, u16::from_le_bytes),
        Some([0, a, 0, b]) if *a != 0 && *b != 0 => return utf16(bytes, u16::from_be_bytes),
        _ => {}
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|&byte| char::from(byte)).collect(),
    }
}

/// A field without its quotes; two quotes inside mean one.
fn unquoted(field: &str) -> String {
    let field = field.trim();
    match field.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\"").trim().to_owned(),
        None => field.to_owned(),
    }
}

/// The texts between commas, each with the unit in brackets that ends it.
fn figures(value: &str) -> impl Iterator<Item = (&str, &str)> {
    value.split(',').filter_map(|part| {
        let (figure, rest) = part.split_once('[')?;
        Some((figure.trim(), rest.split_once(']')?.0.trim()))
    })
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|value| value.is_finite())
}

fn positive(value: f64) -> Option<f64> {
    (value.is_finite() && value > 0.0).then_some(value)
}

/// Of `19, 0.0 - 8.549 [um], 0.450 [um/pixel]` the last figure.
fn um_per_pixel(value: &str) -> Option<f64> {
    figures(value).find_map(|(figure, unit)| {
        let unit = unit.strip_suffix("/pixel").or_else(|| unit.strip_suffix("/Pixel"))?;
        let um = match unit {
            "um" | "\u{b5}m" | "\u{3bc}m" => 1.0,
            "nm" => 1e-3,
            "mm" => 1e3,
            _ => return None,
        };
        positive(number(figure)? * um)
    })
}

/// Of `1, 0.000 - 34.019 [s], Interval FreeRun` what is between the two times.
fn duration_sec(value: &str) -> Option<f64> {
    figures(value).find_map(|(figure, unit)| {
        let per_unit = match unit {
            "s" | "sec" => 1.0,
            "ms" => 1e3,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e6,
            _ => return None,
        };
        let (start, end) = figure.split_once(" - ")?;
        positive((number(end)? - number(start)?) / per_unit)
    })
}

/// `19 * 30000 [pixel]`
fn size(value: &str) -> Option<(u64, u64)> {
    let (figure, unit) = figures(value).next()?;
    let (pixels, lines) = figure.split_once('*')?;
    (unit == "pixel").then_some(())?;
    Some((pixels.trim().parse().ok()?, lines.trim().parse().ok()?))
}

/// `07/22/2025 12:13:14.620 PM`: month first. Hours above 12 are on a 24-hour clock, whatever follows.
fn epoch_ns(value: &str) -> Option<i64> {
    let mut words = value.split_whitespace();
    let (date, time, half) = (words.next()?, words.next()?, words.next());
    let mut date = date.split('/');
    let (month, day, year) = (date.next()?, date.next()?, date.next()?);
    let mut clock = time.split(':');
    let (hour, minute, seconds) = (clock.next()?, clock.next()?, clock.next().unwrap_or("0"));
    let (second, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    let hour: i8 = hour.parse().ok()?;
    let hour = match half.map(str::to_ascii_uppercase).as_deref() {
        Some("AM") if hour == 12 => 0,
        Some("PM") if (1..12).contains(&hour) => hour + 12,
        Some("AM" | "PM") | None => hour,
        Some(_) => return None,
    };
    let nanosecond: i32 = match fraction {
        "" => 0,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{:0<9}", digits.get(..digits.len().min(9))?).parse().ok()?
        }
        _ => return None,
    };
    let wall = jiff::civil::DateTime::new(
        year.parse().ok()?,
        month.parse().ok()?,
        day.parse().ok()?,
        hour,
        minute.parse().ok()?,
        second.parse().ok()?,
        nanosecond,
    )
    .ok()?;
    let utc = wall.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    i64::try_from(utc.timestamp().as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "\"[General]\"\t\"\"\r\n\"Date\"\t\"07/22/2025 12:13:14.620 PM\"\r\n\"[Dimensions]\"\t\"\"\r\n\
        \"X Dimension\"\t\"19, 0.0 - 8.549 [um], 0.450 [um/pixel]\"\r\n\
        \"T Dimension\"\t\"1, 0.000 - 34.019 [s], Interval FreeRun\"\r\n\"[Image]\"\t\"\"\r\n\
        \"Image Size\"\t\"19 * 30000 [pixel]\"\r\n\"[Reference Image]\"\t\"\"\r\n\"Image Size\"\t\"512 * 512 [pixel]\"\r\n";

    fn expected() -> Header {
        Header {
            um_per_pixel: Some(0.45),
            duration_sec: Some(34.019),
            size: Some((19, 30000)),
            // Python: datetime(2025, 7, 22, 12, 13, 14, 620000, tzinfo=UTC).timestamp()
            acquired_local_epoch_ns: Some(1_753_186_394_620_000_000),
        }
    }

    #[test]
    fn header_is_read_in_every_encoding() {
        let units: Vec<u16> = TEXT.encode_utf16().collect();
        let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
        for (name, bytes) in [
            ("utf-8", TEXT.as_bytes().to_vec()),
            ("utf-8 with a mark", [b"\xef\xbb\xbf", TEXT.as_bytes()].concat()),
            ("utf-16 le", [b"\xff\xfe", little.as_slice()].concat()),
            ("utf-16 be", [b"\xfe\xff", big.as_slice()].concat()),
            ("utf-16 le without a mark", little),
            ("utf-16 be without a mark", big),
            ("latin-1", TEXT.replace("0.450 [um", "0.450 [\u{b5}m").chars().map(|c| c as u32 as u8).collect()),
            ("line feeds alone", TEXT.replace('\r', "").into_bytes()),
            ("no quotes", TEXT.replace('"', "").into_bytes()),
        ] {
            assert_eq!(parse(&bytes), Some(expected()), "{name}");
        }
    }

    #[test]
    fn header_key_counts_only_in_its_section() {
        let reordered = TEXT.split("\"[Reference Image]\"").collect::<Vec<_>>();
        let text = format!("\"[Reference Image]\"{}{}", reordered[1], reordered[0]);
        assert_eq!(parse(text.as_bytes()).unwrap().size, Some((19, 30000)));
    }

    #[test]
    fn header_parser_rejects_other_texts() {
        for text in ["", "notes of today", "Date", "\"[General]\"\t\"\"", "\0\0\0\0", "a\tb\n"] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn header_without_figures_leaves_them_out() {
        for (value, expected) in [
            ("19, 0.0 - 8.549 [um], 0.450 [um/pixel]", Some(0.45)),
            ("19, 0.450 [nm/pixel]", Some(0.45 * 1e-3)),
            ("19, 2 [mm/pixel]", Some(2000.0)),
            ("19, 0 [um/pixel]", None),
            ("19, -1 [um/pixel]", None),
            ("19, nan [um/pixel]", None),
            ("19, 0.45 [pixel]", None),
            ("19, 0.45 [um/pixel", None),
            ("", None),
        ] {
            assert_eq!(um_per_pixel(value), expected, "{value}");
        }
        for (value, expected) in [
            ("1, 0.000 - 34.019 [s], Interval FreeRun", Some(34.019)),
            ("1, 1.5 - 2.5 [s]", Some(1.0)),
            ("1, 0 - 500 [ms]", Some(0.5)),
            ("1, 2 - 1 [s]", None),
            ("1 [s]", None),
            ("1, 0 - 1 [min]", None),
        ] {
            assert_eq!(duration_sec(value), expected, "{value}");
        }
        for (value, expected) in [
            ("01/02/1970 12:00:00 AM", Some(86_400_000_000_000)),
            ("01/02/1970 12:00:00 PM", Some(129_600_000_000_000)),
            ("01/02/1970 01:00:00.5 PM", Some(133_200_500_000_000)),
            ("01/02/1970 13:00", Some(133_200_000_000_000)),
            ("01/02/1970 13:00:00 PM", Some(133_200_000_000_000)),
            ("13/02/1970 13:00:00", None),
            ("02/30/1970 13:00:00", None),
            ("01/02/1970 25:00:00", None),
            ("01/02/1970 11:00:00 UTC", None),
            ("01/02/99999 11:00:00", None),
            ("yesterday", None),
        ] {
            assert_eq!(epoch_ns(value), expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn header_of_any_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn metadata_of_any_figures_never_panics(key in "(X|T) Dimension|Date|Image Size", value in "[0-9a-z µ.,:/*\\[\\] -]{0,40}") {
            if let Some(header) = parse(format!("{key}\t{value}").as_bytes()) {
                for figure in [header.um_per_pixel, header.duration_sec].into_iter().flatten() {
                    prop_assert!(figure.is_finite() && figure > 0.0);
                }
            }
        }
    }
}
