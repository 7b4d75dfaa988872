//! The C door's binary contract held to its promise: the header, its mirror in Rust and the golden file of each
//! version agree, and what has changed since was appended.
//!
//! Reads the header's structs and numbers, lets the compiler lay them out, and decides what is an append. It
//! loads no plugin.

use kymhost_plugin_api::ffi::c_door;
use kymhost_tests::{TestDir, c, repository};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

/// What may not even be appended to.
const FROZEN: [&str; 3] = ["ArrowSchema", "ArrowArray", "kymhost_text"];

/// The versions whose contract is written down, the last one today's.
const VERSIONS: [&str; 2] = ["1.0", "1.1"];

/// A struct's member: where it is, how many bytes it has, and its declaration in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    name: String,
    offset: usize,
    bytes: usize,
    declaration: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Struct {
    bytes: usize,
    members: Vec<Member>,
}

/// A contract: its structs and its numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Contract {
    structs: BTreeMap<String, Struct>,
    numbers: BTreeMap<String, String>,
}

impl Contract {
    /// Reads the text that [`Contract::to_text`] writes.
    fn from_text(text: &str) -> Self {
        let mut contract = Self::default();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |index: usize| words[index].parse().unwrap_or_else(|_| panic!("a number in: {line}"));
            match words[..] {
                ["number", name, value] => {
                    contract.numbers.insert(name.to_owned(), value.to_owned());
                }
                ["struct", name, _] => {
                    contract.structs.insert(name.to_owned(), Struct { bytes: number(2), members: Vec::new() });
                }
                [place, _, _, ..] => {
                    let (name, member) = place.split_once('.').unwrap_or_else(|| panic!("a member in: {line}"));
                    let of = contract.structs.get_mut(name).unwrap_or_else(|| panic!("a struct before: {line}"));
                    let declaration = words[3..].join(" ");
                    of.members.push(Member { name: member.into(), offset: number(1), bytes: number(2), declaration });
                }
                _ => panic!("no line of a contract: {line}"),
            }
        }
        contract
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        for (name, Struct { bytes, members }) in &self.structs {
            writeln!(text, "struct {name} {bytes}").expect("text");
            for Member { name: member, offset, bytes, declaration } in members {
                writeln!(text, "{name}.{member} {offset} {bytes} {declaration}").expect("text");
            }
        }
        for (name, value) in &self.numbers {
            writeln!(text, "number {name} {value}").expect("text");
        }
        text
    }
}

/// The header without comments, and with continued lines joined.
fn without_comments(header: &str) -> String {
    let mut text = String::new();
    let mut rest = header;
    while let Some((before, after)) = rest.split_once("/*") {
        text.push_str(before);
        text.push(' ');
        rest = after.split_once("*/").map_or("", |(_, after)| after);
    }
    text.push_str(rest);
    text.replace("\\\n", " ")
}

/// Every struct that the header defines, by its name: its members' names and declarations, in order.
fn structs_of(header: &str) -> Vec<(String, Vec<(String, String)>)> {
    let text = without_comments(header);
    let mut found = Vec::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("struct ") {
        rest = &rest[at + "struct ".len()..];
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let Some(body) = rest[name.len()..].trim_start().strip_prefix('{') else { continue };
        // The card's block is made by macros, in a section of its own.
        if name.is_empty() || name.ends_with('_') {
            continue;
        }
        let body = body.split_once('}').expect("the struct's end").0;
        let members = body.split(';').map(|member| member.split_whitespace().collect::<Vec<_>>().join(" "));
        let members =
            members.filter(|member| !member.is_empty()).map(|declaration| (member_name(&declaration), declaration));
        found.push((name, members.collect()));
    }
    found
}

fn member_name(declaration: &str) -> String {
    let identifier = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    match declaration.split_once("(*") {
        Some((_, after)) => identifier(after),
        None => {
            let at = declaration.rfind(|c: char| !(c.is_alphanumeric() || c == '_')).expect("a type before the name");
            declaration[at + 1..].to_owned()
        }
    }
}

/// The numbers that the contract has names for: statuses, kinds, levels, dtypes.
fn numbers_of(header: &str) -> BTreeMap<String, String> {
    let is_number = |name: &str| {
        let name = name.strip_prefix("KYMHOST_").unwrap_or_default();
        let prefixes = ["KIND_", "LOG_", "DTYPE_"];
        let statuses = ["OK", "ABSENT", "FAILED", "PANICKED", "UNREADABLE", "UNSUPPORTED", "CANCELLED", "BAD_TABLE"];
        prefixes.iter().any(|prefix| name.starts_with(prefix)) || statuses.contains(&name)
    };
    let text = without_comments(header);
    text.lines()
        .filter_map(|line| line.strip_prefix("#define ")?.split_once(' '))
        .filter(|(name, _)| is_number(name))
        .map(|(name, value)| (name.to_owned(), value.trim().trim_matches(['(', ')']).to_owned()))
        .collect()
}

