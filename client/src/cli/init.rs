//! `muster init`: what a node's image is built from.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::Serialize;

use crate::cli::Context;
use crate::cli::args::Init;
use crate::cli::failure::Failure;

/// A file, its mode and its text; `ROLE` and `IMAGE` in it are replaced.
const FILES: [(&str, u32, &str); 3] = [
    ("serfnode.yml", 0o644, include_str!("init/serfnode.yml")),
    ("Dockerfile", 0o644, include_str!("init/Dockerfile")),
    ("handlers/hello", 0o755, include_str!("init/hello")),
];

#[derive(Serialize)]
struct Written {
    files: Vec<String>,
}

pub(super) fn run(context: &mut Context, args: &Init) -> Result<(), Failure> {
    for (name, value) in [("role", &args.role), ("image", &args.image)] {
        let sound = |c: char| c.is_ascii_alphanumeric() || "-_./:@".contains(c);
        if value.is_empty() || !value.chars().all(sound) {
            return Err(Failure::usage(format!(
                "--{name} {value:?} has other signs than a name has"
            )));
        }
    }
    let files = write(args)?;
    let build = format!("docker build -t my-node {}", args.directory.display());
    context.out.answer(
        &Written {
            files: files.clone(),
        },
        || {
            format!(
                "{}\n\nNow:\n  {build}\n  muster run my-node",
                files.join("\n")
            )
        },
    )
}

/// Writes all of them, or nothing if one is there.
fn write(args: &Init) -> Result<Vec<String>, Failure> {
    for (name, _, _) in FILES {
        let path = args.directory.join(name);
        if path.symlink_metadata().is_ok() {
            let text = format!("{} is there already: nothing was written", path.display());
            return Err(Failure::refused(text));
        }
    }
    let mut written = Vec::new();
    for (name, mode, text) in FILES {
        let path = args.directory.join(name);
        let text = text
            .replace("ROLE", &args.role)
            .replace("IMAGE", &args.image);
        one(&path, mode, &text)?;
        written.push(path.display().to_string());
    }
    Ok(written)
}

fn one(path: &Path, mode: u32, text: &str) -> Result<(), Failure> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|error| Failure::file("create", parent, &error))?;
    }
    let open = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path);
    let mut file = open.map_err(|error| Failure::file("create", path, &error))?;
    let wrote = file.write_all(text.as_bytes());
    wrote.map_err(|error| Failure::file("write", path, &error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn it_writes_once() {
        let directory = tempfile::tempdir().unwrap();
        let args = Init {
            directory: directory.path().join("new"),
            role: "db".to_owned(),
            image: "muster-shell:1".to_owned(),
        };
        assert_eq!(write(&args).unwrap().len(), FILES.len());
        let read = |name: &str| fs::read_to_string(args.directory.join(name)).unwrap();
        assert!(read("serfnode.yml").contains("role: db"));
        assert!(read("Dockerfile").contains("FROM muster-shell:1"));
        let mode = fs::metadata(args.directory.join("handlers/hello"))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o111, 0o111);
        fs::remove_file(args.directory.join("serfnode.yml")).unwrap();
        fs::write(args.directory.join("Dockerfile"), "mine").unwrap();
        let failure = write(&args).unwrap_err();
        assert!(
            failure.text.contains("Dockerfile is there already"),
            "{}",
            failure.text
        );
        assert!(!args.directory.join("serfnode.yml").exists());
        assert_eq!(read("Dockerfile"), "mine");
    }
}
