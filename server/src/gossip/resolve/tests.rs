use super::*;

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test]
async fn addresses_need_no_resolver() {
    let counters = Counters::default();
    let all = resolve(texts(&["10.0.0.1", "[::1]:80"]), &counters).await;
    assert_eq!(all[0].addrs, Ok(vec!["10.0.0.1:7946".parse().unwrap()]));
    assert_eq!(all[1].addrs, Ok(vec!["[::1]:80".parse().unwrap()]));
    assert_eq!(counters.resolve_failures.get(), 0);
}

#[tokio::test]
async fn localhost_resolves_without_dns() {
    let all = resolve(texts(&["localhost:7000"]), &Counters::default()).await;
    let addrs = all[0].addrs.clone().unwrap();
    assert!(!addrs.is_empty());
    assert!(
        addrs
            .iter()
            .all(|addr| addr.ip().is_loopback() && addr.port() == 7000)
    );
}

#[tokio::test]
async fn failures_are_outcomes_and_are_counted() {
    let counters = Counters::default();
    let all = resolve(
        texts(&["bad name", "nobody.invalid", "10.0.0.1"]),
        &counters,
    )
    .await;
    let error = all[0].addrs.clone().unwrap_err();
    assert!(
        error.contains("neither an IP address nor a host name"),
        "{error}"
    );
    assert!(all[1].addrs.is_err());
    assert!(all[2].addrs.is_ok());
    assert_eq!(counters.resolve_failures.get(), 2);
}

#[tokio::test]
async fn seeds_give_each_address_once() {
    let list = texts(&["127.0.0.1:7000", "127.0.0.1:7000", "127.0.0.2"]);
    let mut seeds = Seeds::new(list, Arc::default()).unwrap();
    let addrs = seeds.resolve().await;
    assert_eq!(addrs.len(), 2);
}

#[tokio::test]
async fn what_was_found_is_a_seed_on_every_try() {
    let (sender, found) = crate::gossip::mdns::channel();
    let seeds = Seeds::new(texts(&["127.0.0.1:7000"]), Arc::default()).unwrap();
    let mut seeds = seeds.and_found(Some(found));
    assert_eq!(seeds.resolve().await.len(), 1);
    sender.send_replace(vec![
        "10.0.0.9:1".parse().unwrap(),
        "127.0.0.1:7000".parse().unwrap(),
    ]);
    for _ in 0..3 {
        assert_eq!(seeds.resolve().await.len(), 2, "whether it answered or not");
    }
}

#[test]
fn all_bad_seeds_are_named_at_once() {
    let list = texts(&["10.0.0.1", "a b", "host:0"]);
    let error = Seeds::new(list, Arc::default()).unwrap_err().to_string();
    assert!(
        error.contains("\"a b\"") && error.contains("\"host:0\""),
        "{error}"
    );
    assert!(!error.contains("10.0.0.1"), "{error}");
}

#[test]
fn too_many_seeds_are_refused() {
    let list = vec!["10.0.0.1".to_owned(); SEEDS_MAX + 1];
    let error = Seeds::new(list, Arc::default()).unwrap_err().to_string();
    assert!(error.contains("65"), "{error}");
}

#[test]
fn a_failure_is_told_once_per_change() {
    let mut seeds = Seeds::new(Vec::new(), Arc::default()).unwrap();
    let failed = |error: &str| Resolved {
        text: "seed".to_owned(),
        addrs: Err(error.to_owned()),
    };
    seeds.note(failed("one"));
    assert_eq!(seeds.failures.get("seed").unwrap(), "one");
    seeds.note(failed("two"));
    assert_eq!(seeds.failures.get("seed").unwrap(), "two");
    let addrs = vec!["10.0.0.1:1".parse().unwrap()];
    let text = "seed".to_owned();
    let good = Resolved {
        text,
        addrs: Ok(addrs.clone()),
    };
    assert_eq!(seeds.note(good), addrs);
    assert!(seeds.failures.is_empty());
}