/// The contract of a header, as this machine's C compiler lays it out.
fn contract_of(header: &str) -> Option<Contract> {
    c::compiler()?;
    let folder = TestDir::new();
    fs::write(folder.join("kymhost_plugin.h"), header).expect("a written header");
    let mut program = "#include \"kymhost_plugin.h\"\nint main(void) {\n".to_owned();
    let structs = structs_of(header);
    for (name, members) in &structs {
        writeln!(program, "printf(\"%zu\\n\", sizeof(struct {name}));").expect("text");
        for (member, _) in members {
            let place = format!("offsetof(struct {name}, {member}), sizeof(((struct {name} *)0)->{member})");
            writeln!(program, "printf(\"%zu %zu\\n\", {place});").expect("text");
        }
    }
    program.push_str("return 0; }\n");
    let (source, built) = (folder.join("layout.c"), folder.join("layout"));
    fs::write(&source, program).expect("a written source");
    c::compile(&source, folder.path(), &built, &[]).unwrap_or_else(|errors| panic!("it does not build:\n{errors}"));
    let output = Command::new(&built).output().expect("the program runs");
    let output = String::from_utf8(output.stdout).expect("text");
    let mut lines = output
        .lines()
        .map(|line| -> Vec<usize> { line.split(' ').map(|number| number.parse().expect("a number")).collect() });
    let mut next = || lines.next().expect("a line for each");
    let mut contract = Contract { numbers: numbers_of(header), ..Contract::default() };
    for (name, members) in structs {
        let bytes = next()[0];
        let members = members.into_iter().map(|(name, declaration)| {
            let place = next();
            Member { name, offset: place[0], bytes: place[1], declaration }
        });
        let members = members.collect();
        contract.structs.insert(name, Struct { bytes, members });
    }
    Some(contract)
}

/// Whether the contract of today is the one of then with nothing but members and numbers appended.
fn check_append(then: &Contract, now: &Contract) -> Result<(), String> {
    for (name, old) in &then.structs {
        let new = now.structs.get(name).ok_or(format!("struct {name} is gone"))?;
        for (index, member) in old.members.iter().enumerate() {
            match new.members.get(index) {
                Some(found) if found == member => {}
                found => return Err(format!("{name}: member {index} was {member:?}, is {found:?}")),
            }
        }
        if FROZEN.contains(&name.as_str()) && new != old {
            return Err(format!("{name} is frozen and has changed"));
        }
        // One that stands in what was padding would be taken for there by those who look at an old struct's size.
        if let Some(member) = new.members.get(old.members.len()).filter(|member| member.offset < old.bytes) {
            return Err(format!("{name}: {member:?} stands in the {} bytes that there were", old.bytes));
        }
        if new.members.len() == old.members.len() && new.bytes != old.bytes {
            return Err(format!("{name} had {} bytes, has {}", old.bytes, new.bytes));
        }
    }
    for (name, value) in &then.numbers {
        if now.numbers.get(name) != Some(value) {
            return Err(format!("{name} was {value}, is {:?}", now.numbers.get(name)));
        }
    }
    for (name, made) in &now.structs {
        let is_ours = !FROZEN.contains(&name.as_str());
        if is_ours && made.members.first().map(|member| member.declaration.as_str()) != Some("size_t struct_size") {
            return Err(format!("{name} does not begin with its size"));
        }
    }
    Ok(())
}

fn header() -> String {
    fs::read_to_string(c::include().join("kymhost_plugin.h")).expect("the header")
}

