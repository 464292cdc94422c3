//! A cluster's pods: enrolled, released and told of, whatever becomes of the API server.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::sync::Arc;

use inpod_proxy_core::agent::kubernetes::{Access, Kubernetes};
use inpod_proxy_core::agent::{Captured, Recognised, Source as _};
use inpod_proxy_core::{Node, capture};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use redirect::Verdict;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use testkit::kernel::{Case, Outcome, test};
use testkit::kubernetes::Fault;
use testkit::lab::Pod;

use crate::mesh::{Cluster, Following, Mesh, NodeAgent, Place, Result, description, starting, wait_for};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        test("labels_enrol_and_release_pods", labels_enrol_and_release_pods),
        test("an_api_server_that_is_away_changes_nothing", an_api_server_that_is_away_changes_nothing),
        test("an_agent_waits_for_both_lists", an_agent_waits_for_both_lists),
        test("a_pod_of_the_same_name_is_another_one", a_pod_of_the_same_name_is_another_one),
        test("a_sandbox_that_is_made_anew_is_enrolled", a_sandbox_that_is_made_anew_is_enrolled),
        test("a_pod_that_is_nowhere_is_shown", a_pod_that_is_nowhere_is_shown),
        test("a_guest_does_not_lend_its_host", a_guest_does_not_lend_its_host),
        test("a_label_that_changed_meanwhile_is_followed", a_label_that_changed_meanwhile_is_followed),
        test("a_runtime_is_told_as_the_labels_say", a_runtime_is_told_as_the_labels_say),
        test("a_runtime_is_not_told_what_nobody_knows", a_runtime_is_not_told_what_nobody_knows),
        test(
            "an_annotation_that_is_refused_holds_nothing_up",
            an_annotation_that_is_refused_holds_nothing_up,
        ),
        test("the_api_server_proves_who_it_is", the_api_server_proves_who_it_is),
    ]
}

/// Pods of a mesh, and an agent and a proxy that follow a cluster which does not know them yet.
struct Site<const N: usize> {
    mesh: Mesh,
    cluster: Cluster,
    place: Place,
    agent: NodeAgent,
    source: Arc<Kubernetes>,
    following: Following,
    pods: [Pod; N],
}

impl<const N: usize> Site<N> {
    fn of(names: [&str; N]) -> Result<Self> {
        let (mesh, pods) = Mesh::of(names)?;
        let (cluster, place) = (Cluster::new()?, Place::new()?);
        let agent = NodeAgent::start(&place)?;
        let following = Following::start(Node::new(mesh.shared.clone())?, &place.zds())?;
        let source = cluster.follow(&agent)?;
        Ok(Self { mesh, cluster, place, agent, source, following, pods })
    }

    fn is_captured(&self, pod: &Pod) -> Result<bool> {
        let plan = capture::plan(&self.mesh.shared.config)?;
        Ok(capture::verify(pod.namespace(), &plan)? == Verdict::Same)
    }

    /// Waits until a pod is in the mesh, and that is said of it; or out, and nothing is.
    fn wait_for_member(&self, pod: &Pod, wanted: bool) -> Result<()> {
        let is_so = || Ok(self.is_captured(pod)? == wanted);
        wait_for(is_so).map_err(|error| self.explain(pod, &error.to_string()))?;
        let said = self.cluster.wait_for_redirection(pod, wanted.then_some("enabled"));
        said.map_err(|error| self.explain(pod, &error.to_string()).into())
    }

    fn explain(&self, pod: &Pod, error: &str) -> String {
        let (status, problems) = (self.agent.status_of(pod.name()), self.source.problems());
        format!("{} {error}: {status:?} {problems:?}", pod.name())
    }

    fn wait_for_problem(&self, of: &str, part: &str) -> Result<()> {
        let shown = || Ok(self.source.problems().get(of).is_some_and(|problem| problem.contains(part)));
        wait_for(shown).map_err(|error| format!("{error}: {of} {part}: {:?}", self.source.problems()).into())
    }

    fn wait_for_no_problem(&self) -> Result<()> {
        let none = || Ok(self.source.problems().is_empty());
        wait_for(none).map_err(|error| format!("{error}: {:?}", self.source.problems()).into())
    }
}

fn ambient() -> Value {
    json!({"istio.io/dataplane-mode": "ambient"})
}

