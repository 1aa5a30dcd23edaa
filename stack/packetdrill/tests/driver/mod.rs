//! Does what the tool does: loads the built library, fills its table, and plays a peer.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::ffi::{CString, c_int, c_longlong, c_void};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use baton_packetdrill::Interface;
use baton_stack::addr::{Endpoint, IpAddr, Ipv4Addr, Ipv6Addr, MacAddr};
use baton_stack::ecn::Ecn;
use baton_stack::node::RxChecksum;
use baton_stack::tcp::{Flags, Options, Segment, SeqNum};
use baton_stack::wire::{self, Envelope, IpSettings};
use nix::errno::Errno;
use nix::libc;

pub(crate) const S: Flags = Flags::SYN;
pub(crate) const A: Flags = Flags::ACK;
pub(crate) const PA: Flags = Flags::ACK.with(Flags::PSH);
pub(crate) const FA: Flags = Flags::ACK.with(Flags::FIN);
pub(crate) const SA: Flags = Flags::ACK.with(Flags::SYN);
pub(crate) const R: Flags = Flags::RST;
pub(crate) const RA: Flags = Flags::ACK.with(Flags::RST);

/// The peer's first sequence number.
pub(crate) const IRS: u32 = 7_000;
pub(crate) const PORT: u16 = 8_080;

/// The library, as cargo has built it beside this test.
pub(crate) fn library_path() -> PathBuf {
    let test = std::env::current_exe().expect("a path");
    let name = "libbaton_packetdrill.so";
    let beside = test.with_file_name(name);
    if beside.exists() { beside } else { test.parent().and_then(|deps| deps.parent()).expect("a folder").join(name) }
}

/// The loaded library and its table, and the peer on the other side.
pub(crate) struct Drive {
    _library: libloading::Library,
    pub(crate) table: Interface,
    /// Our end of the connection, as the peer sees it, and the peer's.
    pub(crate) local: Endpoint,
    pub(crate) peer: Endpoint,
    /// Our first sequence number, once it is known.
    pub(crate) iss: AtomicU32,
    start: i64,
}

// SAFETY: the table may be used from several threads, which is what this is to test.
unsafe impl Sync for Drive {}

/// A packet that has left the library: when, in microseconds since the start, and what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sent {
    pub(crate) at: i64,
    pub(crate) flags: Flags,
    /// Relative to the first sequence number of each side.
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    pub(crate) options: Options,
    pub(crate) payload: Vec<u8>,
}

/// A call's result, with errno.
pub(crate) fn check(result: isize) -> Result<isize, Errno> {
    if result < 0 { Err(Errno::last()) } else { Ok(result) }
}

impl Drive {
    pub(crate) fn new(flags: &str) -> Self {
        Self::with(flags, false)
    }

