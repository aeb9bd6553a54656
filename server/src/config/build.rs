//! From texts to a checked [`Config`]: every value, then what must fit together.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_engine::{Limits, Role, Stage};

use super::addresses;
use super::layers::Layers;
use super::machine::Machine;
use super::problem::Problem;
use super::secrets::{self, Secrets, Security};
use super::values;
use super::{Api, Config, Discovery, Members, Node, Peers, Process, units};
use crate::docker::Mode;
use crate::gossip::resolve::SEEDS_MAX;
use crate::grpc::Capability;
use crate::serf_rpc;
use crate::tags::TagChanges;

const DAY: Duration = Duration::from_secs(86_400);

/// Reads every setting. Mistakes are noted in `layers`; the result counts only if
/// there are none.
pub(super) fn build(
    layers: &mut Layers,
    machine: &dyn Machine,
    environment: &BTreeMap<String, String>,
) -> Config {
    let children = super::serfnode::read(layers, machine, environment);
    let plaintext = layers.value("insecure-plaintext", units::boolean);
    let secrets = secrets::read(layers, plaintext);
    let peers = peers(layers, machine, &secrets);
    let node = node(layers, machine, &secrets, peers.advertise.ip());
    let service_ip = layers.optional("service-ip", values::ip);
    let service_ip = service_ip.unwrap_or(peers.advertise.ip());
    let containers = super::containers::told(layers, &node.name, service_ip);
    let api = api(layers, machine, environment);
    let serf_rpc = serf_rpc(layers);
    let limits = limits(layers);
    let docker = super::containers::docker(layers);
    if docker.mode == Mode::Off && !(children.children.is_empty() && children.run.is_none()) {
        let why = "it is off, but there are containers to start (serfnode-yml, DOCKER_RUN)";
        layers.refuse("docker", why);
    }
    Config {
        node,
        peers,
        api,
        serf_rpc,
        limits,
        members: members(layers),
        handlers: super::handling::build(layers, machine),
        docker,
        legacy: super::containers::legacy(layers),
        children,
        containers,
        process: process(layers),
        warnings: layers.take_warnings(),
        held: BTreeMap::new(),
    }
}

fn node(layers: &mut Layers, machine: &dyn Machine, secrets: &Secrets, ip: IpAddr) -> Node {
    let name = if layers.entry("name").is_some() {
        layers.optional("name", values::member_name)
    } else {
        let host = machine.host_name().unwrap_or_default();
        values::member_name(&host)
            .map_err(|why| {
                let place = format!("default name {host:?} (the host name)");
                layers.problem(Problem::at(place, format!("{why}; give one with --name")));
            })
            .ok()
    };
    let service_ip = layers.optional("service-ip", values::ip);
    let follows = service_ip.is_none();
    let service_ip = service_ip.unwrap_or(ip);
    let service_port = layers.value("service-port", values::port);
    let default = SocketAddr::new(service_ip, service_port);
    let tags_file = layers.optional("tags-file", values::path);
    let (roles, unplaced) = roles(layers, default);
    Node {
        name: name.unwrap_or_default(),
        cluster: cluster(layers, secrets),
        tags: tags(layers),
        tag_changes: tag_changes(layers, tags_file.as_deref()),
        tags_file,
        roles,
        follows: follows.then_some(unplaced),
    }
}

fn cluster(layers: &mut Layers, secrets: &Secrets) -> String {
    let cluster = layers.value("cluster", values::member_name);
    let Some(token) = &secrets.token else {
        return cluster;
    };
    if let Err(why) = values::member_name(&token.cluster) {
        let place = format!("cluster {:?} of the token", token.cluster);
        layers.problem(Problem::at(place, why));
    }
    if layers.entry("cluster").is_some() && token.cluster != cluster {
        let why = format!("the token is of cluster {:?}", token.cluster);
        layers.refuse("cluster", &why);
    }
    token.cluster.clone()
}

fn tags(layers: &mut Layers) -> BTreeMap<String, String> {
    let mut tags = BTreeMap::new();
    for (key, value) in layers.list("tag", values::tag) {
        if tags.insert(key.clone(), value).is_some() {
            layers.refuse("tag", &format!("{key} is given twice"));
        }
    }
    tags
}

/// What the tags file holds. Garbage in it is a mistake: the tags that somebody set
/// would be lost.
fn tag_changes(layers: &mut Layers, file: Option<&Path>) -> TagChanges {
    let read = file.map_or_else(|| Ok(TagChanges::default()), TagChanges::read);
    read.unwrap_or_else(|why| {
        layers.refuse("tags-file", &why);
        TagChanges::default()
    })
}