fn none() -> Value {
    json!({"istio.io/dataplane-mode": "none"})
}

/// Changes a field of a pod's metadata.
fn set(pod: &mut Value, field: &str, value: Value) {
    if let Some(metadata) = pod.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert(field.into(), value);
    }
}

fn labels_enrol_and_release_pods() -> Outcome {
    let mut site = Site::of(["a", "b"])?;
    let [a, b] = site.pods.clone();
    site.cluster.start(&a, &ambient())?;
    site.cluster.start(&b, &json!({}))?;
    site.wait_for_member(&a, true)?;
    site.following.wait_for(|status| status.synced && status.serving == 1)?;
    assert!(!site.is_captured(&b)?);
    // The namespace's label is for all that do not say otherwise.
    site.cluster.api.put_namespace("test", &ambient());
    site.wait_for_member(&b, true)?;
    site.cluster.say(&a, "a", &none());
    site.wait_for_member(&a, false)?;
    site.cluster.api.put_namespace("test", &json!({}));
    site.wait_for_member(&b, false)?;
    site.following.wait_for(|status| status.serving == 0)?;
    site.cluster.say(&b, "b", &ambient());
    site.wait_for_member(&b, true)?;
    // One that is deleted is left by proxies, and its rules go with its namespace.
    site.cluster.api.delete_pod("test", "b");
    site.following.wait_for(|status| status.serving == 0)?;
    assert!(site.is_captured(&b)?);
    site.wait_for_no_problem()
}

fn an_api_server_that_is_away_changes_nothing() -> Outcome {
    let mut site = Site::of(["a", "b"])?;
    let [a, b] = site.pods.clone();
    let api = |site: &Site<2>, fault| site.cluster.api.fail(fault);
    site.cluster.start(&a, &ambient())?;
    site.cluster.start(&b, &json!({}))?;
    site.wait_for_member(&a, true)?;
    let mut b_is_in = false;
    for fault in [Fault::Away, Fault::Refusing(503), Fault::Refusing(401)] {
        api(&site, fault);
        site.wait_for_problem("API server: pods", "")?;
        site.wait_for_problem("API server: namespaces", "")?;
        // What changes meanwhile is followed when it is back, and what was stays until then.
        b_is_in = !b_is_in;
        site.cluster.say(&b, "b", &if b_is_in { ambient() } else { none() });
        assert!(site.is_captured(&a)? && site.is_captured(&b)? != b_is_in);
        site.following.wait_for(|status| status.synced && status.serving == if b_is_in { 1 } else { 2 })?;
        api(&site, Fault::None);
        site.wait_for_member(&b, b_is_in)?;
        site.wait_for_no_problem()?;
    }
    // A server that ends watches, and one that has forgotten what happened meanwhile.
    let forget: [fn(&Cluster); 3] = [
        |cluster| cluster.api.cut_watches(),
        |cluster| cluster.api.expire(false),
        |cluster| cluster.api.expire(true),
    ];
    for forget in forget {
        b_is_in = !b_is_in;
        site.cluster.say(&b, "b", &if b_is_in { ambient() } else { none() });
        forget(&site.cluster);
        site.wait_for_member(&b, b_is_in)?;
        assert!(site.is_captured(&a)?);
        site.wait_for_no_problem()?;
    }
    // One that was deleted while nobody was told.
    api(&site, Fault::Behind);
    site.cluster.api.delete_pod("test", "a");
    api(&site, Fault::Away);
    api(&site, Fault::None);
    site.following.wait_for(|status| status.serving == usize::from(b_is_in))
}

fn an_agent_waits_for_both_lists() -> Outcome {
    let (mesh, [a]) = Mesh::of(["a"])?;
    let (cluster, place) = (Cluster::new()?, Place::new()?);
    cluster.start(&a, &ambient())?;
    cluster.api.fail(Fault::Silent);
    let agent = NodeAgent::start(&place)?;
    let mut following = Following::start(Node::new(mesh.shared.clone())?, &place.zds())?;
    let source = cluster.follow(&agent)?;
    wait_for(|| {
        Ok(cluster.api.asked("GET /api/v1/pods") > 0 && cluster.api.asked("GET /api/v1/namespaces") > 0)
    })?;
    // A proxy that serves pods from before is not told that there are none.
    assert!(!agent.agent.status().complete);
    cluster.api.fail(Fault::None);
    following.wait_for(|status| status.synced && status.serving == 1)?;
    cluster.wait_for_redirection(&a, Some("enabled"))?;
    assert_eq!(source.problems().len(), 0);
    Ok(())
}