    pub(crate) fn with(flags: &str, is_v6: bool) -> Self {
        let flags = CString::new(flags).expect("no zero");
        let mut table = std::mem::MaybeUninit::<Interface>::uninit();
        // SAFETY: the library is the one of this package; the symbol has this type; the table is written whole.
        let (library, table) = unsafe {
            let library = libloading::Library::new(library_path()).expect("the library is built");
            let init: libloading::Symbol<'_, unsafe extern "C" fn(*const i8, *mut Interface)> =
                library.get(b"packetdrill_interface_init\0").expect("it exports its entry");
            init(flags.as_ptr(), table.as_mut_ptr());
            (library, table.assume_init())
        };
        let v6 = |last| IpAddr::V6(Ipv6Addr::new(0xfd3d, 0xfa7b, 0xd17d, 0, 0, 0, 0, last));
        let (local, peer) = if is_v6 {
            (v6(1), v6(2))
        } else {
            (IpAddr::V4(Ipv4Addr::new(192, 168, 0, 1)), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)))
        };
        let (local, peer) = (Endpoint { addr: local, port: PORT }, Endpoint { addr: peer, port: 40_000 });
        let mut drive = Self { _library: library, table, local, peer, iss: AtomicU32::new(0), start: 0 };
        drive.start = drive.clock();
        drive
    }

    pub(crate) fn iss(&self) -> SeqNum {
        SeqNum(self.iss.load(Ordering::Relaxed))
    }

    /// Microseconds since the start.
    pub(crate) fn clock(&self) -> i64 {
        let mut time = libc::timeval { tv_sec: 0, tv_usec: 0 };
        // SAFETY: the table's own userdata; `time` is there to be written.
        assert_eq!(unsafe { (self.table.gettimeofday)(self.table.userdata, &raw mut time, std::ptr::null_mut()) }, 0);
        time.tv_sec * 1_000_000 + time.tv_usec - self.start
    }

    /// Lets time pass, to a point after the start.
    pub(crate) fn sleep_until(&self, us: i64) {
        let left = u32::try_from(us - self.clock()).expect("time does not go back");
        // SAFETY: the table's own userdata.
        assert_eq!(unsafe { (self.table.usleep)(self.table.userdata, left) }, 0);
    }

    /// A listening socket.
    pub(crate) fn listener(&self) -> i32 {
        let fd = self.socket(if self.local.addr.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }).expect("a socket");
        self.bind(fd, self.local.port).expect("bound");
        // SAFETY: the table's own userdata.
        check(unsafe { (self.table.listen)(self.table.userdata, fd, 5) } as isize).expect("listening");
        fd
    }

    pub(crate) fn socket(&self, domain: i32) -> Result<i32, Errno> {
        // SAFETY: the table's own userdata.
        let fd = unsafe { (self.table.socket)(self.table.userdata, domain, libc::SOCK_STREAM, 0) };
        check(fd as isize).map(|_| fd)
    }

    pub(crate) fn bind(&self, fd: i32, port: u16) -> Result<isize, Errno> {
        let mut addr = vec![0_u8; if self.local.addr.is_ipv4() { 16 } else { 28 }];
        let family = if self.local.addr.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        addr[..2].copy_from_slice(&u16::try_from(family).expect("small").to_ne_bytes());
        addr[2..4].copy_from_slice(&port.to_be_bytes());
        let len = u32::try_from(addr.len()).expect("small");
        // SAFETY: the table's own userdata, and an address of that length.
        check(unsafe { (self.table.bind)(self.table.userdata, fd, addr.as_ptr().cast(), len) } as isize)
    }

    /// Connects to the peer.
    pub(crate) fn connect(&self, fd: i32) -> Result<isize, Errno> {
        let mut addr = Vec::new();
        let family = if self.peer.addr.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        addr.extend(u16::try_from(family).expect("small").to_ne_bytes());
        addr.extend(self.peer.port.to_be_bytes());
        match self.peer.addr {
            IpAddr::V4(peer) => addr.extend(peer.octets()),
            IpAddr::V6(peer) => addr.extend([&[0; 4][..], &peer.octets()].concat()),
        }
        addr.resize(if self.peer.addr.is_ipv4() { 16 } else { 28 }, 0);
        let len = u32::try_from(addr.len()).expect("small");
        // SAFETY: the table's own userdata, and an address of that length.
        check(unsafe { (self.table.connect)(self.table.userdata, fd, addr.as_ptr().cast(), len) } as isize)
    }

    /// A socket that connects from the port, and does not wait.
    pub(crate) fn connecting(&self) -> i32 {
        let fd = self.socket(if self.local.addr.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }).expect("a socket");
        self.bind(fd, self.local.port).expect("bound");
        self.set_nonblocking(fd);
        assert_eq!(self.connect(fd), Err(Errno::EINPROGRESS));
        self.take_syn();
        fd
    }

    /// The library's SYN.
    pub(crate) fn take_syn(&self) {
        let syn = self.receive().expect("SYN");
        assert!(syn.flags.has(S) && !syn.flags.has(A), "{syn:?}");
        let iss = u32::from_be_bytes(syn.payload[..4].try_into().expect("four bytes"));
        self.iss.store(iss, Ordering::Relaxed);
    }

    pub(crate) fn accept(&self, fd: i32) -> Result<i32, Errno> {
        let mut addr = [0_u8; 28];
        let mut len = 28_u32;
        // SAFETY: the table's own userdata, and room for an address.
        let new = unsafe { (self.table.accept)(self.table.userdata, fd, addr.as_mut_ptr().cast(), &raw mut len) };
        check(new as isize)?;
        assert_eq!(len, if self.local.addr.is_ipv4() { 16 } else { 28 });
        assert_eq!(addr[2..4], self.peer.port.to_be_bytes());
        Ok(new)
    }

    pub(crate) fn read(&self, fd: i32, len: usize) -> Result<Vec<u8>, Errno> {
        self.recv(fd, len, 0)
    }

    pub(crate) fn recv(&self, fd: i32, len: usize, flags: i32) -> Result<Vec<u8>, Errno> {
        let mut buf = vec![0_u8; len];
        // SAFETY: the table's own userdata, and a buffer of that length.
        let n = unsafe { (self.table.recv)(self.table.userdata, fd, buf.as_mut_ptr().cast(), len, flags) };
        buf.truncate(usize::try_from(check(n)?).expect("not negative"));
        Ok(buf)
    }

    pub(crate) fn write(&self, fd: i32, bytes: &[u8]) -> Result<usize, Errno> {
        // SAFETY: the table's own userdata, and a buffer of that length.
        let n = unsafe { (self.table.write)(self.table.userdata, fd, bytes.as_ptr().cast(), bytes.len()) };
        check(n).map(|n| usize::try_from(n).expect("not negative"))
    }

    pub(crate) fn send(&self, fd: i32, bytes: &[u8], flags: i32) -> Result<usize, Errno> {
        // SAFETY: as for `write`.
        let sent =
            check(unsafe { (self.table.send)(self.table.userdata, fd, bytes.as_ptr().cast(), bytes.len(), flags) });
        sent.map(isize::cast_unsigned)
    }

    pub(crate) fn close(&self, fd: i32) -> Result<isize, Errno> {
        // SAFETY: the table's own userdata.
        check(unsafe { (self.table.close)(self.table.userdata, fd) } as isize)
    }

    pub(crate) fn shutdown(&self, fd: i32, how: i32) -> Result<isize, Errno> {
        // SAFETY: the table's own userdata.
        check(unsafe { (self.table.shutdown)(self.table.userdata, fd, how) } as isize)
    }

    pub(crate) fn set_nonblocking(&self, fd: i32) {
        // SAFETY: the table's own userdata; F_GETFL takes nothing, F_SETFL an int.
        unsafe {
            let flags = (self.table.fcntl)(self.table.userdata, fd, libc::F_GETFL);
            assert_eq!(flags, libc::O_RDWR);
            assert_eq!((self.table.fcntl)(self.table.userdata, fd, libc::F_SETFL, flags | libc::O_NONBLOCK), 0);
            assert_eq!((self.table.fcntl)(self.table.userdata, fd, libc::F_GETFL), libc::O_RDWR | libc::O_NONBLOCK);
        }
    }

    pub(crate) fn ioctl(&self, fd: i32, request: u64) -> i32 {
        let mut value: c_int = -1;
        // SAFETY: the table's own userdata; the requests used here write an int.
        assert_eq!(unsafe { (self.table.ioctl)(self.table.userdata, fd, request, &raw mut value) }, 0);
        value
    }

    pub(crate) fn set_option(&self, fd: i32, level: i32, name: i32, value: &[u8]) -> Result<isize, Errno> {
        let len = u32::try_from(value.len()).expect("short");
        // SAFETY: the table's own userdata, and a value of that length.
        check(unsafe { (self.table.setsockopt)(self.table.userdata, fd, level, name, value.as_ptr().cast(), len) }
            as isize)
    }

    pub(crate) fn set_int(&self, fd: i32, level: i32, name: i32, value: i32) -> Result<isize, Errno> {
        self.set_option(fd, level, name, &value.to_ne_bytes())
    }

    pub(crate) fn option(&self, fd: i32, level: i32, name: i32, room: u32) -> Result<Vec<u8>, Errno> {
        let mut value = vec![0_u8; usize::try_from(room).expect("short")];
        let mut len = room;
        // SAFETY: the table's own userdata, and room of that length.
        let result = unsafe {
            (self.table.getsockopt)(self.table.userdata, fd, level, name, value.as_mut_ptr().cast(), &raw mut len)
        };
        check(result as isize)?;
        value.truncate(usize::try_from(len).expect("short"));
        Ok(value)
    }

    pub(crate) fn int(&self, fd: i32, level: i32, name: i32) -> i32 {
        i32::from_ne_bytes(self.option(fd, level, name, 4).expect("an option").try_into().expect("an int"))
    }

    /// One descriptor; how many were ready, and what of it.
    pub(crate) fn poll(&self, fd: i32, events: i16, timeout: i32) -> (i32, i16) {
        let mut poll = libc::pollfd { fd, events, revents: 0 };
        // SAFETY: the table's own userdata, and one element.
        let n = unsafe { (self.table.poll)(self.table.userdata, &raw mut poll, 1, timeout) };
        (n, poll.revents)
    }

    /// The peer sends a segment; numbers are relative.
    pub(crate) fn inject(&self, flags: Flags, seq: u32, ack: u32, payload: &[u8]) {
        self.inject_with(flags, seq, ack, payload, 65_535, Options::default());
    }

    pub(crate) fn inject_with(&self, flags: Flags, seq: u32, ack: u32, payload: &[u8], window: u16, options: Options) {
        let segment = Segment {
            src_port: self.peer.port,
            dst_port: self.local.port,
            seq: SeqNum(IRS) + seq,
            ack: if flags.has(A) { self.iss() + ack } else { SeqNum(0) },
            flags,
            window,
            urgent: 0,
            ecn: Ecn::NotEct,
            options,
            payload,
        };
        let (mac, src, dst) = (MacAddr::default(), self.peer.addr, self.local.addr);
        let envelope = Envelope { src_mac: mac, dst_mac: mac, vlan: 0, src, dst, ip: IpSettings::DEFAULT };
        let mut frame = vec![0; 2_000];
        let len = segment.emit(&mut frame[envelope.len()..]);
        let total = envelope.seal_tcp(&mut frame, len, Ecn::NotEct);
        self.inject_bytes(&frame[14..total]);
    }

    pub(crate) fn inject_bytes(&self, packet: &[u8]) {
        // SAFETY: the table's own userdata, and a packet of that length.
        let result = unsafe { (self.table.netdev_send)(self.table.userdata, packet.as_ptr().cast(), packet.len()) };
        assert_eq!(result, 0);
    }

    /// The next packet that leaves, if one does.
    pub(crate) fn receive(&self) -> Option<Sent> {
        let mut buf = vec![0_u8; 65_536];
        let (mut count, mut time): (usize, c_longlong) = (buf.len(), -1);
        let to = buf.as_mut_ptr().cast::<c_void>();
        // SAFETY: the table's own userdata, a buffer of that length, and a place for the time.
        let result = unsafe { (self.table.netdev_receive)(self.table.userdata, to, &raw mut count, &raw mut time) };
        assert_eq!(result, 0);
        if count == 0 {
            return None;
        }
        let mut frame = vec![0_u8; 14];
        frame[12..].copy_from_slice(if self.local.addr.is_ipv4() { &[8, 0] } else { &[0x86, 0xdd] });
        frame.extend_from_slice(&buf[..count]);
        let wire::Packet::Ip(ip) = wire::parse(&frame, 0).expect("a good packet").packet else { panic!("no IP") };
        ip.verify_transport(&frame, RxChecksum::Unknown).expect("a good checksum");
        assert_eq!((ip.src, ip.dst, ip.l4.end), (self.local.addr, self.peer.addr, frame.len()));
        let segment = Segment::parse(&frame[ip.l4]).expect("a good segment");
        assert_eq!((segment.src_port, segment.dst_port), (self.local.port, self.peer.port));
        let seq = if segment.flags.has(S) { 0 } else { segment.seq.since(self.iss()) };
        let ack = if segment.flags.has(A) { segment.ack.since(SeqNum(IRS)) } else { 0 };
        let Segment { flags, window, urgent, options, payload, .. } = segment;
        let payload = if flags.has(S) { segment.seq.0.to_be_bytes().to_vec() } else { payload.to_vec() };
        Some(Sent { at: time - self.start, flags, seq, ack, window, urgent, options, payload })
    }

    /// The next packet, which must be this.
    pub(crate) fn expect(&self, flags: Flags, seq: u32, ack: u32, payload: &[u8]) -> Sent {
        let sent = self.receive().expect("a packet");
        assert_eq!((sent.flags, sent.seq, sent.ack), (flags, seq, ack), "{sent:?}");
        assert_eq!(sent.payload, payload);
        sent
    }

    /// SYN, SYN-ACK, and the acknowledgment 10 ms later. Returns the SYN-ACK.
    pub(crate) fn shake_hands(&self, options: Options) -> Sent {
        let at = self.clock();
        self.inject_with(S, 0, 0, b"", 65_535, options.clone());
        let syn_ack = self.receive().expect("SYN-ACK");
        assert_eq!((syn_ack.flags, syn_ack.ack), (SA, 1));
        let iss = u32::from_be_bytes(syn_ack.payload[..4].try_into().expect("four bytes"));
        self.iss.store(iss, Ordering::Relaxed);
        self.sleep_until(at + 10_000);
        self.inject_with(A, 1, 1, b"", 65_535, Options { timestamps: options.timestamps, ..Options::default() });
        syn_ack
    }

    /// A listener, and the socket of a connection that it has accepted.
    pub(crate) fn connected(&self) -> (i32, i32) {
        let listener = self.listener();
        self.shake_hands(mss(1_460));
        (listener, self.accept(listener).expect("a connection"))
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        // SAFETY: the table's own userdata, for the last time.
        unsafe { (self.table.free)(self.table.userdata) };
    }
}

pub(crate) fn mss(mss: u16) -> Options {
    Options { mss: Some(mss), ..Options::default() }
}

/// As many bytes, each with its place.
pub(crate) fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|n| u8::try_from(n % 251).expect("small")).collect()
}

/// Every packet that leaves until there is none.
pub(crate) fn all(drive: &Drive) -> Vec<Sent> {
    std::iter::from_fn(|| drive.receive()).collect()
}
