//! Two live daemons with one name: one keeps it, both go on.

use muster_proto::v1::{GetMemberRequest, Member};
use muster_tests::harness::cluster::summary;
use muster_tests::harness::wait::{self, DETECTION};
use muster_tests::harness::{Api, Daemon};
use serde_json::Value;

use crate::daemon;

/// A daemon of a name, joined to `base`, in a directory of its own.
async fn twin(base: &Daemon) -> Daemon {
    daemon("twin").join(base.addr()).ready().await
}

/// Waits until two members called twin are seen; winner and loser.
async fn both(api: &mut Api) -> (Member, Member) {
    wait::until("both claimants", DETECTION, async || {
        let members = api.list().await?;
        let claims = members.iter().filter(|m| m.name == "twin");
        let (winners, losers): (Vec<&Member>, Vec<&Member>) =
            claims.partition(|m| m.alias.is_empty());
        match (winners.as_slice(), losers.as_slice()) {
            ([winner], [loser]) => Ok(((*winner).clone(), (*loser).clone())),
            _ => Err(summary(&members)),
        }
    })
    .await
}

#[tokio::test]
async fn the_loser_of_a_name_is_shown_under_an_alias_and_nobody_exits() {
    let mut base = daemon("base").ready().await;
    let mut first = twin(&base).await;
    let mut second = twin(&base).await;
    let (winner, loser) = both(&mut base.api().await).await;
    let newer = second.addr().ip().to_string();
    assert_eq!(winner.gossip_ip, newer, "the higher boot keeps the name");
    let suffix = loser
        .alias
        .strip_prefix("twin~")
        .expect("the alias has another form");
    assert!(
        suffix.len() == 8 && suffix.bytes().all(|b| b.is_ascii_hexdigit()),
        "{suffix}"
    );

    // The alias is a name wherever one is taken.
    let mut api = base.api().await;
    let request = GetMemberRequest {
        name: loser.alias.clone(),
    };
    let found = api
        .members
        .get_member(request)
        .await
        .unwrap()
        .into_inner()
        .member
        .unwrap();
    assert_eq!((found.boot, found.alias), (loser.boot, loser.alias.clone()));

    let (won, lost) = if winner.gossip_ip == first.addr().ip().to_string() {
        (&mut first, &mut second)
    } else {
        (&mut second, &mut first)
    };
    let mut api = lost.api().await;
    wait::until("the loser's warning", DETECTION, async || {
        let warnings = api.info().await.warnings;
        let told = warnings.iter().any(|warning| warning.contains("conflict"));
        if told {
            Ok(())
        } else {
            Err(format!("{warnings:?}"))
        }
    })
    .await;
    let shown = base.muster().json(&["members"]).await;
    // The holder of a name comes before those that go by an alias.
    let shown = shown["members"].as_array().unwrap().iter();
    let names: Vec<(&Value, &Value)> = shown.map(|m| (&m["name"], &m["alias"])).collect();
    let (base_name, twin) = (Value::from("base"), Value::from("twin"));
    let alias = Value::from(loser.alias.as_str());
    assert_eq!(
        names,
        [
            (&base_name, &Value::Null),
            (&twin, &Value::Null),
            (&twin, &alias)
        ]
    );
    let table = base.muster().ok(&["members"]).await;
    assert!(table.contains(&loser.alias), "{table}");
    assert!(won.is_running() && lost.is_running() && base.is_running());
}

#[tokio::test]
async fn the_loser_goes_on_serving_and_takes_a_free_name_back_by_a_restart() {
    let base = daemon("base").ready().await;
    let (first, second) = (twin(&base).await, twin(&base).await);
    let (winner, _loser) = both(&mut base.api().await).await;
    let first_won = winner.gossip_ip == first.addr().ip().to_string();
    let (mut won, mut lost) = if first_won {
        (first, second)
    } else {
        (second, first)
    };
    assert!(!lost.api().await.list().await.unwrap().is_empty());
    won.kill().await;
    lost.kill().await;
    lost.restart().await;
    let mut api = base.api().await;
    wait::until("the name to be taken back", DETECTION, async || {
        let members = api.list().await?;
        let back = members.iter().any(|m| {
            m.name == "twin" && m.alias.is_empty() && m.gossip_ip == lost.addr().ip().to_string()
        });
        if back { Ok(()) } else { Err(summary(&members)) }
    })
    .await;
}
