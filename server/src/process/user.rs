//! As whom a program runs.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Name, for the environment.
    pub name: String,
    /// Number.
    pub uid: u32,
    /// Number of the primary group: the only group that the program has.
    pub gid: u32,
    /// Home directory, for the environment.
    pub home: String,
}

/// Why a user cannot be run as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// Neither a name in the table nor a number that is in it.
    #[error("there is no user {0:?}")]
    Unknown(String),
}

impl User {
    /// Finds a user by name or number in a table of the form of `/etc/passwd`.
    ///
    /// # Errors
    /// [`UserError::Unknown`].
    pub fn find(table: &str, wanted: &str) -> Result<Self, UserError> {
        let mut found = table.lines().filter_map(parse);
        let fits = |user: &Self| user.name == wanted || user.uid.to_string() == wanted;
        found
            .find(fits)
            .ok_or_else(|| UserError::Unknown(wanted.to_owned()))
    }

    /// Sets user, group and the three variables that name them. The standard
    /// library drops all other groups when it changes the user as root.
    pub(super) fn apply(&self, command: &mut Command) {
        command
            .uid(self.uid)
            .gid(self.gid)
            .env("USER", &self.name)
            .env("LOGNAME", &self.name)
            .env("HOME", &self.home);
    }
}

fn parse(line: &str) -> Option<User> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    let home = fields.nth(1)?;
    Some(User {
        name: name.to_owned(),
        uid,
        gid,
        home: home.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_number() {
        let table = "root:x:0:0:root:/root:/bin/bash\nbad line\nx:x:y:0::/:\nmuster:x:998:997:,,,:/var/lib/muster:/bin/false\n";
        let muster = User {
            name: "muster".to_owned(),
            uid: 998,
            gid: 997,
            home: "/var/lib/muster".to_owned(),
        };
        assert_eq!(User::find(table, "muster"), Ok(muster.clone()));
        assert_eq!(User::find(table, "998"), Ok(muster));
        assert_eq!(User::find(table, "0").unwrap().home, "/root");
        for bad in ["", "must", "1", "x"] {
            assert!(User::find(table, bad).is_err(), "{bad:?}");
        }
    }
}
