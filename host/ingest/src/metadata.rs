//! The metadata payload: what is known about a recording apart from its pixels, and which source wins. Never reads files.

use crate::olympus;
use kymhost_dataset::epoch_ns;
use kymhost_plugin_api::Json;
use kymhost_plugin_api::json::Object;

/// The version of payloads that are written.
const VERSION: &str = "2.0";
/// The version of ROIs that are written.
const ROI_VERSION: &str = "1.0";
/// The most ROIs of one image: more than anyone draws.
const MAX_ROIS: usize = 100_000;

/// A payload, and what a person should know about it.
#[derive(Debug)]
pub struct Metadata {
    /// What is written.
    pub payload: Json,
    /// Notes for people.
    pub notes: Vec<String>,
}

/// Makes the payload of an image of this shape. What `json` says wins over what the header says; what neither says
/// is taken from `before`, the payload that the image had, if given: its header, and all of it if there is no `json`.
///
/// # Errors
/// If `json` is not a metadata payload: what is wrong with it.
pub fn payload(
    shape: &[usize],
    json: Option<&Json>,
    header: Option<&olympus::Header>,
    before: Option<&Json>,
) -> Result<Metadata, String> {
    let mut notes = Vec::new();
    let header_before = before.and_then(|before| before.get("header")).and_then(Json::as_object);
    // Of an image whose JSON is gone its ROIs and all else stay; its header is separate.
    let without_header = before.filter(|_| json.is_none()).and_then(Json::as_object).map(|before| {
        let mut rest = before.clone();
        rest.shift_remove("header");
        Json::Object(rest)
    });
    let root = match json.or(without_header.as_ref()) {
        None => None,
        Some(Json::Object(object)) => Some(object),
        Some(_) => return Err("it is JSON, but not an object".to_owned()),
    };
    let member = |name: &str| root.and_then(|object| object.get(name)).filter(|value| !value.is_null());
    let said = match member("header") {
        None => None,
        Some(Json::Object(object)) => Some(object),
        Some(other) => return Err(format!("its 'header' is {}, expected an object", brief(other))),
    };
    let experiment = match member("experiment_metadata") {
        None => Json::Object(Object::new()),
        Some(Json::Object(object)) => Json::Object(object.clone()),
        Some(other) => return Err(format!("its 'experiment_metadata' is {}, expected an object", brief(other))),
    };
    let rois = match member("rois") {
        None => Vec::new(),
        Some(Json::Array(rois)) => {
            rois.iter().enumerate().map(|(at, roi)| rect(at, roi, shape)).collect::<Result<_, _>>()?
        }
        Some(other) => return Err(format!("its 'rois' are {}, expected a list", brief(other))),
    };
    if rois.len() > MAX_ROIS {
        return Err(format!("it has more than {MAX_ROIS} ROIs"));
    }
    let rois = numbered(if rois.is_empty() { vec![whole_image(shape)] } else { rois });
    let header = self::header(shape, said, header, header_before, &mut notes);
    let mut payload = Object::new();
    payload.insert("version".to_owned(), VERSION.into());
    payload.insert("header".to_owned(), header);
    payload.insert("experiment_metadata".to_owned(), experiment);
    payload.insert("rois".to_owned(), Json::Array(rois));
    for (name, value) in root.into_iter().flatten() {
        if !payload.contains_key(name) {
            payload.insert(name.clone(), value.clone());
        }
    }
    Ok(Metadata { payload: Json::Object(payload), notes })
}

/// A payload with another's header. Used if a person edited the ROIs and the pixels are read again.
pub fn with_header_of(edited: &Json, made: &Json) -> Json {
    let (Json::Object(edited), Some(header)) = (edited, made.get("header")) else { return made.clone() };
    let mut payload = edited.clone();
    payload.insert("header".to_owned(), header.clone());
    Json::Object(payload)
}

/// A payload that was made over `base`, merged with what another program has made of `base` meanwhile: what they have
/// changed stays. The names of members that both have changed, each to something else, are returned with it.
pub fn merged(base: Option<&Json>, ours: &Json, theirs: &Json) -> (Json, Vec<String>) {
    let mut differing = Vec::new();
    let merged = merged_at("", base, ours, theirs, &mut differing);
    (merged, differing)
}

