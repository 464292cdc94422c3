//! Prints the rules of an intent, as `nft -f -` would load them. Touches nothing.
//!
//! ```text
//! cargo run -p inpod-redirect --example show -- --v4 --dns --ingress --interface tap0
//! ```

use std::error::Error;
use std::process::ExitCode;

use inpod_redirect::{DnsCapture, Families, Inbound, Intent, InterfaceName, Plan, Port, render};

/// Istio's DNS port in the pod.
const DNS: u16 = 15053;

fn main() -> ExitCode {
    match intent(std::env::args().skip(1)) {
        Ok(intent) => {
            print!("{}", render::nft(&Plan::new(&intent)));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}\nusage: show [--v4] [--dns] [--ingress] [--interface NAME]...");
            ExitCode::FAILURE
        }
    }
}

fn intent(mut arguments: impl Iterator<Item = String>) -> Result<Intent, Box<dyn Error>> {
    let mut intent = Intent::ambient();
    let mut interfaces = Vec::new();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--v4" => intent = intent.with_families(Families::V4),
            "--dns" => intent = intent.with_dns(DnsCapture::To(Port::new(DNS)?))?,
            "--ingress" => intent = intent.with_inbound(Inbound::Bypassed)?,
            "--interface" => {
                interfaces.push(InterfaceName::new(arguments.next().ok_or("--interface needs a name")?)?);
            }
            other => return Err(format!("unknown argument {other:?}").into()),
        }
    }
    Ok(intent.with_virtual_interfaces(interfaces)?)
}
