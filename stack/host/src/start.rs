//! The start of a node, its run and its end, the same for both programs.

use crate::admin::secrets::Reload;
use crate::admin::{self, AdminServer};
use crate::boot;
use crate::files;
use crate::log;
use crate::move_log::MoveLog;
use crate::program::{Failure, Program, Start, load};
use crate::shell::{Control, Shell};
use crate::signals::SignalWatch;
use crate::source::{Identity, WholeSource};
use anyhow::Context;
use baton_dpdk::CLOCK_BASE;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::{error, info};

/// Runs the node of the configuration in `path` in shell `S` until it is told to stop. `arguments` are EAL's from the command line.
///
/// The calling thread becomes the poll loop; admin listener and signals have threads of their own.
pub(crate) fn run<P, S>(path: &Path, arguments: Vec<String>) -> Result<(), Failure>
where
    P: Program + 'static,
    S: Shell<P::Node>,
{
    let (config, secrets) = load::<P>(path)?;
    let common = P::common(&config);
    log::start(&common.log).map_err(|error| Failure::Invalid(error.into()))?;
    info!(program = P::NAME, version = P::VERSION, config = %path.display(), "{}", P::summary(&config));

    let eal: Vec<String> = common.eal.iter().cloned().chain(arguments).collect();
    let shell = S::open(&eal, common).map_err(Failure::Failed)?;
    for line in shell.capabilities().lines() {
        info!("{line}");
    }
    let macs = shell.macs();
    let boot = boot::take().map_err(failed)?;
    let seed = files::random_seed().map_err(failed)?;
    let start = Start {
        config: &config,
        config_path: path,
        secrets: &secrets,
        macs: &macs,
        boot,
        seed,
        unix_at_origin_s: unix_at_origin_s(),
    };
    let node = P::node(&start).context("cannot build the node").map_err(Failure::Failed)?;
    // The node has what it needs of them; the copies here are wiped.
    drop(secrets);

    let remote = shell.remote();
    let stopping = Arc::new(AtomicBool::new(false));
    let control = Control::new(Arc::clone(&remote));
    let reload: Arc<dyn Reload> = {
        let (control, path, cluster) = (control.clone(), path.to_owned(), common.cluster.clone());
        Arc::new(move || P::set_secrets(&control, &files::load_secrets(&path, &cluster)?))
    };
    let signals = {
        let (remote, stopping) = (Arc::clone(&remote), Arc::clone(&stopping));
        let on_stop = move |request| {
            stopping.store(true, Ordering::Relaxed);
            remote.stop(request);
        };
        let reload = Arc::clone(&reload);
        let on_hangup = move || match reload() {
            Ok(()) => info!("the secrets were read again"),
            Err(error) => error!("the secrets stay as they were: {error:#}"),
        };
        SignalWatch::start(on_stop, on_hangup).context("cannot watch for signals").map_err(Failure::Failed)?
    };
    let identity = Identity::new::<P>(common, &macs, boot);
    let source = WholeSource::<P> { remote, node: P::source(control.clone()), identity, stopping };
    let router =
        admin::router(Arc::new(source)).merge(P::routes(control.clone())).merge(admin::secrets::router(reload));
    let listen = common.admin.listen;
    let cannot_listen = || format!("cannot listen on admin.listen, {listen}");
    let admin = AdminServer::start(listen, router).with_context(cannot_listen).map_err(Failure::Failed)?;

    let move_log = P::moves(control).and_then(MoveLog::start);

    info!(admin = %admin.address(), boot, "running");
    let ended = shell.run(node).context("the poll loop failed").map_err(Failure::Failed);
    drop(move_log);
    drop(admin);
    drop(signals);
    ended?;
    info!("stopped");
    Ok(())
}

/// The clock of the poll loop starts within moments of this.
fn unix_at_origin_s() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(CLOCK_BASE).as_secs()
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::Failed(error.into())
}
