use super::*;

fn outcome(address: &str, result: Result<&str, &str>) -> JoinOutcome {
    JoinOutcome {
        address: address.to_owned(),
        result: result.map(str::to_owned).map_err(str::to_owned),
    }
}

#[test]
fn one_answer_makes_a_join_and_none_names_all_failures() {
    let failed = [
        outcome("a:1", Err("refused")),
        outcome("b:1", Err("too late")),
    ];
    let text = "2 errors occurred:\n\t* Failed to join a:1: refused\n\t* Failed to join b:1: too \
                late\n\n";
    assert_eq!(joined(&failed), (0, text.to_owned()));
    assert_eq!(
        joined(&failed[..1]).1,
        "1 error occurred:\n\t* Failed to join a:1: refused\n\n"
    );
    let [first, _] = failed;
    assert_eq!(
        joined(&[first, outcome("c:1", Ok("c"))]),
        (1, String::new())
    );
    assert_eq!(joined(&[]), (0, String::new()));
}

#[test]
fn addresses_lose_the_name_before_them() {
    let given = vec!["n1/10.0.0.1:7946".to_owned(), "host".to_owned()];
    assert_eq!(addresses(given).unwrap(), ["10.0.0.1:7946", "host"]);
    assert!(addresses(vec!["x".to_owned(); JOIN_ADDRESSES_MAX + 1]).is_err());
    assert!(addresses(vec!["x".repeat(JOIN_ADDRESS_BYTES_MAX + 1)]).is_err());
}

#[test]
fn a_refusal_is_told_as_serf_does() {
    let refused = "cannot connect: Connection refused (os error 111)";
    let told = joined(&[outcome("127.0.0.1:1", Err(refused))]).1;
    let expected = "1 error occurred:\n\t* Failed to join 127.0.0.1: dial tcp 127.0.0.1:1: connect: \
                    connection refused\n\n";
    assert_eq!(told, expected);
    let told = joined(&[outcome("[::1]:1", Err("no answer in time"))]).1;
    assert_eq!(
        told,
        "1 error occurred:\n\t* Failed to join ::1: no answer in time\n\n"
    );
}
