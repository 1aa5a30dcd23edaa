//! Captures for tshark, and what it says of them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{fs, io};

use baton_stack::addr::{IpAddr, MacAddr};
use baton_stack::wire::{Envelope, IpSettings};
use pcap_file::pcap::{PcapPacket, PcapWriter};

const DISSECTOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/wireshark/baton.lua");
const PORT: u16 = 9_910;

/// A capture in a file of its own.
pub(crate) struct Capture {
    folder: tempfile::TempDir,
    file: Vec<u8>,
}

/// A datagram as tshark shows it.
pub(crate) struct Datagram {
    /// The info column.
    pub(crate) info: String,
    /// All fields of the protocol that are no branch, in order.
    pub(crate) leaves: Vec<Leaf>,
    /// What its experts say.
    pub(crate) experts: Vec<String>,
    /// Whether IP's and UDP's checksums are right.
    pub(crate) is_checksum_good: bool,
}

/// A field.
pub(crate) struct Leaf {
    /// Its name in filters.
    pub(crate) name: String,
    /// Its value in words.
    pub(crate) show: String,
    /// Its bytes; none for bits of one, and for what was generated.
    pub(crate) value: Vec<u8>,
}

impl Capture {
    /// A capture of datagrams, each with where it comes from and goes to, one a second.
    pub(crate) fn new(datagrams: impl IntoIterator<Item = (IpAddr, IpAddr, Vec<u8>)>) -> Self {
        let mut writer = PcapWriter::new(vec![]).unwrap();
        for (second, (src, dst, payload)) in (0..).zip(datagrams) {
            let (src_mac, dst_mac) = (MacAddr([2; 6]), MacAddr([4; 6]));
            let envelope = Envelope { src_mac, dst_mac, vlan: 0, src, dst, ip: IpSettings::DEFAULT };
            let at = envelope.udp_payload_offset();
            let mut bytes = vec![0; at + payload.len()];
            bytes[at..].copy_from_slice(&payload);
            envelope.seal_udp(&mut bytes, PORT, PORT, payload.len());
            let len = u32::try_from(bytes.len()).unwrap();
            writer.write_packet(&PcapPacket::new(Duration::from_secs(second), len, &bytes)).unwrap();
        }
        Self::of(writer.into_writer())
    }

    fn of(file: Vec<u8>) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), file }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.file
    }

    /// Exit code and words of `tcb unseal` with this secret, and what it has written.
    pub(crate) fn unseal(&self, secret: &[u8]) -> (Option<i32>, String, Self) {
        let path = |name: &str| self.folder.path().join(name);
        fs::write(path("in.pcap"), &self.file).unwrap();
        fs::write(path("secret"), secret).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tcb"));
        command.args(["unseal", "--secret"]).arg(path("secret")).arg(path("in.pcap")).arg(path("out.pcap"));
        let done = command.output().unwrap();
        let opened = Self::of(fs::read(path("out.pcap")).unwrap());
        (done.status.code(), String::from_utf8(done.stderr).unwrap(), opened)
    }

    /// What tshark says of each frame, the dissector loaded.
    pub(crate) fn read(&self) -> Vec<Datagram> {
        let path = self.folder.path().join("capture.pcap");
        fs::write(&path, &self.file).unwrap();
        let details = tshark(&path, &["-T", "pdml"]);
        let infos = tshark(&path, &["-T", "fields", "-e", "_ws.col.Info"]);
        let frames: Vec<&str> = details.split("<packet>").skip(1).collect();
        assert_eq!(frames.len(), infos.lines().count());
        frames.iter().zip(infos.lines()).map(|(frame, info)| datagram(frame, info)).collect()
    }
}

fn tshark(path: &Path, words: &[&str]) -> String {
    let script = format!("lua_script:{DISSECTOR}");
    let mut command = Command::new("tshark");
    command
        .args(["-n", "-X", &script, "-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-r"])
        .arg(path)
        .args(words);
    let done = command.output().unwrap_or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => panic!("there is no tshark; ci/setup installs it"),
        _ => panic!("tshark: {error}"),
    });
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success() && !said.contains("Lua"), "{said}");
    String::from_utf8(done.stdout).unwrap()
}

/// Reads the lines of a frame: one a field, branches opened and closed.
fn datagram(frame: &str, info: &str) -> Datagram {
    let (mut leaves, mut experts) = (vec![], vec![]);
    let is_checksum_good = !frame.contains("show=\"Bad\"") && frame.matches("[correct]").count() >= 1;
    for line in frame.lines().map(str::trim) {
        let Some(name) = attribute(line, "name") else { continue };
        if name == "_ws.expert.message" {
            experts.push(attribute(line, "show").unwrap_or_default());
        }
        let is_branch = name == "baton" || attribute(line, "value").is_none() && attribute(line, "show").is_none();
        if !name.starts_with("baton.") || is_branch || is_expert(&name) {
            continue;
        }
        let is_bit = attribute(line, "unmaskedvalue").is_some();
        let is_generated = attribute(line, "size").is_none_or(|size| size == "0");
        let digits = attribute(line, "value").filter(|_| !is_bit && !is_generated).unwrap_or_default();
        let value = bytes_of(&digits);
        leaves.push(Leaf { name, show: attribute(line, "show").unwrap_or_default(), value });
    }
    Datagram { info: info.to_owned(), leaves, experts, is_checksum_good }
}

fn is_expert(name: &str) -> bool {
    ["baton.malformed", "baton.unknown", "baton.is_sealed"].contains(&name)
}

fn attribute(line: &str, name: &str) -> Option<String> {
    let (_, rest) = line.split_once(&format!(" {name}=\""))?;
    let (value, _) = rest.split_once('"')?;
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&#x27;", "'"), ("&amp;", "&")];
    Some(entities.iter().fold(value.to_owned(), |value, (entity, sign)| value.replace(entity, sign)))
}

fn bytes_of(digits: &str) -> Vec<u8> {
    let digit = |byte: &u8| u8::try_from(char::from(*byte).to_digit(16).unwrap()).unwrap();
    digits.as_bytes().chunks(2).map(|pair| digit(&pair[0]) << 4 | digit(&pair[1])).collect()
}
