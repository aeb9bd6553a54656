mod fuzz;
mod model;
mod readers;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_engine::Role;
use tempfile::TempDir;

use super::file::{HostsError, HostsFile, Outcome};
use super::plan::{Memory, Plan, QUARANTINE, SLOTS_EACH, SLOTS_MAX, Step, plan};
use super::*;
use crate::hub::testing::{member, with_status};

/// As the engine writes it.
const DOCKER: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
                      172.17.0.2\ta0fb5f1a9626\n";

fn wanted(pairs: &[(&str, &str)]) -> Answers {
    let pair = |(role, ip): &(&str, &str)| ((*role).to_owned(), ip.parse().unwrap());
    pairs.iter().map(pair).collect()
}

/// What a resolver finds: names and their addresses, in the order of the file.
fn parse(text: &[u8]) -> BTreeMap<String, Vec<IpAddr>> {
    let text = std::str::from_utf8(text).unwrap();
    let mut found: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap();
        let mut words = line.split_whitespace();
        let Some(ip) = words.next() else { continue };
        // musl takes no indented line.
        assert!(!line.starts_with(char::is_whitespace), "{line:?}");
        for name in words {
            let ips = found.entry(name.to_owned()).or_default();
            ips.push(ip.parse().unwrap());
        }
    }
    found
}

fn apply(text: &mut Vec<u8>, plan: &Plan) {
    for step in &plan.steps {
        match step {
            Step::Append(block) => text.extend_from_slice(block),
            Step::Edit(edit) => {
                assert_eq!(&text[edit.at..edit.at + edit.before.len()], edit.before);
                let from = edit.at + edit.from;
                text[from..from + edit.bytes.len()].copy_from_slice(&edit.bytes);
            }
        }
    }
}

/// A file in memory, and a clock.
struct Scene {
    text: Vec<u8>,
    memory: Memory,
    now: Duration,
}

impl Scene {
    fn new(text: &str) -> Self {
        Self {
            text: text.as_bytes().to_vec(),
            memory: Memory::new(QUARANTINE),
            now: Duration::ZERO,
        }
    }

    /// Plans and applies until there is nothing to do at this time.
    fn set(&mut self, pairs: &[(&str, &str)]) -> Plan {
        loop {
            let plan = plan(&self.text, &wanted(pairs), &mut self.memory, self.now);
            apply(&mut self.text, &plan);
            self.memory.done(self.now);
            if !plan.more {
                return plan;
            }
        }
    }

    fn shows(&self, name: &str) -> Vec<String> {
        let found = parse(&self.text).remove(name).unwrap_or_default();
        found.iter().map(ToString::to_string).collect()
    }

    /// What is not ours.
    fn rest(&self) -> String {
        let text = String::from_utf8(self.text.clone()).unwrap();
        let others = text
            .split_inclusive('\n')
            .filter(|line| !line.contains("# muster") && !line.contains(" muster"));
        others.collect()
    }

    fn free(&self) -> usize {
        let all = slot::slots(&self.text);
        all.iter()
            .filter(|slot| slot.state == slot::State::Free)
            .count()
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }
}

#[test]
fn a_role_gets_a_line_and_loses_it_again() {
    let mut scene = Scene::new(DOCKER);
    scene.set(&[("web", "10.0.0.1"), ("db", "fd00::2")]);
    assert_eq!(scene.shows("web"), ["10.0.0.1"]);
    assert_eq!(scene.shows("db"), ["fd00::2"]);
    assert_eq!(scene.shows("localhost"), ["127.0.0.1", "::1"]);
    assert!(scene.text.starts_with(DOCKER.as_bytes()));
    let text = String::from_utf8(scene.text.clone()).unwrap();
    assert!(text.contains("\n10.0.0.1 web "), "{text}");
    assert!(
        scene
            .set(&[("web", "10.0.0.1"), ("db", "fd00::2")])
            .steps
            .is_empty()
    );
    scene.set(&[("db", "fd00::2")]);
    assert_eq!(scene.shows("web"), [""; 0]);
    assert_eq!(scene.shows("db"), ["fd00::2"]);
    let length = scene.text.len();
    scene.set(&[]);
    scene.pass(QUARANTINE);
    assert_eq!(scene.set(&[]).again, None);
    let text = String::from_utf8(scene.text.clone()).unwrap();
    assert!(!text.contains("web") && !text.contains("db"), "{text}");
    assert_eq!(scene.text.len(), length);
    assert_eq!(scene.rest(), DOCKER);
}

