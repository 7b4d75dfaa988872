//! Small files are read as pandas 3.1 reads them, and no bytes make the reader panic.

use super::*;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::DataType;
use proptest::prelude::*;

/// A table in short: `name:type=cell|cell` for each column, with `;` between columns.
fn short(bytes: &[u8]) -> Result<String, String> {
    let batch = parse(bytes).map_err(|error| error.to_string())?;
    let column = |(field, values): (&Arc<Field>, &ArrayRef)| {
        let dtype = match field.data_type() {
            DataType::Int64 => "int64",
            DataType::UInt64 => "uint64",
            DataType::Float64 => "double",
            DataType::Boolean => "bool",
            DataType::LargeUtf8 => "text",
            DataType::Null => "null",
            other => panic!("unexpected type {other}"),
        };
        let options = FormatOptions::new().with_null("-");
        let formatter = ArrayFormatter::try_new(values.as_ref(), &options).unwrap();
        let cells: Vec<String> = (0..values.len()).map(|row| formatter.value(row).to_string()).collect();
        format!("{}:{dtype}={}", field.name(), cells.join("|"))
    };
    assert!(batch.columns().iter().all(|values| values.len() == batch.num_rows()));
    Ok(batch.schema().fields().iter().zip(batch.columns()).map(column).collect::<Vec<_>>().join(";"))
}

/// A column has the type that pandas gives it.
#[test]
fn csv_column_has_first_type_that_fits() {
    // The cells of one column, separated by `|`; then its type and values, or the beginning of the error.
    let cases: &[(&str, Result<&str, &str>)] = &[
        ("1|+1|-1|01|-0| 1|1 |\t1\t|\u{b}1\u{c}", Ok("int64=1|1|-1|1|0|1|1|1|1")),
        ("\"1\"|\" 2 \"", Ok("int64=1|2")),
        ("1||3", Ok("int64=1|-|3")),
        ("9223372036854775807|-9223372036854775808", Ok("int64=9223372036854775807|-9223372036854775808")),
        ("9223372036854775808|1", Ok("uint64=9223372036854775808|1")),
        ("18446744073709551615|NA", Ok("uint64=18446744073709551615|-")),
        ("9223372036854775808|-1", Err("column 'a' has integers below 0")),
        ("9223372036854775808|-1|1.5", Ok("double=9.223372036854776e18|-1.0|1.5")),
        ("18446744073709551616", Err("column 'a' has a number out of the range")),
        ("-9223372036854775809|1.5", Err("column 'a' has a number out of the range")),
        ("1e400|", Err("column 'a' has a number out of the range")),
        ("18446744073709551616|x", Ok("text=18446744073709551616|x")),
        ("1.|.5|-.5|+.5|1e5|1E+5|1.e5|1e0005", Ok("double=1.0|0.5|-0.5|0.5|100000.0|100000.0|100000.0|100000.0")),
        ("5e-324|1e-400|-00.0| 1.5 |1.7976931348623157e308", Ok("double=5e-324|0.0|-0.0|1.5|1.7976931348623157e308")),
        ("0.1|738059175079396.25|1", Ok("double=0.1|738059175079396.2|1.0")),
        ("inf|-inf|+INF|Infinity|-infinity|+iNfInItY", Ok("double=inf|-inf|inf|inf|-inf|inf")),
        ("nan|1", Ok("int64=-|1")),
        ("NaN|1.5|null", Ok("double=-|1.5|-")),
        ("True|FALSE|true|False|TRUE|false", Ok("bool=true|false|true|false|true|false")),
        ("True|NaN|false", Ok("bool=true|-|false")),
        ("|NaN|\"\"", Ok("double=-|-|-")),
        ("True|1", Ok("text=True|1")),
        ("True|1.5", Ok("text=True|1.5")),
        ("True|x", Ok("text=True|x")),
        ("1|x||NA", Ok("text=1|x|-|-")),
        ("#N/A|#N/A N/A|#NA|-1.#IND|-1.#QNAN|-NaN|-nan|1.#IND|1.#QNAN|x", Ok("text=-|-|-|-|-|-|-|-|-|x")),
        ("<NA>|N/A|NA|NULL|NaN|None|n/a|nan|null|\"NA\"|x", Ok("text=-|-|-|-|-|-|-|-|-|-|x")),
    ];
    for (cells, expected) in cases {
        let lines: String = cells.split('|').map(|cell| format!("{cell},z\n")).collect();
        let found = short(format!("a,b\n{lines}").as_bytes());
        match expected {
            Ok(expected) => {
                let found = found.unwrap_or_else(|error| panic!("{cells}: {error}"));
                let found = found.strip_prefix("a:").and_then(|found| found.split_once(";b:")).unwrap().0;
                assert_eq!(found, *expected, "{cells}");
            }
            Err(expected) => assert!(found.clone().unwrap_err().starts_with(expected), "{cells}: {found:?}"),
        }
    }
    // One cell that pandas takes for text and keeps unchanged.
    for cell in [
        "1_000", "1e", "e5", "1e+", "1d5", "0x10", "0b1", "1f", "1L", "1j", "--1", "+-1", "1 2", "1.5.2", "1e1.5", ".",
        "-", "+", "e", ".e5", "-.", "NAN", "+nan", "Nan", " nan", "NaN ", " ", " inf", "inf ", "tRue", "True ",
        " True", "yes", "\u{a0}1", "\u{661}", "(1)", "$1", "1%", "infinit", "-", "\0", "1\u{0}",
    ] {
        assert_eq!(short(format!("a,b\n{cell},z\n").as_bytes()), Ok(format!("a:text={cell};b:text=z")), "{cell:?}");
    }
}

