//! An image with nothing but busybox and the static programs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use muster_tests::harness::Engine;
use muster_tests::harness::daemon::temp_dir;

/// Its name at the engine.
pub(crate) const IMAGE: &str = "muster";

/// An image without the programs.
pub(crate) const SMALL: &str = "muster-busybox";

/// Commands of busybox that tests call.
const APPLETS: [&str; 5] = ["sh", "cat", "sleep", "ip", "httpd"];

/// Makes the image at an engine. `serf` in it is a link to `musterd`.
pub(crate) fn make(engine: &Engine) {
    let root = temp_dir();
    let bin = root.path().join("bin");
    for directory in ["bin", "etc", "run", "tmp", "proc", "sys", "dev"] {
        fs::create_dir(root.path().join(directory)).unwrap();
    }
    copy(Path::new("/bin/busybox"), &bin.join("busybox"));
    for applet in APPLETS {
        symlink("busybox", bin.join(applet)).unwrap();
    }
    for program in ["musterd", "muster"] {
        copy(&binaries().join(program), &bin.join(program));
    }
    symlink("musterd", bin.join("serf")).unwrap();
    engine.import(IMAGE, root.path());
}

/// Makes the image without the programs, which needs no static build.
pub(crate) fn make_small(engine: &Engine) {
    let root = temp_dir();
    for directory in ["bin", "etc", "tmp", "proc", "sys", "dev"] {
        fs::create_dir(root.path().join(directory)).unwrap();
    }
    let bin = root.path().join("bin");
    copy(Path::new("/bin/busybox"), &bin.join("busybox"));
    for applet in APPLETS {
        symlink("busybox", bin.join(applet)).unwrap();
    }
    engine.import(SMALL, root.path());
}

/// Where `deploy/static.sh dev` leaves the programs.
pub(crate) fn binaries() -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    target.join(triple).join("debug")
}

fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap_or_else(|error| {
        panic!("{}: {error}: tests/run.sh makes it", from.display());
    });
}