/// The roles, and the names of those that say no address.
fn roles(layers: &mut Layers, default: SocketAddr) -> (Vec<Role>, BTreeSet<String>) {
    let mut seen = BTreeSet::new();
    let (mut roles, mut unplaced) = (Vec::new(), BTreeSet::new());
    for spec in layers.list("role", values::role) {
        if !seen.insert(spec.name.clone()) {
            layers.refuse("role", &format!("{} is given twice", spec.name));
        }
        if spec.service.is_none() {
            unplaced.insert(spec.name.clone());
        }
        let service = spec.service.unwrap_or(default);
        roles.push(Role {
            name: spec.name,
            service_ip: service.ip(),
            service_port: service.port(),
            since_unix_ms: 0,
            container: None,
            healthy: true,
        });
    }
    (roles, unplaced)
}

fn peers(layers: &mut Layers, machine: &dyn Machine, secrets: &Secrets) -> Peers {
    let bind = addresses::bind(layers, machine);
    let advertise = addresses::advertise(layers, machine, bind);
    let encryption = layers.optional("encryption", values::stage);
    let public = addresses::public(machine, bind, advertise);
    check_plaintext(layers, secrets, encryption, public.as_deref());
    let mut join = layers.list("join", values::join);
    if let Some(token) = &secrets.token {
        for seed in &token.seeds {
            if let Err(why) = values::join(seed) {
                layers.problem(Problem::at(format!("seed {seed:?} of the token"), why));
            }
        }
        join.extend(token.seeds.iter().cloned());
    }
    let mut seen = BTreeSet::new();
    join.retain(|address| seen.insert(address.clone()));
    if join.len() > SEEDS_MAX {
        layers.refuse("join", &format!("{} addresses were given", join.len()));
    }
    Peers {
        bind,
        advertise,
        advertise_given: layers.entry("advertise").is_some(),
        join,
        security: secrets.security.clone(),
        coordinates: !layers.value("disable-coordinates", units::boolean),
        retry_interval: layers.value("retry-interval", |text| {
            let range = Duration::from_secs(1)..=Duration::from_secs(3_600);
            units::within(units::duration(text)?, range)
        }),
        rejoin: layers.value("rejoin", units::boolean),
        discovery: discovery(layers, machine),
        keyring_file: secrets.keyring_file.clone(),
        keys_from_file: secrets.from_file,
        encryption,
        public,
    }
}

/// Plaintext, even as a stage on the way from it, is for loopback and private networks.
fn check_plaintext(
    layers: &mut Layers,
    secrets: &Secrets,
    encryption: Option<Stage>,
    public: Option<&str>,
) {
    let plaintext = matches!(secrets.security, Security::Plaintext);
    if plaintext && layers.entry("insecure-plaintext").is_none() {
        // Without a key and without this wish another mistake was noted already.
        return;
    }
    if plaintext && encryption.is_some() {
        layers.refuse("encryption", "there is no key to encrypt with");
    }
    let setting = match encryption {
        _ if plaintext => "insecure-plaintext",
        Some(stage) if stage.accepts_plaintext() => "encryption",
        Some(_) | None => return,
    };
    if let Some(why) = public {
        layers.refuse(setting, why);
    }
}

fn api(layers: &mut Layers, machine: &dyn Machine, environment: &BTreeMap<String, String>) -> Api {
    let socket = if layers.entry("socket").is_some() {
        layers.optional("socket", values::socket_path)
    } else {
        default_socket(layers, machine, environment)
    };
    let socket = socket.unwrap_or_default();
    let child_socket = layers.optional("child-socket", values::socket_path);
    if child_socket.as_ref() == Some(&socket) {
        layers.refuse("child-socket", "it is the API socket as well");
    }
    let mut allow: BTreeMap<u32, BTreeSet<Capability>> = BTreeMap::new();
    for (uid, capabilities) in layers.list("allow", values::allow) {
        allow.entry(uid).or_default().extend(capabilities);
    }
    let group = |text: &str| match text.parse() {
        Ok(number) => Ok(number),
        Err(_) => machine
            .group_id(text)
            .ok_or("there is no such group".to_owned()),
    };
    Api {
        socket,
        socket_mode: layers.value("socket-mode", values::mode),
        socket_group: layers.optional("socket-group", group),
        child_socket,
        allow,
        threads: count(layers.value("api-threads", |text| {
            units::within(units::number(text)?, 1..=64)
        })),
    }
}

