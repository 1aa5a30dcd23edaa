//! Signals: the first SIGINT or SIGTERM asks for a clean stop, the second stops at once. SIGHUP has the secrets read again.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use std::io;
use std::process;
use std::thread::{self, JoinHandle};

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum StopRequest {
    /// Move or reset the connections, then end.
    Clean,
    /// End now.
    Immediate,
}

/// What is done about a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reaction {
    Stop(StopRequest),
    /// The loop had its chance twice.
    Exit,
    /// The secrets are read again.
    Reload,
}

fn react(signal: i32, stops_before: u32) -> Reaction {
    match (signal, stops_before) {
        (SIGHUP, _) => Reaction::Reload,
        (_, 0) => Reaction::Stop(StopRequest::Clean),
        (_, 1) => Reaction::Stop(StopRequest::Immediate),
        _ => Reaction::Exit,
    }
}

/// The thread that waits for signals. Dropping it gives the signals back.
#[derive(Debug)]
pub struct SignalWatch {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl SignalWatch {
    /// Calls `on_stop` for the first and for the second stop signal, from a thread of its own. A third ends the process with code 1,
    /// should the second not have been enough. For each SIGHUP it calls `on_hangup`.
    ///
    /// # Errors
    /// The handlers could not be installed, or no thread could be started.
    pub fn start(
        mut on_stop: impl FnMut(StopRequest) + Send + 'static,
        mut on_hangup: impl FnMut() + Send + 'static,
    ) -> io::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let handle = signals.handle();
        let wait = move || {
            let mut stops = 0;
            for signal in signals.forever() {
                match react(signal, stops) {
                    Reaction::Stop(request) => {
                        stops += 1;
                        tracing::info!(signal, ?request, "stop signal");
                        on_stop(request);
                    }
                    Reaction::Exit => {
                        tracing::error!(signal, "third stop signal: the poll loop does not end; leaving it behind");
                        process::exit(1);
                    }
                    Reaction::Reload => on_hangup(),
                }
            }
        };
        let thread = thread::Builder::new().name("baton-signals".to_owned()).spawn(wait)?;
        Ok(Self { handle, thread: Some(thread) })
    }
}

impl Drop for SignalWatch {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signal_hook::low_level::raise;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn first_clean_then_at_once_then_the_end() {
        for signal in [SIGINT, SIGTERM] {
            assert_eq!(react(signal, 0), Reaction::Stop(StopRequest::Clean));
            assert_eq!(react(signal, 1), Reaction::Stop(StopRequest::Immediate));
            assert_eq!(react(signal, 2), Reaction::Exit);
        }
        for stops in 0..3 {
            assert_eq!(react(SIGHUP, stops), Reaction::Reload);
        }
    }

    #[test]
    fn real_signals_arrive_in_order() {
        let (seen, saw) = mpsc::channel();
        let hung_up = seen.clone();
        let watch =
            SignalWatch::start(move |request| seen.send(Some(request)).unwrap(), move || hung_up.send(None).unwrap())
                .unwrap();
        let next = || saw.recv_timeout(Duration::from_secs(5)).unwrap();
        for _ in 0..2 {
            raise(SIGHUP).unwrap();
            assert_eq!(next(), None);
        }
        raise(SIGTERM).unwrap();
        assert_eq!(next(), Some(StopRequest::Clean));
        raise(SIGINT).unwrap();
        assert_eq!(next(), Some(StopRequest::Immediate));
        drop(watch);
        assert!(saw.recv().is_err(), "the thread has ended");
    }
}
