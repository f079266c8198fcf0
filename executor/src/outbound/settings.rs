//! What an operator says about the way out.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use ipnet::IpNet;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::address::Networks;

/// Where Debian, Alpine and our images keep the authorities that everybody trusts.
const USUAL_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Flags, as typed.
#[derive(Debug, Clone, Args)]
pub struct OutboundFlags {
    /// Networks that scripts may reach beside the public internet, comma separated, for example 10.1.0.0/16.
    #[arg(long, env = "MOONSWARM_OUTBOUND_ALLOW", value_delimiter = ',', value_name = "NETWORK")]
    pub outbound_allow: Vec<String>,
    /// Certificate authorities (PEM) that scripts' https requests trust; the system's file if absent.
    #[arg(long, env = "MOONSWARM_OUTBOUND_CA_FILE", value_name = "FILE")]
    pub outbound_ca_file: Option<PathBuf>,
    /// HTTP requests of scripts at the same time.
    #[arg(long, env = "MOONSWARM_OUTBOUND_AT_ONCE", default_value_t = 256, value_name = "COUNT")]
    pub outbound_at_once: usize,
    /// HTTP requests of one tenant's scripts at the same time.
    #[arg(long, env = "MOONSWARM_OUTBOUND_TENANT_AT_ONCE", default_value_t = 16, value_name = "COUNT")]
    pub outbound_tenant_at_once: usize,
}

/// What they mean here.
#[derive(Debug, Clone)]
pub struct OutboundSettings {
    /// Where scripts may reach.
    pub networks: Networks,
    /// Whom to trust about servers' names; `None` = `https` is refused.
    pub authorities: Option<RootCertStore>,
    /// Requests at once, at least 1.
    pub at_once: usize,
    /// Requests of one tenant at once, at least 1.
    pub tenant_at_once: usize,
}

impl Default for OutboundSettings {
    /// The public internet by `http` alone, with the bounds that the flags have by default.
    fn default() -> Self {
        Self { networks: Networks::default(), authorities: None, at_once: 256, tenant_at_once: 16 }
    }
}

impl OutboundFlags {
    /// Reads what the flags name.
    ///
    /// # Errors
    /// Every fault, a sentence each. Authorities that nobody named and that are not there are none.
    pub fn settings(&self) -> Result<OutboundSettings, Vec<String>> {
        let mut faults = Vec::new();
        let mut networks = Vec::new();
        for text in &self.outbound_allow {
            match network(text) {
                Some(network) => networks.push(network),
                None => faults.push(format!("`--outbound-allow` has `{text}`: expected a network such as 10.1.0.0/16")),
            }
        }
        let authorities = match &self.outbound_ca_file {
            Some(path) => authorities(path).map_err(|fault| faults.push(format!("`--outbound-ca-file`: {fault}"))).ok(),
            None => authorities(Path::new(USUAL_AUTHORITIES)).ok(),
        };
        for (flag, count) in
            [("--outbound-at-once", self.outbound_at_once), ("--outbound-tenant-at-once", self.outbound_tenant_at_once)]
        {
            // What a semaphore of tokio can count to is far above any number of sockets.
            if !(1..=1 << 20).contains(&count) {
                faults.push(format!("`{flag}` is {count}: expected 1 to {}", 1 << 20));
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(OutboundSettings {
            networks: Networks::new(networks),
            authorities,
            at_once: self.outbound_at_once,
            tenant_at_once: self.outbound_tenant_at_once,
        })
    }
}

/// A network, or one address.
fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn authorities(path: &Path) -> Result<RootCertStore, String> {
    let pem = fs_err::read(path).map_err(|err| err.to_string())?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(|err| format!("`{}` is no PEM: {err}", path.display()))?;
    let mut store = RootCertStore::empty();
    // Files of systems may have certificates that are too old to be read; the others count.
    let (usable, _) = store.add_parsable_certificates(certificates);
    if usable == 0 {
        return Err(format!("`{}` has no certificate that can be used", path.display()));
    }
    Ok(store)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct CommandLine {
        #[command(flatten)]
        flags: OutboundFlags,
    }

    fn settings(arguments: &[&str]) -> Result<OutboundSettings, Vec<String>> {
        CommandLine::try_parse_from([&["x"], arguments].concat()).unwrap().flags.settings()
    }

    #[test]
    fn without_flags_nothing_is_opened() {
        let settings = settings(&[]).unwrap();

        assert!(settings.networks.check([127, 0, 0, 1].into(), 80).is_err());
        assert_eq!((settings.at_once, settings.tenant_at_once), (256, 16));
    }

    #[test]
    fn networks_and_single_addresses_are_opened() {
        let settings = settings(&["--outbound-allow", "10.1.0.0/16,::1"]).unwrap();

        assert!(settings.networks.check([10, 1, 2, 3].into(), 80).is_ok());
        assert!(settings.networks.check([10, 2, 2, 3].into(), 80).is_err());
        assert!(settings.networks.check("::1".parse().unwrap(), 80).is_ok());
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        fs_err::write(&file, "nothing").unwrap();
        let file = file.display().to_string();

        let faults = settings(&[
            "--outbound-allow",
            "10.0.0.0/33,here",
            "--outbound-ca-file",
            &file,
            "--outbound-at-once",
            "0",
            "--outbound-tenant-at-once",
            "9999999",
        ]);

        insta::assert_snapshot!(faults.unwrap_err().join("\n").replace(&file, "FILE"), @"
        `--outbound-allow` has `10.0.0.0/33`: expected a network such as 10.1.0.0/16
        `--outbound-allow` has `here`: expected a network such as 10.1.0.0/16
        `--outbound-ca-file`: `FILE` has no certificate that can be used
        `--outbound-at-once` is 0: expected 1 to 1048576
        `--outbound-tenant-at-once` is 9999999: expected 1 to 1048576
        ");
    }
}
