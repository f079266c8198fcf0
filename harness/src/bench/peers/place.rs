//! A folder and a port for one server.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Where one server lives.
#[derive(Debug)]
pub(super) struct Place {
    folder: PathBuf,
    address: SocketAddr,
}

impl Place {
    /// An empty folder, and a port that is free now.
    pub(super) fn new(folder: &Path) -> Result<Self> {
        if folder.exists() {
            fs_err::remove_dir_all(folder)?;
        }
        fs_err::create_dir_all(folder)?;
        let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
        Ok(Self { folder: folder.to_owned(), address: probe.local_addr()? })
    }

    /// Writes a file with what it must know filled in; tells its path.
    pub(super) fn write(&self, name: &str, template: &str) -> Result<String> {
        let path = self.folder.join(name);
        let text = template
            .replace("@PORT@", &self.address.port().to_string())
            .replace("@FOLDER@", &self.folder())
            .replace("@WORKERS@", &super::WORKERS.to_string())
            .replace("@ARCH@", std::env::consts::ARCH);
        fs_err::write(&path, text)?;
        Ok(path.display().to_string())
    }

    pub(super) fn folder(&self) -> String {
        self.folder.display().to_string()
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("log")
    }
}
