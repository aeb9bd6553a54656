//! The flags of `docker run` that are understood, and what they mean in a create body.

use serde_json::{Value, json};

use super::Run;
use crate::children::forms;

/// Largest memory that can be written, as the engine takes it: a signed number of bytes.
const MEMORY_BYTES_MAX: u64 = 1 << 62;

/// One flag.
pub(super) struct Flag {
    /// Without its dashes.
    pub(super) long: &'static str,
    /// One letter.
    pub(super) short: Option<char>,
    /// What it takes and does.
    pub(super) kind: Kind,
}

/// What a flag takes.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// A value.
    Value(fn(&mut Run, &str) -> Result<(), String>),
    /// Nothing, or `=true` or `=false`.
    Switch(fn(&mut Run, bool) -> Result<(), String>),
    /// A value, but it cannot be used here: this says what to do instead.
    Refused(&'static str),
}

/// The table.
pub(super) const FLAGS: &[Flag] = &[
    value("add-host", None, |run, text| {
        match text.split_once([':', '=']) {
            Some(_) => push(&mut run.host, "ExtraHosts", text),
            None => Err(format!("{text:?} is no NAME:IP")),
        }
    }),
    value("cap-add", None, |run, text| {
        push(&mut run.host, "CapAdd", text)
    }),
    value("cap-drop", None, |run, text| {
        push(&mut run.host, "CapDrop", text)
    }),
    value("cpus", None, cpus),
    switch("detach", Some('d'), |_, _| Ok(())),
    value("device", None, device),
    value("dns", None, |run, text| push(&mut run.host, "Dns", text)),
    value("domainname", None, |run, text| {
        set(&mut run.config, "Domainname", text)
    }),
    value("entrypoint", None, |run, text| {
        run.child.entrypoint = Some(vec![text.to_owned()]);
        Ok(())
    }),
    value("env", Some('e'), |run, text| {
        let (name, value) = forms::variable(text)?;
        run.child.environment.retain(|(known, _)| *known != name);
        run.child.environment.push((name, value));
        Ok(())
    }),
    value("expose", None, |run, text| {
        run.child.expose.extend(forms::expose(text)?);
        forms::check_count(run.child.expose.len())
    }),
    value("group-add", None, |run, text| {
        push(&mut run.host, "GroupAdd", text)
    }),
    value("hostname", Some('h'), |run, text| {
        set(&mut run.config, "Hostname", text)
    }),
    switch("init", None, |run, on| {
        set_value(&mut run.host, "Init", json!(on))
    }),
    switch("interactive", Some('i'), |run, on| {
        set_value(&mut run.config, "OpenStdin", json!(on))
    }),
    value("ipc", None, |run, text| set(&mut run.host, "IpcMode", text)),
    value("label", Some('l'), label),
    value("link", None, |run, text| {
        run.child.links.push(text.to_owned());
        Ok(())
    }),
    value("log-driver", None, |run, text| {
        set_in(&mut run.host, "LogConfig", "Type", json!(text))
    }),
    value("memory", Some('m'), |run, text| {
        set_value(&mut run.host, "Memory", json!(bytes(text)?))
    }),
    refused("name", None, "the name comes from DOCKER_NAME"),
    value("net", None, |run, text| {
        set(&mut run.host, "NetworkMode", text)
    }),
    value("network", None, |run, text| {
        set(&mut run.host, "NetworkMode", text)
    }),
    value("pid", None, |run, text| set(&mut run.host, "PidMode", text)),
    switch("privileged", None, |run, on| {
        run.child.privileged = on;
        Ok(())
    }),
    value("publish", Some('p'), |run, text| {
        run.child.ports.extend(forms::publish(text)?);
        forms::check_count(run.child.ports.len())
    }),
    switch("publish-all", Some('P'), |run, on| {
        set_value(&mut run.host, "PublishAllPorts", json!(on))
    }),
    switch("read-only", None, |run, on| {
        set_value(&mut run.host, "ReadonlyRootfs", json!(on))
    }),
    value("restart", None, restart),
    switch("rm", None, |_, on| match on {
        true => Err("the container stays, so that it is found again after a restart".to_owned()),
        false => Ok(()),
    }),
    value("security-opt", None, |run, text| {
        push(&mut run.host, "SecurityOpt", text)
    }),
    value("shm-size", None, |run, text| {
        set_value(&mut run.host, "ShmSize", json!(bytes(text)?))
    }),
    value("stop-signal", None, |run, text| {
        set(&mut run.config, "StopSignal", text)
    }),
    value("sysctl", None, |run, text| match text.split_once('=') {
        Some((name, value)) => set_in(&mut run.host, "Sysctls", name, json!(value)),
        None => Err(format!("{text:?} is no NAME=VALUE")),
    }),
    value("tmpfs", None, |run, text| {
        let (path, options) = text.split_once(':').unwrap_or((text, ""));
        set_in(&mut run.host, "Tmpfs", path, json!(options))
    }),
    switch("tty", Some('t'), |run, on| {
        set_value(&mut run.config, "Tty", json!(on))
    }),
    value("ulimit", None, ulimit),
    value("user", Some('u'), |run, text| {
        run.child.user = Some(text.to_owned());
        Ok(())
    }),
    value("userns", None, |run, text| {
        set(&mut run.host, "UsernsMode", text)
    }),
    value("volume", Some('v'), |run, text| {
        run.child.volumes.push(forms::volume(text)?);
        Ok(())
    }),
    value("volumes-from", None, |run, text| {
        run.child.volumes_from.push(text.to_owned());
        Ok(())
    }),
    value("workdir", Some('w'), |run, text| {
        run.child.working_dir = Some(text.to_owned());
        Ok(())
    }),
];

