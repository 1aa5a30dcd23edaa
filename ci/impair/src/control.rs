//! The control socket: one command in a datagram, one line in answer, to whatever address asked.

use crate::fault::Faults;
use clap::{Args, Command, FromArgMatches};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

/// The longest command, in bytes; what is longer is cut and refused.
const COMMAND_MAX: usize = 512;

/// What may be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Request {
    /// Forward, with these faults.
    Faults(Faults),
    /// Send what is under way, and let go of the interfaces.
    Off,
    /// Say what has been done.
    Status,
}

/// The socket.
#[derive(Debug)]
pub(crate) struct Control {
    socket: UnixDatagram,
}

impl Control {
    /// Makes the socket; one that an earlier life left there is replaced.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let socket = UnixDatagram::bind(path)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket })
    }

    /// The next command and who sent it; `None` if there is none now.
    pub(crate) fn receive(&self) -> io::Result<Option<(Result<Request, String>, SocketAddr)>> {
        let mut buffer = [0; COMMAND_MAX];
        match self.socket.recv_from(&mut buffer) {
            Ok((length, sender)) => Ok(Some((read(&buffer[..length]), sender))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Answers. Who asked may be gone by now, and that is their affair.
    pub(crate) fn answer(&self, to: &SocketAddr, line: &str) {
        let _gone = self.socket.send_to_addr(line.as_bytes(), to);
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Reads a command, written like a command line: `faults --seed 1 --loss 0.02`.
fn read(datagram: &[u8]) -> Result<Request, String> {
    let text = std::str::from_utf8(datagram).map_err(|_| "the command is not UTF-8".to_owned())?;
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        ["off"] => Ok(Request::Off),
        ["status"] => Ok(Request::Status),
        ["faults", ..] => {
            let matches =
                Faults::augment_args(Command::new("faults").disable_help_flag(true)).try_get_matches_from(words);
            let faults = matches.and_then(|matches| Faults::from_arg_matches(&matches));
            faults.map(Request::Faults).map_err(|error| first_line(&error.to_string()))
        }
        _ => Err("a command is: faults --seed S ..., off, or status".to_owned()),
    }
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands() {
        let faults = Faults {
            seed: 7,
            loss: "0.02".parse().unwrap(),
            dup: "0.01".parse().unwrap(),
            reorder: "0.03".parse().unwrap(),
            corrupt: "0.002".parse().unwrap(),
            mark: "0.04".parse().unwrap(),
            delay_ms: 20,
            rate_mbit: 1_000,
        };
        let line = "faults --seed 7 --loss 0.02 --dup 0.01 --reorder 0.03 --corrupt 0.002 --mark 0.04 --delay 20 --rate 1000\n";
        assert_eq!(read(line.as_bytes()), Ok(Request::Faults(faults)));
        assert_eq!(
            read(b"faults --delay 10000"),
            Ok(Request::Faults(Faults { delay_ms: 10_000, ..Faults::default() }))
        );
        assert_eq!(read(b"off"), Ok(Request::Off));
        assert_eq!(read(b" status \n"), Ok(Request::Status));
    }

    #[test]
    fn refused_commands_say_why() {
        for (line, words) in [
            (&b""[..], "a command is"),
            (b"on", "a command is"),
            (b"off now", "a command is"),
            (b"\xff", "not UTF-8"),
            (b"faults --loss 2", "2 is not a share"),
            (b"faults --loss", "a value is required"),
            (b"faults --delay 10001", "10001"),
            (b"faults --jitter 3", "--jitter"),
        ] {
            let refused = read(line).unwrap_err();
            assert!(refused.contains(words) && !refused.contains('\n'), "{words:?} is not in {refused:?}");
        }
    }

    #[test]
    fn the_socket_answers_whoever_asks_and_replaces_an_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        drop(Control::bind(&path).unwrap());
        let control = Control::bind(&path).unwrap();
        assert!(control.receive().unwrap().is_none());

        let asker = UnixDatagram::bind(folder.path().join("asker")).unwrap();
        asker.send_to(b"status", &path).unwrap();
        let (request, sender) = control.receive().unwrap().unwrap();
        assert_eq!(request, Ok(Request::Status));
        control.answer(&sender, "on=0");
        let mut buffer = [0; 16];
        let length = asker.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"on=0");

        // The answer to one that has gone is nobody's.
        std::fs::remove_file(folder.path().join("asker")).unwrap();
        control.answer(&sender, "on=0");
    }
}