/// Quotes, blank lines, line ends and short rows are handled as pandas does.
#[test]
fn csv_is_split_like_pandas() {
    let cases: &[(&[u8], &str)] = &[
        (b"a,b", "a:null=;b:null="),
        (b"a,b\r\n", "a:null=;b:null="),
        (b"a\n\n", "a:null="),
        (b"a\n\n1\n\n\n2\n", "a:int64=1|2"),
        (b"a\n\"\"\n1\n", "a:int64=-|1"),
        (b"a\n\" \"\n1\n", "a:text= |1"),
        (b"a\n \n1\n", "a:int64=1"),
        (b"a\n \t \n1\n", "a:int64=1"),
        (b"a\n\x0b\n1\n", "a:text=\x0b|1"),
        (b"a\n\xc2\xa0\n1\n", "a:text=\u{a0}|1"),
        (b"\n\n a,b\n1,2\n", " a:int64=1;b:int64=2"),
        (b" \na,b\n1,2\n", "a:int64=1;b:int64=2"),
        (b" a , b \n x,2\n", " a :text= x; b :int64=2"),
        (b"a,b\n,\n1,2\n", "a:int64=-|1;b:int64=-|2"),
        (b"a,b\n1,2\n,", "a:int64=1|-;b:int64=2|-"),
        (b"a,b,c\n1\n2,3\n", "a:int64=1|2;b:int64=-|3;c:double=-|-"),
        (b"a,b\n1,2\n3", "a:int64=1|3;b:int64=2|-"),
        (b"a,b\n1,2\n ", "a:int64=1;b:int64=2"),
        (b"a,b\r1,2\r3,4", "a:int64=1|3;b:int64=2|4"),
        (b"a,b\n1,2\r\r\n3,4\n", "a:int64=1|3;b:int64=2|4"),
        (b"a,b\n1,2\n\r3,4\n", "a:int64=1|3;b:int64=2|4"),
        (b"a,b\n1,2\r\n  \r\n3,4\r\n", "a:int64=1|3;b:int64=2|4"),
        (b"a,b\n1,2\r x,4\n", "a:text=1| x;b:int64=2|4"),
        (b"\"a\nb\",c\n1,2\n", "a\nb:int64=1;c:int64=2"),
        (b"a,b\n\"1\r\n2\",3\n", "a:text=1\r\n2;b:int64=3"),
        (b"a,b\n\"x\"\"y\",3\n", "a:text=x\"y;b:int64=3"),
        (b"a,b\n\"x\"y,3\n", "a:text=xy;b:int64=3"),
        (b"a,b\n\"x\"y\"z\",3\n", "a:text=xy\"z\";b:int64=3"),
        (b"a,b\n\"x\" ,1\n", "a:text=x ;b:int64=1"),
        (b"a,b\n\"\"x,1\n", "a:text=x;b:int64=1"),
        (b"a,b\n\"\"\"\",1\n", "a:text=\";b:int64=1"),
        (b"a,b\nx\"y,3\n", "a:text=x\"y;b:int64=3"),
        (b"a,b\n  \"x\",2\n", "a:text=  \"x\";b:int64=2"),
        (b"a,b\n1,\"x\"", "a:int64=1;b:text=x"),
        (b"a,b\n1,\"\"", "a:int64=1;b:double=-"),
        (b"a,b\n\"x,y\",3\n", "a:text=x,y;b:int64=3"),
        (b"a,b\n1,\\\"2\n", "a:int64=1;b:text=\\\"2"),
        (b"a,b\n1,2\n\x1a", "a:text=1|\x1a;b:int64=2|-"),
        (b"a,b,\n1,2,3\n", "a:int64=1;b:int64=2;Unnamed: 2:int64=3"),
        (b",b\n0,2\n", "Unnamed: 0:int64=0;b:int64=2"),
        (b"\"\"\n1\n", "Unnamed: 0:int64=1"),
        (b"NaN,b\n1,2\n", "NaN:int64=1;b:int64=2"),
        (b"a;b\n1;2\n", "a;b:text=1;2"),
        (b"#c\n#1\n", "#c:text=#1"),
        (b"\xef\xbb\xbfa,b\n1,2\n", "a:int64=1;b:int64=2"),
        (b"\xef\xbb\xbf\"a,b\",c\n1,2\n", "a,b:int64=1;c:int64=2"),
        (b"\xef\xbb\xbf\xef\xbb\xbfa\n1\n", "\u{feff}a:int64=1"),
    ];
    for (bytes, expected) in cases {
        assert_eq!(short(bytes).as_deref(), Ok(*expected), "{:?}", String::from_utf8_lossy(bytes));
    }
}

