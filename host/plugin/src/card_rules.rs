//! Whether a card fits this host, and what to do if it does not.
//!
//! Pure rules over cards: no file is read and no library is loaded here.

use crate::error::Refusal;
use crate::indexer::IndexerInfo;
use crate::names::fault_of_name;
use kymhost_plugin_api::Artifact;
use kymhost_plugin_api::card::{API, ApiVersion, Card, CardIndexer};
use kymhost_plugin_api::ffi::c_door;
use kymhost_store::text::one_line;

/// Whether a host of this API may load a plugin with this card.
///
/// The promise: the same major version, older or newer minor, unless the plugin needs more than the host has.
pub(crate) fn check_api(card: &Card, host: ApiVersion) -> Result<(), Refusal> {
    let Card { api, needs_api, sdk, .. } = card;
    if api.major != host.major {
        return Err(Refusal::new(
            "api_major",
            format!("it was built for plugin API {api} (kymhost-plugin-api {sdk}), this kymhost has plugin API {host}"),
            if api.major > host.major {
                upgrade_kymhost(&format!("{}.x", api.major))
            } else {
                upgrade_plugin(card, &format!("{}.x", host.major))
            },
        ));
    }
    if *needs_api > host {
        return Err(Refusal::new(
            "api_minor",
            format!(
                "it needs at least plugin API {needs_api} (built with kymhost-plugin-api {sdk}), this kymhost has plugin API {host}"
            ),
            upgrade_kymhost(&format!("{needs_api} or a later {}.x", host.major)),
        ));
    }
    Ok(())
}

/// Whether all of its indexers have names that tables can have; no run accepts others.
pub(crate) fn check_names(card: &Card) -> Result<(), Refusal> {
    for indexer in &card.indexers {
        if let Some(why) = fault_of_name(&indexer.name) {
            return Err(Refusal::new(
                "bad_name",
                format!("its card lists '{}', which cannot name an indexer: {why}", one_line(&indexer.name)),
                "rename it where the plugin declares it (NAME in Rust, the first argument of KYMHOST_INDEXER in C), and \
                 rebuild the plugin",
            ));
        }
    }
    Ok(())
}

/// The card of a loaded library must be that of its file.
pub(crate) fn check_loaded_card(loaded: &[u8], card: &Card) -> Result<(), Refusal> {
    if Card::parse(loaded).as_ref() == Ok(card) {
        return Ok(());
    }
    Err(mismatch("the card in its file is not the one that it was built with"))
}

pub(crate) fn mismatch(what: impl Into<String>) -> Refusal {
    Refusal::new(
        "card_mismatch",
        what,
        format!(
            "rebuild or reinstall the plugin (export_plugin! of kymhost-plugin-api {API}, or KYMHOST_PLUGIN of \
             kymhost_plugin.h, keeps both the same)"
        ),
    )
}

fn artifacts(list: &[Artifact]) -> String {
    list.iter().map(|artifact| format!("{} ({:?})", artifact.name, artifact.kind)).collect::<Vec<_>>().join(", ")
}

pub(crate) fn difference(card: &CardIndexer, loaded: &IndexerInfo) -> Option<(&'static str, String, String)> {
    [
        ("analysis version", card.analysis_version.clone(), loaded.analysis_version.clone()),
        ("marker", card.marker.clone(), loaded.marker_name.clone()),
        ("params artifacts", card.params_artifacts.join(", "), loaded.params_artifacts.join(", ")),
        ("writes", artifacts(&card.writes), artifacts(&loaded.writes)),
        ("reads", card.reads.join(", "), loaded.reads.join(", ")),
        ("params schema", card.params_schema.clone(), loaded.params_schema.clone()),
    ]
    .into_iter()
    .find(|(_, card, loaded)| card != loaded)
    .map(|(what, card, loaded)| (what, format!("'{card}'"), format!("'{loaded}'")))
}

/// Advice if the host is the older side. kymhost is built from source: there is no release to download.
pub(crate) fn upgrade_kymhost(api: &str) -> String {
    format!(
        "upgrade kymhost to a version with plugin API {api}: in the folder of its source, \
         git pull && cargo build --release; the plugin can stay as it is"
    )
}