fn merged_at(place: &str, base: Option<&Json>, ours: &Json, theirs: &Json, differing: &mut Vec<String>) -> Json {
    let (Json::Object(our_members), Json::Object(their_members)) = (ours, theirs) else {
        if base != Some(ours) && ours != theirs {
            differing.push(if place.is_empty() { "the whole payload".to_owned() } else { place.to_owned() });
        }
        return theirs.clone();
    };
    let before = |name: &str| base.and_then(|base| base.get(name));
    let mut merged = Object::new();
    for (name, theirs) in their_members {
        let place = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
        match our_members.get(name) {
            // Nothing of theirs: ours, and if we have left it out, it goes.
            ours if before(name) == Some(theirs) => drop(ours.map(|ours| merged.insert(name.clone(), ours.clone()))),
            Some(ours) => {
                let member = merged_at(&place, before(name), ours, theirs, differing);
                merged.insert(name.clone(), member);
            }
            None => drop(merged.insert(name.clone(), theirs.clone())),
        }
    }
    for (name, ours) in our_members.iter().filter(|(name, _)| !their_members.contains_key(name.as_str())) {
        // What they have taken out stays out.
        if before(name).is_none() {
            merged.insert(name.clone(), ours.clone());
        }
    }
    Json::Object(merged)
}

fn header(
    shape: &[usize],
    said: Option<&Object>,
    olympus: Option<&olympus::Header>,
    before: Option<&Object>,
    notes: &mut Vec<String>,
) -> Json {
    let lengths = || shape.iter().copied().collect::<Json>();
    let mut header = Object::new();
    header.insert("shape".to_owned(), lengths());
    header.insert("ndim".to_owned(), shape.len().into());
    let member = |of: Option<&Object>, name: &str| of.and_then(|of| of.get(name)).filter(|v| !v.is_null()).cloned();
    let given = |name: &str| member(said, name);
    let kept = |name: &str| member(before, name);
    if let Some(other) = given("shape").filter(|other| *other != lengths()) {
        notes.push(format!("its JSON says that its shape is {other}, it is {}", lengths()));
    }
    let are_voxels = |voxels: &Json| are_lengths(voxels, shape.len());
    let voxels = given("voxels").filter(are_voxels);
    if voxels.is_none() && given("voxels").is_some() {
        notes.push("the voxels in its JSON are left out: they are not one positive number per axis".to_owned());
    }
    let kept_voxels = || kept("voxels").filter(are_voxels);
    let [lines, pixels] = shape else {
        // Only the JSON of a stack says what its axes measure.
        let voxels = voxels.or_else(kept_voxels);
        let fits = |name: &str| match name {
            "physical_size" => voxels.is_some() && kept("shape").is_none_or(|shape| shape == lengths()),
            "labels" | "voxels_units" => voxels.is_some(),
            _ => true,
        };
        let before = before.into_iter().flatten().filter(|(name, _)| fits(name));
        for (name, value) in said.into_iter().flatten().chain(before) {
            let value = if name == "voxels" { voxels.as_ref() } else { Some(value) };
            if let Some(value) = value.filter(|_| !header.contains_key(name)) {
                header.insert(name.clone(), value.clone());
            }
        }
        return Json::Object(header);
    };
    let from_olympus = || {
        let olympus = olympus?;
        if let Some((width, height)) = olympus.size
            && (height, width) != (*lines as u64, *pixels as u64)
        {
            notes.push(format!(
                "its header says {height} lines of {width} pixels, it has {lines} of {pixels}; the time of a line is that \
                 of the {lines}"
            ));
        }
        match (olympus.duration_sec, olympus.um_per_pixel) {
            (Some(duration_sec), Some(um_per_pixel)) if *lines > 0 => {
                Some(Json::from(vec![duration_sec / *lines as f64, um_per_pixel]))
            }
            _ => {
                notes.push("its header lacks the time of a line or the size of a pixel".to_owned());
                None
            }
        }
    };
    let voxels = voxels.or_else(from_olympus);
    let are_kept = voxels.is_none();
    let voxels = voxels.or_else(kept_voxels);
    let labels = given("labels").or_else(|| kept("labels"));
    let labels = labels.unwrap_or_else(|| Json::from(vec!["time (s)", "space (um)"]));
    let measures = voxels.as_ref().and_then(|voxels| {
        let mut numbers = voxels.as_array()?.iter().filter_map(Json::as_f64);
        Some((numbers.next()?, numbers.next()?))
    });
    if let (Some(voxels), Some((seconds, um))) = (voxels, measures) {
        let units = given("voxels_units").or_else(|| kept("voxels_units").filter(|_| are_kept));
        let units = units.unwrap_or_else(|| Json::from(vec!["s", "um"]));
        let computed = || Json::from(vec![*lines as f64 * seconds, *pixels as f64 * um]);
        // Of another shape it would be another size.
        let same = |shape: Option<Json>| shape.is_none_or(|shape| shape == lengths());
        let size = given("physical_size").filter(|_| same(given("shape")));
        let size = size.or_else(|| kept("physical_size").filter(|_| are_kept && same(kept("shape"))));
        let size = size.filter(|size| are_lengths(size, 2)).unwrap_or_else(computed);
        header.insert("voxels".to_owned(), voxels);
        header.insert("voxels_units".to_owned(), units);
        header.insert("labels".to_owned(), labels);
        header.insert("physical_size".to_owned(), size);
    } else {
        header.insert("labels".to_owned(), labels);
    }
    let acquired = given("acquired_local_epoch_ns").as_ref().and_then(epoch_ns);
    let acquired = acquired.or_else(|| olympus.and_then(|olympus| olympus.acquired_local_epoch_ns));
    if let Some(time) = acquired.or_else(|| kept("acquired_local_epoch_ns").as_ref().and_then(epoch_ns)) {
        header.insert("acquired_local_epoch_ns".to_owned(), time.into());
    }
    // Everything else in its JSON stays. Sizes without a pixel size would be misleading.
    for (name, value) in said.into_iter().flatten().chain(before.into_iter().flatten()) {
        let known = ["voxels", "voxels_units", "physical_size", "acquired_local_epoch_ns"].contains(&name.as_str());
        if !known && !header.contains_key(name) {
            header.insert(name.clone(), value.clone());
        }
    }
    Json::Object(header)
}

