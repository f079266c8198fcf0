//! The cluster as scenarios see it: what they can do to it, and what they can ask.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use contract::api::ChangeAnswer;
use contract::release::SigningKey;
use deploy::image::{ImageArchive, Program, product_image};
use deploy::{Applied, DeployError, Plan, Product, Secrets, Settings};
use serde_json::json;

use crate::client::{Caller, Manager};
use crate::cloud::{LocalCloud, StackResources};
use crate::report::{HotSwap, LoadReport};
use crate::rig::{Deployment, Endpoint, Engine, NodeImage, Nodes, Run, SOCKET_FOLDER, capture};
use crate::wait::wait_until;

/// The bucket of the stack.
pub(super) const BUCKET: &str = "moonswarm-e2e";
/// The topic to which the bucket tells its changes.
pub(super) const TOPIC: &str = "projects/moonswarm-e2e/topics/bucket";
/// The manager's subscription to it.
pub(super) const SUBSCRIPTION: &str = "projects/moonswarm-e2e/subscriptions/bucket";

const EXECUTORS: u16 = 6;
const NODES: u8 = 3;

/// Facts are waited for this long. Swarm starts a new task within seconds; a reconcile comes every two.
const DEADLINE: Duration = Duration::from_secs(45);

/// What is put on the nodes.
pub(super) struct Images {
    /// The node itself.
    pub(super) node: NodeImage,
    /// `moonswarm-manager`.
    pub(super) manager: ImageArchive,
    /// `moonswarm-executor`.
    pub(super) executor: ImageArchive,
    /// The program in it, for images of other revisions.
    pub(super) executor_program: PathBuf,
    /// What the images' labels say.
    pub(super) revision: String,
}

/// A running cluster with the product on it.
pub(super) struct World {
    /// The fake Google Cloud, in this process.
    pub(super) cloud: LocalCloud,
    /// The manager's API.
    pub(super) manager: Manager,
    /// Calls executors.
    pub(super) caller: Caller,
    /// What callers show to executors.
    pub(super) caller_token: Option<String>,
    /// Measured so far.
    pub(super) hot_swap: HotSwap,
    /// What callers saw during swaps.
    pub(super) load: Option<LoadReport>,
    run: Run,
    nodes: Nodes,
    deployment: Deployment,
    product: Product,
    executor_program: PathBuf,
    scale: f64,
}

impl World {
    /// Nodes, Swarm, local cloud, manager and six executors, all ready.
    ///
    /// # Errors
    /// Something does not come up; what explains it is in the run's folder.
    pub(super) async fn start(engine: &Engine, run: &Run, images: &Images, scale: f64) -> Result<Self> {
        let nodes = Nodes::start(engine, run, &images.node, NODES).await?;
        match Self::deploy(run, images, &nodes).await {
            Ok((cloud, deployment, manager, product)) => Ok(Self {
                caller: Caller::new(Some(text(&product.secrets.caller_token)))?,
                caller_token: Some(text(&product.secrets.caller_token)),
                hot_swap: HotSwap::default(),
                load: None,
                run: run.clone(),
                cloud,
                manager,
                nodes,
                deployment,
                product,
                executor_program: images.executor_program.clone(),
                scale,
            }),
            Err(err) => {
                capture(run, &nodes, None).await;
                let removed = nodes.tear_down().await;
                Err(err).with_context(|| format!("deploy on {NODES} nodes (nodes removed: {})", removed.is_ok()))
            }
        }
    }

