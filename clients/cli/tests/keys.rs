//! `meterline keys` as a program, on a system whose API takes the keys.

use billing::Timestamp;
use serde_json::{Value, json};

use crate::story::{MINUTE_S, Story};

impl Story {
    /// What `meterline keys` prints, where it succeeds.
    async fn keys(&self, arguments: &[&str]) -> String {
        let (status, out, err) = self.meterline(&[&["keys"], arguments].concat()).await;
        assert_eq!(status, Some(0), "{out}{err}");
        out
    }

    /// What it says, where it does not.
    async fn refused_keys(&self, arguments: &[&str]) -> String {
        let (status, out, err) = self.meterline(&[&["keys"], arguments].concat()).await;
        assert_eq!((status, out.as_str()), (Some(2), ""), "{err}");
        err
    }

    async fn listed_keys(&self) -> Vec<Value> {
        let out = self.keys(&["list", "--json"]).await;
        let out: Value = serde_json::from_str(&out).unwrap();
        out["keys"].as_array().unwrap().clone()
    }

    async fn listed_key(&self, key_id: &str) -> Value {
        let keys = self.listed_keys().await;
        let found = keys.into_iter().find(|key| key["key_id"] == key_id);
        found.unwrap()
    }

    /// The status of a read with `key`.
    async fn status_with(&self, key: &str) -> u16 {
        let path = format!("/v1/customers/{}/access", self.customer_id);
        let url = format!("{}{path}", self.system.url());
        let request = reqwest::Client::new().get(url).bearer_auth(key.trim());
        request.send().await.unwrap().status().as_u16()
    }

    /// Lets what the API remembers of keys grow old.
    fn forget_keys(&self) {
        self.clock.advance_s(MINUTE_S);
    }
}

fn id_of(key: &str) -> &str {
    key.trim().split('_').nth(1).unwrap()
}

#[tokio::test]
async fn a_key_is_made_listed_used_and_taken_back() {
    let story = Story::start().await;
    let customer = story.customer_id.to_string();
    let key = story
        .keys(&[
            "create",
            "--scope",
            "read",
            "--scope",
            "emit",
            "--customer",
            &customer,
            "--name",
            "Agent 7",
            "--requests-per-second",
            "5",
            "--expires-in-days",
            "90",
        ])
        .await;
    let key_id = id_of(&key);
    let listed = story.listed_key(key_id).await;
    for (member, value) in [
        ("name", json!("Agent 7")),
        ("state", json!("active")),
        ("scopes", json!(["read", "emit"])),
        ("customers", json!([customer])),
        ("requests_per_second", json!(5)),
        ("last_used_at", Value::Null),
        ("revoked_at", Value::Null),
    ] {
        assert_eq!(listed[member], value, "{listed}");
    }

    assert_eq!(story.status_with(&key).await, 200);
    let used_at = story.now().to_string();
    assert_eq!(story.listed_key(key_id).await["last_used_at"], used_at);

    let revoked = story.keys(&["revoke", key_id]).await;
    assert!(revoked.starts_with(key_id), "{revoked}");
    let revoked_at = story.listed_key(key_id).await["revoked_at"].clone();
    // It is believed for a minute by who knows it; then by nobody.
    assert_eq!(story.status_with(&key).await, 200);
    story.forget_keys();
    assert_eq!(story.status_with(&key).await, 401);

    let again = story.keys(&["revoke", key_id, "--json"]).await;
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again, json!({ "key_id": key_id, "revoked_at": revoked_at }));
    assert_eq!(story.listed_key(key_id).await["state"], "revoked");
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn a_list_shows_no_secret_and_no_hash() {
    let story = Story::start().await;
    let key = story.keys(&["create", "--scope", "read"]).await;
    let (key_id, secret) = (id_of(&key), key.trim().rsplit('_').next().unwrap());
    let row = story.system.ledger().api_key(key_id).await;
    let hash = row.unwrap().unwrap().secret_hash;
    for arguments in [&["list"][..], &["list", "--json"]] {
        let out = story.keys(arguments).await;
        // The demo key and this one.
        assert_eq!(out.matches("active").count(), 2, "{out}");
        assert!(out.contains(key_id), "{out}");
        assert!(!out.contains(secret) && !out.contains(&hash), "{out}");
    }
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn a_rotated_key_works_beside_the_new_one_until_the_overlap_ends() {
    let story = Story::start().await;
    let old = story
        .keys(&[
            "create",
            "--scope",
            "read",
            "--name",
            "Agent 7",
            "--requests-per-second",
            "5",
        ])
        .await;
    let old_id = id_of(&old);
    let new = story.keys(&["rotate", old_id, "--overlap", "2"]).await;
    let new_id = id_of(&new);
    let listed = story.listed_key(new_id).await;
    assert_eq!(listed["rotated_from"], old_id);
    assert_eq!(
        (&listed["name"], &listed["scopes"], &listed["expires_at"]),
        (&json!("Agent 7"), &json!(["read"]), &Value::Null)
    );
    assert_eq!(listed["requests_per_second"], 5);

    let listed = story.listed_key(old_id).await;
    assert_eq!(listed["rotated_to"], new_id);
    let end = Timestamp::parse(listed["expires_at"].as_str().unwrap()).unwrap();
    let left_s = end.unix_s() - story.now().unix_s();
    story.clock.advance_s(left_s - 1);
    for key in [&old, &new] {
        assert_eq!(story.status_with(key).await, 200);
    }
    // Its end is no change that would have to be read first.
    story.clock.advance_s(2);
    assert_eq!(story.status_with(&old).await, 401);
    assert_eq!(story.status_with(&new).await, 200);
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_done_to_a_key_is_said() {
    let story = Story::start().await;
    let unknown = "0011223344556677";
    for command in ["revoke", "rotate"] {
        let err = story.refused_keys(&[command, unknown]).await;
        assert!(err.contains("there is no key 0011223344556677"), "{err}");
        let err = story.refused_keys(&[command, "mk_1"]).await;
        assert!(err.contains("16 hex digits"), "{err}");
    }
    let key = story.keys(&["create", "--scope", "read"]).await;
    let new = story.keys(&["rotate", id_of(&key)]).await;
    let err = story.refused_keys(&["rotate", id_of(&key)]).await;
    let place = format!("{} takes its place", id_of(&new));
    assert!(err.contains(&place), "{err}");
    story.keys(&["revoke", id_of(&new)]).await;
    let err = story.refused_keys(&["rotate", id_of(&new)]).await;
    assert!(err.contains("is revoked"), "{err}");
    for rate in ["0", "1000001", "many"] {
        let arguments = ["create", "--scope", "read", "--requests-per-second", rate];
        let err = story.refused_keys(&arguments).await;
        assert!(err.contains("1 to 1000000 requests a second"), "{err}");
    }
    story.system.stop().await.unwrap();
}
