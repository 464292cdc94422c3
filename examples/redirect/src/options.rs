//! Options: what to capture, as words of the command line.

use anyhow::Result;
use redirect::{
    DnsCapture, Exception, Families, Guard, Inbound, Intent, InterfaceName, Network, Plan, Port, PortRange,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Capture IPv4 only; IPv6 is then not captured at all
    #[arg(long)]
    v4_only: bool,
    /// Send DNS queries to this port
    #[arg(long, value_name = "PORT")]
    dns_port: Option<Port>,
    /// Leave plaintext connections to the application alone, as a gateway needs it
    #[arg(long)]
    ingress: bool,
    /// What comes in by this interface counts as sent by the pod: behind it is a virtual machine
    #[arg(long, value_name = "NAME")]
    virtual_interface: Vec<InterfaceName>,
    /// Leave alone what the application sends to these ports (80, 8000-8100)
    #[arg(long, value_name = "PORTS")]
    except_to_port: Vec<PortRange>,
    /// Leave alone what the application sends to this network (10.0.0.0/8)
    #[arg(long, value_name = "NETWORK")]
    except_to: Vec<Network>,
    /// Leave alone what comes for these ports of the application
    #[arg(long, value_name = "PORTS")]
    except_at_port: Vec<PortRange>,
    /// Leave alone what comes from this network
    #[arg(long, value_name = "NETWORK")]
    except_from: Vec<Network>,
    /// Leave alone what comes in or goes out by this interface
    #[arg(long, value_name = "NAME")]
    except_interface: Vec<InterfaceName>,
    /// Let pass what escapes capture, instead of refusing it
    #[arg(long)]
    no_guard: bool,
}

impl Options {
    pub(crate) fn plan(&self) -> Result<Plan> {
        let intent = Intent::ambient()
            .with_families(if self.v4_only { Families::V4 } else { Families::V4AndV6 })
            .with_dns(self.dns_port.map_or(DnsCapture::Off, DnsCapture::To))?
            .with_inbound(if self.ingress { Inbound::Bypassed } else { Inbound::Captured })
            .with_virtual_interfaces(self.virtual_interface.clone())?
            .with_exceptions(self.exceptions().collect())?
            .with_guard(if self.no_guard { Guard::Off } else { Guard::On });
        Ok(Plan::new(&intent))
    }

    fn exceptions(&self) -> impl Iterator<Item = Exception> {
        let to_ports = self.except_to_port.iter().copied().map(Exception::ToPorts);
        let to = self.except_to.iter().copied().map(Exception::ToNetwork);
        let at_ports = self.except_at_port.iter().copied().map(Exception::AtPorts);
        let from = self.except_from.iter().copied().map(Exception::FromNetwork);
        let by = self.except_interface.iter().cloned().map(Exception::ByInterface);
        to_ports.chain(to).chain(at_ports).chain(from).chain(by)
    }
}
