//! Each invariant holds where it should and breaks where it should.

use std::sync::Arc;

use muster_engine::Origin;

use super::*;
use crate::sim::fixtures::member;

fn at(last: u64) -> Cursor {
    Cursor {
        last,
        ..Cursor::default()
    }
}

fn gap(first: u64, last: u64) -> Gap {
    let origin = Origin {
        name: Arc::from("a"),
        boot: 1,
    };
    Gap {
        origin,
        first,
        last,
    }
}

#[test]
fn events_follow_each_other() {
    assert_eq!(event_in_order(None, 1), Ok(()));
    assert_eq!(event_in_order(Some(&at(6)), 7), Ok(()));
    assert!(event_in_order(None, 2).is_err(), "lost");
    assert!(event_in_order(Some(&at(6)), 6).is_err(), "doubled");
    assert!(event_in_order(Some(&at(6)), 8).is_err(), "overtaken");
    assert_eq!(gap_in_order(Some(&at(6)), &gap(7, 9)), Ok(()));
    assert!(gap_in_order(Some(&at(6)), &gap(6, 9)).is_err());
    assert!(gap_in_order(Some(&at(6)), &gap(7, 6)).is_err());
    assert_eq!(base_comes_first(None, 5), Ok(()));
    assert!(base_comes_first(Some(&at(6)), 5).is_err());
    assert_eq!(event_boots_in_order(4, 4), Ok(()));
    assert!(event_boots_in_order(4, 3).is_err());
}

#[test]
fn queries_come_once_and_in_time() {
    assert_eq!(query_once(None, true, 3), Ok(()));
    assert_eq!(query_once(Some(&at(6)), true, 9), Ok(()));
    assert!(query_once(Some(&at(6)), false, 9).is_err(), "doubled");
    assert!(query_once(Some(&at(6)), true, 6).is_err(), "late");
    assert_eq!(query_before_passed(true, 6), Ok(()));
    assert!(query_before_passed(false, 6).is_err());
    assert_eq!(query_not_before_base(None), Ok(()));
    assert!(query_not_before_base(Some(6)).is_err());
}

#[test]
fn events_are_what_was_sent() {
    let sent = Sent {
        at_us: 0,
        content: 9,
        reached: 0,
        last_us: 0,
    };
    assert_eq!(event_untouched(Some(&sent), 9), Ok(()));
    assert!(event_untouched(Some(&sent), 8).is_err());
    assert!(event_untouched(None, 9).is_err());
}

#[test]
fn replicated_events_are_owed() {
    let listener = Listener {
        life: 1,
        from: 5,
        calm_from: 8,
    };
    let holds = |cursor: Option<&Cursor>, replicated| {
        replicated_reached(cursor, &listener, replicated).is_ok()
    };
    assert!(holds(None, 4), "that was before its time");
    assert!(!holds(None, 5) && !holds(Some(&at(9)), 10) && holds(Some(&at(10)), 10));
    let with_gap = |gap| Cursor {
        gaps: vec![gap],
        ..at(10)
    };
    assert!(holds(Some(&with_gap((5, 7))), 10), "it was disturbed then");
    assert!(!holds(Some(&with_gap((8, 8))), 10));
    let based = Cursor { base: 5, ..at(10) };
    assert!(!holds(Some(&based), 10));
    assert_eq!(replicated_grows(3, 3, 3), Ok(()));
    assert!(replicated_grows(3, 2, 3).is_err() && replicated_grows(3, 4, 3).is_err());
}

#[test]
fn members_do_not_go_back_in_time() {
    let alive = |boot, incarnation| Member {
        incarnation,
        ..member("a", boot, Status::Alive)
    };
    let failed = member("a", 4, Status::Failed);
    assert_eq!(boot_never_falls(4, &alive(4, 0)), Ok(()));
    assert!(boot_never_falls(5, &alive(4, 0)).is_err());
    assert_eq!(no_resurrection(None, &failed), Ok(()));
    assert_eq!(no_resurrection(Some(&failed), &alive(4, 1)), Ok(()));
    assert_eq!(no_resurrection(Some(&failed), &alive(5, 0)), Ok(()));
    assert!(no_resurrection(Some(&failed), &alive(4, 0)).is_err());
    assert!(no_resurrection(Some(&alive(4, 2)), &alive(4, 1)).is_err());
    assert_eq!(owner_said_so(Some(3), &alive(4, 3)), Ok(()));
    assert!(owner_said_so(Some(3), &alive(4, 4)).is_err());
    assert!(owner_said_so(None, &alive(4, 0)).is_err());
}

#[test]
fn who_runs_is_shown_so() {
    let (alive, failed) = (
        member("a", 4, Status::Alive),
        member("a", 4, Status::Failed),
    );
    assert_eq!(live_not_failed(false, &alive), Ok(()));
    assert_eq!(live_not_failed(true, &failed), Ok(()));
    assert!(live_not_failed(false, &failed).is_err());
    assert_eq!(self_alive(false, &alive), Ok(()));
    assert_eq!(self_alive(true, &failed), Ok(()));
    assert!(self_alive(false, &failed).is_err());
    assert_eq!(shown_as_it_is(Some(&alive), &alive), Ok(()));
    assert!(shown_as_it_is(None, &alive).is_err());
    assert!(shown_as_it_is(Some(&failed), &alive).is_err());
    let mut tagged = alive.clone();
    tagged.tags.insert("k".to_owned(), "v".to_owned());
    assert!(shown_as_it_is(Some(&alive), &tagged).is_err());
    assert!(shown_as_it_is(Some(&member("a", 3, Status::Alive)), &alive).is_err());
    assert_eq!(dead_not_live(&failed, false), Ok(()));
    assert!(dead_not_live(&alive, false).is_err());
}

#[test]
fn a_protocol_is_one_that_all_understand() {
    assert_eq!(protocol_understood(None, Some(1)), Ok(()));
    assert_eq!(protocol_understood(Some(2), None), Ok(()));
    assert_eq!(protocol_understood(Some(2), Some(2)), Ok(()));
    assert!(protocol_understood(Some(2), Some(1)).is_err());
}

#[test]
fn everything_has_a_bound() {
    assert_eq!(sends_bounded(5, 5), Ok(()));
    assert!(sends_bounded(6, 5).is_err());
    let counters = [("depth", 7)];
    assert_eq!(
        gauges_bounded(&counters, &[("depth", 7), ("other", 0)]),
        Ok(())
    );
    assert!(gauges_bounded(&counters, &[("depth", 6)]).is_err());
    assert_eq!(time_moves(TICKS_AT_ONCE_MAX), Ok(()));
    assert!(time_moves(TICKS_AT_ONCE_MAX + 1).is_err());
}