    async fn deploy(run: &Run, images: &Images, nodes: &Nodes) -> Result<(LocalCloud, Deployment, Manager, Product)> {
        let address = SocketAddr::from((nodes.network().gateway(), 0));
        let cloud =
            LocalCloud::start(address, None).await.with_context(|| format!("start the local cloud on {address}"))?;
        cloud.set_up(&StackResources {
            project: "moonswarm-e2e".into(),
            bucket: BUCKET.into(),
            topic: TOPIC.into(),
            subscription: SUBSCRIPTION.into(),
        })?;
        let key = SigningKey::generate();
        let token = || uuid::Uuid::now_v7().to_string().into_bytes();
        let product = Product {
            stack: "e2e".into(),
            settings: settings(cloud.url())?,
            secrets: Secrets {
                public_keys: SigningKey::parse(&key)?.public().to_text().into_bytes(),
                signing_key: key.into_bytes(),
                api_token: token(),
                feed_token: token(),
                caller_token: token(),
            },
            manager_image: images.manager.tag().into(),
            executor_image: images.executor.tag().into(),
            revision: images.revision.clone(),
        };
        let shipped = [images.manager.clone(), images.executor.clone()];
        let log = run.logs().join("deploy.log");
        let deployment = match Deployment::create(nodes, &product, &shipped, &log).await {
            Ok(deployment) => deployment,
            Err(err) => {
                capture(run, nodes, None).await;
                return Err(err);
            }
        };
        if let Err(err) = deployment.until_ready(DEADLINE).await {
            capture(run, nodes, Some(&deployment)).await;
            return Err(err);
        }
        let manager = Manager::new(deployment.manager_url(), Some(text(&product.secrets.api_token)))?;
        wait_until("six executors follow the manager", DEADLINE, async || {
            let status = manager.status().await.map_err(|err| format!("{err:#}"))?;
            let status = status.map_err(|problem| problem.detail)?;
            if status.executors == u32::from(EXECUTORS) { Ok(()) } else { Err(format!("{status:?}")) }
        })
        .await?;
        Ok((cloud, deployment, manager, product))
    }

    /// `count` as the run's scale makes it, at least 3.
    pub(super) fn scaled(&self, count: usize) -> usize {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts are small and positive")]
        let scaled = (count as f64 * self.scale).round() as usize;
        scaled.max(3)
    }

    /// Pushes a script and waits until it is live everywhere.
    ///
    /// # Errors
    /// The push is refused, or an executor does not follow.
    pub(super) async fn push(&self, tenant: &str, script: &str, source: &str) -> Result<ChangeAnswer> {
        let answer = self.manager.push(tenant, script, source.as_bytes(), "wait=20s").await?;
        let answer = answer.map_err(|problem| anyhow!("push of {tenant}/{script} answered {problem:?}"))?;
        let live = answer.live.as_ref().context("asked to wait, and not told how far executors are")?;
        ensure!(live.is_complete(), "push of {tenant}/{script} is live on {live:?}");
        Ok(answer)
    }

    /// Where the executors are now.
    ///
    /// # Errors
    /// Swarm does not answer, or not all six run.
    pub(super) async fn executor_urls(&self) -> Result<Vec<String>> {
        Ok(self.six().await?.into_iter().map(|endpoint| endpoint.url).collect())
    }

    /// The executors' container ids.
    ///
    /// # Errors
    /// As [`World::executor_urls`].
    pub(super) async fn executor_containers(&self) -> Result<Vec<String>> {
        Ok(self.six().await?.into_iter().map(|endpoint| endpoint.container).collect())
    }

    async fn six(&self) -> Result<Vec<Endpoint>> {
        wait_until("six executors run", DEADLINE, async || {
            let endpoints = self.deployment.executors().await.map_err(|err| format!("{err:#}"))?;
            if endpoints.len() == usize::from(EXECUTORS) { Ok(endpoints) } else { Err(format!("{endpoints:?}")) }
        })
        .await
    }

    /// Every executor answers with script `number` of the series, now.
    ///
    /// # Errors
    /// One does not.
    pub(super) async fn check_everywhere(&self, tenant: &str, script: &str, number: usize) -> Result<()> {
        for url in self.executor_urls().await? {
            let run = self.caller.run(&url, tenant, script, "{}").await?;
            ensure!(run.body == json!({"output": {"k": number}}), "{url} answers {run:?} instead of {number}");
        }
        Ok(())
    }

    /// Waits until every executor answers with script `number` of the series.
    ///
    /// # Errors
    /// One does not in time.
    pub(super) async fn wait_everywhere(&self, tenant: &str, script: &str, number: usize) -> Result<()> {
        let what = format!("all six answer {tenant}/{script} with {number}");
        wait_until(&what, DEADLINE, async || {
            self.check_everywhere(tenant, script, number).await.map_err(|err| format!("{err:#}"))
        })
        .await
    }

    /// Waits until `look` succeeds.
    ///
    /// # Errors
    /// It does not in time.
    pub(super) async fn wait_for(
        &self,
        what: &str,
        mut look: impl AsyncFnMut(&Self) -> Result<(), String>,
    ) -> Result<()> {
        wait_until(what, DEADLINE, async || look(self).await).await
    }

    /// What is deployed, to deploy something else.
    pub(super) fn product(&self) -> Product {
        self.product.clone()
    }

