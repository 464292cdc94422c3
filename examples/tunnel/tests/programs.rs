//! Both programs, in pods of a lab: what comes in at the one goes out at the other, and nobody else sees it.

#![expect(clippy::panic, reason = "a test without libtest's harness, which clippy does not know for one")]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread::yield_now;
use std::time::{Duration, SystemTime};

use inpod_identity::{Ca, ServiceAccount, SpiffeId, TrustDomain};
use testkit::canary::Capture;
use testkit::child::Child;
use testkit::http;
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::{INTERFACE, Lab, Pod};
use testkit::listening;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    testkit::kernel::run(cases())
}

fn cases() -> Vec<Case> {
    vec![
        test("requests_pass_and_the_wire_does_not_show_them", pass),
        test("another_identity_is_turned_away", another_identity),
        test("another_place_is_refused", another_place),
    ]
}

const TUNNELS: u16 = 15008;
const LOCAL: u16 = 8000;
const APPLICATION: u16 = 8080;
const CANARY: &[u8] = b"what nobody else is to see";

/// Two pods, one of them with an application, and a certificate for each of three workloads.
struct Scene {
    _lab: Lab,
    client: Pod,
    server: Pod,
    _application: http::Server,
    folder: tempfile::TempDir,
    domain: TrustDomain,
}

impl Scene {
    fn new() -> Result<Self> {
        let (lab, folder) = (Lab::new()?, tempfile::tempdir()?);
        let (client, server) = (lab.pod("client")?, lab.pod("server")?);
        let application = http::Server::start(server.namespace(), APPLICATION)?;
        let domain: TrustDomain = "example.org".parse()?;
        let scene = Self { _lab: lab, client, server, _application: application, folder, domain };
        let ca = Ca::generate(scene.domain.clone())?;
        fs::write(scene.path("roots.pem"), ca.bundle().to_pem())?;
        for name in ["cart", "till", "thief"] {
            let svid = ca.issue(&scene.id(name)?, Duration::from_secs(3600), SystemTime::now())?;
            fs::write(scene.path(&format!("{name}.pem")), svid.chain_to_pem())?;
            fs::write(scene.path(&format!("{name}.key")), svid.key_to_pem())?;
        }
        Ok(scene)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn id(&self, name: &str) -> Result<SpiffeId> {
        Ok(ServiceAccount::new("shop", name)?.spiffe_id(&self.domain))
    }

    fn application(&self) -> String {
        format!("{}:{APPLICATION}", self.server.v4())
    }

    /// A program that is one workload and expects another.
    fn program(&self, path: &str, is: &str, expects: &str) -> Result<Command> {
        let mut command = Command::new(path);
        command.arg("--svid").arg(self.path(&format!("{is}.pem")));
        command.arg("--key").arg(self.path(&format!("{is}.key")));
        command.arg("--roots").arg(self.path("roots.pem"));
        command.arg("--expect").arg(self.id(expects)?.to_string());
        Ok(command)
    }

    fn start_server(&self) -> Result<Child> {
        let mut command = self.program(env!("CARGO_BIN_EXE_tunnel-server"), "till", "cart")?;
        command.args(["--listen", &format!("0.0.0.0:{TUNNELS}"), "--to", &self.application()]);
        started("tunnel-server", &mut command, &self.server, (TUNNELS, &self.path("server.log")))
    }

    fn client_as(&self, is: &str, to: &str) -> Result<Command> {
        let mut command = self.program(env!("CARGO_BIN_EXE_tunnel-client"), is, "till")?;
        command.args(["--listen", &format!("127.0.0.1:{LOCAL}")]);
        command.args(["--server", &format!("{}:{TUNNELS}", self.server.v4()), "--to", to]);
        Ok(command)
    }

    fn start_client(&self, to: &str) -> Result<Child> {
        let mut command = self.client_as("cart", to)?;
        started("tunnel-client", &mut command, &self.client, (LOCAL, &self.path("client.log")))
    }
}

/// A program in a pod, once it listens on a port.
fn started(name: &'static str, command: &mut Command, pod: &Pod, (port, log): (u16, &Path)) -> Result<Child> {
    let mut child = Child::start(name, command, pod.namespace(), log)?;
    while listening(pod.namespace(), port)? == 0 {
        if !child.runs()? {
            return Err(child.with_log(format!("{name} has ended").into()));
        }
        yield_now();
    }
    Ok(child)
}

fn pass() -> Outcome {
    let scene = Scene::new()?;
    let (_server, _client) = (scene.start_server()?, scene.start_client(&scene.application())?);
    let wire = Capture::start(scene.client.namespace(), INTERFACE)?;
    for _ in 0..3 {
        let at = ([127, 0, 0, 1], LOCAL).into();
        let response = http::request(scene.client.namespace(), at, "/", CANARY)?;
        assert_eq!((response.status(), response.echo()), (200, Some(CANARY)));
    }
    let frames = wire.stop()?;
    assert!(!frames.is_empty() && !frames.contains(CANARY));
    Ok(())
}

fn another_identity() -> Outcome {
    let scene = Scene::new()?;
    let _server = scene.start_server()?;
    let mut thief = scene.client_as("thief", &scene.application())?;
    let output = scene.client.run(|| thief.output())??;
    assert!(!output.status.success(), "{output:?}");
    Ok(())
}

fn another_place() -> Outcome {
    let scene = Scene::new()?;
    let (_server, _client) = (scene.start_server()?, scene.start_client("10.0.0.1:80")?);
    let at = ([127, 0, 0, 1], LOCAL).into();
    match http::request(scene.client.namespace(), at, "/", b"") {
        Err(_) => {}
        Ok(response) => panic!("answered: {response:?}"),
    }
    let log = fs::read_to_string(scene.path("client.log"))?;
    assert!(log.contains("401"), "{log}");
    Ok(())
}
