use super::*;
use crate::hub::testing::{member, with_status, with_tag};

fn filter(edit: impl FnOnce(&mut pb::MemberFilter)) -> Result<Filter, FilterError> {
    let mut filter = pb::MemberFilter::default();
    edit(&mut filter);
    Filter::compile(filter)
}

fn refused(edit: impl FnOnce(&mut pb::MemberFilter)) -> String {
    filter(edit).unwrap_err().to_string()
}

#[test]
fn parts_are_anded_and_repeated_parts_ored() {
    let web = with_tag(member("web-1", 1, &["web", "www"]), "zone", "eu-1");
    let empty = filter(|_| ()).unwrap();
    assert!(empty.matches(&web));
    let both = filter(|f| {
        f.roles = vec!["db".into(), "www".into()];
        f.tags.insert("zone".into(), "eu-.".into());
        f.name_regex = "web-[0-9]+".into();
        f.statuses = vec![
            pb::MemberStatus::Alive.into(),
            pb::MemberStatus::Suspect.into(),
        ];
        f.names = vec!["web-1".into()];
    })
    .unwrap();
    assert!(both.matches(&web));
    assert!(!both.matches(&with_status(web.clone(), MemberStatus::Failed)));
    assert!(!both.matches(&with_tag(web, "zone", "us-1")));
    assert!(!both.matches(&member("web-1", 1, &["web"])));
}

#[test]
fn expressions_match_whole_texts_only() {
    let alternative = filter(|f| f.name_regex = "a|web".into()).unwrap();
    assert!(!alternative.matches(&member("web-1", 1, &[])));
    assert!(alternative.matches(&member("web", 1, &[])));
    let multi = filter(|f| _ = f.tags.insert("t".into(), "(?m)a".into())).unwrap();
    assert!(!multi.matches(&with_tag(member("x", 1, &[]), "t", "a\nb")));
}

#[test]
fn a_missing_tag_is_an_empty_text() {
    let present = filter(|f| _ = f.tags.insert("zone".into(), ".+".into())).unwrap();
    let absent = filter(|f| _ = f.tags.insert("zone".into(), String::new())).unwrap();
    let bare = member("a", 1, &[]);
    assert!(!present.matches(&bare) && absent.matches(&bare));
}

#[test]
fn bad_filters_are_refused_with_the_place() {
    let bad = refused(|f| f.name_regex = "(".into());
    assert!(bad.starts_with("filter.name_regex: "), "{bad}");
    let bad = refused(|f| _ = f.tags.insert("zone".into(), "a)|(?:b".into()));
    assert!(bad.starts_with("filter.tags[\"zone\"]: "), "{bad}");
    refused(|f| f.name_regex = "(?x) a # comment".into());
    refused(|f| f.name_regex = "(a{100}){100}{100}".into());
    refused(|f| f.name_regex = "a".repeat(REGEX_BYTES_MAX + 1));
    refused(|f| f.names = vec!["a".into(); FILTER_NAMES_MAX + 1]);
    refused(|f| f.statuses = vec![0]);
    refused(|f| f.statuses = vec![77]);
    assert!(filter(|f| f.name_regex = r"\w+".into()).is_ok());
}

#[test]
fn equal_filters_have_equal_keys() {
    let one = filter(|f| {
        f.roles = vec!["a".into(), "b".into()];
        f.statuses = vec![2, 1];
    });
    let two = filter(|f| {
        f.roles = vec!["b".into(), "a".into(), "a".into()];
        f.statuses = vec![1, 2, 2];
    });
    let other = filter(|f| f.roles = vec!["b".into()]);
    assert_eq!(one.as_ref().unwrap().key(), two.unwrap().key());
    assert_ne!(one.unwrap().key(), other.unwrap().key());
}