#[test]
fn without_roles_nothing_is_written() {
    let mut scene = Scene::new(DOCKER);
    assert!(scene.set(&[]).steps.is_empty());
    assert_eq!(scene.text, DOCKER.as_bytes());
}

#[test]
fn a_new_address_is_shown_behind_the_old_one_before_that_is_hidden() {
    let mut scene = Scene::new(DOCKER);
    scene.set(&[("web", "10.0.0.1")]);
    let plan = scene.set(&[("web", "10.0.0.2")]);
    let edits = plan.steps.iter().map(|step| match step {
        Step::Edit(edit) => (edit.at, edit.from, edit.bytes.clone()),
        Step::Append(_) => panic!("there is room"),
    });
    let edits: Vec<_> = edits.collect();
    assert_eq!(edits.len(), 3);
    assert_eq!(edits[0].1, 1, "the comment is filled first");
    assert_eq!(
        (edits[1].0, edits[1].1, &*edits[1].2),
        (edits[0].0, 0, &b"1"[..])
    );
    assert_eq!((edits[2].1, &*edits[2].2), (0, &b"#"[..]));
    assert!(edits[2].0 < edits[1].0);
    assert_eq!(scene.shows("web"), ["10.0.0.2"]);
}

#[test]
fn a_hidden_slot_is_used_again_after_the_quarantine_only() {
    let mut scene = Scene::new(DOCKER);
    scene.set(&[("web", "10.0.0.1")]);
    let free = scene.free();
    let plan = scene.set(&[]);
    assert_eq!(scene.free(), free);
    assert_eq!(plan.again, Some(QUARANTINE));
    scene.pass(QUARANTINE - Duration::from_millis(1));
    assert!(scene.set(&[]).steps.is_empty());
    scene.pass(Duration::from_millis(1));
    scene.set(&[]);
    assert_eq!(scene.free(), free + 1);
}

#[test]
fn a_line_at_the_end_moves_up_when_there_is_room() {
    let mut scene = Scene::new(DOCKER);
    let addresses = [
        "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6",
    ];
    for ip in addresses {
        scene.set(&[("web", ip)]);
        assert_eq!(scene.shows("web"), [ip]);
    }
    let length = scene.text.len();
    // The last slot: the others are in quarantine.
    scene.pass(QUARANTINE);
    scene.set(&[("web", "10.0.0.6")]);
    assert_eq!(scene.shows("web"), ["10.0.0.6"; 2]);
    scene.pass(QUARANTINE);
    scene.set(&[("web", "10.0.0.6")]);
    assert_eq!(scene.shows("web"), ["10.0.0.6"]);
    scene.set(&[("web", "10.0.0.7")]);
    assert_eq!(scene.shows("web"), ["10.0.0.7"]);
    assert_eq!(scene.text.len(), length);
}

#[test]
fn a_full_file_grows_to_its_limit_and_then_changes_wait() {
    let mut scene = Scene::new("");
    let ip = |n: usize| format!("10.1.{}.{}", n / 256, n % 256);
    let most = SLOTS_MAX + SLOTS_EACH;
    for n in 0..=most {
        scene.set(&[("web", &ip(n))]);
    }
    assert_eq!(slot::slots(&scene.text).len(), most);
    // Nothing is free: the old answer stays.
    assert_eq!(scene.shows("web"), [ip(most - 1)]);
    assert_eq!(scene.set(&[("web", "10.2.0.1")]).waiting, 1);
    scene.pass(QUARANTINE);
    let plan = scene.set(&[("web", "10.2.0.1")]);
    assert_eq!(plan.waiting, 0);
    // In front of the old one, which slow readers may still need.
    assert_eq!(scene.shows("web"), ["10.2.0.1".to_owned(), ip(most - 1)]);
    scene.pass(QUARANTINE);
    scene.set(&[("web", "10.2.0.1")]);
    assert_eq!(scene.shows("web"), ["10.2.0.1"]);
}

