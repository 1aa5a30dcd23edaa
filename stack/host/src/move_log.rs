//! A log line for each move, at level debug: a thread reads the node's journal now and then, so that the poll loop writes none.

use crate::admin::connections::{ConnectionSource, NumberedMoves};
use serde_json::Value;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tracing::Level;

/// How often the journal is read. Moves that are forgotten meanwhile are counted in the log.
const EVERY: Duration = Duration::from_millis(250);
/// Moves that are read at once.
const LIMIT: usize = 1_000;

/// The thread. Dropping it ends it, when it has written what there is.
pub(crate) struct MoveLog {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl MoveLog {
    /// `None` if nobody reads lines of that level, or no thread can be had: the journal is there without it.
    pub(crate) fn start(source: Arc<dyn ConnectionSource>) -> Option<Self> {
        if !tracing::enabled!(Level::DEBUG) {
            return None;
        }
        let (stop, stopped) = mpsc::channel();
        let follow = move || {
            let mut last = 0;
            loop {
                let is_over = stopped.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout);
                last = follow_once(&*source, last, write);
                if is_over {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("baton-move-log".to_owned()).spawn(follow).ok()?;
        Some(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for MoveLog {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Writes the moves above `last`; gives the number of the last that was written, or was missed.
fn follow_once(source: &dyn ConnectionSource, mut last: u64, mut write: impl FnMut(u64, Option<&Value>)) -> u64 {
    // A node that does not answer is asked again next time.
    while let Ok(NumberedMoves { list, last: newest }) = source.moves(last, LIMIT) {
        for (number, event) in &list {
            let missed = number.saturating_sub(last + 1);
            if missed > 0 {
                write(missed, None);
            }
            write(*number, Some(event));
            last = *number;
        }
        if list.is_empty() || last >= newest {
            break;
        }
    }
    last
}

fn write(number: u64, event: Option<&Value>) {
    match event {
        Some(event) => tracing::debug!(number, %event, "move"),
        None => tracing::debug!(missed = number, "moves were forgotten before they could be written"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::Unavailable;
    use crate::admin::connections::Refused;
    use serde_json::json;

    /// Has moves from the first number to the last.
    struct Fake(u64, u64);

    impl ConnectionSource for Fake {
        fn connections(&self, _: usize, _: usize) -> Result<Value, Unavailable> {
            Err(Unavailable("not asked".to_owned()))
        }

        fn moves(&self, after: u64, limit: usize) -> Result<NumberedMoves, Unavailable> {
            if self.1 == 0 {
                return Err(Unavailable("no answer".to_owned()));
            }
            let list = (self.0.max(after + 1)..=self.1).take(limit).map(|number| (number, json!(number))).collect();
            Ok(NumberedMoves { list, last: self.1 })
        }

        fn move_connection(&self, _: u64, _: String) -> Result<Result<Value, Refused>, Unavailable> {
            Err(Unavailable("not asked".to_owned()))
        }
    }

    fn lines(fake: &Fake, last: u64) -> (u64, Vec<u64>, u64) {
        let (mut written, mut missed) = (Vec::new(), 0);
        let last = follow_once(fake, last, |number, event| match event {
            Some(event) => {
                assert_eq!(event, &json!(number));
                written.push(number);
            }
            None => missed += number,
        });
        (last, written, missed)
    }

    #[test]
    fn each_move_is_written_once_and_what_is_forgotten_is_counted() {
        assert_eq!(lines(&Fake(1, 3), 0), (3, vec![1, 2, 3], 0));
        assert_eq!(lines(&Fake(1, 3), 3), (3, vec![], 0));
        assert_eq!(lines(&Fake(11, 12), 3), (12, vec![11, 12], 7));
        let (last, written, missed) = lines(&Fake(1, 2_500), 0);
        assert_eq!((last, written.len(), missed), (2_500, 2_500, 0), "more than are read at once");
    }

    #[test]
    fn a_silent_node_is_asked_again_later() {
        assert_eq!(lines(&Fake(1, 0), 5), (5, vec![], 0));
    }

    #[test]
    fn it_starts_for_readers_only_and_ends() {
        assert!(MoveLog::start(Arc::new(Fake(1, 3))).is_none(), "nobody reads");
        tracing::subscriber::with_default(
            tracing_subscriber::fmt().with_max_level(Level::DEBUG).with_test_writer().finish(),
            || {
                drop(MoveLog::start(Arc::new(Fake(1, 3))).expect("somebody reads"));
            },
        );
    }
}
