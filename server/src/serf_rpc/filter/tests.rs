use super::*;
use crate::hub::testing::{member, with_status, with_tag};
use muster_engine::Status;

fn asked(name: &str, status: &str, tags: &[(&str, &str)]) -> MembersFiltered {
    let owned = |(tag, pattern): &(&str, &str)| ((*tag).to_owned(), (*pattern).to_owned());
    MembersFiltered {
        name: name.to_owned(),
        status: status.to_owned(),
        tags: tags.iter().map(owned).collect(),
    }
}

#[test]
fn expressions_match_the_whole_text() {
    let web = with_tag(member("web-1", 1, &["front"]), "zone", "eu-1");
    let matches = |name, status, tags| {
        let filter = MemberFilter::compile(&asked(name, status, tags)).unwrap();
        filter.matches(&web)
    };
    assert!(matches("", "", &[]));
    assert!(matches("web-.*", "alive", &[("zone", "eu-.")]));
    assert!(matches("db|web-1", "", &[]) && !matches("db|web", "", &[]));
    assert!(!matches("web", "", &[]) && !matches("eb-1", "", &[]));
    assert!(!matches("", "live", &[]) && matches("", "alive|left", &[]));
    assert!(matches("", "", &[("role", "front")]) && !matches("", "", &[("role", "f")]));
    assert!(matches("", "", &[("none", "")]) && !matches("", "", &[("zone", "")]));
    let suspect = with_status(web.clone(), Status::Suspect);
    let filter = MemberFilter::compile(&asked("", "alive", &[])).unwrap();
    assert!(filter.matches(&suspect));
}

#[test]
fn wrong_filters_are_told_in_one_line() {
    let long = "x".repeat(REGEX_BYTES_MAX + 1);
    for pattern in ["al(", "a)|(b", "[", "a{1000}{1000}{1000}", long.as_str()] {
        let why = MemberFilter::compile(&asked(pattern, "", &[])).unwrap_err();
        assert!(why.starts_with("Failed to compile regex: "), "{why}");
        assert!(!why.contains('\n'), "{why}");
    }
    let why = MemberFilter::compile(&asked("al(", "", &[])).unwrap_err();
    assert_eq!(why, "Failed to compile regex: unclosed group: `al(`");
    let mut many = asked("", "", &[]);
    for number in 0..=FILTER_TAGS_MAX {
        many.tags.insert(number.to_string(), String::new());
    }
    let why = MemberFilter::compile(&many).unwrap_err();
    assert_eq!(why, "17 tags in the filter, at most 16 are allowed");
}

#[test]
fn filters_of_events_are_those_of_serf() {
    let all = EventFilter::parse("").unwrap();
    assert_eq!(all, EventFilter::parse("*").unwrap());
    assert!(all.wants_members() && all.wants_events() && all.wants_event("x"));
    let some = EventFilter::parse("member-join,user:deploy").unwrap();
    assert!(some.wants_change(MemberChange::Join) && !some.wants_change(MemberChange::Reap));
    assert!(some.wants_event("deploy") && !some.wants_event("deploy2"));
    let user = EventFilter::parse("user").unwrap();
    assert!(user.wants_event("any") && !user.wants_members());
    let query = EventFilter::parse("query:load").unwrap();
    assert!(!query.wants_members() && !query.wants_events());
    assert_eq!(query.queries(), ["load"]);
    let odd = EventFilter::parse("query,query:no name,user:x").unwrap();
    assert_eq!(odd.queries(), ["*"]);
    assert_eq!(EventFilter::parse("user").unwrap().queries(), [""; 0]);
    for change in MemberChange::ALL {
        let one = EventFilter::parse(change.as_str()).unwrap();
        assert!(one.wants_change(change));
    }
    for wrong in ["bogus", "user,", ",", "member", "member-join ", "users:x"] {
        assert_eq!(EventFilter::parse(wrong), None, "{wrong:?}");
    }
    let many = vec!["user"; STREAM_FILTERS_MAX];
    assert!(EventFilter::parse(&many.join(",")).is_some());
    assert!(EventFilter::parse(&format!("{},user", many.join(","))).is_none());
}
