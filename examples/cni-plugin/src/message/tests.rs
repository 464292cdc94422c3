use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

fn attachment() -> impl Strategy<Value = Attachment> {
    ("[a-z0-9][a-z0-9._-]{0,64}", "[a-z][a-z0-9@]{0,14}").prop_map(|(container, interface)| Attachment {
        container: container.parse().unwrap(),
        interface: interface.parse().unwrap(),
    })
}

fn pod() -> impl Strategy<Value = Option<Pod>> {
    let pod = ("[a-z0-9]{1,63}", "[a-z0-9]{1,253}", proptest::option::of("[a-f0-9]{1,36}"));
    proptest::option::of(pod.prop_map(|(namespace, name, uid)| Pod {
        namespace: namespace.parse().unwrap(),
        name: name.parse().unwrap(),
        uid: uid.map(|uid| uid.parse().unwrap()),
    }))
}

fn placed() -> impl Strategy<Value = Placed> {
    let addresses = proptest::collection::vec(any::<IpAddr>(), 0..5);
    let parts = (attachment(), pod(), "/[a-z\"\\\\ä]{0,20}", addresses);
    parts.prop_map(|(attachment, pod, path, addresses)| {
        let path = PathBuf::from(path).try_into().unwrap();
        Placed { attachment, pod, path, addresses }
    })
}

fn leaving() -> impl Strategy<Value = Leaving> {
    (attachment(), pod()).prop_map(|(attachment, pod)| Leaving { attachment, pod })
}

fn valid() -> impl Strategy<Value = Valid> {
    proptest::collection::vec(attachment(), 0..20).prop_map(|attachments| Valid { attachments })
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        placed().prop_map(Request::Add),
        placed().prop_map(Request::Check),
        leaving().prop_map(Request::Del),
        valid().prop_map(Request::Gc),
        Just(Request::Status),
    ]
}

proptest! {
    #[test]
    fn a_request_arrives_as_it_was_sent(request in request()) {
        prop_assert_eq!(Request::decode(&request.encode().unwrap()).unwrap(), request);
    }

    /// Whatever was cut off, what is left is no request.
    #[test]
    fn a_part_of_a_request_is_none(request in request(), part in 0.0..1.0) {
        let bytes = request.encode().unwrap();
        let cut = bytes.iter().enumerate().take_while(|(at, _)| (*at as f64) < part * (bytes.len() - 1) as f64).count();
        prop_assert!(Request::decode(&bytes[..cut]).is_err());
    }

    #[test]
    fn a_changed_request_is_a_request_or_an_error(request in request(), at: prop::sample::Index, to: u8) {
        let mut bytes = request.encode().unwrap();
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(request) = Request::decode(&bytes) {
            prop_assert!(request.encode().is_ok());
        }
    }

    #[test]
    fn every_reason_fits_into_an_answer(words in "(\\PC|[\u{0}-\u{1f}\"\\\\\u{7f}\u{9b}]){0,1500}") {
        let answer = Answer::refused(&words);
        prop_assert_eq!(Answer::decode(&answer.encode().unwrap()).unwrap(), answer.clone());
        let Answer::Refused(reason) = answer else { unreachable!() };
        prop_assert!(reason.to_string().len() <= Reason::MAX && !reason.to_string().contains(char::is_control));
    }
}

/// The words on the wire: two builds talk to each other while one is replaced.
#[test]
fn the_words() {
    let attachment = Attachment { container: "c1".parse().unwrap(), interface: "eth0".parse().unwrap() };
    let pod = Some(Pod {
        namespace: "shop".parse().unwrap(),
        name: "web".parse().unwrap(),
        uid: Some("u".parse().unwrap()),
    });
    let path = PathBuf::from("/run/netns/a").try_into().unwrap();
    let placed = Placed {
        attachment: attachment.clone(),
        pod,
        path,
        addresses: vec!["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()],
    };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    assert_eq!(
        text(Request::Add(placed).encode().unwrap()),
        r#"{"version":1,"message":{"add":{"attachment":{"container":"c1","interface":"eth0"},"pod":{"namespace":"shop","name":"web","uid":"u"},"path":"/run/netns/a","addresses":["10.0.0.2","fd00::2"]}}}"#
    );
    let del = Request::Del(Leaving { attachment: attachment.clone(), pod: None });
    assert_eq!(
        text(del.encode().unwrap()),
        r#"{"version":1,"message":{"del":{"attachment":{"container":"c1","interface":"eth0"}}}}"#
    );
    let gc = Request::Gc(Valid { attachments: vec![attachment] });
    assert_eq!(
        text(gc.encode().unwrap()),
        r#"{"version":1,"message":{"gc":{"attachments":[{"container":"c1","interface":"eth0"}]}}}"#
    );
    assert_eq!(text(Request::Status.encode().unwrap()), r#"{"version":1,"message":"status"}"#);
    assert_eq!(text(Answer::NotOurs.encode().unwrap()), r#"{"version":1,"message":"notOurs"}"#);
    assert_eq!(text(Answer::Done.encode().unwrap()), r#"{"version":1,"message":"done"}"#);
    let again = Answer::try_again("no\nproxy");
    assert_eq!(text(again.encode().unwrap()), r#"{"version":1,"message":{"tryAgain":"no\\nproxy"}}"#);
}

#[test]
fn another_version_is_known_as_such() {
    let error = Request::decode(br#"{"version":2,"something":"else"}"#).unwrap_err();
    assert_eq!(error.to_string(), "a message of version 2; only 1 is spoken here");
    for bytes in [&b""[..], b"{}", b"[]", br#"{"version":1}"#, br#"{"version":1,"message":"status","x":1}"#] {
        assert!(matches!(Request::decode(bytes), Err(MessageError::Malformed(_))), "{bytes:?}");
    }
    let long = vec![b' '; MAX_REQUEST + 1];
    assert!(matches!(Request::decode(&long), Err(MessageError::TooLong { .. })));
}

#[test]
fn a_thousand_containers_fit() {
    let attachment =
        Attachment { container: "f".repeat(64).parse().unwrap(), interface: "eth0".parse().unwrap() };
    let request = |count| Request::Gc(Valid { attachments: vec![attachment.clone(); count] });
    assert!(request(2000).encode().is_ok());
    assert!(matches!(request(5000).encode(), Err(MessageError::TooLong { .. })));
}
