//! EAL: DPDK's environment, started once per process.

use std::ffi::{CStr, CString, c_char, c_int};
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use thiserror::Error;

/// What EAL is told that the program is called.
const PROGRAM_NAME: &str = "baton";

/// Signals that are a program's to handle: blocked while EAL starts its threads, so that none of them ever takes one.
const OUR_SIGNALS: [Signal; 7] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
];

/// Why EAL did not start, or does not do something.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum EalError {
    /// EAL starts once per process, even if it has been cleaned up since.
    #[error("EAL has been started before in this process")]
    StartedBefore,
    /// An argument that no C string can hold.
    #[error("EAL argument {0:?} contains a NUL byte")]
    NulByte(String),
    /// EAL said no; it writes the details to standard error itself.
    #[error("EAL did not start with {arguments:?}: {reason}; its own messages say more")]
    Refused {
        /// What it was given.
        arguments: Vec<String>,
        /// DPDK's text for the error number.
        reason: String,
    },
    /// An argument that is neither an option nor an option's value.
    #[error("EAL has no use for the argument {0:?}")]
    Leftover(String),
    /// The thread did not get an id of its own.
    #[error("EAL did not register the thread: {0}")]
    ThreadRefused(String),
    /// There is no such CPU, or this process may not use it.
    #[error("CPU {core} cannot be used; those that can: {usable:?}")]
    NoSuchCore {
        /// The CPU that was asked for.
        core: usize,
        /// The CPUs that this process may use.
        usable: Vec<usize>,
    },
}

/// Proof that EAL runs. Ports and pools hold a clone; when the last is dropped, EAL is cleaned up.
#[derive(Clone, Debug)]
pub struct Eal(Arc<Running>);

#[derive(Debug)]
struct Running {
    /// EAL keeps pointers into its arguments.
    _arguments: Vec<CString>,
    /// The ports that are open; also the lock under which ports are opened and closed.
    open_ports: Mutex<Vec<u16>>,
    /// Set when a buffer outlives its pool: its memory must then stay mapped.
    keep_memory: AtomicBool,
}

impl Eal {
    /// Starts EAL with `arguments`, which do not include a program name. The calling thread becomes EAL's main thread, and best runs the poll loop: it
    /// has its own cache of every pool.
    ///
    /// Unless `arguments` choose CPUs, one thread on any CPU is asked for: EAL's own default is a thread per
    /// CPU, and the calling thread nailed to the first CPU, the same in every process.
    ///
    /// # Errors
    /// EAL has been started before, or does not like an argument. It cannot be tried again in this process.
    pub fn init(arguments: &[String]) -> Result<Self, EalError> {
        static STARTED: AtomicBool = AtomicBool::new(false);
        let arguments = with_defaults(arguments, &usable_cores());
        let nul = |text: &String| CString::new(text.as_str()).map_err(|_| EalError::NulByte(text.clone()));
        let kept: Vec<CString> = arguments.iter().map(nul).collect::<Result<_, _>>()?;
        if STARTED.swap(true, Ordering::SeqCst) {
            return Err(EalError::StartedBefore);
        }
        let parsed = start(&kept);
        let Ok(parsed) = usize::try_from(parsed) else {
            return Err(EalError::Refused { arguments, reason: last_error() });
        };
        let eal = Self(Arc::new(Running {
            _arguments: kept,
            open_ports: Mutex::new(Vec::new()),
            keep_memory: AtomicBool::new(false),
        }));
        // EAL counts what it parsed without the program name.
        match arguments.get(parsed + 1) {
            Some(leftover) => Err(EalError::Leftover(leftover.clone())),
            None => Ok(eal),
        }
    }

    /// Gives the calling thread an id, and with it its own cache of every pool: worth it for a thread that handles many
    /// frames. EAL's main thread has one already.
    ///
    /// # Errors
    /// All ids are taken.
    pub fn register_thread(&self) -> Result<RegisteredThread, EalError> {
        // SAFETY: EAL runs, as `self` proves. Registering a thread twice is allowed and changes nothing.
        let status = unsafe { dpdk_sys::rte_thread_register() };
        if status < 0 {
            return Err(EalError::ThreadRefused(last_error()));
        }
        Ok(RegisteredThread { _eal: self.clone(), _not_send: PhantomData })
    }

    /// The ids of open ports, under the lock that serialises opening and closing.
    pub(crate) fn open_ports(&self) -> MutexGuard<'_, Vec<u16>> {
        self.0.open_ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer lives on although its pool is gone: memory stays mapped until the process ends.
    pub(crate) fn keep_memory(&self) {
        self.0.keep_memory.store(true, Ordering::Relaxed);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.keep_memory.load(Ordering::Relaxed) {
            return;
        }
        // SAFETY: EAL runs, and nobody uses it any more: whatever does holds an `Eal`, and frames that
        // are still about would have set `keep_memory`.
        let _ = unsafe { dpdk_sys::rte_eal_cleanup() };
    }
}

