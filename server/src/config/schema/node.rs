//! Who this member is.

use super::{NAME, Setting, one, pairs};

pub(super) const NODE: &[Setting] = &[
    one(
        "name",
        "NAME",
        NAME,
        "Name of this member: its id in every API and file.",
    )
    .derived("the host name"),
    one(
        "cluster",
        "NAME",
        NAME,
        "Name of the cluster. It is bound into everything that members send, so that two clusters \
         never merge by accident. A token brings the name along.",
    )
    .or("muster"),
    pairs(
        "role",
        "ROLE[=IP:PORT]",
        "1 to 63 letters, digits, '.', '_' and '-', a letter or digit first and last; then = and \
         an IP:PORT if the service is not at service-ip and service-port",
        "A role that this node serves, and where.",
    ),
    one(
        "service-ip",
        "IP",
        "an IP address",
        "Address of services whose role names none.",
    )
    .derived("the address of advertise"),
    one(
        "service-port",
        "PORT",
        "a number from 0 to 65535; 0 is no port",
        "Port of services whose role names none. (MUSTER_SERVICE_PORT is what Kubernetes sets for \
         a Service called muster, so the variable has another name.)",
    )
    .variable("MUSTER_ROLE_PORT")
    .or("0"),
    pairs(
        "tag",
        "KEY=VALUE",
        "KEY=VALUE, the key 1 to 128 bytes without '=', the value without NUL, each key once",
        "A tag of this member. Values that hold a comma can be given by flag or file.",
    )
    .live(),
    one(
        "tags-file",
        "FILE",
        "a path in a directory that exists; the file is a JSON object of texts and nulls",
        "Keeps what was changed of the tags while the daemon ran, over those that are configured: \
         a text sets a tag, null removes a configured one. The daemon writes it whole, mode 0600, \
         at each change. A file of serf's agent will do.",
    ),
];