fn a_pod_of_the_same_name_is_another_one() -> Outcome {
    let mut site = Site::of(["a"])?;
    let [a] = site.pods.clone();
    site.cluster.start(&a, &ambient())?;
    site.wait_for_member(&a, true)?;
    // Its successor has another network, and is not in the mesh.
    let next = site.mesh.lab.pod("a")?;
    site.cluster.api.delete_pod("test", "a");
    site.cluster.run("a-2", next.namespace())?;
    site.cluster.say(&next, "a-2", &none());
    site.following.wait_for(|status| status.serving == 0)?;
    assert!(!site.is_captured(&next)?);
    let recognised = |uid| site.agent.recognise(&site.source, &starting(&next, Some(uid)));
    assert!(matches!(recognised("a-2"), Recognised::NotOurs));
    // The old one's answer is nobody's any more.
    assert!(matches!(recognised("a"), Recognised::Unknown(_)));
    site.cluster.say(&next, "a-3", &ambient());
    assert!(matches!(recognised("a-3"), Recognised::Ours(pod) if pod.uid == "a-3"));
    assert!(matches!(recognised("a-2"), Recognised::Unknown(_)));
    Ok(())
}

fn a_sandbox_that_is_made_anew_is_enrolled() -> Outcome {
    let site = Site::of(["a"])?;
    let [a] = site.pods.clone();
    let ours = site.agent.recognise(&site.source, &{
        site.cluster.say(&a, "a", &ambient());
        starting(&a, Some("a"))
    });
    let Recognised::Ours(pod) = ours else { return Err(format!("{ours:?}").into()) };
    site.agent.put_as(*pod)?;
    site.wait_for_member(&a, true)?;
    // The runtime has taken it away and brings another one, as after a reboot.
    site.source.ended("a");
    site.agent.agent.gone("a");
    let again = site.mesh.lab.pod("a")?;
    let ours = site.agent.recognise(&site.source, &starting(&again, Some("a")));
    assert!(
        matches!(&ours, Recognised::Ours(pod) if pod.namespace.id() == again.namespace().id()),
        "{ours:?}"
    );
    site.wait_for_member(&again, true)?;
    // And one that no runtime has told of.
    let third = site.mesh.lab.pod("a")?;
    site.cluster.say(&third, "a", &ambient());
    site.cluster.run("a", third.namespace())?;
    wait_for(|| site.is_captured(&third))?;
    Ok(())
}

fn a_pod_that_is_nowhere_is_shown() -> Outcome {
    let site = Site::of(["a"])?;
    let [a] = site.pods.clone();
    site.cluster.say(&a, "a", &ambient());
    site.wait_for_problem("test/a", "no process of it is found")?;
    assert_eq!(site.cluster.redirection(&a), None);
    // On the node's own network it is not.
    site.cluster.run("a", &netns::Namespace::current()?)?;
    site.wait_for_problem("test/a", "no process of it is found")?;
    site.cluster.run("a", a.namespace())?;
    site.wait_for_member(&a, true)?;
    site.wait_for_no_problem()
}

/// A process of one pod in the network of another, as one that debugs: the identity of one is not given to the other.
fn a_guest_does_not_lend_its_host() -> Outcome {
    let site = Site::of(["a", "host"])?;
    let [a, host] = site.pods.clone();
    site.cluster.run("a", host.namespace())?;
    site.cluster.say(&a, "a", &ambient());
    site.wait_for_problem("test/a", "in no network namespace that has its address")?;
    assert!(!site.is_captured(&host)?);
    site.cluster.run("a", a.namespace())?;
    site.wait_for_member(&a, true)?;
    assert!(!site.is_captured(&host)?);
    site.wait_for_no_problem()
}

