//! Groups by name.

use std::fs;
use std::path::Path;

use super::SocketError;

/// The number of a group that is given by number or by its name in `/etc/group`.
///
/// # Errors
/// If the file cannot be read or does not have the name.
pub fn group_id(group: &str) -> Result<u32, SocketError> {
    group_id_in(Path::new("/etc/group"), group)
}

fn group_id_in(file: &Path, group: &str) -> Result<u32, SocketError> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let text = fs::read_to_string(file).map_err(|error| SocketError::io("read", file, error))?;
    let mut numbers = text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let number = fields
            .next()
            .filter(|name| *name == group)
            .and_then(|_| fields.nth(1))?;
        number.parse().ok()
    });
    let unknown = || SocketError::UnknownGroup {
        name: group.to_owned(),
        file: file.to_owned(),
    };
    numbers.next().ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_name_and_number() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "root:x:0:\nbroken\nodd:x:many:\ndocker:x:998:alice,bob\ndockers:x:7:\n";
        fs::write(file.path(), text).unwrap();
        let find = |name| group_id_in(file.path(), name);
        assert_eq!(find("docker").unwrap(), 998);
        assert_eq!(find("4242").unwrap(), 4242);
        for name in ["dock", "broken", "odd", ""] {
            let text = find(name).unwrap_err().to_string();
            assert!(text.contains(&format!("no group {name}")), "{text}");
        }
        let missing = group_id_in(Path::new("/nonexistent/group"), "docker").unwrap_err();
        assert!(
            missing.to_string().contains("/nonexistent/group"),
            "{missing}"
        );
        assert_eq!(group_id("root").unwrap(), 0);
    }
}