#[test]
fn the_rest_stays_byte_for_byte() {
    for text in [
        "",
        "127.0.0.1 localhost",
        "127.0.0.1 localhost\r\n10.9.9.9 other\r\n",
        "# comment without newline\n\n\n   \n10.9.9.9\tother # words",
        "\0\u{fffd}\n# BEGIN muster\n",
    ] {
        let mut scene = Scene::new(text);
        scene.set(&[("web", "10.0.0.1")]);
        scene.set(&[("web", "10.0.0.2")]);
        assert!(scene.text.starts_with(text.as_bytes()), "{text:?}");
        let text = std::str::from_utf8(&scene.text[text.len()..]).unwrap();
        assert!(
            text.starts_with("# BEGIN") || text.starts_with("\n# BEGIN"),
            "{text:?}"
        );
        assert!(text.contains("\n10.0.0.2 web "));
    }
}

#[test]
fn damaged_lines_of_ours_are_hidden() {
    let line = "10.0.0.9 web                                           # muster";
    let half = &line[..20];
    let two = line.replace("web", "web app");
    let cr = format!("{line}\r");
    let indented = format!(" {line}");
    let text =
        format!("{DOCKER}{two}\n{indented}\n# END muster\n{line}\n{line}\n{cr}\n#{cr}\n{half}");
    let mut scene = Scene::new(&text);
    scene.set(&[("web", "10.0.0.1")]);
    // What is not marked is not ours, even if it was once.
    assert_eq!(scene.shows("web"), ["10.0.0.9", "10.0.0.1"]);
    assert!(parse(&scene.text).remove("app").is_none());
    scene.set(&[]);
    assert_eq!(scene.shows("web"), ["10.0.0.9"]);
    assert!(scene.text.starts_with(DOCKER.as_bytes()));
}

#[test]
fn what_docker_moves_and_removes_is_set_right() {
    let mut scene = Scene::new(DOCKER);
    scene.set(&[("web", "10.0.0.1")]);
    // A network is disconnected: a line in front of ours goes; another is connected.
    let text = String::from_utf8(scene.text.clone()).unwrap();
    let text = text.replace("172.17.0.2\ta0fb5f1a9626\n", "") + "172.18.0.5\ta0fb5f1a9626\n";
    scene.text = text.into_bytes();
    assert!(scene.set(&[("web", "10.0.0.1")]).steps.is_empty());
    scene.set(&[("web", "10.0.0.2")]);
    assert_eq!(scene.shows("web"), ["10.0.0.2"]);
    assert_eq!(scene.shows("a0fb5f1a9626"), ["172.18.0.5"]);
    // The container is started again.
    scene.text = DOCKER.as_bytes().to_vec();
    scene.set(&[("web", "10.0.0.2")]);
    assert_eq!(scene.shows("web"), ["10.0.0.2"]);
    assert_eq!(scene.rest(), DOCKER);
}

#[test]
fn a_slot_of_any_length_is_filled_and_blanked() {
    let blanks = " ".repeat(70_000);
    let mut scene = Scene::new(&format!("#{blanks}# muster\n10.0.0.9 db{blanks}# muster\n"));
    scene.set(&[("web", "10.0.0.1")]);
    assert_eq!(scene.shows("web"), ["10.0.0.1"]);
    assert!(scene.shows("db").is_empty());
    scene.pass(QUARANTINE);
    scene.set(&[]);
    scene.pass(QUARANTINE);
    scene.set(&[]);
    assert_eq!(scene.free(), 2);
}

