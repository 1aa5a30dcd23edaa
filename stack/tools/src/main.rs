//! `tcb`: looks at images of frozen connections, and opens captures. Exit codes: 0 all right, 1 the file holds no right image, or nothing
//! that was sealed could be opened, 2 wrong usage or no such file.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use baton_tools::{dump, file, unseal, verify};
use clap::{Parser, Subcommand};
use handoff_proto::image::Image;

const EXIT_WRONG: u8 = 1;
const EXIT_UNUSABLE: u8 = 2;

/// Looks at images of frozen connections, in binary or as hexadecimal digits, and opens captures of what nodes said.
#[derive(Parser, Debug)]
#[command(name = "tcb", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Prints every field of an image.
    Dump {
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// The file; - for standard input.
        file: PathBuf,
    },
    /// Decodes an image, thaws it, freezes and encodes it again, and compares.
    Verify {
        /// The file; - for standard input.
        file: PathBuf,
    },
    /// Writes a capture in which the nodes' sealed datagrams are in clear, for Wireshark with baton.lua.
    Unseal {
        /// A file with a secret that the cluster had meanwhile; may be given up to four times.
        #[arg(long, required = true)]
        secret: Vec<PathBuf>,
        /// The capture: pcap, Ethernet.
        capture: PathBuf,
        /// The capture to write.
        output: PathBuf,
    },
}

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    match command {
        Command::Dump { json, file } => look_at(&file, |bytes| {
            let value = dump::describe(&Image::decode(bytes)?);
            Ok(if json { format!("{value:#}\n") } else { dump::text(&value) })
        }),
        Command::Verify { file } => look_at(&file, |bytes| {
            let image = verify::verify(bytes)?;
            Ok(format!("ok: connection {}, epoch {}, {} bytes\n", image.c, image.epoch.0, bytes.len()))
        }),
        Command::Unseal { secret, capture, output } => open(&secret, &capture, &output),
    }
}

fn open(secrets: &[PathBuf], capture: &Path, output: &Path) -> ExitCode {
    match unseal::read_secrets(secrets).and_then(|secrets| unseal::unseal(&secrets, capture, output)) {
        Ok(summary) => {
            eprintln!("tcb: {summary}");
            let is_opened = summary.unsealed > 0 || summary.sealed == 0;
            if is_opened { ExitCode::SUCCESS } else { ExitCode::from(EXIT_WRONG) }
        }
        Err(error) => {
            eprintln!("tcb: {error}");
            ExitCode::from(EXIT_UNUSABLE)
        }
    }
}

fn look_at(path: &Path, look: impl FnOnce(&[u8]) -> Result<String, verify::Wrong>) -> ExitCode {
    let bytes = match file::read(path) {
        Ok(bytes) => bytes,
        Err(error) => return fail(path, &error, EXIT_UNUSABLE),
    };
    match look(&bytes) {
        Ok(text) => {
            // A reader that went away is no failure of ours.
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(wrong) => fail(path, &wrong, EXIT_WRONG),
    }
}

fn fail(path: &Path, error: &dyn std::error::Error, code: u8) -> ExitCode {
    eprintln!("tcb: {}: {error}", path.display());
    ExitCode::from(code)
}