    /// An image of the same executor that says it is of another revision.
    ///
    /// # Errors
    /// The program is gone.
    pub(super) fn executor_of(&self, revision: &str) -> Result<ImageArchive> {
        Ok(product_image(Program::EXECUTOR.binary, &self.executor_program, revision)?)
    }

    /// Deploys over what runs.
    ///
    /// # Errors
    /// As the deployment's.
    pub(super) async fn apply(&self, product: &Product, images: &[ImageArchive]) -> Result<Applied, DeployError> {
        self.deployment.apply(product, images).await
    }

    /// What deploying would change.
    ///
    /// # Errors
    /// Swarm does not answer.
    pub(super) async fn plan(&self, product: &Product) -> Result<Plan, DeployError> {
        self.deployment.plan(product).await
    }

    /// The executors that answer `/readyz` with 200 now, as `HOST:PORT`.
    ///
    /// # Errors
    /// Swarm does not answer.
    pub(super) async fn ready_executors(&self) -> Result<Vec<String>> {
        self.deployment.ready_executors().await
    }

    /// The product on its nodes.
    pub(super) fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// Kills one executor's container, on another node than the manager's.
    ///
    /// # Errors
    /// The node's engine refuses.
    pub(super) async fn kill_one_executor(&self) -> Result<()> {
        let endpoint = self.six().await?.pop().context("there is no executor")?;
        self.deployment.kill(&self.nodes, &endpoint).await
    }

    /// Kills the manager's container.
    ///
    /// # Errors
    /// The node's engine refuses.
    pub(super) async fn kill_manager(&self) -> Result<()> {
        let endpoint = self.deployment.manager().await?.context("no manager runs")?;
        self.deployment.kill(&self.nodes, &endpoint).await
    }

    /// Waits until a manager answers and all executors follow it and run its release.
    ///
    /// # Errors
    /// That does not come about in time.
    pub(super) async fn wait_for_manager(&self) -> Result<()> {
        let what = "a manager answers, and six executors run its release";
        self.wait_for(what, async |world| {
            let status = world.manager.status().await.map_err(|err| format!("{err:#}"))?;
            let status = status.map_err(|problem| problem.detail)?;
            if status.executors_current == u32::from(EXECUTORS) { Ok(()) } else { Err(format!("{status:?}")) }
        })
        .await
    }

    /// Waits until six executors are ready, and the manager counts exactly these.
    ///
    /// # Errors
    /// That does not come about in time.
    pub(super) async fn wait_for_six(&self) -> Result<()> {
        self.deployment.until_ready(DEADLINE).await?;
        self.wait_for("the manager counts six connected executors, none lost", async |world| {
            let list = world.manager.executors().await.map_err(|err| format!("{err:#}"))?;
            let list = list.map_err(|problem| problem.detail)?;
            let settled = list.executors.iter().all(|executor| executor.connected && executor.release == list.release);
            if settled && list.executors.len() == usize::from(EXECUTORS) { Ok(()) } else { Err(format!("{list:?}")) }
        })
        .await
    }

    /// Writes down what explains a failure: tasks, nodes, logs.
    pub(super) async fn capture(&self) {
        capture(&self.run, &self.nodes, Some(&self.deployment)).await;
    }

    /// Removes the nodes and everything on them.
    ///
    /// # Errors
    /// The outer engine refuses; the reaper will try again.
    pub(super) async fn tear_down(self) -> Result<()> {
        let removed = self.nodes.tear_down().await;
        self.cloud.shutdown().await;
        removed
    }
}

/// How the product is deployed here: as in production, except that an update is watched for one second and replaces all
/// tasks at once, and that Docker checks no health. A task with a check counts as running only after the first one,
/// which doubles the time of a rolling activation (measured: 1.2 s to 2.6 s) and would flatter the live one in comparison.
fn settings(cloud: &str) -> Result<Settings> {
    let settings = json!({
        "bucket": BUCKET,
        "subscription": SUBSCRIPTION,
        "cloud": cloud,
        "docker_socket": format!("{SOCKET_FOLDER}/docker.sock"),
        "deadline": "60s",
        // Ten seconds by default; here lost notifications should not make the run long.
        "manager": { "health": "0s", "monitor": "1s", "environment": { "MOONSWARM_RECONCILE": "2s" } },
        "executor": { "replicas": EXECUTORS, "parallelism": 0, "health": "0s", "monitor": "1s" },
    });
    serde_json::from_value(settings).context("settings of the deployment")
}

fn text(token: &[u8]) -> String {
    String::from_utf8_lossy(token).into_owned()
}