fn serf_rpc(layers: &mut Layers) -> Option<serf_rpc::Config> {
    let auth = layers.optional("serf-rpc-auth-file", |path| {
        serf_rpc::Token::read(&values::path(path)?)
    });
    let show_keys = layers.value("serf-rpc-show-keys", units::boolean);
    let bind = layers.optional("serf-rpc", values::address)?;
    let wanted = layers.entry("serf-rpc-auth-file").is_some();
    if !bind.ip().is_loopback() {
        if wanted {
            layers.warn(format!(
                "serf-rpc {bind} is no loopback address: its token and all that is said there \
                 cross the network WITHOUT ENCRYPTION"
            ));
        } else {
            let why = "it is no loopback address, which takes a serf-rpc-auth-file";
            layers.refuse("serf-rpc", why);
        }
    }
    Some(serf_rpc::Config {
        bind,
        auth,
        show_keys,
    })
}

fn default_socket(
    layers: &mut Layers,
    machine: &dyn Machine,
    environment: &BTreeMap<String, String>,
) -> Option<PathBuf> {
    if machine.is_root() {
        return Some(PathBuf::from("/run/muster/api.sock"));
    }
    let found = match environment
        .get("XDG_RUNTIME_DIR")
        .filter(|dir| !dir.is_empty())
    {
        Some(dir) => values::socket_path(&format!("{dir}/muster/api.sock")),
        None => Err("XDG_RUNTIME_DIR is not set".to_owned()),
    };
    found
        .map_err(|why| {
            layers.problem(Problem::at(
                "default socket",
                format!("{why}; give one with --socket"),
            ))
        })
        .ok()
}

fn limits(layers: &mut Layers) -> Limits {
    let sized =
        |low: u64, high: u64| move |text: &str| units::within(units::size(text)?, low..=high);
    let payload = layers.value("event-payload-limit", sized(1 << 10, 1 << 20));
    let per_origin = layers.value("event-bytes-per-origin", sized(1 << 20, 4 << 30));
    let total = layers.value("event-bytes-total", sized(1 << 20, 16 << 30));
    let events = layers.value("events-per-origin", |text| {
        units::within(units::number(text)?, 64..=1 << 20)
    });
    // The default may be what does not fit: name what was given.
    if per_origin < payload * 4 {
        let why = format!(
            "event-bytes-per-origin {} is less than 4 times event-payload-limit {}",
            units::show_size(per_origin),
            units::show_size(payload)
        );
        layers.problem(Problem::at("event limits", why));
    }
    if total < per_origin {
        let why = format!(
            "event-bytes-total {} is less than event-bytes-per-origin {}",
            units::show_size(total),
            units::show_size(per_origin)
        );
        layers.problem(Problem::at("event limits", why));
    }
    Limits {
        event_payload_bytes: count(payload),
        events_per_origin: count(events),
        event_bytes_per_origin: count(per_origin),
        event_bytes_total: count(total),
        suspicion_patience: layers.value("profile", values::profile),
        ..Limits::default()
    }
}

fn members(layers: &mut Layers) -> Members {
    let reap =
        |text: &str| units::within(units::duration(text)?, Duration::from_secs(1)..=365 * DAY);
    Members {
        reap_left: layers.value("reap-left", reap),
        reap_failed: layers.value("reap-failed", reap),
    }
}

fn process(layers: &mut Layers) -> Process {
    let phase = |text: &str| {
        units::within(
            units::duration(text)?,
            Duration::ZERO..=Duration::from_secs(60),
        )
    };
    let data_dir = layers.optional("data-dir", values::path);
    let snapshot = layers.optional("snapshot", values::path);
    Process {
        snapshot: snapshot.or_else(|| Some(data_dir.as_ref()?.join("snapshot"))),
        data_dir,
        log_filter: layers.value("log-filter", values::log_filter),
        log_format: layers.value("log-format", values::log_format),
        leave_on_terminate: layers.value("leave-on-terminate", units::boolean),
        leave_on_interrupt: !layers.value("skip-leave-on-interrupt", units::boolean),
        serf_exit_codes: false,
        leave_timeout: layers.value("leave-timeout", phase),
        drain_timeout: layers.value("drain-timeout", phase),
        exit_with_stdin: layers
            .optional("exit-with-stdin", units::boolean)
            .unwrap_or(false),
    }
}

/// Whom to look for on the local network.
fn discovery(layers: &mut Layers, machine: &dyn Machine) -> Option<Discovery> {
    let interface = layers.optional("mdns-iface", values::interface);
    let interface = match interface {
        Some(name) if machine.interfaces().iter().all(|(known, _)| *known != name) => {
            layers.refuse("mdns-iface", "there is none with an address");
            None
        }
        Some(name) => Some(name),
        None => layers.optional("iface", values::interface),
    };
    let name = layers.optional("discover", values::member_name)?;
    Some(Discovery { name, interface })
}

/// Ranges of the table keep these far below any `usize` of a supported machine.
fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
