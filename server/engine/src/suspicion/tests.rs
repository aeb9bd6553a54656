use super::*;

const SUBJECT: Ident = Ident {
    hash: 9,
    boot: 1,
    life: 0,
};

fn at(seconds: u64) -> Time {
    Time::from_micros(seconds * 1_000_000)
}

fn verdict_at(suspicions: &Suspicions, members: usize) -> Time {
    let words = suspicions.words_enough(members);
    suspicions.cases[&SUBJECT.hash].deadline(members, words, suspicions.strain)
}

#[test]
fn a_patient_node_waits_so_many_times_as_long() {
    for (times, seconds) in [(0, 10), (1, 10), (3, 30)] {
        let mut suspicions = Suspicions::with_patience(times);
        suspicions.accuse(Time::default(), SUBJECT, 0, 1, Evidence::Probes);
        let due = Time::default() + Duration::from_secs(seconds);
        let before = Time::default() + Duration::from_millis(seconds * 1_000 - 1);
        assert_eq!(suspicions.due(before, 10), []);
        assert_eq!(suspicions.due(due, 10).len(), 1, "{times}");
    }
}

#[test]
fn the_subject_is_asked_from_half_time_on() {
    let mut suspicions = Suspicions::default();
    suspicions.accuse(at(0), SUBJECT, 3, 1, Evidence::Probes);
    assert_eq!(suspicions.next_deadline(5), Some(at(5)));
    assert!(suspicions.questions(at(4), 5).is_empty());
    assert_eq!(suspicions.questions(at(5), 5), [(SUBJECT, 3)]);
    assert!(suspicions.questions(at(5), 5).is_empty(), "once a second");
    assert_eq!(suspicions.next_deadline(5), Some(at(6)));
    assert_eq!(suspicions.questions(at(6), 5).len(), 1);
    assert!(suspicions.questions(at(10), 5).is_empty(), "that is judged");
}

#[test]
fn not_all_are_asked_at_once() {
    let mut suspicions = Suspicions::default();
    for hash in 0..20 {
        suspicions.accuse(at(0), Ident { hash, ..SUBJECT }, 0, 1, Evidence::Probes);
    }
    assert_eq!(suspicions.questions(at(5), 30).len(), ASKED_MAX);
    assert_eq!(suspicions.next_deadline(30), Some(at(5) + ASK_PAUSE));
    assert_eq!(suspicions.questions(at(5) + ASK_PAUSE, 30).len(), 4);
}

#[test]
fn after_standing_still_every_case_has_its_full_time() {
    let mut suspicions = Suspicions::default();
    suspicions.accuse(at(0), SUBJECT, 0, 1, Evidence::Probes);
    suspicions.begin_anew(at(60));
    assert!(suspicions.due(at(60), 5).is_empty());
    assert_eq!(verdict_at(&suspicions, 5), at(70));
    assert_eq!(suspicions.next_deadline(5), Some(at(65)));
}

#[test]
fn one_accuser_waits_long_two_wait_short() {
    let mut suspicions = Suspicions::default();
    assert!(suspicions.accuse(at(0), SUBJECT, 0, 1, Evidence::Probes));
    assert_eq!(verdict_at(&suspicions, 5), at(10));
    assert!(
        !suspicions.accuse(at(1), SUBJECT, 0, 1, Evidence::Probes),
        "the same accuser again"
    );
    assert_eq!(verdict_at(&suspicions, 5), at(10));
    assert!(suspicions.accuse(at(2), SUBJECT, 0, 2, Evidence::Probes));
    assert_eq!(verdict_at(&suspicions, 5), at(5));
    assert!(suspicions.due(at(4), 5).is_empty());
    assert_eq!(suspicions.due(at(5), 5).len(), 1);
    assert_eq!(suspicions.len(), 0);
}

