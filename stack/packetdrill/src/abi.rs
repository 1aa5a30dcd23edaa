//! The tool's table of calls (its `packetdrill.h`), and what stands behind each: pointers in, errno out, nothing else.
//!
//! Every function here is called by the tool under the contract of the POSIX call that it is named for: a pointer and the
//! length beside it describe memory that is the call's for as long as it runs. `userdata` is what
//! [`packetdrill_interface_init`] gave out, until it is given back to `free`.

use std::ffi::{CStr, c_char, c_int, c_long, c_longlong, c_uint, c_ulong, c_void};
use std::sync::Arc;

use nix::errno::Errno;
use nix::libc::{iovec, msghdr, nfds_t, pollfd, sockaddr, socklen_t, timeval, timezone};

use crate::address;
use crate::calls::PollFd;
use crate::settings::Settings;
use crate::waiting::Host;

/// Buffers of one call at the most (`IOV_MAX`).
const BUFFERS_MAX: usize = 1_024;
/// Descriptors of one `poll` at the most.
const POLL_MAX: u64 = 4_096;
/// Bytes of one call at the most: Linux's, in whole pages below 2^31.
const BYTES_MAX: usize = 0x7fff_f000;

type Ssize = isize;
type Userdata = *mut c_void;

/// The tool's `struct packetdrill_interface`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "each field is the POSIX call of its name; what is not is said")]
pub struct Interface {
    pub userdata: *mut c_void,
    /// Gives `userdata` back.
    pub free: unsafe extern "C" fn(*mut c_void),
    pub socket: unsafe extern "C" fn(*mut c_void, c_int, c_int, c_int) -> c_int,
    pub bind: unsafe extern "C" fn(*mut c_void, c_int, *const sockaddr, socklen_t) -> c_int,
    pub listen: unsafe extern "C" fn(*mut c_void, c_int, c_int) -> c_int,
    pub accept: unsafe extern "C" fn(*mut c_void, c_int, *mut sockaddr, *mut socklen_t) -> c_int,
    pub connect: unsafe extern "C" fn(*mut c_void, c_int, *const sockaddr, socklen_t) -> c_int,
    pub read: unsafe extern "C" fn(*mut c_void, c_int, *mut c_void, usize) -> isize,
    pub readv: unsafe extern "C" fn(*mut c_void, c_int, *const iovec, c_int) -> isize,
    pub recv: unsafe extern "C" fn(*mut c_void, c_int, *mut c_void, usize, c_int) -> isize,
    pub recvfrom:
        unsafe extern "C" fn(*mut c_void, c_int, *mut c_void, usize, c_int, *mut sockaddr, *mut socklen_t) -> isize,
    pub recvmsg: unsafe extern "C" fn(*mut c_void, c_int, *mut msghdr, c_int) -> isize,
    pub write: unsafe extern "C" fn(*mut c_void, c_int, *const c_void, usize) -> isize,
    pub writev: unsafe extern "C" fn(*mut c_void, c_int, *const iovec, c_int) -> isize,
    pub send: unsafe extern "C" fn(*mut c_void, c_int, *const c_void, usize, c_int) -> isize,
    pub sendto:
        unsafe extern "C" fn(*mut c_void, c_int, *const c_void, usize, c_int, *const sockaddr, socklen_t) -> isize,
    pub sendmsg: unsafe extern "C" fn(*mut c_void, c_int, *const msghdr, c_int) -> isize,
    pub fcntl: unsafe extern "C" fn(*mut c_void, c_int, c_int, ...) -> c_int,
    pub ioctl: unsafe extern "C" fn(*mut c_void, c_int, c_ulong, ...) -> c_int,
    pub close: unsafe extern "C" fn(*mut c_void, c_int) -> c_int,
    pub shutdown: unsafe extern "C" fn(*mut c_void, c_int, c_int) -> c_int,
    pub getsockopt: unsafe extern "C" fn(*mut c_void, c_int, c_int, c_int, *mut c_void, *mut socklen_t) -> c_int,
    pub setsockopt: unsafe extern "C" fn(*mut c_void, c_int, c_int, c_int, *const c_void, socklen_t) -> c_int,
    pub poll: unsafe extern "C" fn(*mut c_void, *mut pollfd, nfds_t, c_int) -> c_int,
    /// An IP packet arrives.
    pub netdev_send: unsafe extern "C" fn(*mut c_void, *const c_void, usize) -> c_int,
    /// The next IP packet that leaves, its length (the buffer's before; 0: there is none), and when it left.
    pub netdev_receive: unsafe extern "C" fn(*mut c_void, *mut c_void, *mut usize, *mut c_longlong) -> c_int,
    pub usleep: unsafe extern "C" fn(*mut c_void, c_uint) -> c_int,
    pub gettimeofday: unsafe extern "C" fn(*mut c_void, *mut timeval, *mut timezone) -> c_int,
    pub epoll_create: unsafe extern "C" fn(*mut c_void, c_int) -> c_int,
    pub epoll_ctl: unsafe extern "C" fn(*mut c_void, c_int, c_int, c_int, *mut c_void) -> c_int,
    pub epoll_wait: unsafe extern "C" fn(*mut c_void, c_int, *mut c_void, c_int, c_int) -> c_int,
    pub pipe: unsafe extern "C" fn(*mut c_void, *mut c_int) -> c_int,
    pub splice: unsafe extern "C" fn(*mut c_void, c_int, *mut i64, c_int, *mut i64, usize, c_uint) -> isize,
}

