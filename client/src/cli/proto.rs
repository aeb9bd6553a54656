//! `muster proto`: the API's files, for other languages.

use std::fs;

use serde::Serialize;

use crate::cli::Context;
use crate::cli::args::Proto;
use crate::cli::failure::Failure;

#[derive(Serialize)]
struct Written {
    files: Vec<String>,
}

pub(super) fn run(context: &mut Context, args: &Proto) -> Result<(), Failure> {
    let mut files = Vec::new();
    for (name, text) in muster_proto::PROTO_FILES {
        let path = args.directory.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|error| Failure::file("create", parent, &error))?;
        }
        fs::write(&path, text).map_err(|error| Failure::file("write", &path, &error))?;
        files.push(path.display().to_string());
    }
    let text = files.join("\n");
    context.out.answer(&Written { files }, || text)
}
