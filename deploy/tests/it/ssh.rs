//! An engine behind a real `sshd` on loopback. Where none is installed the test says that it was skipped.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use deploy::nodes::Ssh;
use deploy::{Access, Cluster, Event, Session};
use tempfile::TempDir;

use super::engine::{Engine, product};

const SSHD: [&str; 2] = ["/usr/sbin/sshd", "/usr/local/sbin/sshd"];

struct Server {
    folder: TempDir,
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn key(file: &Path) {
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(file).status().unwrap();
    assert!(made.success());
}

impl Server {
    fn start(sshd: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs_err::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let at = |name: &str| folder.path().join(name);
        key(&at("host"));
        key(&at("user"));
        fs_err::copy(at("user.pub"), at("authorized")).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nPermitRootLogin prohibit-password\nPidFile none\n",
            at("host").display(),
            at("authorized").display()
        );
        fs_err::write(at("config"), config).unwrap();
        let child = Command::new(sshd).arg("-D").arg("-f").arg(at("config")).stderr(Stdio::null()).spawn().unwrap();
        Self { folder, child, port }
    }

    fn access(&self, socket: PathBuf) -> Access {
        let identity = format!("IdentityFile={}", self.folder.path().join("user").display());
        let options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectionAttempts=30", &identity];
        let options = options.map(str::to_owned).into();
        Access::Ssh(Ssh { destination: "127.0.0.1".into(), port: Some(self.port), socket, options })
    }
}

#[tokio::test]
async fn an_engine_is_deployed_to_through_ssh() {
    let Some(sshd) = SSHD.map(PathBuf::from).into_iter().find(|path| path.exists()) else {
        eprintln!("SKIPPED: no sshd on this machine (apt-get install openssh-server)");
        return;
    };
    let (engine, server) = (Engine::start(), Server::start(&sshd));
    let mut node = engine.node();
    node.access = server.access(engine.socket());

    let cluster = Cluster::connect(&[node]).await.unwrap();
    let report = |_: Event| ();
    let who = deploy::Who { holder: "ana".into(), message: "apply".into() };
    let applied = Session::new(&cluster, "blue", &report).apply(&product("1"), &[], &who).await.unwrap();

    assert_eq!(applied.deployment, 1);
    assert_eq!(engine.world().services.len(), 2);
}