/// `userdata` and 32 calls.
const _: () = assert!(size_of::<Interface>() == 33 * size_of::<usize>());

unsafe extern "C" {
    fn baton_packetdrill_fcntl(userdata: Userdata, fd: c_int, cmd: c_int, ...) -> c_int;
    fn baton_packetdrill_ioctl(userdata: Userdata, fd: c_int, request: c_ulong, ...) -> c_int;
}

/// Fills in the tool's table of calls. `flags` is what `--so_flags` says, or null. The calling thread drives the clock.
///
/// Flags that cannot be understood end the program: a script that does not run as was meant proves nothing.
///
/// # Safety
/// `flags` is null or a string that ends with zero; `interface` is a table to be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn packetdrill_interface_init(flags: *const c_char, interface: *mut Interface) {
    let flags = if flags.is_null() {
        String::new()
    } else {
        // SAFETY: not null, and so a string, as the caller promises.
        unsafe { CStr::from_ptr(flags) }.to_string_lossy().into_owned()
    };
    let settings = Settings::parse(&flags).unwrap_or_else(|error| {
        eprintln!("baton-packetdrill: --so_flags: {error}");
        std::process::exit(2);
    });
    let userdata = Arc::into_raw(Arc::new(Host::new(settings))).cast_mut().cast();
    // SAFETY: the caller promises a table; it may hold anything before.
    unsafe { interface.write(table(userdata)) };
}

fn table(userdata: Userdata) -> Interface {
    Interface {
        userdata,
        free,
        socket,
        bind,
        listen,
        accept,
        connect,
        read,
        readv,
        recv,
        recvfrom,
        recvmsg,
        write,
        writev,
        send,
        sendto,
        sendmsg,
        fcntl: baton_packetdrill_fcntl,
        ioctl: baton_packetdrill_ioctl,
        close,
        shutdown,
        getsockopt,
        setsockopt,
        poll,
        netdev_send,
        netdev_receive,
        usleep,
        gettimeofday,
        epoll_create,
        epoll_ctl,
        epoll_wait,
        pipe,
        splice,
    }
}

/// The host behind `userdata`, for the length of a call: another thread may free it meanwhile.
unsafe fn host(userdata: Userdata) -> Arc<Host> {
    let host: *const Host = userdata.cast_const().cast();
    // SAFETY: it came out of `Arc::into_raw` and was not freed yet, or nobody may call; the count is raised for the clone.
    unsafe {
        Arc::increment_strong_count(host);
        Arc::from_raw(host)
    }
}

/// A result as C returns it.
fn int(result: Result<c_int, Errno>) -> c_int {
    result.unwrap_or_else(|errno| {
        errno.set();
        -1
    })
}

fn done(result: Result<(), Errno>) -> c_int {
    int(result.map(|()| 0))
}

