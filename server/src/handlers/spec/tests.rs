use proptest::prelude::*;

use super::*;
use crate::hub::testing::{member, with_tag};

fn parse(text: &str) -> Result<Spec, SpecError> {
    Spec::parse(text, |text| match text.strip_suffix('s') {
        Some(number) => number
            .parse()
            .map(Duration::from_secs)
            .map_err(|_error| "no number".to_owned()),
        None => Err("no unit".to_owned()),
    })
}

fn filters(text: &str) -> (Vec<Filter>, String) {
    let spec = parse(text).unwrap();
    (spec.filters, spec.script)
}

fn user(name: &str) -> Filter {
    Filter::User(Some(name.to_owned()))
}

#[test]
fn every_filter_of_serf() {
    let all = [
        ("script.sh", vec![Filter::All], "script.sh"),
        ("*=a=b", vec![Filter::All], "a=b"),
        ("=x", vec![Filter::All], "x"),
        ("user=x", vec![Filter::User(None)], "x"),
        ("user:=x", vec![Filter::User(None)], "x"),
        ("user:deploy=x", vec![user("deploy")], "x"),
        ("user:a,user:b=x -y=z", vec![user("a"), user("b")], "x -y=z"),
        ("query=x", vec![Filter::Query(None)], "x"),
        (
            "query:load=uptime",
            vec![Filter::Query(Some("load".to_owned()))],
            "uptime",
        ),
        (
            "member-join,member-leave=x",
            vec![
                Filter::Member(MemberKind::Join),
                Filter::Member(MemberKind::Leave),
            ],
            "x",
        ),
    ];
    for (text, wanted, script) in all {
        assert_eq!(filters(text), (wanted, script.to_owned()), "{text}");
    }
    for kind in MemberKind::ALL {
        let spec = parse(&format!("{}=x", kind.as_str())).unwrap();
        assert!(spec.wants_member(kind) && spec.wants_members() && !spec.wants_users());
        assert_eq!(spec.queries(), None);
    }
    // A comma in a script is no end of anything.
    assert_eq!(
        filters("echo a,b"),
        (vec![Filter::All], "echo a,b".to_owned())
    );
}

#[test]
fn what_is_no_filter_is_told() {
    for text in [
        "env X=1 script",
        "deploy=x",
        "member-gone=x",
        "user:a b=x",
        "name:=x",
        "cat /etc/a, b=c",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
    let error = parse("env X=1 script").unwrap_err().to_string();
    assert!(error.contains("env X") && error.contains("'*='"), "{error}");
    for text in ["", "*=", "user:a= "] {
        assert_eq!(parse(text), Err(SpecError::NoScript), "{text:?}");
    }
    assert!(parse(&"x".repeat(SPEC_BYTES_MAX + 1)).is_err());
    assert!(parse("a\0b").is_err());
    assert!(parse(&format!("{}=x", "user,".repeat(WORDS_MAX))).is_err());
}

#[test]
fn a_tag_has_an_equals_sign_of_its_own() {
    let spec = parse("tag:zone=eu-*,user:a=echo k=v").unwrap();
    assert_eq!(spec.script, "echo k=v");
    assert_eq!(spec.filters, [user("a")]);
    assert_eq!(spec.selector.tags["zone"], ["eu-*"]);
    let spec = parse("tag:a=1,tag:a=2,tag:b==x").unwrap();
    assert_eq!(
        (spec.script.as_str(), spec.filters.as_slice()),
        ("x", &[Filter::All][..])
    );
    assert_eq!(spec.selector.tags["a"], ["1", "2"]);
    assert_eq!(spec.selector.tags["b"], [""]);
    for text in ["tag:zone=x", "tag:,user=x", "tag:=a=x"] {
        assert!(
            parse(text).map_or(true, |spec| spec.script == text),
            "{text}: a tag needs a key, a pattern and a script after it"
        );
    }
}

#[test]
fn options() {
    let spec = parse("user,timeout:5s,concurrency:2,queue:9,json,redeliver=x").unwrap();
    let options = Options {
        timeout: Some(Duration::from_secs(5)),
        concurrency: Some(2),
        queue: Some(9),
        json: true,
        redeliver: true,
    };
    assert_eq!(spec.options, options);
    for text in [
        "timeout:0s=x",
        "timeout:5=x",
        "concurrency:0=x",
        "queue:many=x",
        "concurrency:99999=x",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn selectors() {
    let web = with_tag(member("web-1", 1, &["web"]), "zone", "eu-1");
    let old = with_tag(member("db-1", 1, &[]), "role", "db");
    let selects = |text: &str, member: &Member| parse(text).unwrap().selector.selects(member);
    for text in [
        "role:web=x",
        "role:w*=x",
        "name:web-*=x",
        "tag:zone=eu-*=x",
        "tag:zone=us,tag:zone=eu-1=x",
        "role:db,role:web,name:*-1=x",
    ] {
        assert!(selects(text, &web), "{text}");
    }
    for text in [
        "role:db=x",
        "name:web=x",
        "tag:zone=us=x",
        "tag:none=*=x",
        "role:web,name:db*=x",
    ] {
        assert!(!selects(text, &web), "{text}");
    }
    assert!(selects("role:db=x", &old));
    let gone = |text: &str| parse(text).unwrap().selector.selects_name("web-1");
    assert!(gone("name:web-*=x") && gone("user=x"));
    assert!(!gone("name:db=x") && !gone("role:web=x") && !gone("tag:a=b=x"));
}

#[test]
fn names_of_queries() {
    let queries = |text: &str| parse(text).unwrap().queries();
    assert_eq!(queries("x"), Some(vec![]));
    assert_eq!(
        queries("query:a,query:b=x"),
        Some(vec!["a".to_owned(), "b".to_owned()])
    );
    assert_eq!(queries("query:a,query=x"), Some(vec![]));
    assert_eq!(queries("user=x"), None);
}

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,60}", tagged in "tag:[a,=:]{0,12}") {
        let _read = (parse(&text), parse(&tagged));
    }

    #[test]
    fn a_script_behind_a_star_stays_as_it_is(script in "[^\0]{0,40}[a-z]") {
        let spec = parse(&format!("*={script}")).unwrap();
        prop_assert_eq!(spec.script, script);
    }
}
