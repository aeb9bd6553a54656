//! The reference page `docs/configuration.md`, written from the table.

use super::schema::{self, Default, Setting, Shape};

const INTRODUCTION: &str = "\
# Configuration

<!-- Written from the table of settings in server/src/config/schema.rs. A test compares the two;
     run it with MUSTER_UPDATE_DOCS=1 to write this page anew. -->

`musterd` needs no configuration but a key. Every setting can be given in three places, the
strongest first:

1. a flag, `--name VALUE`;
2. an environment variable, `MUSTER_NAME=VALUE`; an empty one counts as not set;
3. a key in the TOML file of `--config FILE`, `name = \"VALUE\"`, at the top level.

The strongest place that gives a setting gives all of it: lists are not merged.

- **Lists**: repeat the flag; separate by comma in the environment; `[\"a\", \"b\"]` in the file.
  `KEY=VALUE` settings may also be a table in the file: `tag = { zone = \"a\" }`.
- **Durations**: a whole number and a unit, `250ms`, `1s`, `10m`, `24h`, `7d`.
- **Sizes**: a whole number and a unit, `512B`, `64KiB`, `1MiB`, `2GiB`.
- **Switches**: the flag alone, or `--flag=false`; `true` or `false` elsewhere.

Unknown flags and unknown keys in the file are mistakes. All mistakes are reported at once, one
line each, and the daemon exits with 78. Unknown `MUSTER_*` variables are warned of. Variables that
Kubernetes sets for Services whose names begin with `muster` (`MUSTER_SERVICE_HOST`, `MUSTER_PORT`,
`MUSTER_PORT_7946_TCP`, ...) are ignored, and so, with a warning, is any value like `tcp://...`.

`musterd --check-config` checks everything and exits; `musterd --print-config` prints what holds and
where it comes from, without secrets.

## Reload

SIGHUP, `muster reload` and `systemctl reload` read everything again: the flags and the environment of
the start, and the files as they are now. A configuration with mistakes changes nothing; all mistakes
are logged, and `muster reload` prints them and exits with 1. Otherwise each difference is logged, a
secret only as changed. Settings marked *reload* apply at once; the log names the others as waiting for
the next start, at every reload until then.

Tags that were changed while the daemon runs (`muster tags`) lie over the configured ones: a reload
never undoes them, with or without `tags-file`. A log filter set by `muster log-level` stays unless
`log-filter` itself was changed.

## Signals

| signal | what happens |
|---|---|
| SIGTERM | leaves the cluster and ends; with `leave-on-terminate = false` it only ends |
| SIGINT | leaves the cluster and ends; with `skip-leave-on-interrupt` it only ends |
| SIGHUP | reload |
| SIGUSR1 | writes the members, the running tasks and every metric to standard error |

## Exit codes of `musterd`

| code | meaning |
|---|---|
| 0 | it ended as it was asked to, left or not |
| 1 | it failed while it ran; the log says why |
| 78 | the configuration cannot work |
| 130, 143 | a second SIGINT or SIGTERM cut the shutdown short |

## The data directory

Without `data-dir` nothing is written, and a restart is told from the clock: the boot number of a
member is the time of its start in milliseconds. With a directory the number is kept, so that a clock
that was set back does no harm.

The directory is made with mode 0700 and locked: a second daemon on it ends with an error. Files are
written whole (a temporary file, fsync, rename, fsync of the directory) and carry a version and a
checksum. A file that is cut or damaged is set aside as `NAME.bad`, with a warning, and the daemon
starts as if it were new. When the disk is full or read-only the daemon warns, goes on in memory, and
says so in `muster info` and `muster health`.
";

/// The whole page.
#[must_use]
pub fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for section in schema::SECTIONS {
        page.push_str(&format!("\n## {}\n", section.title));
        for setting in section.settings {
            page.push_str(&entry(setting));
        }
    }
    page
}

fn entry(setting: &Setting) -> String {
    let mut text = format!("\n### {}\n\n{}\n\n", setting.name, setting.doc);
    let mut row = |what: &str, value: String| text.push_str(&format!("- {what}: {value}\n"));
    if setting.has_flag() {
        row("flag", flag(setting));
    }
    if let Some(variable) = setting.env() {
        row("environment", format!("`{variable}`"));
    }
    if setting.in_file() {
        row("file", format!("`{}`", in_file(setting)));
    }
    row("allowed", setting.allowed.to_owned());
    match setting.default {
        Default::None => {}
        Default::Text(text) => row("default", format!("`{text}`")),
        Default::Derived(how) => row("default", how.to_owned()),
    }
    if setting.live {
        row("reload", "applies at once".to_owned());
    }
    text
}

fn flag(setting: &Setting) -> String {
    match setting.shape {
        Shape::One => format!("`--{} {}`", setting.name, setting.hint),
        Shape::List | Shape::Pairs => {
            format!("`--{} {}`, repeatable", setting.name, setting.hint)
        }
        Shape::Switch => format!("`--{}`", setting.name),
    }
}

fn in_file(setting: &Setting) -> String {
    match setting.shape {
        Shape::One => format!("{} = \"{}\"", setting.name, setting.hint),
        Shape::List | Shape::Pairs => format!("{} = [\"{}\"]", setting.name, setting.hint),
        Shape::Switch => format!("{} = true", setting.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");

    #[test]
    fn the_page_in_the_repository_is_the_table() {
        if std::env::var_os("MUSTER_UPDATE_DOCS").is_some() {
            std::fs::write(PATH, page()).unwrap();
        }
        let found = std::fs::read_to_string(PATH).unwrap_or_default();
        assert!(
            found == page(),
            "docs/configuration.md differs from the table: run this test with MUSTER_UPDATE_DOCS=1"
        );
    }
}
