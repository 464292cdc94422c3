//! The laboratory itself, in the kernel.

use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;

use inpod_testkit::kernel::{Outcome, run, test};

fn main() -> ExitCode {
    run(vec![test("the_sandbox_has_only_a_loopback", only_a_loopback)])
}

fn only_a_loopback() -> Outcome {
    let interfaces: Vec<_> = nix::ifaddrs::getifaddrs()?.map(|interface| interface.interface_name).collect();
    assert!(!interfaces.is_empty() && interfaces.iter().all(|name| name == "lo"), "{interfaces:?}");
    let listener = TcpListener::bind("127.0.0.1:0")?;
    TcpStream::connect(listener.local_addr()?)?;
    Ok(())
}
