//! `cargo xtask dev`: the whole product on one machine until Ctrl-C.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use harness::laptop::{Laptop, LaptopOptions};
use harness::programs::Programs;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::DevOptions;
use crate::{dev_log, dev_watch, shell};

pub(crate) fn run(options: DevOptions) -> Result<()> {
    let tenant = options.tenant.parse().context("read `--tenant`")?;
    if let Some(folder) = options.watch.as_deref().filter(|folder| !folder.is_dir()) {
        bail!("`--watch {}` is no folder", folder.display());
    }
    let programs = Programs::build()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(serve(options, tenant, programs))
}

async fn serve(options: DevOptions, tenant: contract::TenantName, programs: Programs) -> Result<()> {
    // Listened for from here on, so that Ctrl-C during the start also ends what was started.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let start = Instant::now();
    let directory = shell::root().join("target/dev").join(options.port.to_string());
    ensure_free(options.port)?;
    remove_former_run(&directory)?;

    let starting = Laptop::start(LaptopOptions {
        programs: programs.clone(),
        executors: options.executors,
        port: Some(options.port),
        directory,
        log: options.log,
        sink: Arc::new(dev_log::print),
    });
    let mut laptop = tokio::select! {
        laptop = starting => laptop?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    println!("{}", welcome(&laptop, start.elapsed().as_secs_f64()));

    let watching = options.watch.map(|folder| {
        tokio::spawn(dev_watch::watch(folder, tenant, programs.moonswarm.clone(), laptop.manager_url.clone()))
    });
    let ended = tokio::select! {
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
        ended = first_to_end(&mut laptop) => Some(ended),
    };
    if let Some(watching) = watching {
        watching.abort();
    }
    println!("stopping");
    laptop.stop().await;
    match ended {
        None => Ok(()),
        Some(what) => bail!("{what}"),
    }
}

/// Programs do not end by themselves; when one does, this says which.
async fn first_to_end(laptop: &mut Laptop) -> String {
    let ends = laptop.processes().map(|process| {
        Box::pin(async move {
            let status = process.ended().await.map_or_else(|err| err.to_string(), |status| status.to_string());
            format!("{} ended ({status})\n{}", process.name(), process.last_lines())
        })
    });
    futures_util::future::select_all(ends).await.0
}

/// Whoever runs on this port still needs the files that are removed next.
fn ensure_free(port: u16) -> Result<()> {
    let bound = std::net::TcpListener::bind(("127.0.0.1", port));
    bound.map(drop).with_context(|| {
        format!("listen on 127.0.0.1:{port}: is another `cargo xtask dev` running? Choose other ports with `--port`")
    })
}

/// Keys, caches and logs of the run before on this port: the local cloud starts empty, so they mean nothing any more.
fn remove_former_run(directory: &std::path::Path) -> Result<()> {
    match fs_err::remove_dir_all(directory) {
        Err(err) if err.kind() != std::io::ErrorKind::NotFound => Err(err.into()),
        _ => Ok(()),
    }
}

fn welcome(laptop: &Laptop, seconds: f64) -> String {
    let manager = &laptop.manager_url;
    let executor = &laptop.executor_urls[0];
    let cloud = laptop.cloud.url();
    // The defaults need no flags; other ports do.
    let flag = if manager == "http://127.0.0.1:7700" { String::new() } else { format!(" --manager {manager}") };
    format!(
        "
moonswarm dev is up in {seconds:.1} s

  manager    {manager}
  executors  {}
  cloud      {cloud}  (Cloud Storage and Pub/Sub, bucket `{}`)
  logs       target/dev/

Try, in another terminal:

  cargo moonswarm push examples/risk.luau --tenant acme --wait{flag}
  curl -d @examples/risk.json {executor}/v1/run/acme/risk
  cargo moonswarm status{flag}

Ctrl-C ends all of it.
",
        laptop.executor_urls.join("  "),
        harness::laptop::BUCKET,
    )
}