/// A thread that is known to EAL. Unknown again when dropped.
#[derive(Debug)]
pub struct RegisteredThread {
    _eal: Eal,
    /// Must be dropped on the thread it stands for.
    _not_send: PhantomData<*const ()>,
}

impl Drop for RegisteredThread {
    fn drop(&mut self) {
        // SAFETY: this very thread was registered (the type is not Send), and EAL runs.
        unsafe { dpdk_sys::rte_thread_unregister() }
    }
}

/// Calls `rte_eal_init` with `arguments`, our signals blocked.
fn start(arguments: &[CString]) -> c_int {
    let mut argv: Vec<*mut c_char> = arguments.iter().map(|text| text.as_ptr().cast_mut()).collect();
    let argc = c_int::try_from(argv.len()).unwrap_or(c_int::MAX);
    argv.push(ptr::null_mut());
    let ours: SigSet = OUR_SIGNALS.into_iter().collect();
    let before = ours.thread_swap_mask(SigmaskHow::SIG_BLOCK);
    // SAFETY: `argv` holds `argc` NUL-terminated strings and a null. EAL moves the pointers about and never writes through them: it splits
    // its options in copies. The strings live as long as EAL. Called once per process (`STARTED`).
    let parsed = unsafe { dpdk_sys::rte_eal_init(argc, argv.as_mut_ptr()) };
    if let Ok(before) = before {
        // Setting back a mask that was just in force cannot fail.
        let _ = before.thread_set_mask();
    }
    parsed
}

/// `arguments` behind the program name, and with one floating thread unless they choose CPUs themselves.
fn with_defaults(arguments: &[String], cores: &[usize]) -> Vec<String> {
    let chooses_cores = |argument: &String| {
        argument == "--lcores"
            || argument.starts_with("--lcores=")
            || ["-c", "-l", "-s", "-S"].iter().any(|short| argument.starts_with(short))
    };
    let mut all = vec![PROGRAM_NAME.to_owned()];
    if !cores.is_empty() && !arguments.iter().any(chooses_cores) {
        let list: Vec<String> = cores.iter().map(usize::to_string).collect();
        all.push(format!("--lcores=0@({})", list.join(",")));
    }
    all.extend(arguments.iter().cloned());
    all
}

/// The CPUs that this thread may run on.
fn usable_cores() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect()
}

/// Nails the calling thread to a CPU. Threads that it starts later inherit that: call it last.
///
/// # Errors
/// There is no such CPU, or this process may not use it.
pub fn pin_to_core(core: usize) -> Result<(), EalError> {
    let usable = usable_cores();
    if usable.contains(&core) && core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
        return Ok(());
    }
    Err(EalError::NoSuchCore { core, usable })
}

/// The text for the calling thread's last DPDK error.
pub(crate) fn last_error() -> String {
    // SAFETY: reads a thread-local variable.
    error_text(unsafe { dpdk_sys::dpdk_sys_errno() })
}

/// The text for a DPDK error number, of either sign.
pub(crate) fn error_text(number: c_int) -> String {
    let number = c_int::try_from(number.unsigned_abs()).unwrap_or(c_int::MAX);
    // SAFETY: a number in, a NUL-terminated string out, static or in a thread-local buffer; copied at once.
    unsafe { CStr::from_ptr(dpdk_sys::rte_strerror(number)) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn one_floating_thread_unless_the_arguments_choose() {
        let floating = "baton --lcores=0@(1,3) ";
        for (given, expected) in [
            ("", floating.to_owned()),
            ("--no-huge -m 256", format!("{floating} --no-huge -m 256")),
            ("--log-level=lib.eal:8", format!("{floating} --log-level=lib.eal:8")),
            ("--lcores=0@1 -m 1", "baton --lcores=0@1 -m 1".to_owned()),
            ("--lcores 0@1", "baton --lcores 0@1".to_owned()),
            ("-l 0-1", "baton -l 0-1".to_owned()),
            ("-l0", "baton -l0".to_owned()),
            ("-c 3", "baton -c 3".to_owned()),
            ("-s ff", "baton -s ff".to_owned()),
        ] {
            assert_eq!(with_defaults(&words(given), &[1, 3]), words(&expected), "{given}");
        }
        assert_eq!(with_defaults(&words("-m 1"), &[]), words("baton -m 1"));
    }

    #[test]
    fn a_cpu_that_is_not_there_is_named() {
        let error = pin_to_core(99_999).unwrap_err();
        assert!(error.to_string().starts_with("CPU 99999 cannot be used; those that can: ["), "{error}");
    }

    #[test]
    fn a_nul_byte_is_refused_before_anything_starts() {
        let error = Eal::init(&["--a\0b".to_owned()]).unwrap_err();
        assert_eq!(error, EalError::NulByte("--a\0b".to_owned()));
    }

    #[test]
    fn error_numbers_of_either_sign_have_the_same_text() {
        assert_eq!(error_text(-2), "No such file or directory");
        assert_eq!(error_text(2), "No such file or directory");
    }
}
