//! What is printed of sources has no secret in it.

use std::fmt::Debug;
use std::fs;
use std::time::Duration;

use inpod_identity::Ca;
use inpod_identity::source::{
    Cache, Clock, EmbeddedCa, Files, Fixed, Layout, Limits, Material, Publisher, Source,
};

use crate::issuer::{Behaviour, Scripted};
use crate::lab::{self, HOUR, domain, id, pem, provider};
use crate::virtual_time::pass;

/// Everything that a key could look like in a text: in any base, in base64, escaped.
fn shapes(secret: &[u8]) -> Vec<String> {
    // Of the middle, which is the secret half of a P-256 key in PKCS#8 (RFC 5915), and long enough to be no accident.
    let middle = &secret[36..60];
    let base64 = pem("X", secret);
    let base64: String = base64.lines().nth(1).unwrap().chars().skip(52).take(24).collect();
    let joined =
        |format: fn(&u8) -> String, between| middle.iter().map(format).collect::<Vec<_>>().join(between);
    vec![
        joined(|byte| format!("{byte}"), ", "),
        joined(|byte| format!("{byte:02x}"), ""),
        joined(|byte| format!("{byte:02X}"), ""),
        joined(|byte| format!("{byte:#04x}"), ", "),
        middle.escape_ascii().to_string(),
        base64,
    ]
}

fn assert_silent(secrets: &[Vec<u8>], what: &dyn Debug) {
    for text in [format!("{what:?}"), format!("{what:#?}").replace(",\n", ", ").replace('\n', "")] {
        // The pretty form has one number on each line.
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for secret in secrets {
            for shape in shapes(secret) {
                assert!(!text.contains(&shape), "{shape} in {text}");
            }
        }
    }
}

#[test]
#[should_panic(expected = " in ")]
fn the_test_finds_what_it_looks_for() {
    let ca = Ca::generate_at(domain(), lab::now()).unwrap();
    let svid = ca.issue(&id("/x"), HOUR, lab::now()).unwrap();
    let key = svid.key().secret_der().to_vec();
    assert_silent(std::slice::from_ref(&key), &key);
}

#[tokio::test(start_paused = true)]
async fn nothing_that_holds_a_key_prints_it() {
    let ca = Ca::generate_at(domain(), lab::now() - HOUR).unwrap();
    let svid = ca.issue(&id("/x"), HOUR, lab::now()).unwrap();
    let material = Material::new(svid.clone(), ca.bundle().clone()).unwrap();
    let mut secrets = vec![svid.key().secret_der().to_vec()];

    let publisher = Publisher::new();
    publisher.publish(material.clone());
    let fixed = Fixed::new(material.clone());
    assert_silent(&secrets, &(&svid, &material, &publisher, publisher.watch(), &fixed, fixed.watch()));

    let folder = tempfile::tempdir().unwrap();
    let chain = pem("CERTIFICATE", &svid.chain()[0]);
    for (name, text) in [
        ("tls.crt", chain),
        ("tls.key", pem("PRIVATE KEY", svid.key().secret_der())),
        ("ca.crt", ca.bundle().to_pem()),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let clock = Clock::new(lab::now);
    let (files, driver) = Files::with_clock(Layout::cert_manager(folder.path()), provider(), clock.clone());
    assert_silent(&secrets, &(&files, &driver));
    let driver = tokio::spawn(driver.run());
    let mut watch = files.watch();
    watch.first().await.unwrap();
    // A key that is not the certificate's is in the error's neighbourhood.
    let other = ca.issue(&id("/x"), HOUR, lab::now()).unwrap();
    secrets.push(other.key().secret_der().to_vec());
    fs::write(folder.path().join("tls.key"), pem("PRIVATE KEY", other.key().secret_der())).unwrap();
    pass(Duration::from_secs(2)).await;
    let trouble = watch.trouble().unwrap();
    assert_silent(&secrets, &(&files, &watch, &trouble, &driver));

    let issuer = EmbeddedCa::new(ca, HOUR);
    let text = format!("{issuer:?}");
    assert!(text.contains("EmbeddedCa"));
    let (cache, driver) = Cache::with_clock(issuer, Limits::default(), clock.clone());
    assert_silent(&secrets, &driver);
    tokio::spawn(driver.run());
    let lease = cache.lease(&id("/x")).unwrap();
    secrets.push(lease.material().await.unwrap().svid().key().secret_der().to_vec());
    assert_silent(&secrets, &(&cache, &lease, lease.watch(), lease.material().await));

    let wrong = Scripted::new(Behaviour::WrongId, Duration::ZERO);
    let (cache, driver) = Cache::with_clock(wrong, Limits::default(), clock);
    tokio::spawn(driver.run());
    let refusal = cache.lease(&id("/x")).unwrap().material().await.unwrap_err();
    assert!(format!("{refusal:?}").contains("/ns/other/sa/other"));
}