#[test]
fn two_words_of_watchers_need_no_time() {
    for word in [
        Evidence::StreamRefused,
        Evidence::StreamSilent,
        Evidence::StreamUnreachable,
    ] {
        let mut suspicions = Suspicions::default();
        suspicions.accuse(at(3), SUBJECT, 0, 1, word);
        assert_eq!(verdict_at(&suspicions, 5), at(13), "one word is none");
        assert!(suspicions.lacks_words(SUBJECT, 0, 5));
        suspicions.accuse(at(3), SUBJECT, 0, 2, Evidence::Unanswered);
        assert_eq!(
            verdict_at(&suspicions, 5),
            at(8),
            "nor is what a kernel accepts"
        );
        assert!(
            suspicions.accuse(at(4), SUBJECT, 0, 2, word),
            "it is stronger"
        );
        assert!(!suspicions.lacks_words(SUBJECT, 0, 5));
        assert_eq!(suspicions.next_deadline(5), Some(at(3)));
        assert_eq!(suspicions.due(at(4), 5).len(), 1);
    }
}

#[test]
fn one_word_is_enough_where_nobody_else_is_alive() {
    let mut suspicions = Suspicions::default();
    suspicions.accuse(at(3), SUBJECT, 0, 1, Evidence::StreamRefused);
    assert_eq!(verdict_at(&suspicions, 2), at(3));
    assert_eq!(verdict_at(&suspicions, 3), at(3) + SUSPICION_NO_HOST);
    // The third one is under suspicion itself.
    let third = Ident { hash: 4, ..SUBJECT };
    suspicions.accuse(at(3), third, 0, 1, Evidence::StreamRefused);
    assert_eq!(verdict_at(&suspicions, 3), at(3));
}

#[test]
fn where_no_kernel_answers_time_is_shorter() {
    let mut suspicions = Suspicions::default();
    suspicions.accuse(at(0), SUBJECT, 0, 1, Evidence::NoHost);
    assert_eq!(verdict_at(&suspicions, 9), at(10));
    suspicions.accuse(at(1), SUBJECT, 0, 2, Evidence::Probes);
    assert_eq!(verdict_at(&suspicions, 9), at(5), "both must say so");
    suspicions.accuse(at(1), SUBJECT, 0, 2, Evidence::NoHost);
    let due = at(0) + SUSPICION_NO_HOST;
    assert_eq!(verdict_at(&suspicions, 9), due);
    let verdict = suspicions.due(due, 9)[0];
    assert_eq!(verdict.reason, StatusReason::HostSilent);
}

#[test]
fn a_strained_node_takes_its_time() {
    let mut suspicions = Suspicions::default();
    suspicions.accuse(at(0), SUBJECT, 0, 1, Evidence::Probes);
    suspicions.set_strain(2);
    assert_eq!(verdict_at(&suspicions, 9), at(30));
    suspicions.accuse(at(0), SUBJECT, 0, 1, Evidence::StreamRefused);
    suspicions.accuse(at(0), SUBJECT, 0, 2, Evidence::StreamRefused);
    assert_eq!(verdict_at(&suspicions, 9), at(0), "words are words");
}

#[test]
fn words_do_not_outlive_a_standstill() {
    let mut suspicions = Suspicions::default();
    suspicions.accuse(at(0), SUBJECT, 0, 1, Evidence::StreamRefused);
    suspicions.begin_anew(at(60));
    suspicions.accuse(at(60), SUBJECT, 0, 2, Evidence::StreamRefused);
    assert_eq!(verdict_at(&suspicions, 9), at(65));
}

#[test]
fn evidence_has_numbers() {
    for evidence in [
        Evidence::Probes,
        Evidence::Unanswered,
        Evidence::NoHost,
        Evidence::StreamSilent,
        Evidence::StreamUnreachable,
        Evidence::StreamRefused,
    ] {
        assert_eq!(Evidence::from_number(evidence as u32), evidence);
    }
    assert_eq!(Evidence::from_number(99), Evidence::Probes);
}

#[test]
fn nobody_else_could_accuse_in_a_cluster_of_three() {
    let mut suspicions = Suspicions::default();
    suspicions.accuse(at(0), SUBJECT, 0, 1, Evidence::Probes);
    assert_eq!(verdict_at(&suspicions, 3), at(5));
}

#[test]
fn a_newer_incarnation_opens_the_case_anew() {
    let mut suspicions = Suspicions::default();
    suspicions.accuse(at(0), SUBJECT, 0, 1, Evidence::Probes);
    suspicions.accuse(at(3), SUBJECT, 1, 1, Evidence::Probes);
    assert_eq!(verdict_at(&suspicions, 3), at(8));
    assert!(
        !suspicions.accuse(at(4), SUBJECT, 0, 2, Evidence::Probes),
        "old news"
    );
}