/// Advice if the plugin is the older side, or was built wrongly.
pub(crate) fn upgrade_plugin(card: &Card, api: &str) -> String {
    let build = if card.door == c_door::DOOR {
        format!(
            "replace kymhost_plugin.h with that of plugin API {api} \
             (`kymhost plugin new NAME --lang c` unpacks this kymhost's), make"
        )
    } else {
        format!(
            "replace kymhost-plugin-api with version {api} (`kymhost plugin new NAME` unpacks this kymhost's into vendor/), \
             cargo update -p kymhost-plugin-api && cargo build --release"
        )
    };
    format!("upgrade the plugin: in the folder of its source, {build}, then kymhost plugin add . --replace")
}

/// Advice if a library does not match its card or its door.
pub(crate) fn rebuild_help(card: &Card) -> String {
    if card.api > API { upgrade_kymhost(&card.api.to_string()) } else { upgrade_plugin(card, &API.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kymhost_plugin_api::card::{DOOR, MAGIC};

    fn card(api: &str, needs_api: &str) -> Card {
        let json = format!(
            r#"{{"card": 1, "api": "{api}", "needs_api": "{needs_api}", "door": "{DOOR}", "sdk": "{api}.3", "rustc": "r",
                "target": "t", "indexers": [{{"name": "a", "analysis_version": "v", "marker": "m"}}]}}"#
        );
        let mut section = MAGIC.to_vec();
        section.extend((json.len() as u32).to_le_bytes());
        section.extend(json.as_bytes());
        Card::parse(&section).expect("a card")
    }

    #[test]
    fn check_api_follows_the_version_rules() {
        type Case<'a> = ((u32, u32), &'a str, &'a str, Option<(&'a str, &'a str)>);
        // host, the plugin's api and needs_api, the code and words of the refusal
        let cases: &[Case<'_>] = &[
            ((1, 0), "1.0", "1.0", None),
            ((1, 3), "1.0", "1.0", None),
            ((1, 3), "1.3", "1.3", None),
            ((1, 3), "1.9", "1.3", None),
            ((1, 3), "1.9", "1.4", Some(("api_minor", "upgrade kymhost"))),
            ((1, 3), "1.9", "2.0", Some(("api_minor", "upgrade kymhost"))),
            ((1, 3), "2.0", "2.0", Some(("api_major", "upgrade kymhost"))),
            ((1, 3), "2.0", "1.0", Some(("api_major", "upgrade kymhost"))),
            ((2, 0), "1.9", "1.0", Some(("api_major", "upgrade the plugin"))),
            ((1, 0), "0.9", "0.9", Some(("api_major", "upgrade the plugin"))),
        ];
        for ((major, minor), api, needs_api, expected) in cases {
            let host = ApiVersion { major: *major, minor: *minor };
            let result = check_api(&card(api, needs_api), host);
            match (result, expected) {
                (Ok(()), None) => {}
                (Err(refusal), Some((code, words))) => {
                    assert_eq!(refusal.code, *code, "{api} in {host}");
                    let text = format!("{}\n{}", refusal.why, refusal.help);
                    assert!(text.contains(words) && text.contains(&host.to_string()), "{text}");
                    assert!(text.contains(if *code == "api_major" { api } else { needs_api }), "{text}");
                    assert!(text.lines().count() <= 4, "{text}");
                }
                (result, _) => panic!("{api} needing {needs_api} in {host}: {result:?}"),
            }
        }
    }

    #[test]
    fn check_names_rejects_what_no_run_accepts() {
        for (name, word) in [
            ("a", None),
            (" A", None),
            ("../..", Some("character")),
            ("Wrong-Name", Some("character")),
            ("kym_a", Some("kym_")),
            ("", Some("empty")),
        ] {
            let mut card = card("1.0", "1.0");
            let mut second = card.indexers[0].clone();
            second.name = name.to_owned();
            card.indexers.push(second);
            let found = check_names(&card);
            match (found, word) {
                (Ok(()), None) => {}
                (Err(Refusal { code, why, .. }), Some(word)) => {
                    assert_eq!(code, "bad_name", "{name}");
                    assert!(why.contains(word) && why.contains(&format!("'{name}'")), "{why}");
                }
                (found, _) => panic!("{name}: {found:?}"),
            }
        }
    }
}
