//! The grammar of names, checked at the edge and again on everything decoded.

/// Longest member or event name, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// Longest role name, in bytes: one DNS label.
pub const ROLE_BYTES_MAX: usize = 63;

/// Longest cluster name, in bytes.
pub const CLUSTER_BYTES_MAX: usize = 128;

/// Prefixes that users may not take for event names.
pub const RESERVED_PREFIXES: [&str; 2] = ["_serf_", "_muster_"];

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("it is empty")]
    Empty,
    /// More bytes than allowed.
    #[error("it has {bytes} bytes, at most {limit} are allowed")]
    TooLong {
        /// Bytes given.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A character outside the grammar.
    #[error(
        "only letters, digits, '.', '_' and '-' are allowed, and a letter or digit first and last"
    )]
    BadCharacter,
    /// A prefix kept for the system.
    #[error("names that start with {prefix} are reserved")]
    Reserved {
        /// The prefix.
        prefix: &'static str,
    },
}

/// Checks a member, cluster or event name: 1 to 128 bytes of
/// `[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?`.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(text: &str) -> Result<(), NameError> {
    check(text, NAME_BYTES_MAX)
}

/// Checks a query name: as [`check_name`], after a reserved prefix if it has one:
/// queries of the system have such names.
///
/// # Errors
/// What is wrong with it.
pub fn check_query_name(text: &str) -> Result<(), NameError> {
    let prefix = RESERVED_PREFIXES.into_iter().find(|p| text.starts_with(p));
    let taken = prefix.map_or(0, str::len);
    check(text.get(taken..).unwrap_or(text), NAME_BYTES_MAX - taken)
}

/// Checks a role name: as [`check_name`], at most 63 bytes.
///
/// # Errors
/// What is wrong with it.
pub fn check_role(text: &str) -> Result<(), NameError> {
    check(text, ROLE_BYTES_MAX)
}

fn check(text: &str, limit: usize) -> Result<(), NameError> {
    let bytes = text.as_bytes();
    if let Some(prefix) = RESERVED_PREFIXES.into_iter().find(|p| text.starts_with(p)) {
        return Err(NameError::Reserved { prefix });
    }
    if bytes.len() > limit {
        return Err(NameError::TooLong {
            bytes: bytes.len(),
            limit,
        });
    }
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return Err(NameError::Empty);
    };
    let inner = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() && bytes.iter().all(inner) {
        Ok(())
    } else {
        Err(NameError::BadCharacter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_hosts_are_called() {
        for name in [
            "a",
            "web-1",
            "node_7.example.com",
            "0",
            &"x".repeat(NAME_BYTES_MAX),
        ] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn refuses_what_breaks_files_and_terminals() {
        for name in [
            "-a", "a-", ".a", "a b", "a\n", "a\tb", "ä", "a/b", "a~1", "a\0",
        ] {
            assert_eq!(check_name(name), Err(NameError::BadCharacter), "{name:?}");
        }
        assert_eq!(check_name(""), Err(NameError::Empty));
        assert!(matches!(
            check_name("_serf_ping"),
            Err(NameError::Reserved { .. })
        ));
        assert_eq!(check_query_name("_serf_ping"), Ok(()));
        assert_eq!(check_query_name("load"), Ok(()));
        assert_eq!(check_query_name("_serf_"), Err(NameError::Empty));
        assert_eq!(check_query_name("_x_a"), Err(NameError::BadCharacter));
        assert_eq!(
            check_role(&"x".repeat(64)),
            Err(NameError::TooLong {
                bytes: 64,
                limit: 63
            })
        );
    }
}