fn size(result: Result<usize, Errno>) -> Ssize {
    result.map_or_else(|errno| int(Err(errno)) as Ssize, |n| Ssize::try_from(n).unwrap_or(Ssize::MAX))
}

/// The bytes at a pointer.
unsafe fn bytes_at(from: *const c_void, len: usize) -> Result<Vec<u8>, Errno> {
    if len == 0 {
        return Ok(Vec::new());
    }
    if from.is_null() {
        return Err(Errno::EFAULT);
    }
    let mut bytes = vec![0; len.min(BYTES_MAX)];
    // SAFETY: the caller's pointer and length describe memory to be read; the copy is as long.
    unsafe { from.cast::<u8>().copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len()) };
    Ok(bytes)
}

/// Puts bytes where the caller wants them; there is room for them.
unsafe fn put_at(to: *mut c_void, bytes: &[u8]) {
    // SAFETY: `to` is the caller's memory, as long as the bytes at least.
    unsafe { to.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
}

/// Puts an address, or as much of it as there is room for, and its length.
unsafe fn put_address(to: *mut sockaddr, len: *mut socklen_t, address: &[u8]) {
    if to.is_null() || len.is_null() {
        return;
    }
    // SAFETY: neither is null, so `len` says how much memory there is at `to`.
    unsafe {
        let room = usize::try_from(*len).unwrap_or(0).min(address.len());
        put_at(to.cast(), &address[..room]);
        *len = socklen_t::try_from(address.len()).unwrap_or(0);
    }
}

/// The buffers of a call: where each is, and how long.
unsafe fn buffers_at(iov: *const iovec, count: usize) -> Result<Vec<iovec>, Errno> {
    if count > BUFFERS_MAX {
        return Err(Errno::EINVAL);
    }
    if count > 0 && iov.is_null() {
        return Err(Errno::EFAULT);
    }
    // SAFETY: the caller's array has `count` elements.
    Ok((0..count).map(|n| unsafe { iov.add(n).read() }).collect())
}

/// Everything that the buffers hold.
unsafe fn gather(iov: *const iovec, count: usize) -> Result<Vec<u8>, Errno> {
    let mut all = Vec::new();
    // SAFETY: the caller's array, and the memory that it describes.
    unsafe {
        for buffer in buffers_at(iov, count)? {
            all.extend(bytes_at(buffer.iov_base, buffer.iov_len)?);
        }
    }
    Ok(all)
}

/// Receives into one buffer. With `MSG_TRUNC` the bytes go nowhere.
unsafe fn receive_into(userdata: Userdata, fd: c_int, buf: *mut c_void, len: usize, flags: c_int) -> Ssize {
    // SAFETY: the caller's `userdata`.
    let host = unsafe { host(userdata) };
    let is_discarded = flags & nix::libc::MSG_TRUNC != 0;
    if buf.is_null() && len > 0 && !is_discarded {
        return size(Err(Errno::EFAULT));
    }
    size(host.receive(fd, len.min(BYTES_MAX), flags).map(|bytes| {
        if !is_discarded {
            // SAFETY: at most `len` bytes, for which the caller has room.
            unsafe { put_at(buf, &bytes) };
        }
        bytes.len()
    }))
}

/// Receives into several buffers, one after the other.
unsafe fn scatter(userdata: Userdata, fd: c_int, iov: *const iovec, count: usize, flags: c_int) -> Ssize {
    // SAFETY: the caller's `userdata`, its array, and the memory that that describes.
    unsafe {
        let buffers = match buffers_at(iov, count) {
            Ok(buffers) => buffers,
            Err(errno) => return size(Err(errno)),
        };
        let room = buffers.iter().map(|buffer| buffer.iov_len).fold(0_usize, usize::saturating_add);
        size(host(userdata).receive(fd, room.min(BYTES_MAX), flags).map(|bytes| {
            let mut rest = &bytes[..];
            for buffer in buffers.iter().filter(|buffer| !buffer.iov_base.is_null()) {
                let (now, later) = rest.split_at(rest.len().min(buffer.iov_len));
                put_at(buffer.iov_base, now);
                rest = later;
            }
            bytes.len()
        }))
    }
}

unsafe fn send_from(userdata: Userdata, fd: c_int, bytes: Result<Vec<u8>, Errno>, flags: c_int) -> Ssize {
    // SAFETY: the caller's `userdata`.
    let host = unsafe { host(userdata) };
    size(bytes.and_then(|bytes| host.send(fd, &bytes, flags)))
}

unsafe extern "C" fn free(userdata: Userdata) {
    let host: *const Host = userdata.cast_const().cast();
    // SAFETY: what `Arc::into_raw` gave out comes back, once.
    let host = unsafe { Arc::from_raw(host) };
    host.end();
}

unsafe extern "C" fn socket(userdata: Userdata, domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    // SAFETY: the caller's `userdata`.
    let host = unsafe { host(userdata) };
    int(host.now(|sockets| sockets.socket(domain, kind, protocol)))
}

unsafe extern "C" fn bind(userdata: Userdata, fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int {
    // SAFETY: the caller's `userdata`, and its address of `len` bytes.
    let (host, addr) = unsafe { (host(userdata), bytes_at(addr.cast(), usize::try_from(len).unwrap_or(0))) };
    done(addr.and_then(|addr| host.bind(fd, &addr)))
}

unsafe extern "C" fn listen(userdata: Userdata, fd: c_int, backlog: c_int) -> c_int {
    // SAFETY: the caller's `userdata`.
    let host = unsafe { host(userdata) };
    done(host.now(|sockets| sockets.listen(fd, backlog)))
}

unsafe extern "C" fn accept(userdata: Userdata, fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int {
    // SAFETY: the caller's `userdata`.
    let host = unsafe { host(userdata) };
    int(host.accept(fd).map(|(new, peer, family)| {
        // SAFETY: the caller's address and its length, if it wants them.
        unsafe { put_address(addr, len, &address::encode(peer, family)) };
        new
    }))
}

unsafe extern "C" fn connect(userdata: Userdata, fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int {
    // SAFETY: the caller's `userdata`, and its address of `len` bytes.
    let (host, addr) = unsafe { (host(userdata), bytes_at(addr.cast(), usize::try_from(len).unwrap_or(0))) };
    done(addr.and_then(|addr| host.connect(fd, &addr)))
}

unsafe extern "C" fn read(userdata: Userdata, fd: c_int, buf: *mut c_void, count: usize) -> Ssize {
    // SAFETY: the caller's `userdata` and buffer.
    unsafe { receive_into(userdata, fd, buf, count, 0) }
}

unsafe extern "C" fn readv(userdata: Userdata, fd: c_int, iov: *const iovec, count: c_int) -> Ssize {
    let Ok(count) = usize::try_from(count) else { return size(Err(Errno::EINVAL)) };
    // SAFETY: the caller's `userdata` and buffers.
    unsafe { scatter(userdata, fd, iov, count, 0) }
}

unsafe extern "C" fn recv(userdata: Userdata, fd: c_int, buf: *mut c_void, len: usize, flags: c_int) -> Ssize {
    // SAFETY: the caller's `userdata` and buffer.
    unsafe { receive_into(userdata, fd, buf, len, flags) }
}

unsafe extern "C" fn recvfrom(
    userdata: Userdata,
    fd: c_int,
    buf: *mut c_void,
    len: usize,
    flags: c_int,
    _addr: *mut sockaddr,
    addr_len: *mut socklen_t,
) -> Ssize {
    // SAFETY: the caller's `userdata`, buffer and length. A stream says no address (as on Linux).
    unsafe {
        if !addr_len.is_null() {
            *addr_len = 0;
        }
        receive_into(userdata, fd, buf, len, flags)
    }
}

unsafe extern "C" fn recvmsg(userdata: Userdata, fd: c_int, msg: *mut msghdr, flags: c_int) -> Ssize {
    if msg.is_null() {
        return size(Err(Errno::EFAULT));
    }
    // SAFETY: the caller's `userdata`, message and the buffers that it names. There is neither address nor control data.
    unsafe {
        let msg = &mut *msg;
        (msg.msg_namelen, msg.msg_controllen, msg.msg_flags) = (0, 0, 0);
        scatter(userdata, fd, msg.msg_iov, msg.msg_iovlen, flags)
    }
}

unsafe extern "C" fn write(userdata: Userdata, fd: c_int, buf: *const c_void, count: usize) -> Ssize {
    // SAFETY: the caller's `userdata` and buffer.
    unsafe { send_from(userdata, fd, bytes_at(buf, count), 0) }
}

unsafe extern "C" fn writev(userdata: Userdata, fd: c_int, iov: *const iovec, count: c_int) -> Ssize {
    let Ok(count) = usize::try_from(count) else { return size(Err(Errno::EINVAL)) };
    // SAFETY: the caller's `userdata` and buffers.
    unsafe { send_from(userdata, fd, gather(iov, count), 0) }
}

unsafe extern "C" fn send(userdata: Userdata, fd: c_int, buf: *const c_void, len: usize, flags: c_int) -> Ssize {
    // SAFETY: the caller's `userdata` and buffer.
    unsafe { send_from(userdata, fd, bytes_at(buf, len), flags) }
}

/// The address is of no account on a stream that is connected (as on Linux).
unsafe extern "C" fn sendto(
    userdata: Userdata,
    fd: c_int,
    buf: *const c_void,
    len: usize,
    flags: c_int,
    _addr: *const sockaddr,
    _addr_len: socklen_t,
) -> Ssize {
    // SAFETY: the caller's `userdata` and buffer.
    unsafe { send_from(userdata, fd, bytes_at(buf, len), flags) }
}

unsafe extern "C" fn sendmsg(userdata: Userdata, fd: c_int, msg: *const msghdr, flags: c_int) -> Ssize {
    if msg.is_null() {
        return size(Err(Errno::EFAULT));
    }
    // SAFETY: the caller's `userdata`, message and the buffers that it names.
    unsafe { send_from(userdata, fd, gather((*msg).msg_iov, (*msg).msg_iovlen), flags) }
}

/// `fcntl`, once C has taken the argument out.
#[unsafe(no_mangle)]
unsafe extern "C" fn baton_packetdrill_fcntl_of(userdata: Userdata, fd: c_int, cmd: c_int, arg: c_int) -> c_int {
    // SAFETY: the caller's `userdata`.
    let host = unsafe { host(userdata) };
    int(host.now(|sockets| sockets.fcntl(fd, cmd, arg)))
}

/// `ioctl`, once C has taken the argument out.
#[unsafe(no_mangle)]
unsafe extern "C" fn baton_packetdrill_ioctl_of(
    userdata: Userdata,
    fd: c_int,
    request: c_ulong,
    arg: *mut c_int,
) -> c_int {
    if arg.is_null() {
        return int(Err(Errno::EFAULT));
    }
    // SAFETY: the caller's `userdata`, and the int that every request served here takes and gives.
    unsafe {
        let host = host(userdata);
        done(host.now(|sockets| sockets.ioctl(fd, request, *arg)).map(|value| *arg = value))
    }
}

unsafe extern "C" fn close(userdata: Userdata, fd: c_int) -> c_int {
    // SAFETY: the caller's `userdata`.
    let host = unsafe { host(userdata) };
    done(host.close(fd))
}

unsafe extern "C" fn shutdown(userdata: Userdata, fd: c_int, how: c_int) -> c_int {
    // SAFETY: the caller's `userdata`.
    let host = unsafe { host(userdata) };
    done(host.now(|sockets| sockets.shutdown(fd, how)))
}

unsafe extern "C" fn getsockopt(
    userdata: Userdata,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    if value.is_null() || len.is_null() {
        return int(Err(Errno::EFAULT));
    }
    // SAFETY: the caller's `userdata`; `value` has room for as much as `len` says.
    unsafe {
        let host = host(userdata);
        done(host.now(|sockets| sockets.option(fd, level, name)).map(|bytes| {
            let room = usize::try_from(*len).unwrap_or(0).min(bytes.len());
            put_at(value, &bytes[..room]);
            *len = socklen_t::try_from(room).unwrap_or(0);
        }))
    }
}

unsafe extern "C" fn setsockopt(
    userdata: Userdata,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> c_int {
    // SAFETY: the caller's `userdata`, and its value of `len` bytes.
    let (host, value) = unsafe { (host(userdata), bytes_at(value, usize::try_from(len).unwrap_or(0))) };
    done(value.and_then(|value| host.now(|sockets| sockets.set_option(fd, level, name, &value))))
}

unsafe extern "C" fn poll(userdata: Userdata, fds: *mut pollfd, count: nfds_t, timeout: c_int) -> c_int {
    if count > POLL_MAX {
        return int(Err(Errno::EINVAL));
    }
    if fds.is_null() && count > 0 {
        return int(Err(Errno::EFAULT));
    }
    let count = usize::try_from(count).unwrap_or(0);
    // SAFETY: the caller's `userdata`, and its array of `count` elements.
    unsafe {
        let host = host(userdata);
        let one = |n| fds.add(n).read();
        let of = |poll: pollfd| PollFd { fd: poll.fd, events: poll.events, revents: 0 };
        let mut polls: Vec<PollFd> = (0..count).map(|n| of(one(n))).collect();
        let result = host.poll(&mut polls, timeout);
        for (n, poll) in polls.iter().enumerate() {
            (*fds.add(n)).revents = poll.revents;
        }
        int(result)
    }
}

unsafe extern "C" fn netdev_send(userdata: Userdata, buf: *const c_void, count: usize) -> c_int {
    // SAFETY: the caller's `userdata` and packet.
    let (host, packet) = unsafe { (host(userdata), bytes_at(buf, count)) };
    done(packet.map(|packet| host.inject(&packet)))
}

unsafe extern "C" fn netdev_receive(
    userdata: Userdata,
    buf: *mut c_void,
    count: *mut usize,
    time_usecs: *mut c_longlong,
) -> c_int {
    if buf.is_null() || count.is_null() {
        return int(Err(Errno::EFAULT));
    }
    // SAFETY: the caller's `userdata`; `buf` has room for as much as `count` says; `time_usecs` is written if it is there.
    unsafe {
        let packet = host(userdata).receive_packet();
        let (bytes, at) = packet.map_or((Vec::new(), 0), |packet| (packet.bytes, packet.at.micros()));
        if bytes.len() > *count {
            *count = 0;
            return int(Err(Errno::EMSGSIZE));
        }
        put_at(buf, &bytes);
        *count = bytes.len();
        if !time_usecs.is_null() {
            *time_usecs = c_longlong::try_from(at).unwrap_or(c_longlong::MAX);
        }
    }
    0
}

unsafe extern "C" fn usleep(userdata: Userdata, usec: c_uint) -> c_int {
    // SAFETY: the caller's `userdata`.
    let host = unsafe { host(userdata) };
    host.pass(std::time::Duration::from_micros(usec.into()));
    0
}

unsafe extern "C" fn gettimeofday(userdata: Userdata, time: *mut timeval, _zone: *mut timezone) -> c_int {
    // SAFETY: the caller's `userdata`.
    let now = unsafe { host(userdata) }.read_clock().micros();
    let long = |value: u64| c_long::try_from(value).unwrap_or(c_long::MAX);
    if !time.is_null() {
        // SAFETY: not null, and so the caller's to be written.
        unsafe { time.write(timeval { tv_sec: long(now / 1_000_000), tv_usec: long(now % 1_000_000) }) };
    }
    0
}

unsafe extern "C" fn epoll_create(_: Userdata, _: c_int) -> c_int {
    int(Err(Errno::ENOSYS))
}

unsafe extern "C" fn epoll_ctl(_: Userdata, _: c_int, _: c_int, _: c_int, _: *mut c_void) -> c_int {
    int(Err(Errno::ENOSYS))
}

unsafe extern "C" fn epoll_wait(_: Userdata, _: c_int, _: *mut c_void, _: c_int, _: c_int) -> c_int {
    int(Err(Errno::ENOSYS))
}

unsafe extern "C" fn pipe(_: Userdata, _: *mut c_int) -> c_int {
    int(Err(Errno::ENOSYS))
}

unsafe extern "C" fn splice(_: Userdata, _: c_int, _: *mut i64, _: c_int, _: *mut i64, _: usize, _: c_uint) -> Ssize {
    size(Err(Errno::ENOSYS))
}
