//! The servers that Moonswarm is compared with: what they need, how they are started, what they are asked.
//!
//! All run `harness/bench/rule.lua`, with as many workers, and with what their operators would do for speed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use super::place::Place;

/// One kind of server.
#[derive(Debug)]
pub(in crate::bench) struct Recipe {
    /// Its name in tables.
    pub(in crate::bench) name: &'static str,
    /// The program.
    pub(super) program: &'static str,
    /// The flag that makes it tell its version.
    pub(super) version: &'static str,
    /// What must be on this machine.
    needs: &'static [Need],
    /// Writes its files and says how it is started.
    pub(super) command: fn(&Place, &Path) -> Result<Vec<String>>,
    /// Whether it is spoken to in Redis' protocol; in HTTP if not.
    pub(super) redis: bool,
}

/// Something that must be on this machine, and the Debian package it comes in.
#[derive(Debug)]
struct Need {
    what: What,
    package: &'static str,
}

#[derive(Debug)]
enum What {
    Program(&'static str),
    /// `@ARCH@` stands for the processor's.
    File(&'static str),
}

const PROGRAM_FOLDERS: [&str; 4] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];

const RULE: &str = include_str!("../../../bench/rule.lua");

/// All of them.
pub(in crate::bench) const ALL: [Recipe; 4] = [
    Recipe {
        name: "nginx + Lua",
        program: "nginx",
        version: "-v",
        needs: &[
            Need { what: What::Program("nginx"), package: "nginx" },
            Need {
                what: What::File("/usr/lib/nginx/modules/ngx_http_lua_module.so"),
                package: "libnginx-mod-http-lua",
            },
            Need { what: What::File("/usr/lib/@ARCH@-linux-gnu/lua/5.1/cjson.so"), package: "lua-cjson" },
        ],
        command: nginx,
        redis: false,
    },
    Recipe {
        name: "HAProxy + Lua",
        program: "haproxy",
        version: "-v",
        needs: &[
            Need { what: What::Program("haproxy"), package: "haproxy" },
            Need { what: What::File("/usr/lib/@ARCH@-linux-gnu/lua/5.3/cjson.so"), package: "lua-cjson" },
        ],
        command: haproxy,
        redis: false,
    },
    Recipe {
        name: "Redis EVALSHA",
        program: "redis-server",
        version: "--version",
        needs: &[Need { what: What::Program("redis-server"), package: "redis-server" }],
        command: redis,
        redis: true,
    },
    Recipe {
        name: "founding design",
        program: "go",
        version: "version",
        needs: &[
            Need { what: What::Program("go"), package: "golang-go" },
            Need {
                what: What::File("/usr/share/gocode/src/github.com/yuin/gopher-lua/state.go"),
                package: "golang-github-yuin-gopher-lua-dev",
            },
        ],
        command: founding,
        redis: false,
    },
];

impl Recipe {
    /// Packages that this machine lacks.
    pub(in crate::bench) fn missing(&self) -> Vec<&'static str> {
        let mut missing: Vec<_> =
            self.needs.iter().filter(|need| !need.what.is_here()).map(|need| need.package).collect();
        missing.dedup();
        missing
    }
}

impl What {
    fn is_here(&self) -> bool {
        match self {
            Self::Program(name) => find(name).is_some(),
            Self::File(path) => Path::new(&path.replace("@ARCH@", std::env::consts::ARCH)).exists(),
        }
    }
}

/// Where a program is, also one for administrators.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    PROGRAM_FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
}

/// The script that Redis is given: the rule, with JSON around it.
pub(super) fn redis_script() -> String {
    format!("local rule = (function()\n{RULE}\nend)()\nreturn cjson.encode(rule(cjson.decode(ARGV[1])))\n")
}

fn nginx(place: &Place, program: &Path) -> Result<Vec<String>> {
    place.write("rule.lua", RULE)?;
    let config = place.write("nginx.conf", include_str!("../../../bench/nginx.conf"))?;
    Ok([text(program), "-p".into(), place.folder(), "-c".into(), config].into())
}

fn haproxy(place: &Place, program: &Path) -> Result<Vec<String>> {
    place.write("rule.lua", RULE)?;
    place.write("service.lua", include_str!("../../../bench/haproxy.lua"))?;
    let config = place.write("haproxy.cfg", include_str!("../../../bench/haproxy.cfg"))?;
    Ok([text(program), "-f".into(), config].into())
}

fn redis(place: &Place, program: &Path) -> Result<Vec<String>> {
    let config = place.write("redis.conf", include_str!("../../../bench/redis.conf"))?;
    Ok([text(program), config].into())
}

/// Compiles the Go server first.
fn founding(place: &Place, go: &Path) -> Result<Vec<String>> {
    let rule = place.write("rule.lua", RULE)?;
    let source = place.write("founding.go", include_str!("../../../bench/founding.go"))?;
    let server = format!("{}/founding", place.folder());
    let build = std::process::Command::new(go)
        .args(["build", "-o", &server, &source])
        // Debian's Go libraries are a tree of sources, not modules; nothing is fetched.
        .envs([("GO111MODULE", "off"), ("GOPATH", "/usr/share/gocode"), ("GOFLAGS", "")])
        .env("GOCACHE", format!("{}/cache", place.folder()))
        .output()
        .context("run `go build`")?;
    ensure!(build.status.success(), "`go build` failed: {}", String::from_utf8_lossy(&build.stderr).trim());
    Ok([server, place.address().to_string(), rule, super::WORKERS.to_string()].into())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// `apt-get install` for these packages.
pub(super) fn install(packages: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(["install", "--yes", "--no-install-recommends"]).args(packages);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}
