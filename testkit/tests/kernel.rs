//! The laboratory itself, in the kernel.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, ExitCode};
use std::{io, thread};

use inpod_testkit::kernel::{Outcome, run, test};
use inpod_testkit::lab::Lab;

fn main() -> ExitCode {
    run(vec![
        test("the_sandbox_has_only_a_loopback", only_a_loopback),
        test("two_pods_reach_each_other", two_pods_reach_each_other),
        test("a_pod_reaches_the_node", a_pod_reaches_the_node),
        test("labs_do_not_see_each_other", labs_do_not_see_each_other),
        test("a_program_runs_in_its_pod", a_program_runs_in_its_pod),
    ])
}

fn only_a_loopback() -> Outcome {
    let interfaces: Vec<_> = nix::ifaddrs::getifaddrs()?.map(|interface| interface.interface_name).collect();
    assert!(!interfaces.is_empty() && interfaces.iter().all(|name| name == "lo"), "{interfaces:?}");
    let listener = TcpListener::bind("127.0.0.1:0")?;
    TcpStream::connect(listener.local_addr()?)?;
    Ok(())
}

fn two_pods_reach_each_other() -> Outcome {
    let lab = Lab::new()?;
    let (a, b) = (lab.pod("a")?, lab.pod("b")?);
    for (from, to) in [(IpAddr::from(a.v4()), IpAddr::from(b.v4())), (a.v6().into(), b.v6().into())] {
        let listener = b.run(|| TcpListener::bind((to, 0)))??;
        let server = listener.local_addr()?;
        let client = thread::scope(|scope| {
            let client = scope.spawn(|| a.run(|| TcpStream::connect(server)));
            let (mut stream, peer) = listener.accept()?;
            assert_eq!(peer.ip(), from);
            stream.write_all(b"hello")?;
            client.join().map_err(|_| io::Error::other("the client panicked"))
        })???;
        let mut heard = String::new();
        (&client).read_to_string(&mut heard)?;
        assert_eq!(heard, "hello");
    }
    Ok(())
}

fn a_pod_reaches_the_node() -> Outcome {
    let lab = Lab::new()?;
    let pod = lab.pod("a")?;
    for address in [IpAddr::from(lab.v4()), lab.v6().into()] {
        let listener = lab.node().run(|| TcpListener::bind((address, 0)))??;
        let server = listener.local_addr()?;
        pod.run(|| TcpStream::connect(server))??;
    }
    Ok(())
}

/// Both have the same addresses, and in each they are its own.
fn labs_do_not_see_each_other() -> Outcome {
    let (first, second) = (Lab::new()?, Lab::new()?);
    let (here, there) = (first.pod("a")?, second.pod("a")?);
    assert_eq!(here.v4(), there.v4());
    let listener = here.run(|| TcpListener::bind((here.v4(), 80)))??;
    let server = SocketAddr::from((here.v4(), 80));
    let refused = there.run(|| TcpStream::connect(server))?;
    assert_eq!(refused.err().map(|error| error.kind()), Some(io::ErrorKind::ConnectionRefused));
    first.node().run(|| TcpStream::connect(server))??;
    drop(listener);
    Ok(())
}

fn a_program_runs_in_its_pod() -> Outcome {
    let pod = Lab::new()?.pod("a")?;
    let mut command = Command::new("readlink");
    let child = pod.spawn(command.arg("/proc/self/ns/net").stdout(std::process::Stdio::piped()))?;
    let output = child.wait_with_output()?;
    let expected = format!("net:[{}]\n", pod.namespace().id().inode());
    assert_eq!(String::from_utf8(output.stdout)?, expected);
    Ok(())
}