/// Whether this is a list of this many positive numbers.
fn are_lengths(json: &Json, count: usize) -> bool {
    json.as_array().is_some_and(|items| {
        items.len() == count
            && items.iter().all(|item| item.as_f64().is_some_and(|value| value.is_finite() && value > 0.0))
    })
}

/// A value in a message.
fn brief(json: &Json) -> String {
    let text = json.to_string();
    if text.chars().count() > 40 { format!("{}…", text.chars().take(39).collect::<String>()) } else { text }
}

/// Both forms of an ROI as the enveloped one. If it has no id, it gets one later.
fn rect(at: usize, roi: &Json, shape: &[usize]) -> Result<Object, String> {
    let place = format!("ROI {} of its 'rois'", at + 1);
    let Json::Object(roi) = roi else { return Err(format!("{place} is {}, expected an object", brief(roi))) };
    if roi.contains_key("roi_type") || roi.contains_key("data") {
        return enveloped(&place, roi, shape);
    }
    let edge = |name: &str, default: usize| match roi.get(name).filter(|value| !value.is_null()) {
        None => Ok(Json::from(default)),
        Some(value) => {
            whole(value).ok_or_else(|| format!("{place}: its '{name}' is {}, expected a number", brief(value)))
        }
    };
    let (height, width) = plane(shape);
    let data = Json::object([
        ("x0", edge("dim1_start", 0)?),
        ("x1", edge("dim1_stop", width)?),
        ("y0", edge("dim0_start", 0)?),
        ("y1", edge("dim0_stop", height)?),
    ]);
    const PLACED: [&str; 9] =
        ["id", "channel", "z", "name", "note", "dim0_start", "dim0_stop", "dim1_start", "dim1_stop"];
    // What the enveloped form has no place for: the revision, figures of the image under it, and whatever else.
    let meta: Object = roi
        .iter()
        .filter(|(name, _)| !PLACED.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let own = |name: &str| roi.get(name).filter(|value| !value.is_null()).cloned();
    Ok(envelope(own("id"), own("name"), own("note"), own("channel"), own("z"), data, Json::Object(meta)))
}

fn envelope(
    id: Option<Json>,
    name: Option<Json>,
    note: Option<Json>,
    channel: Option<Json>,
    z: Option<Json>,
    data: Json,
    meta: Json,
) -> Object {
    let mut roi = Object::new();
    roi.insert("roi_id".to_owned(), id.unwrap_or(Json::Null));
    roi.insert("roi_type".to_owned(), "rect".into());
    roi.insert("version".to_owned(), ROI_VERSION.into());
    roi.insert("name".to_owned(), name.unwrap_or_else(|| "".into()));
    roi.insert("note".to_owned(), note.unwrap_or_else(|| "".into()));
    roi.insert("channel".to_owned(), channel.unwrap_or_else(|| 1.into()));
    roi.insert("z".to_owned(), z.unwrap_or_else(|| 0.into()));
    roi.insert("data".to_owned(), data);
    roi.insert("meta".to_owned(), meta);
    roi
}

/// An ROI that has the enveloped form already: members that it lacks are filled in, all others stay as they are. One
/// that is not a rectangle stays as it is: an analysis may refuse it.
fn enveloped(place: &str, roi: &Object, shape: &[usize]) -> Result<Object, String> {
    let (height, width) = plane(shape);
    let whole_plane =
        || Json::object([("x0", Json::from(0)), ("x1", width.into()), ("y0", 0.into()), ("y1", height.into())]);
    let is_rect = roi.get("roi_type").is_none_or(|kind| kind.as_str() == Some("rect"));
    let data = match roi.get("data").filter(|data| !data.is_null()) {
        None if is_rect => whole_plane(),
        None => Json::Null,
        Some(Json::Object(data)) => {
            for (name, value) in data.iter().filter(|_| is_rect) {
                let is_edge = ["x0", "x1", "y0", "y1"].contains(&name.as_str());
                if is_edge && whole(value).is_none() {
                    return Err(format!("{place}: its '{name}' is {}, expected a number", brief(value)));
                }
            }
            Json::Object(data.clone())
        }
        Some(other) if is_rect => return Err(format!("{place}: its 'data' is {}, expected an object", brief(other))),
        Some(other) => other.clone(),
    };
    let own = |name: &str| roi.get(name).filter(|value| !value.is_null()).cloned();
    let meta = own("meta").unwrap_or_else(|| Json::Object(Object::new()));
    let id = own("roi_id").or_else(|| own("id"));
    let mut filled = envelope(id, own("name"), own("note"), own("channel"), own("z"), data, meta);
    for (name, value) in roi.iter().filter(|(name, value)| *name != "id" && !value.is_null()) {
        if name != "data" {
            filled.insert(name.clone(), value.clone());
        }
    }
    Ok(filled)
}

/// Lines and pixels: the last two lengths.
fn plane(shape: &[usize]) -> (usize, usize) {
    match shape {
        [.., height, width] => (*height, *width),
        _ => (0, 0),
    }
}

/// A number as an integer; a fraction is rounded.
fn whole(json: &Json) -> Option<Json> {
    if let Some(value) = json.as_i64() {
        return Some(value.into());
    }
    let value = json.as_f64().filter(|value| value.is_finite() && value.abs() < 9e15)?;
    Some((value.round() as i64).into())
}

fn whole_image(shape: &[usize]) -> Object {
    let (height, width) = plane(shape);
    let data = Json::object([("x0", Json::from(0)), ("x1", width.into()), ("y0", 0.into()), ("y1", height.into())]);
    envelope(Some(1.into()), None, None, None, None, data, Json::Object(Object::new()))
}

/// Each ROI with an id: those that have none, or one that another has before them, get the next that is free.
fn numbered(mut rois: Vec<Object>) -> Vec<Json> {
    let mut taken = std::collections::HashSet::new();
    let mut nameless = Vec::new();
    for (at, roi) in rois.iter().enumerate() {
        let id = roi.get("roi_id").filter(|id| !id.is_null()).map(Json::to_string);
        if id.is_none_or(|id| !taken.insert(id)) {
            nameless.push(at);
        }
    }
    let mut next = 1i64;
    for at in nameless {
        while !taken.insert(Json::from(next).to_string()) {
            next += 1;
        }
        if let Some(roi) = rois.get_mut(at) {
            roi.insert("roi_id".to_owned(), next.into());
        }
    }
    rois.into_iter().map(Json::Object).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    fn made(shape: &[usize], json_text: Option<&str>, header: Option<olympus::Header>) -> Json {
        payload(shape, json_text.map(json).as_ref(), header.as_ref(), None).unwrap().payload
    }

    #[track_caller]
    fn is(found: Option<&Json>, expected: &str) {
        assert_eq!(found, Some(&json(expected)));
    }

    const ROI: &str = r#"{"roi_id": 1, "roi_type": "rect", "version": "1.0", "name": "", "note": "", "channel": 1, "z": 0,
        "data": {"x0": 0, "x1": 4, "y0": 0, "y1": 10}, "meta": {}}"#;

    #[test]
    fn metadata_of_pixels_alone() {
        let payload = made(&[10, 4], None, None);
        is(
            Some(&payload),
            &format!(
                r#"{{"version": "2.0", "header": {{"shape": [10, 4], "ndim": 2, "labels": ["time (s)", "space (um)"]}},
                "experiment_metadata": {{}}, "rois": [{ROI}]}}"#
            ),
        );
    }

    #[test]
    fn metadata_of_a_header() {
        let header = olympus::Header {
            um_per_pixel: Some(0.5),
            duration_sec: Some(5.0),
            size: Some((4, 10)),
            acquired_local_epoch_ns: Some(7),
        };
        let found = payload(&[10, 4], None, Some(&header), None).unwrap();
        assert_eq!(found.notes, [""; 0]);
        is(
            found.payload.get("header"),
            r#"{"shape": [10, 4], "ndim": 2, "voxels": [0.5, 0.5], "voxels_units": ["s", "um"],
            "labels": ["time (s)", "space (um)"], "physical_size": [5.0, 2.0], "acquired_local_epoch_ns": 7}"#,
        );
        let other = payload(&[20, 4], None, Some(&header), None).unwrap();
        assert!(other.notes[0].contains("10 lines of 4 pixels, it has 20 of 4"), "{:?}", other.notes);
        is(other.payload.get("header").unwrap().get("voxels"), "[0.25, 0.5]");
        let half = payload(&[10, 4], None, Some(&olympus::Header { um_per_pixel: None, ..header }), None).unwrap();
        assert!(half.payload.get("header").unwrap().get("voxels").is_none());
        assert_eq!(half.notes.len(), 1);
        // It does not say the axes of a stack.
        assert!(made(&[2, 10, 4], None, Some(header)).get("header").unwrap().get("voxels").is_none());
    }

    #[test]
    fn metadata_json_wins_over_header() {
        let header = olympus::Header {
            um_per_pixel: Some(0.5),
            duration_sec: Some(5.0),
            size: None,
            acquired_local_epoch_ns: Some(7),
        };
        let text = r#"{"version": "1.0", "header": {"shape": [10, 4], "voxels": [0.25, 2], "labels": ["a", "b"],
            "physical_size": [2.6, 8], "more": 1}, "experiment_metadata": {"species": "mouse"}, "rois": [], "extra": [2]}"#;
        let payload = made(&[10, 4], Some(text), Some(header));
        is(
            Some(&payload),
            &format!(
                r#"{{"version": "2.0", "header": {{"shape": [10, 4], "ndim": 2, "voxels": [0.25, 2], "voxels_units": ["s", "um"],
                "labels": ["a", "b"], "physical_size": [2.6, 8], "acquired_local_epoch_ns": 7, "more": 1}},
                "experiment_metadata": {{"species": "mouse"}}, "rois": [{ROI}], "extra": [2]}}"#
            ),
        );
        let odd = super::payload(
            &[10, 4],
            Some(&json(r#"{"header": {"shape": [4, 10], "voxels": [0, 1]}}"#)),
            Some(&header),
            None,
        );
        let odd = odd.unwrap();
        is(odd.payload.get("header").unwrap().get("voxels"), "[0.5, 0.5]");
        assert_eq!(odd.notes.len(), 2, "{:?}", odd.notes);
    }

    #[test]
    fn merged_payload_keeps_what_others_changed() {
        let base = r#"{"version": "2.0", "header": {"shape": [2, 2], "voxels": [1, 1]}, "rois": [1], "old": 1}"#;
        let ours = r#"{"version": "2.0", "header": {"shape": [3, 2], "voxels": [2, 1]}, "rois": [1], "new": 1}"#;
        for (theirs, expected, differing) in [
            // Nothing.
            (base, ours, &[][..]),
            // Another member.
            (
                r#"{"version": "2.0", "header": {"shape": [2, 2], "voxels": [1, 1]}, "rois": [1, 2], "old": 1}"#,
                r#"{"version": "2.0", "header": {"shape": [3, 2], "voxels": [2, 1]}, "rois": [1, 2], "new": 1}"#,
                &[],
            ),
            // The same member, to something else, and one that we take out.
            (
                r#"{"version": "2.0", "header": {"shape": [2, 2], "voxels": [9, 9]}, "rois": [1], "old": 2, "theirs": 0}"#,
                r#"{"version": "2.0", "header": {"shape": [3, 2], "voxels": [9, 9]}, "rois": [1], "old": 2, "theirs": 0, "new": 1}"#,
                &["header.voxels"],
            ),
            // The same member, to the same.
            (r#"{"version": "2.0", "header": {"shape": [3, 2], "voxels": [1, 1]}, "rois": [1], "old": 1}"#, ours, &[]),
            // Members that they take out.
            (r#"{"version": "2.0", "old": 1}"#, r#"{"version": "2.0", "new": 1}"#, &[]),
            ("7", "7", &["the whole payload"]),
        ] {
            let (found, names) = merged(Some(&json(base)), &json(ours), &json(theirs));
            is(Some(&found), expected);
            assert_eq!(names, differing, "{theirs}");
        }
        // There was none when ours was made.
        let (found, names) = merged(None, &json(ours), &json(r#"{"rois": [7], "theirs": 1}"#));
        assert_eq!((found.get("rois"), found.get("theirs")), (Some(&json("[7]")), Some(&json("1"))));
        assert!(found.get("header").is_some());
        assert_eq!(names, ["rois"]);
    }

    #[test]
    fn rois_of_both_forms_become_enveloped() {
        let flat = r#"{"rois": [{"id": 2, "channel": 3, "z": 1, "name": "n", "note": "m", "revision": 4, "img_min": 1.5,
            "dim0_start": 1, "dim0_stop": 9.0, "dim1_start": 2, "dim1_stop": 99}]}"#;
        is(
            made(&[10, 4], Some(flat), None).get("rois"),
            r#"[{"roi_id": 2, "roi_type": "rect", "version": "1.0", "name": "n",
            "note": "m", "channel": 3, "z": 1, "data": {"x0": 2, "x1": 99, "y0": 1, "y1": 9},
            "meta": {"revision": 4, "img_min": 1.5}}]"#,
        );
        let theirs = r#"[{"roi_id": 5, "roi_type": "rect", "version": "1.1", "name": "n", "note": "", "channel": 1, "z": 0,
            "data": {"x0": 0, "x1": 1, "y0": 2, "y1": 3}, "meta": {"a": 1}, "colour": "red"}]"#;
        is(made(&[10, 4], Some(&format!(r#"{{"rois": {theirs}}}"#)), None).get("rois"), theirs);
        let mask = r#"[{"roi_id": 1, "roi_type": "mask", "version": "1.0", "name": "", "note": "", "channel": 1, "z": 0,
            "data": {"mask": [1, 0]}, "meta": {}}]"#;
        is(made(&[10, 4], Some(&format!(r#"{{"rois": {mask}}}"#)), None).get("rois"), mask);
        let nameless = made(&[10, 4], Some(r#"{"rois": [{}, {"id": 1}, {"id": 1}, {"id": "a"}]}"#), None);
        let ids: Vec<String> = nameless
            .get("rois")
            .unwrap()
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r.get("roi_id").unwrap().to_string())
            .collect();
        assert_eq!(ids, ["2", "1", "3", "\"a\""]);
    }

    #[test]
    fn metadata_keeps_earlier_values_of_missing_files() {
        let before = json(
            r#"{"version": "2.0", "header": {"shape": [10, 4], "ndim": 2, "voxels": [0.5, 2], "voxels_units": ["ms", "nm"],
                "labels": ["t", "s"], "physical_size": [5.5, 8], "acquired_local_epoch_ns": 7, "more": 1},
                "experiment_metadata": {"by": "me"}, "rois": [{"roi_id": 4, "roi_type": "rect", "version": "1.0", "name": "n",
                "note": "", "channel": 1, "z": 0, "data": {"x0": 1, "x1": 2, "y0": 3, "y1": 4}, "meta": {}}], "extra": [1]}"#,
        );
        let made = |shape: &[usize], json: Option<&Json>, header: Option<&olympus::Header>| {
            payload(shape, json, header, Some(&before)).unwrap().payload
        };
        assert_eq!(made(&[10, 4], None, None), before, "all of it stays");
        // Other pixels: what they say is new.
        let longer = made(&[20, 4], None, None);
        is(
            longer.get("header"),
            r#"{"shape": [20, 4], "ndim": 2, "voxels": [0.5, 2], "voxels_units": ["ms", "nm"], "labels": ["t", "s"],
                "physical_size": [10.0, 8.0], "acquired_local_epoch_ns": 7, "more": 1}"#,
        );
        assert_eq!(longer.get("rois"), before.get("rois"));
        // A JSON that is there says which ROIs there are; its header is filled up.
        let other = json(r#"{"header": {"labels": ["a", "b"]}, "rois": [{"id": 9}]}"#);
        let filled = made(&[10, 4], Some(&other), None);
        is(
            filled.get("header"),
            r#"{"shape": [10, 4], "ndim": 2, "voxels": [0.5, 2], "voxels_units": ["ms", "nm"], "labels": ["a", "b"],
                "physical_size": [5.5, 8], "acquired_local_epoch_ns": 7, "more": 1}"#,
        );
        assert_eq!(filled.get("rois").unwrap().as_array().unwrap()[0].get("roi_id"), Some(&Json::from(9)));
        assert_eq!(filled.get("experiment_metadata"), Some(&json("{}")));
        // The text header wins over earlier values.
        let header = olympus::Header { duration_sec: Some(2.5), um_per_pixel: Some(0.5), ..olympus::Header::default() };
        is(
            made(&[10, 4], None, Some(&header)).get("header"),
            r#"{"shape": [10, 4], "ndim": 2, "voxels": [0.25, 0.5], "voxels_units": ["s", "um"], "labels": ["t", "s"],
                "physical_size": [2.5, 2.0], "acquired_local_epoch_ns": 7, "more": 1}"#,
        );
        // Voxels of two axes are none of three.
        is(
            made(&[2, 10, 4], None, None).get("header"),
            r#"{"shape": [2, 10, 4], "ndim": 3, "acquired_local_epoch_ns": 7, "more": 1}"#,
        );
        // A time that was written as a float is one.
        let float = json(r#"{"header": {"acquired_local_epoch_ns": 1753186394620000000.0}}"#);
        let made = payload(&[10, 4], Some(&float), None, None).unwrap().payload;
        let time = made.get("header").and_then(|header| header.get("acquired_local_epoch_ns"));
        assert_eq!(time, Some(&Json::from(1_753_186_394_620_000_000_i64)));
    }

    #[test]
    fn metadata_rejects_wrong_members() {
        for (text, says) in [
            ("[]", "not an object"),
            (r#"{"header": []}"#, "'header'"),
            (r#"{"experiment_metadata": 1}"#, "'experiment_metadata'"),
            (r#"{"rois": {"a": 1}}"#, "'rois'"),
            (r#"{"rois": [1]}"#, "ROI 1"),
            (r#"{"rois": [{}, {"dim0_stop": "x"}]}"#, "ROI 2"),
            (r#"{"rois": [{"roi_type": "rect", "data": {"x0": NaN}}]}"#, "'x0'"),
            (r#"{"rois": [{"roi_type": "rect", "data": 1}]}"#, "'data'"),
        ] {
            let why = payload(&[10, 4], Some(&json(text)), None, None).unwrap_err();
            assert!(why.contains(says), "{text}: {why}");
        }
    }
}