fn golden(version: &str) -> Contract {
    let path = repository().join(format!("tests/museum/{version}/c_contract.txt"));
    Contract::from_text(&fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// The C header only appends to what earlier versions had.
#[test]
fn header_only_appends_to_earlier_versions() {
    let Some(now) = contract_of(&header()) else { return };
    assert_eq!(Contract::from_text(&now.to_text()), now, "what is written is read");
    for version in VERSIONS {
        check_append(&golden(version), &now)
            .unwrap_or_else(|why| panic!("since {version}: {why}\ntoday:\n{}", now.to_text()));
    }
    assert_eq!(golden("1.0").structs.len(), 10);
    assert_eq!(golden("1.0").numbers.len(), 30);
    check_append(&golden("1.0"), &golden("1.1")).unwrap();
    // What is appended is written down with its version, so that from then on it stays.
    assert_eq!(golden("1.1"), now, "today:\n{}", now.to_text());
}

/// The types in Rust that mirror the header have its layout.
#[test]
fn rust_mirror_equals_header() {
    let Some(now) = contract_of(&header()) else { return };
    let mut mirror = Contract::from_text(&c_door::layout());
    assert_eq!(mirror.structs.keys().collect::<Vec<_>>(), now.structs.keys().collect::<Vec<_>>());
    for (name, of) in &mut mirror.structs {
        let there = &now.structs[name];
        // The mirror has no C declarations.
        for (member, found) in of.members.iter_mut().zip(&there.members) {
            member.declaration.clone_from(&found.declaration);
        }
        assert_eq!(of, there, "{name}");
    }
    let number = |name: &str| now.numbers[name].parse::<i32>().expect("a number");
    for (name, found) in [("KYMHOST_OK", c_door::OK), ("KYMHOST_ABSENT", c_door::ABSENT)] {
        assert_eq!(number(name), found, "{name}");
    }
    use kymhost_plugin_api::ErrorKind;
    for (name, kind) in [
        ("KYMHOST_FAILED", ErrorKind::Failed),
        ("KYMHOST_PANICKED", ErrorKind::Panicked),
        ("KYMHOST_UNREADABLE", ErrorKind::Unreadable),
        ("KYMHOST_UNSUPPORTED", ErrorKind::Unsupported),
        ("KYMHOST_CANCELLED", ErrorKind::Cancelled),
        ("KYMHOST_BAD_TABLE", ErrorKind::BadTable),
    ] {
        assert_eq!(number(name), -(kind as i32) - 1, "{name}");
    }
    for dtype in kymhost_plugin_api::array::DType::ALL {
        let name = format!("KYMHOST_DTYPE_{}", dtype.name().to_uppercase());
        assert_eq!(number(&name), i32::from(dtype.number()), "{name}");
    }
}

/// Edits of the header that are not appends are found.
#[test]
fn edits_other_than_appends_are_found() {
    let header = header();
    if c::compiler().is_none() {
        return;
    }
    let member = "    int (*attributes)(const kymhost_record *record, kymhost_text *json, kymhost_text *error);\n";
    let end = "    int (*put_array)(const kymhost_run *run, const char *name, const kymhost_array *array, kymhost_text *error);\n";
    let last = "    void (*progress)(const kymhost_run *run, double fraction);\n";
    // What is replaced, by what, and the words of the refusal; none if it is an append.
    let cases: &[(&str, &str, Option<&str>)] = &[
        ("", "", None),
        (end, &format!("{end}    int (*later)(void);\n"), None),
        (last, &format!("{last}    int (*later)(void);\n"), Some("member 6 was")),
        ("#define KYMHOST_LOG_DEBUG 3\n", "#define KYMHOST_LOG_DEBUG 3\n#define KYMHOST_LOG_TRACE 4\n", None),
        // What came with 1.1 stays as what came with 1.0 does.
        ("(*put_json)", "(*put_text)", Some("member 6 was")),
        (
            "    const char *params_schema;\n",
            "    const char *more;\n    const char *params_schema;\n",
            Some("was Member"),
        ),
        ("    const char *writes;\n", "", Some("was Member")),
        (member, "", Some("member 8 was")),
        (last, "", Some("member 5 was")),
        (member, &format!("    int (*before)(void);\n{member}"), Some("member 8 was")),
        ("(*attributes)", "(*properties)", Some("member 8 was")),
        ("double fraction);\n    /*", "float fraction);\n    /*", Some("member 5 was")),
        ("    uint32_t (*threads)", "    uint64_t (*threads)", Some("member 3 was")),
        ("    uint32_t api_major;\n", "    uint64_t api_major;\n", Some("member 1 was")),
        ("    int dtype;\n", "    int dtype;\n    int in_the_padding;\n", Some("member 2 was")),
        ("    size_t length;\n} kymhost_text;", "    size_t length;\n    int more;\n} kymhost_text;", Some("frozen")),
        ("#define KYMHOST_LOG_DEBUG 3", "#define KYMHOST_LOG_DEBUG 4", Some("KYMHOST_LOG_DEBUG was 3")),
        ("#define KYMHOST_KIND_CSV 2", "#define KYMHOST_FORM_CSV 2", Some("KYMHOST_KIND_CSV was 2")),
        (
            "typedef struct kymhost_array {",
            "typedef struct kymhost_new { int dtype; } kymhost_new;\ntypedef struct kymhost_array {",
            Some("kymhost_new does not begin with its size"),
        ),
    ];
    let then = golden("1.1");
    for (from, to, words) in cases {
        assert!(header.contains(from), "the header changed: {from}");
        // Functions that use what is gone do not matter for the layout.
        let edited = header.replacen(from, to, 1);
        let edited = match edited.split_once("/* --- Growth --- */") {
            Some((before, _)) => format!("{before}\n#ifdef __cplusplus\n}}\n#endif\n#endif\n"),
            None => panic!("the header changed: no part 'Growth'"),
        };
        let now = contract_of(&edited).expect("a compiler");
        match (check_append(&then, &now), words) {
            (Ok(()), None) => {}
            (Err(why), Some(words)) => assert!(why.contains(words), "{to}: {why}"),
            (found, expected) => panic!("{from} -> {to}: {found:?}, expected {expected:?}"),
        }
    }
    // Trailing padding: no struct of ours has any, so one is made up.
    let padded = |more: &str| {
        Contract::from_text(&format!("struct s 16\ns.struct_size 0 8 size_t struct_size\ns.a 8 4 int a\n{more}"))
    };
    let why = check_append(&padded(""), &padded("s.b 12 4 int b\n")).unwrap_err();
    assert!(why.contains("in the 16 bytes that there were"), "{why}");
}
