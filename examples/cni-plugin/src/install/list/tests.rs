use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn entry() -> Entry {
    Entry::new(&Agent { socket: "/run/a.sock".into(), limit: Duration::from_secs(30) })
}

const OURS: &str = r#"{"type":"inpod-cni","agentSocket":"/run/a.sock","answerLimitSeconds":30}"#;

const PRETTY: &str = r#"{
	"cniVersion": "1.0.0",  "name": "pods", "huge": 123456789012345678901234567890,
	"plugins": [
		{ "type": "ptp", "mtu": 1.50e3 },
		{ "type": "portmap", "capabilities": {"portMappings": true} }
	],
	"last": "\u00e4"
}
"#;

fn with(text: &str) -> String {
    List::parse(text).unwrap().with(&entry()).unwrap()
}

fn without(text: &str) -> String {
    List::parse(text).unwrap().without()
}

#[test]
fn ours_comes_last_and_nothing_else_changes() {
    let portmap = r#"{"portMappings": true} }"#;
    let expected = PRETTY.replace(portmap, &format!("{portmap},\n\t\t{OURS}"));
    let installed = with(PRETTY);
    assert_eq!(installed, expected);
    assert_eq!(with(&installed), installed, "twice is once");
    assert_eq!(without(&installed), PRETTY);
    assert_eq!(without(PRETTY), PRETTY);
}