#[test]
fn a_cut_line_that_becomes_a_slot_is_free_one_day() {
    let mut scene = Scene::new("#0.0.0.9 db  # muster");
    scene.set(&[("web", "10.0.0.1")]);
    scene.pass(QUARANTINE);
    scene.set(&[("web", "10.0.0.1")]);
    scene.pass(QUARANTINE);
    assert_eq!(scene.set(&[("web", "10.0.0.1")]).again, None);
    assert!(scene.text.starts_with(b"#            # muster\n"));
}

#[test]
fn long_lines_have_room() {
    let role = "a".repeat(63);
    let ip = "1111:2222:3333:4444:5555:6666:7777:8888";
    let mut scene = Scene::new("");
    scene.set(&[("web", "10.0.0.1")]);
    scene.set(&[("web", "10.0.0.1"), (&role, ip)]);
    assert_eq!(scene.shows(&role), [ip]);
    assert_eq!(scene.shows("web"), ["10.0.0.1"]);
}

#[test]
fn the_oldest_alive_member_answers() {
    let at = |name: &str, started: u64, ip: &str, status: Status| {
        let mut member = with_status(member(name, started, &["web"]), status);
        member.roles[0].service_ip = ip.parse().unwrap();
        Arc::new(member)
    };
    let failed = at("a", 1, "10.0.0.1", Status::Failed);
    let suspect = at("c", 2, "10.0.0.3", Status::Suspect);
    let alive = at("b", 2, "::ffff:10.0.0.2", Status::Alive);
    let young = at("d", 9, "10.0.0.4", Status::Alive);
    let all = [failed, young.clone(), suspect.clone(), alive];
    assert_eq!(answers(&all), wanted(&[("web", "10.0.0.2")]));
    assert_eq!(answers(&[young, suspect]), wanted(&[("web", "10.0.0.3")]));
    let mut sick = member("s", 1, &["web"]);
    sick.roles[0].healthy = false;
    assert_eq!(answers(&[Arc::new(sick)]), Answers::new());
    let nowhere = at("e", 1, "0.0.0.0", Status::Alive);
    assert_eq!(answers(&[nowhere]), Answers::new());
    assert_eq!(answers(&[]), Answers::new());
}

#[test]
fn only_names_of_hosts_get_lines() {
    for name in ["web", "web-1", "a.b.c", "1a", "WEB", "x1.2x"] {
        assert!(is_host_name(name), "{name}");
    }
    for name in [
        "",
        "a_b",
        "1",
        "10.0.0.1",
        "a.1",
        "0x7f",
        "a..b",
        "-a",
        "a-",
        "a.-b",
        "a b",
        "a\nb",
        "#a",
        "localhost",
        "LocalHost",
        "x.localhost",
        "no_role",
    ] {
        assert!(!is_host_name(name), "{name}");
    }
    assert!(!is_host_name(&"a".repeat(64)));
    let roles = ["web", "Web", "a_b", "localhost"];
    let members = [Arc::new(member("n", 1, &roles))];
    assert_eq!(answers(&members), wanted(&[("Web", "127.0.0.1")]));
    let many: Vec<String> = (0..=ROLES_MAX).map(|n| format!("r{n:04}")).collect();
    let mut member = member("n", 1, &[]);
    let role = |name: &String| Role {
        name: name.clone(),
        service_ip: "10.0.0.1".parse().unwrap(),
        service_port: 1,
        since_unix_ms: 1,
        container: None,
        healthy: true,
    };
    member.roles = many.iter().map(role).collect();
    let answers = answers(&[Arc::new(member)]);
    assert_eq!(answers.len(), ROLES_MAX);
    assert!(!answers.contains_key(&many[ROLES_MAX]));
}

struct Disk {
    directory: TempDir,
    path: PathBuf,
    memory: Memory,
}

impl Disk {
    fn new(text: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("hosts");
        fs::write(&path, text).unwrap();
        let memory = Memory::new(QUARANTINE);
        Self {
            directory,
            path,
            memory,
        }
    }

