//! The result of the plugin before us, which becomes ours byte for byte.

use std::net::IpAddr;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::version::{UnknownVersion, Version};

/// A result as it was read (sections 5 and 2 of the specification), and the addresses that it gives to the container.
#[derive(Clone, Debug)]
pub struct PreviousResult {
    raw: Box<RawValue>,
    addresses: Vec<IpAddr>,
}

/// Why a result cannot be passed on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PreviousError {
    /// It is no result.
    #[error("prevResult is no result")]
    Shape(#[source] serde_json::Error),
    /// Its version is none.
    #[error("the version of prevResult")]
    Version(#[source] UnknownVersion),
    /// It is written in the words of another version, and would be read wrongly after us.
    #[error("prevResult is of version {found}, the configuration of {expected}")]
    OtherShape {
        /// Its version.
        found: Version,
        /// The configuration's.
        expected: Version,
    },
    /// It is not clear which addresses are the container's.
    #[error("prevResult: {address:?} is no address with a prefix length")]
    Address {
        /// The address as it stands.
        address: String,
    },
    /// There are more addresses than any container has.
    #[error("prevResult has {actual} addresses; at most {MAX_ADDRESSES} are allowed")]
    TooMany {
        /// How many there are.
        actual: usize,
    },
}

/// Far above what any interface of a pod is given; it bounds what the agent is told.
const MAX_ADDRESSES: usize = 256;

/// What we read of it; the rest passes by.
#[derive(Deserialize)]
struct Shape {
    #[serde(rename = "cniVersion")]
    version: Option<String>,
    interfaces: Option<Vec<Interface>>,
    ips: Option<Vec<Ip>>,
}

#[derive(Deserialize)]
struct Interface {
    #[serde(default)]
    sandbox: String,
}

#[derive(Deserialize)]
struct Ip {
    address: String,
    interface: Option<usize>,
}

impl PreviousResult {
    /// Reads the result of a plugin that was configured for `version`.
    ///
    /// # Errors
    /// [`PreviousError`].
    pub fn parse(raw: &RawValue, version: Version) -> Result<Self, PreviousError> {
        let shape: Shape = serde_json::from_str(raw.get()).map_err(PreviousError::Shape)?;
        if let Some(found) = &shape.version {
            let found = found.parse::<Version>().map_err(PreviousError::Version)?;
            if !found.has_results_of(version) {
                return Err(PreviousError::OtherShape { found, expected: version });
            }
        }
        let interfaces = shape.interfaces.unwrap_or_default();
        let ips = shape.ips.unwrap_or_default();
        let actual = ips.len();
        if actual > MAX_ADDRESSES {
            return Err(PreviousError::TooMany { actual });
        }
        let of_container = ips.iter().filter(|ip| ip.is_inside(&interfaces));
        let addresses = of_container.map(Ip::parse).collect::<Result<_, _>>()?;
        Ok(Self { raw: raw.to_owned(), addresses })
    }

    /// The result, every byte as it was read.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.raw.get()
    }

    /// The container's addresses, in the result's order.
    #[must_use]
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }
}

impl Ip {
    /// An address is the container's unless it is said to be of an interface outside.
    fn is_inside(&self, interfaces: &[Interface]) -> bool {
        let interface = self.interface.and_then(|index| interfaces.get(index));
        interface.is_none_or(|interface| !interface.sandbox.is_empty())
    }

    /// `10.0.0.2/24`
    fn parse(&self) -> Result<IpAddr, PreviousError> {
        let wrong = || PreviousError::Address { address: self.address.chars().take(64).collect() };
        let (address, length) = self.address.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        match length.parse::<u8>() {
            Ok(length) if length <= longest => Ok(address),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str, version: Version) -> Result<PreviousResult, PreviousError> {
        let raw = serde_json::from_str::<&RawValue>(text).map_err(PreviousError::Shape)?;
        PreviousResult::parse(raw, version)
    }

    const BRIDGE: &str = r#"{ "cniVersion":"1.0.0", "interfaces":[{"name":"cni0"},{"name":"eth0","sandbox":"/n"}],
        "ips": [{"interface":1,"address":"10.88.0.2/16","gateway":"10.88.0.1"},{"address":"fd88::2/64"},
        {"interface":0,"address":"10.88.0.1/16"}], "big": 123456789012345678901234567890, "dns":{}}"#;

    #[test]
    fn every_byte_is_kept() {
        let result = parse(BRIDGE, Version::V1_1_0).unwrap();
        assert_eq!(result.as_str(), BRIDGE);
        let expected: [IpAddr; 2] = ["10.88.0.2".parse().unwrap(), "fd88::2".parse().unwrap()];
        assert_eq!(result.addresses(), expected);
    }

    #[test]
    fn another_shape_is_refused() {
        let error = parse(BRIDGE, Version::V0_4_0).unwrap_err();
        assert_eq!(error.to_string(), "prevResult is of version 1.0.0, the configuration of 0.4.0");
        assert!(matches!(parse(r#"{"cniVersion":"9"}"#, Version::V1_0_0), Err(PreviousError::Version(_))));
        assert!(parse("{}", Version::V0_3_1).is_ok());
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for address in ["10.0.0.1", "10.0.0.1/33", "x/8", "", "fd::1/129", "10.0.0.1/-1"] {
            let text = format!(r#"{{"ips":[{{"address":"{address}"}}]}}"#);
            assert!(matches!(parse(&text, Version::V1_0_0), Err(PreviousError::Address { .. })), "{address}");
        }
        let many = vec![r#"{"address":"10.0.0.1/8"}"#; 257].join(",");
        let many = parse(&format!(r#"{{"ips":[{many}]}}"#), Version::V1_0_0);
        assert!(matches!(many, Err(PreviousError::TooMany { actual: 257 })));
        for text in ["7", r#"{"ips":{}}"#, r#"{"ips":[7]}"#] {
            assert!(matches!(parse(text, Version::V1_0_0), Err(PreviousError::Shape(_))), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_was_written(octets: [u8; 4], length in 0_u8..=32, spaces in "[ \n\t]{0,9}") {
            let address = IpAddr::from(octets);
            let text = format!(r#"{{{spaces}"ips":{spaces}[{{"address":"{address}/{length}"{spaces}}}]}}"#);
            let result = parse(&text, Version::V0_4_0).unwrap();
            prop_assert_eq!(result.addresses(), [address]);
            prop_assert_eq!(result.as_str(), text);
        }
    }
}