fn a_label_that_changed_meanwhile_is_followed() -> Outcome {
    let Site { mesh, cluster, place, agent, following, source, pods: [a] } = Site::of(["a"])?;
    cluster.start(&a, &ambient())?;
    cluster.wait_for_redirection(&a, Some("enabled"))?;
    drop(source);
    agent.stop();
    // Its annotation is kept, as whoever changes the label does.
    let mut changed = description(&a, "a", &none());
    set(&mut changed, "annotations", json!({"ambient.istio.io/redirection": "enabled"}));
    cluster.api.put_pod(&changed);
    let plan = capture::plan(&mesh.shared.config)?;
    assert_eq!(capture::verify(a.namespace(), &plan)?, Verdict::Same);
    let agent = NodeAgent::start(&place)?;
    let _source = cluster.follow(&agent)?;
    cluster.wait_for_redirection(&a, None)?;
    assert_ne!(capture::verify(a.namespace(), &plan)?, Verdict::Same);
    drop(following);
    Ok(())
}

fn a_runtime_is_told_as_the_labels_say() -> Outcome {
    let site = Site::of(["a"])?;
    let [a] = site.pods.clone();
    let recognised = |uid| site.agent.recognise(&site.source, &starting(&a, uid));
    wait_for(|| Ok(site.agent.agent.status().complete))?;
    // Watches tell nothing of it yet: the API server is asked.
    site.cluster.api.fail(Fault::Behind);
    site.cluster.say(&a, "a", &none());
    assert!(matches!(recognised(Some("a")), Recognised::NotOurs));
    site.cluster.say(&a, "a", &ambient());
    assert!(matches!(recognised(None), Recognised::Ours(pod) if pod.uid == "a"));
    // Now it is known, and nobody need be asked.
    site.cluster.api.fail(Fault::Away);
    site.wait_for_problem("API server: pods", "")?;
    assert!(matches!(recognised(Some("a")), Recognised::Ours(_)));
    assert!(matches!(recognised(None), Recognised::Unknown(_)), "another one may have its name by now");
    let mut excluded = starting(&a, None);
    excluded.namespace = "kube-system".into();
    assert!(matches!(site.agent.recognise(&site.source, &excluded), Recognised::NotOurs));
    Ok(())
}

fn a_runtime_is_not_told_what_nobody_knows() -> Outcome {
    let site = Site::of(["a"])?;
    let [a] = site.pods.clone();
    let unknown = |uid| match site.agent.recognise(&site.source, &starting(&a, Some(uid))) {
        Recognised::Unknown(why) => Ok(why),
        other => Err(format!("{other:?}")),
    };
    assert_eq!(unknown("a")?, "the API server does not know the pod");
    let said = |path: &str, value: Value| {
        let mut changed = description(&a, "a", &ambient());
        if let Some(field) = changed.pointer_mut(path) {
            *field = value;
        }
        site.cluster.api.put_pod(&changed);
    };
    site.cluster.api.fail(Fault::Behind);
    said("/spec/nodeName", json!("n2"));
    assert!(unknown("a")?.contains("another node"));
    said("/metadata/uid", json!("other"));
    assert!(unknown("a")?.contains("another uid: other"));
    said("/status/phase", json!("Failed"));
    assert!(unknown("a")?.contains("has ended"));
    said("/metadata/uid", json!("\u{1b}[2J"));
    assert!(unknown("a")?.contains("its uid"));
    said("", json!({"metadata": {"namespace": "test", "name": "a"}}));
    assert!(unknown("a")?.contains("it has no uid"));
    // What it knows of one that was not in the mesh may be old.
    site.cluster.say(&a, "a", &none());
    site.cluster.api.fail(Fault::None);
    wait_for(|| {
        Ok(matches!(site.agent.recognise(&site.source, &starting(&a, Some("a"))), Recognised::NotOurs))
    })?;
    site.cluster.api.fail(Fault::Away);
    site.wait_for_problem("API server: pods", "")?;
    assert!(unknown("a")?.contains("the API server does not tell"));
    Ok(())
}