    fn open(&self) -> Result<HostsFile, HostsError> {
        HostsFile::open(rustix::fs::CWD, &self.path)
    }

    fn set(&mut self, pairs: &[(&str, &str)]) -> Result<Outcome, HostsError> {
        let mut file = self.open()?;
        file.publish(&wanted(pairs), &mut self.memory, || Duration::ZERO)
    }

    fn shows(&self, name: &str) -> Vec<IpAddr> {
        parse(&fs::read(&self.path).unwrap())
            .remove(name)
            .unwrap_or_default()
    }
}

#[test]
fn a_file_is_written_in_place_and_left_alone_when_it_is_right() {
    use std::os::unix::fs::MetadataExt as _;
    let mut disk = Disk::new(DOCKER);
    let inode = fs::metadata(&disk.path).unwrap().ino();
    let outcome = disk.set(&[("web", "10.0.0.1")]).unwrap();
    assert!(outcome.changed);
    assert_eq!(
        disk.shows("web"),
        wanted(&[("w", "10.0.0.1")])
            .into_values()
            .collect::<Vec<_>>()
    );
    let meta = fs::metadata(&disk.path).unwrap();
    assert_eq!(meta.ino(), inode);
    assert_eq!(
        disk.set(&[("web", "10.0.0.1")]).unwrap(),
        Outcome::default()
    );
    let after = fs::metadata(&disk.path).unwrap();
    assert_eq!(
        (after.ctime(), after.ctime_nsec()),
        (meta.ctime(), meta.ctime_nsec())
    );
}

#[test]
fn what_is_no_file_of_hosts_is_refused() {
    let mut disk = Disk::new(DOCKER);
    let file = fs::OpenOptions::new().write(true).open(&disk.path).unwrap();
    file.set_len((1 << 20) + 1).unwrap();
    let error = disk.set(&[("web", "10.0.0.1")]).unwrap_err();
    assert!(
        error.to_string().starts_with("it has 1048577 bytes"),
        "{error}"
    );
    fs::remove_file(&disk.path).unwrap();
    assert!(matches!(
        disk.set(&[]),
        Err(HostsError::Io { what: "open", .. })
    ));
    let other = disk.directory.path().join("other");
    fs::write(&other, DOCKER).unwrap();
    std::os::unix::fs::symlink(&other, &disk.path).unwrap();
    assert!(disk.set(&[("web", "10.0.0.1")]).is_err());
    fs::remove_file(&disk.path).unwrap();
    let mode = rustix::fs::Mode::from(0o666);
    rustix::fs::mkfifoat(rustix::fs::CWD, &disk.path, mode).unwrap();
    assert!(matches!(disk.set(&[]), Err(HostsError::NoFile)));
    assert_eq!(fs::read_to_string(other).unwrap(), DOCKER);
}

#[test]
fn a_file_that_others_change_meanwhile_is_looked_at_again() {
    let mut disk = Disk::new(DOCKER);
    disk.set(&[("web", "10.0.0.1")]).unwrap();
    // An old plan meets a file that was rewritten.
    let text = fs::read(&disk.path).unwrap();
    let old = plan(
        &text,
        &wanted(&[("web", "10.0.0.2")]),
        &mut disk.memory,
        Duration::ZERO,
    );
    let moved = [&b"10.9.9.9 new\n"[..], &text].concat();
    fs::write(&disk.path, &moved).unwrap();
    let mut file = disk.open().unwrap();
    assert!(!file.apply(&old).unwrap());
    assert_eq!(fs::read(&disk.path).unwrap(), moved);
    disk.set(&[("web", "10.0.0.2")]).unwrap();
    assert_eq!(disk.shows("web").len(), 1);
    assert_eq!(disk.shows("new").len(), 1);
}

/// A path that nobody else uses, for the readers.
fn made(directory: &Path) -> PathBuf {
    let path = directory.join("hosts");
    fs::write(&path, DOCKER).unwrap();
    path
}