/// If pandas would guess, there is an error that names line or column.
#[test]
fn csv_ambiguous_file_is_refused() {
    let cases: &[(&[u8], &str)] = &[
        (b"", "it has no header line"),
        (b"\n\n  \n", "it has no header line"),
        (b"\xef\xbb\xbf\n", "it has no header line"),
        (b"a\n\xff\n", "byte 2 is not UTF-8"),
        (b"a,b\n1,2,3\n", "line 2 has 3 cells, the header has 2"),
        (b"a,b\n1,2,\n", "line 2 has 3 cells, the header has 2"),
        (b"a,b\r\n\r\n1,2\r\n\"x\n\",2\r\n1,2,3\r\n", "line 6 has 3 cells, the header has 2"),
        (b"a\n1\n,\n", "line 3 has 2 cells, the header has 1"),
        (b"a,b,a\n1,2,3\n", "two columns are named 'a'"),
        (b"Unnamed: 1,\n1,2\n", "two columns are named 'Unnamed: 1'"),
        (b"a,b\n1,\"x\n3,4\n", "the quote that opens in line 2 is never closed"),
        (b"a,b\n1,\"", "the quote that opens in line 2 is never closed"),
        (b"a,b\n1,\"x\"\"", "the quote that opens in line 2 is never closed"),
    ];
    for (bytes, expected) in cases {
        assert_eq!(short(bytes), Err((*expected).to_owned()), "{:?}", String::from_utf8_lossy(bytes));
    }
}

/// A small file cannot claim any amount of memory.
#[test]
fn csv_too_many_cells_is_refused() {
    let mut bytes: Vec<u8> = (0..100_000).flat_map(|column| format!("c{column},").into_bytes()).collect();
    bytes.extend(b"\n".iter().chain(b"1\n".repeat(10_000).iter()));
    assert!(short(&bytes).unwrap_err().starts_with("it has more than"));
}

proptest! {
    /// Random bytes give a table or an error.
    #[test]
    fn csv_any_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = parse(&bytes);
    }

    /// Random sequences of CSV's special characters give a table or an error.
    #[test]
    fn csv_any_near_csv_does_not_panic(
        text in prop::collection::vec(prop::sample::select(vec![
            ",", "\n", "\r", "\"", "a", "b", " ", "1", "-", ".5", "e9", "NaN", "True", "inf", "é",
        ]), 0..30).prop_map(|parts| parts.concat()),
    ) {
        let _ = short(text.as_bytes());
    }

    /// Quoted cells of any text are read back as they were written.
    #[test]
    fn csv_quoted_cells_roundtrip(
        rows in prop::collection::vec(prop::collection::vec("[a-c\",\n\r é]{0,5}", 3), 1..5),
    ) {
        let quote = |row: &Vec<String>| {
            row.iter().map(|cell| format!("\"x{}\"", cell.replace('"', "\"\""))).collect::<Vec<_>>().join(",") + "\n"
        };
        let batch = parse(format!("a,b,c\n{}", rows.iter().map(quote).collect::<String>()).as_bytes()).unwrap();
        for (place, values) in batch.columns().iter().enumerate() {
            let values = values.as_any().downcast_ref::<LargeStringArray>().unwrap();
            for (row, value) in rows.iter().zip(values) {
                prop_assert_eq!(value.and_then(|value| value.strip_prefix('x')), Some(row[place].as_str()));
            }
        }
    }
}

/// Texts that are short for what they make are refused before it is made.
#[test]
fn parse_refuses_what_takes_too_much_memory() {
    let names: Vec<String> = (0..1024).map(|place| format!("c{place}")).collect();
    let header = names.join(",");
    let rows = MAX_CELLS / names.len();
    let cases = [
        ("a name each", "a,".repeat(MAX_COLUMNS), CsvError::TooManyColumns),
        ("names that are empty", ",".repeat(MAX_COLUMNS), CsvError::TooManyColumns),
        ("a row of its own length", format!("a\n{}", ",".repeat(MAX_COLUMNS)), CsvError::TooManyColumns),
        ("short rows", format!("{header}\n{}", "1\n".repeat(rows + 1)), CsvError::TooManyCells),
        ("one column", format!("a\n{}", "1\n".repeat(MAX_CELLS + 1)), CsvError::TooManyCells),
        ("a long text", "a".repeat(MAX_TEXT_BYTES + 1), CsvError::TooLong),
    ];
    for (what, text, expected) in cases {
        assert_eq!(parse(text.as_bytes()).unwrap_err(), expected, "{what}");
    }
    let fits = format!("{header}\n{}", "1\n".repeat(16));
    assert_eq!(parse(fits.as_bytes()).unwrap().num_rows(), 16);
}
