//! A capture of what nodes said to each other, made readable for whoever has the cluster's secret: every sealed datagram whose session began
//! in the capture is written in clear, under a kind that no node takes, for the dissector in `wireshark/baton.lua`.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use baton_stack::wire::{self, Envelope, IpSettings, Packet, protocol};
use handoff_proto::header::HEADER_BYTES;
use handoff_proto::seal::{ClusterSecret, SecretError, Secrets, SecretsError};
use handoff_proto::session::{Captured, Unsealer};
use pcap_file::pcap::{PcapWriter, RawPcapPacket};

use crate::pcap::{Capture, CaptureError, io_error};

/// Why nothing was unsealed.
#[derive(Debug, thiserror::Error)]
pub enum UnsealError {
    /// A secret cannot be read.
    #[error("{}: {error}", path.display())]
    SecretFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// A secret is none.
    #[error("{}: {error}", path.display())]
    Secret {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: SecretError,
    },
    /// Too many secrets.
    #[error("{0}")]
    Secrets(#[from] SecretsError),
    /// The capture cannot be read.
    #[error("{}: {error}", path.display())]
    Capture {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: CaptureError,
    },
    /// The output cannot be written.
    #[error("{}: {error}", path.display())]
    Output {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

/// What was in a capture.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// All frames; all are written.
    pub frames: u64,
    /// HELLO and HELLO-ACK.
    pub hellos: u64,
    /// Of these, those under another secret.
    pub foreign_hellos: u64,
    /// Sealed datagrams that are now in clear.
    pub unsealed: u64,
    /// Sealed datagrams that are as they were.
    pub sealed: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { frames, hellos, foreign_hellos, unsealed, sealed } = self;
        write!(f, "{frames} frames: {hellos} HELLO, {unsealed} datagrams unsealed, {sealed} left sealed")?;
        if *foreign_hellos > 0 {
            write!(f, "; {foreign_hellos} HELLO are under another secret")?;
        }
        if *sealed > 0 {
            write!(
                f,
                "; a session can be read if its HELLO is in the capture: begin it before one of the two nodes starts"
            )?;
        }
        Ok(())
    }
}

/// Reads secrets from their files.
///
/// # Errors
/// One cannot be read, or is none, or they are too many.
pub fn read_secrets(paths: &[PathBuf]) -> Result<Secrets, UnsealError> {
    let read = |path: &PathBuf| {
        let contents = fs::read(path).map_err(|error| UnsealError::SecretFile { path: path.clone(), error })?;
        ClusterSecret::parse(&contents).map_err(|error| UnsealError::Secret { path: path.clone(), error })
    };
    Ok(Secrets::new(paths.iter().map(read).collect::<Result<Vec<_>, _>>()?)?)
}

/// Writes to `output` what is in the capture `input`, all frames in their order and at their times, with sealed datagrams opened.
///
/// # Errors
/// A file cannot be read or written, or is no capture.
pub fn unseal(secrets: &Secrets, input: &Path, output: &Path) -> Result<Summary, UnsealError> {
    let mut unsealer = Unsealer::new(secrets);
    let mut summary = Summary::default();
    // Twice through the file: a datagram may have been captured before the HELLO of its session.
    let unread = |error| UnsealError::Capture { path: input.to_owned(), error };
    let mut capture = open(input).map_err(unread)?;
    while let Some(frame) = capture.next_frame().map_err(unread)? {
        if let Some((_, payload)) = datagram(&frame.data)
            && unsealer.open(&frame.data[payload.clone()]) == Captured::Hello
        {
            summary.hellos += 1;
            summary.foreign_hellos += u64::from(!unsealer.learn(&frame.data[payload]));
        }
    }
    let mut capture = open(input).map_err(unread)?;
    let unwritten = |error| UnsealError::Output { path: output.to_owned(), error };
    let file = BufWriter::new(File::create(output).map_err(unwritten)?);
    let mut out = PcapWriter::with_header(file, capture.header()).map_err(io_error).map_err(unwritten)?;
    while let Some(frame) = capture.next_frame().map_err(unread)? {
        summary.frames += 1;
        let opened = opened(&unsealer, &frame, &mut summary);
        out.write_raw_packet(&opened.unwrap_or(frame)).map_err(io_error).map_err(unwritten)?;
    }
    out.into_writer().flush().map_err(unwritten)?;
    Ok(summary)
}

fn open(path: &Path) -> Result<Capture<File>, CaptureError> {
    Capture::open(File::open(path)?)
}

/// The frame with its datagram in clear, if it has one that opens.
fn opened(unsealer: &Unsealer, frame: &RawPcapPacket<'_>, summary: &mut Summary) -> Option<RawPcapPacket<'static>> {
    let (parsed, payload) = datagram(&frame.data)?;
    match unsealer.open(&frame.data[payload]) {
        Captured::Foreign | Captured::Hello => None,
        Captured::Sealed => {
            summary.sealed += 1;
            None
        }
        Captured::Unsealed(clear) => {
            summary.unsealed += 1;
            let bytes = parsed.around(&clear);
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let RawPcapPacket { ts_sec, ts_frac, .. } = *frame;
            Some(RawPcapPacket { ts_sec, ts_frac, incl_len: length, orig_len: length, data: bytes.into() })
        }
    }
}

/// What stood around a datagram.
struct Around {
    envelope: Envelope,
    ports: (u16, u16),
}

impl Around {
    /// A frame with another payload.
    fn around(&self, payload: &[u8]) -> Vec<u8> {
        let at = self.envelope.udp_payload_offset();
        let mut frame = vec![0; at + payload.len()];
        frame[at..].copy_from_slice(payload);
        let (source, target) = self.ports;
        self.envelope.seal_udp(&mut frame, source, target, payload.len());
        frame
    }
}

/// A UDP payload that may be a datagram of ours, of any port.
fn datagram(frame: &[u8]) -> Option<(Around, Range<usize>)> {
    let vlan = match *frame.first_chunk::<16>()? {
        [.., 0x81, 0x00, high, low] => u16::from_be_bytes([high, low]) & 0x0fff,
        _ => 0,
    };
    let layers = wire::parse(frame, vlan).ok()?;
    let Packet::Ip(ip) = layers.packet else { return None };
    if ip.protocol != protocol::UDP {
        return None;
    }
    let (source, target, payload) = wire::parse_udp(frame, &ip).ok()?;
    let settings = IpSettings { hop_limit: ip.hop_limit, ..IpSettings::DEFAULT };
    let envelope =
        Envelope { src_mac: layers.src_mac, dst_mac: layers.dst_mac, vlan, src: ip.src, dst: ip.dst, ip: settings };
    (payload.len() >= HEADER_BYTES).then_some((Around { envelope, ports: (source, target) }, payload))
}
