//! `tcb`: looks at images of frozen connections. Exit codes: 0 all right, 1 the file holds no right image, 2 wrong usage or no such file.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use baton_tools::{dump, file, verify};
use clap::{Parser, Subcommand};
use handoff_proto::image::Image;

const EXIT_WRONG: u8 = 1;
const EXIT_UNUSABLE: u8 = 2;

/// Looks at images of frozen connections, in binary or as hexadecimal digits.
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
}

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    let (Command::Dump { file: path, .. } | Command::Verify { file: path }) = &command;
    let bytes = match file::read(path) {
        Ok(bytes) => bytes,
        Err(error) => return fail(path, &error, EXIT_UNUSABLE),
    };
    let said = match &command {
        Command::Dump { json, .. } => Image::decode(&bytes)
            .map(|image| dump::describe(&image))
            .map_err(Into::into)
            .map(|value| if *json { format!("{value:#}\n") } else { dump::text(&value) }),
        Command::Verify { .. } => verify::verify(&bytes)
            .map(|image| format!("ok: connection {}, epoch {}, {} bytes\n", image.c, image.epoch.0, bytes.len())),
    };
    match said {
        Ok(text) => {
            // A reader that went away is no failure of ours.
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(wrong) => fail(path, &wrong, EXIT_WRONG),
    }
}

fn fail(path: &std::path::Path, error: &dyn std::error::Error, code: u8) -> ExitCode {
    eprintln!("tcb: {}: {error}", path.display());
    ExitCode::from(code)
}
