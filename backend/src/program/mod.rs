//! The program around a back-end: what `baton-host` needs to know to start it and to answer for it.

mod connections;
mod metrics;
mod status;

use crate::config::{self, BackendConfig};
use crate::node::BackEnd;
use crate::serve::Composed;
use crate::settings::{Life, Settings};
use crate::stats::{Command, Reply, Snapshot};
use anyhow::{Context, ensure};
use baton_config::{Common, Key};
use baton_host::admin::Router;
use baton_host::admin::connections::router;
use baton_host::files::{load_secret, relative_to};
use baton_host::{AdminSource, ConnectionSource, Control, Metrics, Program, Start, Unavailable};
use handoff_proto::names::Boot;
use handoff_proto::seal::ClusterSecret;
use std::path::Path;
use std::sync::Arc;

/// `baton-backend`.
#[derive(Clone, Copy, Debug)]
pub struct BackendProgram;

impl Program for BackendProgram {
    const NAME: &'static str = "baton-backend";
    const ABOUT: &'static str = "Answers requests on client connections that are handed to it, and hands them on.";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    type Config = BackendConfig;
    type Node = BackEnd<Composed>;
    type Source = BackendSource;

    fn common(config: &BackendConfig) -> &Common {
        &config.common
    }

    fn known_keys() -> Vec<Key> {
        config::known_keys()
    }

    fn summary(config: &BackendConfig) -> String {
        config.summary()
    }

    fn check_files(config: &BackendConfig, config_path: &Path) -> anyhow::Result<()> {
        let path = relative_to(config_path, &config.common.cluster.secret_file);
        cluster_secret(load_secret(&path)?.bytes()).with_context(|| format!("the secret file {}", path.display()))?;
        service(config, config_path)?;
        Ok(())
    }

    fn node(start: &Start<'_, BackendConfig>) -> anyhow::Result<BackEnd<Composed>> {
        let Start { config, config_path, secret, macs, boot, seed, unix_at_origin_s } = *start;
        let (given, ports) = (macs.len(), config.common.ports.len());
        ensure!(given == ports, "{given} Ethernet addresses for {ports} ports");
        let secret = cluster_secret(secret.bytes())?;
        let life = Life { boot: Boot(boot), seed, secret, macs, unix_at_origin_s };
        Ok(BackEnd::new(Settings::new(config, life), service(config, config_path)?))
    }

    fn source(control: Control<BackEnd<Composed>>) -> BackendSource {
        BackendSource { control }
    }

    fn routes(control: Control<BackEnd<Composed>>) -> Router {
        router(Arc::new(BackendSource { control }))
    }

    fn moves(control: Control<BackEnd<Composed>>) -> Option<Arc<dyn ConnectionSource>> {
        Some(Arc::new(BackendSource { control }))
    }
}

/// The contents of a secret file as the nodes use them.
fn cluster_secret(contents: &[u8]) -> anyhow::Result<ClusterSecret> {
    Ok(ClusterSecret::parse(contents)?)
}

/// What the configuration in `config_path` says to serve.
fn service(config: &BackendConfig, config_path: &Path) -> anyhow::Result<Composed> {
    let directory = config_path.parent().unwrap_or(Path::new(""));
    Composed::configured(&config.serve, directory).with_context(|| {
        let root = config.serve.root.as_deref().unwrap_or(directory);
        format!("cannot serve files below serve.root, {}", directory.join(root).display())
    })
}

/// What the admin listener of a back-end answers.
#[derive(Clone, Debug)]
pub struct BackendSource {
    control: Control<BackEnd<Composed>>,
}

impl BackendSource {
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

impl AdminSource for BackendSource {
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
