//! The program around a back-end: what `baton-host` needs to know to start it and to answer for it.

mod metrics;
mod status;

use crate::config::{self, BackendConfig};
use crate::node::BackEnd;
use crate::serve::Composed;
use crate::settings::{Life, Settings};
use crate::stats::Snapshot;
use anyhow::{Context, ensure};
use baton_config::{Common, Key};
use baton_host::admin::Router;
use baton_host::admin::connections::router;
use baton_host::files::Secret;
use baton_host::{
    ConnectionSource, Control, Metrics, NodeSource, Numbers, Program, Start, check_secrets, cluster_secrets,
};
use handoff_proto::names::Boot;
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
    type Source = NodeSource<BackEnd<Composed>>;

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
        check_secrets(&config.common.cluster, config_path)?;
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

    fn source(control: Control<BackEnd<Composed>>) -> NodeSource<BackEnd<Composed>> {
        NodeSource::new(control)
    }

    fn routes(control: Control<BackEnd<Composed>>) -> Router {
        router(Arc::new(NodeSource::new(control)))
    }

    fn set_secrets(control: &Control<BackEnd<Composed>>, secrets: &[Secret]) -> anyhow::Result<()> {
        NodeSource::new(control.clone()).set_secrets(secrets)
    }

    fn moves(control: Control<BackEnd<Composed>>) -> Option<Arc<dyn ConnectionSource>> {
        Some(Arc::new(NodeSource::new(control)))
    }
}

/// What the configuration in `config_path` says to serve.
fn service(config: &BackendConfig, config_path: &Path) -> anyhow::Result<Composed> {
    let directory = config_path.parent().unwrap_or(Path::new(""));
    Composed::configured(&config.serve, directory).with_context(|| {
        let root = config.serve.root.as_deref().unwrap_or(directory);
        format!("cannot serve files below serve.root, {}", directory.join(root).display())
    })
}

impl Numbers for Snapshot {
    fn add_to(&self, metrics: &mut Metrics) {
        metrics::add(self, metrics);
    }

    fn status(&self) -> serde_json::Value {
        status::describe(self)
    }
}
