//! Stories of the secret that dashboard links are signed with, replaced while links are
//! out and functions run.

use report::{DashboardLinks, State};
use reqwest::Method;

use crate::secrets_manager::SecretsManager;
use crate::story::Story;
use crate::support::world::send;

const ARN: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret:links";

/// Another environment of the function, which starts now.
async fn start(story: &Story, manager: &SecretsManager) -> String {
    let secret = manager.secret(ARN).await;
    let former = secret.reader().unwrap().previous().await.unwrap();
    let links = DashboardLinks::rotated(secret, former.as_ref(), None).unwrap();
    let (ledger, stripe) = (story.world.ledger.clone(), story.world.stripe.clone());
    let state = State::new(ledger, stripe, links, story.world.clock());
    story.world.serve(report::router(state)).await
}

/// A link's path and query, made by the function at `url`.
async fn link(story: &Story, url: &str) -> String {
    let path = format!(
        "{url}/v1/customers/{}/dashboard-links",
        story.customer.customer_id
    );
    let made = send(story.world.request(Method::POST, &path))
        .await
        .expect(200);
    let link = made["url"].as_str().unwrap().to_owned();
    link.split_once("/dashboard").unwrap().1.to_owned()
}

async fn opens(story: &Story, url: &str, link: &str) -> bool {
    let opened = story.world.http.get(format!("{url}/dashboard{link}"));
    opened.send().await.unwrap().status().is_success()
}

#[tokio::test]
async fn links_of_both_secrets_open_everywhere_until_the_next_rotation() {
    let (story, manager) = (Story::start().await, SecretsManager::start().await);
    manager.put(ARN, "the first secret of the links");
    let before = start(&story, &manager).await;
    let first = link(&story, &before).await;

    manager.put(ARN, "the second secret of the links");
    let after = start(&story, &manager).await;
    let second = link(&story, &after).await;
    for url in [&before, &after] {
        assert!(opens(&story, url, &first).await, "{url}");
        assert!(opens(&story, url, &second).await, "{url}");
    }

    manager.put(ARN, "the third secret of the links");
    let last = start(&story, &manager).await;
    assert!(!opens(&story, &last, &first).await);
    assert!(opens(&story, &last, &second).await);
}

#[tokio::test]
async fn forged_links_cost_one_read_of_the_secret() {
    let (story, manager) = (Story::start().await, SecretsManager::start().await);
    manager.put(ARN, "the first secret of the links");
    let url = start(&story, &manager).await;
    let good = link(&story, &url).await;
    let reads = manager.reads();
    for digit in 0..10 {
        let forged = format!("{}{digit}", &good[..good.len() - 1]);
        let is_good = forged == good;
        assert_eq!(opens(&story, &url, &forged).await, is_good);
    }
    assert_eq!(manager.reads(), reads + 1);
}