fn an_annotation_that_is_refused_holds_nothing_up() -> Outcome {
    let site = Site::of(["a"])?;
    let [a] = site.pods.clone();
    site.cluster.api.fail(Fault::RefusingPatches(500));
    site.cluster.start(&a, &ambient())?;
    site.agent
        .wait_for("a", |pod| pod.is_some_and(|pod| pod.is_enrolled() && pod.captured == Captured::Yes))?;
    wait_for(|| Ok(site.cluster.api.asked("PATCH") >= 2))?;
    site.cluster.api.fail(Fault::None);
    site.cluster.wait_for_redirection(&a, Some("enabled"))?;
    // It says so, and is not told again, whatever else changes.
    let patches = site.cluster.api.asked("PATCH");
    for round in 0..5 {
        let mut changed = site.cluster.api.pod("test", "a").ok_or("no pod")?;
        set(&mut changed, "generateName", json!(round.to_string()));
        site.cluster.api.put_pod(&changed);
        site.cluster.api.cut_watches();
    }
    // Another pod's is written after all that.
    let b = site.mesh.lab.pod("b")?;
    site.cluster.start(&b, &ambient())?;
    site.cluster.wait_for_redirection(&b, Some("enabled"))?;
    assert_eq!(site.cluster.api.asked("PATCH"), patches + 1);
    Ok(())
}

/// A CA, and a certificate of it for 127.0.0.1.
fn server_certificate() -> Result<(String, rustls::ServerConfig)> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate()?;
    let ca = params.self_signed(&ca_key)?.pem();
    let key = KeyPair::generate()?;
    let leaf =
        CertificateParams::new(["127.0.0.1".to_owned()])?.signed_by(&key, &Issuer::new(params, ca_key))?;
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    let config = rustls::ServerConfig::builder_with_provider(identity::tls::aws_lc_rs())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(leaf.der().to_vec())], key)?;
    Ok((ca, config))
}

/// Speaks TLS for a server that does not, until the test ends; its port.
fn speak_tls(config: rustls::ServerConfig, server: std::net::SocketAddr) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    listener.set_nonblocking(true)?;
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            loop {
                let (stream, acceptor) = (listener.accept().await?.0, acceptor.clone());
                tokio::spawn(async move {
                    let mut near = acceptor.accept(stream).await?;
                    let mut far = tokio::net::TcpStream::connect(server).await?;
                    tokio::io::copy_bidirectional(&mut near, &mut far).await
                });
            }
            #[expect(unreachable_code, reason = "it says what the error is")]
            Ok::<(), std::io::Error>(())
        })
    });
    Ok(port)
}

fn the_api_server_proves_who_it_is() -> Outcome {
    let (mesh, [a]) = Mesh::of(["a"])?;
    let (cluster, place) = (Cluster::new()?, Place::new()?);
    cluster.start(&a, &ambient())?;
    let (ca, config) = server_certificate()?;
    let (another_ca, _) = server_certificate()?;
    let port = speak_tls(config, cluster.api.address())?;
    let files = tempfile::TempDir::new()?;
    let (kubeconfig, authority) = (files.path().join("config"), files.path().join("ca.pem"));
    let text = cluster.api.kubeconfig().replace(
        &format!("\"http://{}\"", cluster.api.address()),
        &format!("\"https://127.0.0.1:{port}\",\"certificate-authority\":\"ca.pem\""),
    );
    fs::write(&kubeconfig, &text)?;
    fs::write(&authority, another_ca)?;
    let access = Access::kubeconfig(&kubeconfig, identity::tls::aws_lc_rs());
    let agent = NodeAgent::start(&place)?;
    let _following = Following::start(Node::new(mesh.shared.clone())?, &place.zds())?;
    let source = cluster.follow_by(&agent, &access)?;
    let refused =
        || Ok(source.problems().get("API server: pods").is_some_and(|why| why.contains("certificate")));
    wait_for(refused).map_err(|error| format!("{error}: {:?}", source.problems()))?;
    assert_eq!(cluster.api.asked("GET"), 0);
    // It is replaced, and read for the next connection.
    fs::File::create(&authority)?.write_all(ca.as_bytes())?;
    cluster.wait_for_redirection(&a, Some("enabled"))?;
    // The process has no default provider of it.
    assert!(rustls::crypto::CryptoProvider::get_default().is_none());
    for (said, wanted) in [
        ("\"insecure-skip-tls-verify\":true", "not honoured"),
        ("\"proxy-url\":\"http://p:1\"", "not honoured"),
    ] {
        fs::write(&kubeconfig, text.replace("\"certificate-authority\":\"ca.pem\"", said))?;
        let error = cluster.follow_by(&agent, &access).err().ok_or("it is taken")?;
        assert!(error.to_string().contains(wanted), "{error}");
    }
    Ok(())
}