#[test]
fn on_one_line_too() {
    let text = r#"{"cniVersion":"0.3.1","name":"n","plugins":[{"type":"a"}]}"#;
    let installed = with(text);
    assert_eq!(
        installed,
        format!(r#"{{"cniVersion":"0.3.1","name":"n","plugins":[{{"type":"a"}},{OURS}]}}"#)
    );
    assert_eq!(without(&installed), text);
}

/// Somebody appended behind us, changed us, or had us twice: it is put right.
#[test]
fn what_others_made_of_it_is_put_right() {
    let list = |plugins: &[&str]| {
        format!(r#"{{"cniVersion":"1.1.0","name":"n","plugins":[ {} ]}}"#, plugins.join(" , "))
    };
    let (a, b, old) = (r#"{"type":"a"}"#, r#"{"type":"b"}"#, r#"{"type":"inpod-cni"}"#);
    for plugins in [
        &[OURS, a, b][..],
        &[a, OURS, b],
        &[a, b, old],
        &[a, b, OURS, OURS],
        &[old, a, OURS, b, old],
        &[old, old, a, b],
    ] {
        let installed = with(&list(plugins));
        let kinds: Vec<_> =
            List::parse(&installed).unwrap().plugins.iter().map(|plugin| plugin.is_ours).collect();
        assert_eq!(kinds, [false, false, true], "{installed}");
        assert!(installed.contains(OURS), "{installed}");
        let left = without(&list(plugins));
        assert_eq!(List::parse(&left).unwrap().plugins.len(), 2, "{left}");
        assert!(!left.contains("inpod"), "{left}");
    }
    // The same in other words is the same.
    let spaced =
        list(&[a, r#"{ "answerLimitSeconds": 30, "type": "inpod-cni", "agentSocket": "/run/a.sock" }"#]);
    assert_eq!(with(&spaced), spaced);
}

#[test]
fn a_list_of_us_alone_is_none_to_be_chained_to() {
    let text = format!(r#"{{"cniVersion":"1.1.0","name":"n","plugins":[ {OURS}, {OURS} ]}}"#);
    assert!(matches!(List::parse(&text).unwrap().with(&entry()), Err(ListError::Alone)));
    assert_eq!(without(&text), r#"{"cniVersion":"1.1.0","name":"n","plugins":[  ]}"#);
    assert!(List::parse(&without(&text)).unwrap().is_empty());
}

#[test]
fn what_a_runtime_would_not_use_is_no_list() {
    for text in [
        "",
        "[]",
        "{}",
        r#"{"plugins":[{"type":"a"}]}"#,
        r#"{"name":"","plugins":[{"type":"a"}]}"#,
        r#"{"name":"n"}"#,
        r#"{"name":"n","plugins":{}}"#,
        r#"{"name":"n","plugins":[{}]}"#,
        r#"{"name":"n","plugins":[7]}"#,
        r#"{"name":"n","plugins":[{"type":""}]}"#,
        r#"{"name":"n","plugins":[{"type":"a"}]"#,
        r#"{"name":"n","cniVersion":7,"plugins":[{"type":"a"}]}"#,
    ] {
        assert!(List::parse(text).is_err(), "{text}");
    }
}

/// Chained to it we would keep every pod from starting.
#[test]
fn a_version_that_we_do_not_speak_is_refused() {
    for version in [r#""cniVersion":"0.2.0","#, r#""cniVersion":"9.9.9","#, r#""cniVersion":"","#, ""] {
        let text = format!(r#"{{{version}"name":"n","plugins":[{{"type":"a"}}]}}"#);
        let refused = List::parse(&text).unwrap().with(&entry());
        assert!(matches!(refused, Err(ListError::Version(_))), "{refused:?}");
        let single = convert(&format!(r#"{{{version}"name":"n","type":"a"}}"#), &entry());
        assert!(single.is_err_and(|error| !error.is_passed_over()));
    }
}

#[test]
fn the_last_of_two_fields_counts() {
    let text = r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"a"}],"plugins":[{"type":"b"}]}"#;
    let installed = with(text);
    assert!(installed.ends_with(&format!(r#"[{{"type":"b"}},{OURS}]}}"#)), "{installed}");
    assert_eq!(without(&installed), text);
}

#[test]
fn a_single_plugin_becomes_a_list() {
    let single =
        "\n{ \"cniVersion\": \"0.3.1\", \"name\": \"mynet\", \"type\": \"bridge\", \"big\": 1e400 }\n";
    let expected = format!(
        "{{\n  \"cniVersion\": \"0.3.1\",\n  \"name\": \"mynet\",\n  \"plugins\": [\n    {},\n    {OURS}\n  ]\n}}\n",
        single.trim()
    );
    assert_eq!(convert(single, &entry()).unwrap(), expected);
    for wrong in ["{}", r#"{"name":"n","cniVersion":"1.0.0"}"#, "x"] {
        assert!(convert(wrong, &entry()).is_err_and(|error| error.is_passed_over()), "{wrong}");
    }
    assert!(matches!(
        convert(OURS.replace('{', "{\"name\":\"n\",").as_str(), &entry()),
        Err(ListError::Alone)
    ));
}

#[test]
fn files_are_known_by_their_names() {
    assert_eq!(Kind::of("10-a.conflist"), Some(Kind::List));
    assert_eq!((Kind::of("a.conf"), Kind::of("a.json")), (Some(Kind::Single), Some(Kind::Single)));
    assert_eq!(
        (Kind::of("a.conf.bak"), Kind::of("conflist"), Kind::of(".inpod-cni.tmp")),
        (None, None, None)
    );
}

/// Any list, with our plugin anywhere in it.
fn lists() -> impl Strategy<Value = String> {
    let space = "[ \t\n\r]{0,3}";
    let plugin = prop_oneof![
        Just(r#"{"type":"a","x":[1,{"type":"inpod-cni"}]}"#.to_owned()),
        Just(r#"{"x":"],{\"","type":"b"}"#.to_owned()),
        Just(OURS.to_owned()),
        Just(r#"{"type":"inpod-cni","old":true}"#.to_owned()),
    ];
    let plugins = proptest::collection::vec((space, plugin, space), 0..6);
    (plugins, space).prop_map(|(plugins, space)| {
        let plugins: Vec<_> =
            plugins.iter().map(|(before, plugin, after)| format!("{before}{plugin}{after}")).collect();
        format!(
            "{{{space}\"cniVersion\":\"1.0.0\",\"name\":{space}\"n\",\"plugins\":{space}[{}]}}",
            plugins.join(",")
        )
    })
}

proptest! {
    #[test]
    fn installing_is_idempotent_and_can_be_undone(text in lists()) {
        let list = List::parse(&text).unwrap();
        let without = list.without();
        let others = List::parse(&without).unwrap();
        prop_assert!(others.plugins.iter().all(|plugin| !plugin.is_ours));
        if others.is_empty() {
            prop_assert!(list.with(&entry()).is_err());
        } else {
            let installed = list.with(&entry()).unwrap();
            prop_assert_eq!(&with(&installed), &installed);
            prop_assert_eq!(List::parse(&installed).unwrap().plugins.len(), others.plugins.len() + 1);
            prop_assert_eq!(&List::parse(&installed).unwrap().without(), &without);
        }
    }

    #[test]
    fn broken_text_is_a_list_or_an_error(text in lists(), at: prop::sample::Index, to in "[\\[\\]{}\",: a]") {
        let at = at.index(text.len());
        let broken = format!("{}{to}{}", &text[..at], &text[at + 1..]);
        if let Ok(list) = List::parse(&broken) {
            let _ = list.with(&entry());
            prop_assert!(List::parse(&list.without()).is_ok());
        }
    }
}
