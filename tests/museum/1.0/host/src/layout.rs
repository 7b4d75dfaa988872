// The binary contract as text: every type that the root module leads to. Compiled into the host of 1.0, and by path into the
// tests of today.
//
// A line is `WAY TYPE SIZE ALIGNMENT KIND`. A way is the name of one of the contract's own prefix types (module, vtables), then
// for each step `.INDEX:FIELD`, for a function's parameters `(INDEX)` and for what it returns `->`. A prefix type says how many
// fields its prefix has, every other one how many it has in all. So what is appended to a prefix type adds lines, and changes
// none; all else changes one. What lies below a type of abi_stable's own is one number, made of all its lines.

use abi_stable::type_layout::{TLData, TLField, TypeLayout};
use std::collections::BTreeSet;

/// The package whose types are told in full.
const OURS: &str = "kymhost-plugin-api";

/// The module of the contract's types.
const CONTRACT: &str = "kymhost_plugin_api::ffi::contract";

/// The contract that begins at a type.
pub fn of(root: &'static TypeLayout) -> String {
    let mut walk = Walk { todo: Vec::new(), seen: BTreeSet::new() };
    let mut lines = walk.lines(root, "root", &mut Vec::new());
    while let Some((name, layout)) = walk.todo.pop() {
        if walk.seen.insert(name.clone()) {
            lines.extend(walk.prefix(layout, &name, &mut Vec::new()));
        }
    }
    // Sorted, so that what is found earlier by a way that is new moves nothing.
    lines.sort();
    lines.join("\n")
}

struct Walk {
    todo: Vec<(String, &'static TypeLayout)>,
    seen: BTreeSet<String>,
}

type Above = Vec<&'static TypeLayout>;

impl Walk {
    fn lines(&mut self, layout: &'static TypeLayout, way: &str, above: &mut Above) -> Vec<String> {
        let name = layout.full_type().to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        let head = |kind: String| format!("{way} {name} {} {} {kind}", layout.size(), layout.alignment());
        if above.iter().any(|other| other.get_utypeid() == layout.get_utypeid()) {
            return vec![head("again".to_owned())];
        }
        let is_ours = layout.package().as_str() == OURS;
        if is_ours && layout.is_prefix_kind() {
            // The modules below the contract's own, in which traits have their vtables.
            let path = format!("{:?}", layout.mod_path());
            let path = path.split('"').nth(1).and_then(|path| path.strip_prefix(CONTRACT)).unwrap_or(&path);
            let name = format!("{path}::{}", layout.name());
            let name = name.trim_start_matches(':').to_owned();
            self.todo.push((name.clone(), layout));
            return vec![head(format!("see {name}"))];
        }
        let before = self.todo.len();
        above.push(layout);
        let (kind, below) = match layout.data() {
            TLData::Primitive(primitive) => (format!("primitive {primitive:?}"), Vec::new()),
            TLData::Opaque => ("opaque".to_owned(), Vec::new()),
            TLData::Struct { fields } | TLData::Union { fields } => {
                (format!("struct of {}", fields.len()), self.fields(fields.iter(), way, above))
            }
            TLData::Enum(of) => (
                format!("enum {} {:?} {:?}", of.variant_names.as_str(), of.field_count.as_slice(), of.discriminants),
                self.fields(of.fields.iter(), way, above),
            ),
            TLData::PrefixType(of) => {
                (format!("prefix of {}", of.first_suffix_field), self.fields(of.fields.iter(), way, above))
            }
        };
        let mut below = below;
        // What a type is generic over, where no field has it.
        below.extend(self.fields(layout.phantom_fields().iter(), way, above));
        above.pop();
        let leads_to_ours = self.todo.len() > before;
        if !is_ours && !leads_to_ours && !below.is_empty() {
            let below: Vec<&str> = below.iter().map(|line| line.strip_prefix(way).unwrap_or(line)).collect();
            return vec![head(format!("{kind}, below it {:016x}", number_of(&below.join("\n"))))];
        }
        let mut lines = vec![head(kind)];
        lines.extend(below);
        lines
    }

    fn prefix(&mut self, layout: &'static TypeLayout, way: &str, above: &mut Above) -> Vec<String> {
        let TLData::PrefixType(of) = layout.data() else { return Vec::new() };
        above.push(layout);
        let mut lines = vec![format!("{way} prefix of {}", of.first_suffix_field)];
        lines.extend(self.fields(of.fields.iter(), way, above));
        above.pop();
        lines
    }

    fn fields(&mut self, fields: impl Iterator<Item = TLField>, way: &str, above: &mut Above) -> Vec<String> {
        let mut lines = Vec::new();
        for (index, field) in fields.enumerate() {
            let way = format!("{way}.{index:02}:{}", field.name());
            lines.extend(self.lines(field.layout(), &way, above));
            for function in field.function_range().iter() {
                for (index, parameter) in function.param_type_layouts.iter().enumerate() {
                    lines.extend(self.lines(parameter(), &format!("{way}({index})"), above));
                }
                if let Some(returned) = function.return_type_layout() {
                    lines.extend(self.lines(returned(), &format!("{way}->"), above));
                }
            }
        }
        lines
    }
}

/// FNV-1a: the same everywhere and for ever, and no library.
fn number_of(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
