//! Options: what to capture, as words of the command line.

use anyhow::Result;
use redirect::{
    Cgroup, DnsCapture, Dscp, Exception, Families, Guard, HboneSign, IdRange, Inbound, Inclusion, Intent,
    InterfaceName, Mark, Method, Network, Owner, Plan, Port, PortRange, ProxyIdentity,
};

use crate::node::cgroup;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What is captured before any other option: as in Istio's ambient mode, or as with a proxy in the pod
    #[arg(long, value_enum, default_value_t = Preset::Ambient)]
    preset: Preset,
    /// How connections to the application are brought to the proxy
    #[arg(long, value_enum, value_name = "METHOD", default_value_t = How::Redirect)]
    inbound: How,
    /// How connections of the application are brought to the proxy
    #[arg(long, value_enum, value_name = "METHOD", default_value_t = How::Redirect)]
    outbound: How,
    /// The proxy is in the pod and runs as this user (1337, 1000-1999)
    #[arg(long, value_name = "IDS")]
    proxy_uid: Vec<IdRange>,
    /// The proxy is in the pod and runs as this group
    #[arg(long, value_name = "IDS")]
    proxy_gid: Vec<IdRange>,
    /// The proxy is in the pod and runs in this control group (below /sys/fs/cgroup)
    #[arg(long, value_name = "PATH", value_parser = cgroup)]
    proxy_cgroup: Vec<Cgroup>,
    /// Tunnels are known also by this class of service, whatever their port (0x17)
    #[arg(long, value_name = "DSCP", conflicts_with = "hbone_mark")]
    hbone_dscp: Option<Dscp>,
    /// Tunnels are known also by this mark, whatever their port (0x1000/0x1000)
    #[arg(long, value_name = "MARK")]
    hbone_mark: Option<Mark>,
    /// Except nothing for the node's health probes
    #[arg(long)]
    no_probes: bool,
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
    /// Leave alone what this user sends
    #[arg(long, value_name = "IDS")]
    except_uid: Vec<IdRange>,
    /// Leave alone what this group sends
    #[arg(long, value_name = "IDS")]
    except_gid: Vec<IdRange>,
    /// Leave alone what this control group sends
    #[arg(long, value_name = "PATH", value_parser = cgroup)]
    except_cgroup: Vec<Cgroup>,
    /// Of what the application sends, capture only what goes to these ports, or to another --only-to…
    #[arg(long, value_name = "PORTS")]
    only_to_port: Vec<PortRange>,
    /// Of what the application sends, capture only what goes to this network, or to another --only-to…
    #[arg(long, value_name = "NETWORK")]
    only_to: Vec<Network>,
    /// Of what comes for the application, capture only what comes for these ports
    #[arg(long, value_name = "PORTS")]
    only_at_port: Vec<PortRange>,
    /// Capture only what this user sends
    #[arg(long, value_name = "IDS")]
    only_uid: Vec<IdRange>,
    /// Capture only what this group sends
    #[arg(long, value_name = "IDS")]
    only_gid: Vec<IdRange>,
    /// Capture only what this control group sends
    #[arg(long, value_name = "PATH", value_parser = cgroup)]
    only_cgroup: Vec<Cgroup>,
    /// Let pass what escapes capture, instead of refusing it
    #[arg(long)]
    no_guard: bool,
}

/// What is captured before any other option.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Preset {
    Ambient,
    Sidecar,
}

/// A method, as a word of the command line.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum How {
    Redirect,
    Tproxy,
}

impl Options {
    pub(crate) fn plan(&self) -> Result<Plan> {
        let preset = match self.preset {
            Preset::Ambient => Intent::ambient(),
            Preset::Sidecar => Intent::sidecar(),
        };
        let mut intent = preset
            .with_families(if self.v4_only { Families::V4 } else { Families::V4AndV6 })
            .with_dns(self.dns_port.map_or(DnsCapture::Off, DnsCapture::To))?
            .with_inbound(if self.ingress { Inbound::Bypassed } else { Inbound::Captured })?
            .with_inbound_method(self.inbound.into())
            .with_outbound_method(self.outbound.into())
            .with_hbone(self.hbone())?
            .with_virtual_interfaces(self.virtual_interface.clone())?
            .with_exceptions(self.exceptions().collect())?
            .with_inclusions(self.inclusions().collect())?
            .with_guard(if self.no_guard { Guard::Off } else { Guard::On });
        let owners: Vec<Owner> = owners(&self.proxy_uid, &self.proxy_gid, &self.proxy_cgroup).collect();
        if !owners.is_empty() {
            intent = intent.with_proxy(ProxyIdentity::Owners(owners))?;
        }
        if self.no_probes {
            intent = intent.with_probe_addresses(None);
        }
        Ok(Plan::new(&intent))
    }

    fn hbone(&self) -> HboneSign {
        let by_mark = self.hbone_mark.map(HboneSign::Mark);
        self.hbone_dscp.map(HboneSign::Dscp).or(by_mark).unwrap_or(HboneSign::Port)
    }

    fn exceptions(&self) -> impl Iterator<Item = Exception> {
        let to_ports = self.except_to_port.iter().copied().map(Exception::ToPorts);
        let to = self.except_to.iter().copied().map(Exception::ToNetwork);
        let at_ports = self.except_at_port.iter().copied().map(Exception::AtPorts);
        let from = self.except_from.iter().copied().map(Exception::FromNetwork);
        let by = self.except_interface.iter().cloned().map(Exception::ByInterface);
        let of = owners(&self.except_uid, &self.except_gid, &self.except_cgroup).map(Exception::SentBy);
        to_ports.chain(to).chain(at_ports).chain(from).chain(by).chain(of)
    }

    fn inclusions(&self) -> impl Iterator<Item = Inclusion> {
        let to_ports = self.only_to_port.iter().copied().map(Inclusion::ToPorts);
        let to = self.only_to.iter().copied().map(Inclusion::ToNetwork);
        let at_ports = self.only_at_port.iter().copied().map(Inclusion::AtPorts);
        let of = owners(&self.only_uid, &self.only_gid, &self.only_cgroup).map(Inclusion::SentBy);
        to_ports.chain(to).chain(at_ports).chain(of)
    }
}

fn owners(users: &[IdRange], groups: &[IdRange], cgroups: &[Cgroup]) -> impl Iterator<Item = Owner> {
    let users = users.iter().copied().map(Owner::User);
    let groups = groups.iter().copied().map(Owner::Group);
    users.chain(groups).chain(cgroups.iter().cloned().map(Owner::Cgroup))
}

impl From<How> for Method {
    fn from(how: How) -> Self {
        match how {
            How::Redirect => Self::Redirect,
            How::Tproxy => Self::Tproxy,
        }
    }
}
