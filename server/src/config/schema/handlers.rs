//! Programs that are run when something happens.

use super::{PATH, Setting, list, one, switch};

pub(super) const HANDLERS: &[Setting] = &[
    list(
        "event-handler",
        "[FILTER[,FILTER...]=]SCRIPT",
        "filters of serf (member-join, member-leave, member-failed, member-update, member-reap, \
         user, user:NAME, query, query:NAME, *), selectors (role:, name:, tag:KEY=) and options, \
         then = and a script; a script that holds = needs *= before it",
        "A script that is run when something happens, by /bin/sh -c and with the contract of \
         serf. See docs/handlers.md. Values that hold a comma can be given by flag or file.",
    )
    .live(),
    one(
        "handler-dir",
        "DIR",
        PATH,
        "Directory of programs that are run for the event, query or kind of member event that \
         they are named after. It is read again as it changes.",
    ),
    one(
        "handler-timeout",
        "DURATION",
        "a duration from 10ms to 24h",
        "When a call of a handler is killed, with its whole process group.",
    )
    .or("60s"),
    one(
        "handler-concurrency",
        "N",
        "a number from 1 to 256",
        "User events of different origins, and queries, that one handler works on at a time. \
         Events of one origin always come one after another, and so do member events.",
    )
    .or("4"),
    one(
        "handler-queue",
        "N",
        "a number from 1 to 65536",
        "Events that wait for one handler; beyond it they wait in the log of events, and queries \
         are answered as busy.",
    )
    .or("256"),
    one(
        "handler-user",
        "USER",
        "a name or number in /etc/passwd; only root may change the user",
        "User as whom handlers are run, with its primary group and no other.",
    )
    .derived("the user of the daemon"),
    one(
        "handler-coalesce",
        "DURATION",
        "a duration from 0s to 60s; 0s does not wait",
        "How long changes of members are collected for one call, from the first on; a third of \
         it without a change ends it sooner.",
    )
    .or("3s"),
    switch(
        "handler-json",
        "Give handlers one line of JSON on standard input instead of the lines of serf.",
    ),
    switch(
        "handler-redeliver",
        "After a crash, run what was being run again, marked by MUSTER_REDELIVERED=1. Otherwise \
         an event is run at most once. Needs data-dir.",
    ),
];
