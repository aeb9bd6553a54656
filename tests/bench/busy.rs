//! Work for all cores, as on a node that has other things to do.

use std::ffi::{OsStr, OsString};
use std::process::Stdio;

use muster_tests::harness::Process;
use muster_tests::harness::daemon::temp_dir;
use tempfile::TempDir;

/// A process per core that does nothing as fast as it can. Gone with its handle.
#[derive(Debug)]
pub(crate) struct Busy {
    _loops: Vec<Process>,
    _dir: TempDir,
}

impl Busy {
    /// Loads every core once over, at the priority of everybody else.
    pub(crate) fn all_cores() -> anyhow::Result<Self> {
        let dir = temp_dir();
        let cores = std::thread::available_parallelism()?.get();
        let one = |number: usize| {
            // Nothing else would end it if the bench were killed.
            let args = ["--pdeathsig", "KILL", "sh", "-c", "while :; do :; done"];
            let args = args.map(OsString::from);
            let program = OsStr::new("setpriv");
            let what = format!("busy-{number}");
            Process::start(&what, program, &args, &[], dir.path(), Stdio::null())
        };
        Ok(Self {
            _loops: (0..cores).map(one).collect(),
            _dir: dir,
        })
    }
}
