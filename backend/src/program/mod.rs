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
use baton_host::files::{Secret, load_secret, secret_files};
use baton_host::{AdminSource, ConnectionSource, Control, Metrics, Program, Start, Unavailable};
use handoff_proto::names::Boot;
use handoff_proto::seal::{ClusterSecret, Secrets};
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
        for path in secret_files(config_path, &config.common.cluster) {
            let secret = load_secret(&path)?;
            ClusterSecret::parse(secret.bytes()).with_context(|| format!("the secret file {}", path.display()))?;
        }
        service(config, config_path)?;
        Ok(())
    }

    fn node(start: &Start<'_, BackendConfig>) -> anyhow::Result<BackEnd<Composed>> {
        let Start { config, config_path, secrets, macs, boot, seed, unix_at_origin_s } = *start;
        let (given, ports) = (macs.len(), config.common.ports.len());
        ensure!(given == ports, "{given} Ethernet addresses for {ports} ports");
        let secrets = cluster_secrets(secrets)?;
        let life = Life { boot: Boot(boot), seed, secrets, macs, unix_at_origin_s };
        Ok(BackEnd::new(Settings::new(config, life), service(config, config_path)?))
    }

    fn source(control: Control<BackEnd<Composed>>) -> BackendSource {
        BackendSource { control }
    }

    fn routes(control: Control<BackEnd<Composed>>) -> Router {
        router(Arc::new(BackendSource { control }))
    }

    fn set_secrets(control: &Control<BackEnd<Composed>>, secrets: &[Secret]) -> anyhow::Result<()> {
        match control.call(Command::Secrets(cluster_secrets(secrets)?))? {
            Reply::Secrets => Ok(()),
            other => Err(unexpected(&other).into()),
        }
    }

    fn moves(control: Control<BackEnd<Composed>>) -> Option<Arc<dyn ConnectionSource>> {
        Some(Arc::new(BackendSource { control }))
    }
}

/// The contents of secret files as the nodes use them.
fn cluster_secrets(secrets: &[Secret]) -> anyhow::Result<Secrets> {
    let parsed: Result<Vec<_>, _> = secrets.iter().map(|secret| ClusterSecret::parse(secret.bytes())).collect();
    Ok(Secrets::new(parsed?)?)
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