const fn value(
    long: &'static str,
    short: Option<char>,
    apply: fn(&mut Run, &str) -> Result<(), String>,
) -> Flag {
    let kind = Kind::Value(apply);
    Flag { long, short, kind }
}

const fn switch(
    long: &'static str,
    short: Option<char>,
    apply: fn(&mut Run, bool) -> Result<(), String>,
) -> Flag {
    let kind = Kind::Switch(apply);
    Flag { long, short, kind }
}

const fn refused(long: &'static str, short: Option<char>, why: &'static str) -> Flag {
    let kind = Kind::Refused(why);
    Flag { long, short, kind }
}

type Map = serde_json::Map<String, Value>;

fn set(map: &mut Map, key: &str, text: &str) -> Result<(), String> {
    set_value(map, key, json!(text))
}

fn set_value(map: &mut Map, key: &str, value: Value) -> Result<(), String> {
    map.insert(key.to_owned(), value);
    Ok(())
}

fn set_in(map: &mut Map, key: &str, inner: &str, value: Value) -> Result<(), String> {
    let entry = map.entry(key).or_insert_with(|| json!({}));
    if let Some(entry) = entry.as_object_mut() {
        entry.insert(inner.to_owned(), value);
    }
    Ok(())
}

fn push(map: &mut Map, key: &str, text: &str) -> Result<(), String> {
    push_value(map, key, json!(text))
}

fn push_value(map: &mut Map, key: &str, value: Value) -> Result<(), String> {
    let entry = map.entry(key).or_insert_with(|| json!([]));
    if let Some(entry) = entry.as_array_mut() {
        entry.push(value);
    }
    Ok(())
}

fn label(run: &mut Run, text: &str) -> Result<(), String> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    if name.is_empty() {
        return Err(format!("{text:?} has no name"));
    }
    set_in(&mut run.config, "Labels", name, json!(value))
}

fn cpus(run: &mut Run, text: &str) -> Result<(), String> {
    let wrong = || format!("{text:?} is no number of processors, such as 1.5");
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let part = part.get(..part.len().min(9)).ok_or_else(wrong)?;
    let digits = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse::<u64>().ok(),
        false => None,
    };
    let whole = digits(if whole.is_empty() { "0" } else { whole }).ok_or_else(wrong)?;
    let nanos = digits(&format!("{part:0<9}")).ok_or_else(wrong)?;
    let whole = whole.checked_mul(1_000_000_000).ok_or_else(wrong)?;
    let nanos = whole.checked_add(nanos).ok_or_else(wrong)?;
    set_value(&mut run.host, "NanoCpus", json!(nanos))
}

fn device(run: &mut Run, text: &str) -> Result<(), String> {
    let mut parts = text.split(':');
    let on_host = parts.next().filter(|path| path.starts_with('/'));
    let on_host = on_host.ok_or_else(|| format!("{text:?} is no path of a device"))?;
    let inside = parts.next().unwrap_or(on_host);
    let device = json!({
        "PathOnHost": on_host,
        "PathInContainer": inside,
        "CgroupPermissions": parts.next().unwrap_or("rwm"),
    });
    push_value(&mut run.host, "Devices", device)
}

fn restart(run: &mut Run, text: &str) -> Result<(), String> {
    let (name, count) = match text.split_once(':') {
        Some((name, count)) => (name, count.parse::<u32>().ok()),
        None => (text, Some(0)),
    };
    let count = match (name, count) {
        ("no" | "always" | "unless-stopped", Some(0)) => 0,
        ("on-failure", Some(count)) => count,
        _ => {
            return Err(format!(
                "{text:?} is no policy; allowed: no, always, unless-stopped, on-failure[:N]"
            ));
        }
    };
    let policy = json!({"Name": name, "MaximumRetryCount": count});
    set_value(&mut run.host, "RestartPolicy", policy)
}

fn ulimit(run: &mut Run, text: &str) -> Result<(), String> {
    let wrong = || format!("{text:?} is no NAME=SOFT[:HARD]");
    let (name, limits) = text.split_once('=').ok_or_else(wrong)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let soft: i64 = soft.parse().map_err(|_error| wrong())?;
    let hard: i64 = hard.parse().map_err(|_error| wrong())?;
    let limit = json!({"Name": name, "Soft": soft, "Hard": hard});
    push_value(&mut run.host, "Ulimits", limit)
}

/// `512`, `64k`, `512m`, `2g`, each with or without a final `b`.
fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size, such as 512m");
    let lower = text.to_ascii_lowercase();
    let plain = lower.strip_suffix('b').unwrap_or(&lower);
    let (number, shift) = match plain.char_indices().next_back() {
        Some((at, 'k')) => (&plain[..at], 10),
        Some((at, 'm')) => (&plain[..at], 20),
        Some((at, 'g')) => (&plain[..at], 30),
        Some((at, 't')) => (&plain[..at], 40),
        _ => (plain, 0),
    };
    let number: u64 = number.parse().map_err(|_error| wrong())?;
    let bytes = number.checked_mul(1 << shift).ok_or_else(wrong)?;
    match bytes <= MEMORY_BYTES_MAX {
        true => Ok(bytes),
        false => Err(wrong()),
    }
}
