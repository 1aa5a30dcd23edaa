//! The program around a front-end: what `baton-host` needs to know to start it and to answer for it.

mod metrics;
mod status;

use crate::config::{self, FrontendConfig};
use crate::node::FrontEnd;
use crate::settings::{Life, Settings};
use crate::stats::Snapshot;
use anyhow::ensure;
use baton_config::{Common, Key};
use baton_host::admin::Router;
use baton_host::admin::connections::router;
use baton_host::admin::draining;
use baton_host::files::Secret;
use baton_host::{
    ConnectionSource, Control, Metrics, NodeSource, Numbers, Program, Start, check_secrets, cluster_secrets,
};
use handoff_proto::names::Boot;
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
    type Source = NodeSource<FrontEnd>;

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
        check_secrets(&config.common.cluster, config_path)
    }

    fn node(start: &Start<'_, FrontendConfig>) -> anyhow::Result<FrontEnd> {
        let Start { config, secrets, macs, boot, seed, .. } = *start;
        let (given, ports) = (macs.len(), config.common.ports.len());
        ensure!(given == ports, "{given} Ethernet addresses for {ports} ports");
        let life = Life { boot: Boot(boot), seed, secrets: cluster_secrets(secrets)?, macs };
        Ok(FrontEnd::new(Settings::new(config, life)))
    }

    fn source(control: Control<FrontEnd>) -> NodeSource<FrontEnd> {
        NodeSource::new(control)
    }

    fn routes(control: Control<FrontEnd>) -> Router {
        let source = Arc::new(NodeSource::new(control));
        router(Arc::clone(&source)).merge(draining::router(source))
    }

    fn set_secrets(control: &Control<FrontEnd>, secrets: &[Secret]) -> anyhow::Result<()> {
        NodeSource::new(control.clone()).set_secrets(secrets)
    }

    fn moves(control: Control<FrontEnd>) -> Option<Arc<dyn ConnectionSource>> {
        Some(Arc::new(NodeSource::new(control)))
    }
}

impl Numbers for Snapshot {
    fn add_to(&self, metrics: &mut Metrics) {
        metrics::add(self, metrics);
    }

    fn status(&self) -> serde_json::Value {
        status::describe(self)
    }
}
