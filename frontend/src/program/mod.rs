//! The program around a front-end: what `baton-host` needs to know to start it and to answer for it.

mod connections;
mod metrics;
mod status;

use crate::config::{self, FrontendConfig};
use crate::node::FrontEnd;
use crate::settings::{Life, Settings};
use crate::stats::{Command, Reply, Snapshot};
use anyhow::{Context, ensure};
use baton_config::{Common, Key};
use baton_host::admin::Router;
use baton_host::admin::connections::router;
use baton_host::files::{Secret, load_secret, secret_files};
use baton_host::{AdminSource, ConnectionSource, Control, Metrics, Program, Start, Unavailable};
use handoff_proto::names::Boot;
use handoff_proto::seal::{ClusterSecret, Secrets};
use std::path::Path;
use std::sync::Arc;

/// `baton-frontend`.
#[derive(Clone, Copy, Debug)]
pub struct FrontendProgram;

impl Program for FrontendProgram {
    const NAME: &'static str = "baton-frontend";
    const ABOUT: &'static str = "Accepts client connections and hands them, alive, to the back-ends that answer.";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    type Config = FrontendConfig;
    type Node = FrontEnd;
    type Source = FrontendSource;

    fn common(config: &FrontendConfig) -> &Common {
        &config.common
    }

    fn known_keys() -> Vec<Key> {
        config::known_keys()
    }

    fn summary(config: &FrontendConfig) -> String {
        config.summary()
    }

    fn check_files(config: &FrontendConfig, config_path: &Path) -> anyhow::Result<()> {
        for path in secret_files(config_path, &config.common.cluster) {
            let secret = load_secret(&path)?;
            ClusterSecret::parse(secret.bytes()).with_context(|| format!("the secret file {}", path.display()))?;
        }
        Ok(())
    }

    fn node(start: &Start<'_, FrontendConfig>) -> anyhow::Result<FrontEnd> {
        let Start { config, secrets, macs, boot, seed, .. } = *start;
        let (given, ports) = (macs.len(), config.common.ports.len());
        ensure!(given == ports, "{given} Ethernet addresses for {ports} ports");
        let life = Life { boot: Boot(boot), seed, secrets: cluster_secrets(secrets)?, macs };
        Ok(FrontEnd::new(Settings::new(config, life)))
    }

    fn source(control: Control<FrontEnd>) -> FrontendSource {
        FrontendSource { control }
    }

    fn routes(control: Control<FrontEnd>) -> Router {
        router(Arc::new(FrontendSource { control }))
    }

    fn set_secrets(control: &Control<FrontEnd>, secrets: &[Secret]) -> anyhow::Result<()> {
        match control.call(Command::Secrets(cluster_secrets(secrets)?))? {
            Reply::Secrets => Ok(()),
            other => Err(unexpected(&other).into()),
        }
    }

    fn moves(control: Control<FrontEnd>) -> Option<Arc<dyn ConnectionSource>> {
        Some(Arc::new(FrontendSource { control }))
    }
}

/// The contents of secret files as the nodes use them.
fn cluster_secrets(secrets: &[Secret]) -> anyhow::Result<Secrets> {
    let parsed: Result<Vec<_>, _> = secrets.iter().map(|secret| ClusterSecret::parse(secret.bytes())).collect();
    Ok(Secrets::new(parsed?)?)
}

/// What the admin listener of a front-end answers.
#[derive(Clone, Debug)]
pub struct FrontendSource {
    control: Control<FrontEnd>,
}

impl FrontendSource {
    fn snapshot(&self) -> Result<Snapshot, Unavailable> {
        match self.control.call(Command::Stats)? {
            Reply::Stats(snapshot) => Ok(*snapshot),
            other => Err(unexpected(&other)),
        }
    }
}

/// The node answered another question.
fn unexpected(reply: &Reply) -> Unavailable {
    Unavailable(format!("an answer to another question: {reply:?}"))
}

impl AdminSource for FrontendSource {
    fn metrics(&self, metrics: &mut Metrics) -> Result<(), Unavailable> {
        metrics::add(&self.snapshot()?, metrics);
        Ok(())
    }

    fn status(&self) -> Result<serde_json::Value, Unavailable> {
        Ok(status::describe(&self.snapshot()?))
    }

    fn health(&self) -> Result<(), Unavailable> {
        self.snapshot().map(|_| ())
    }
}
