//! What is played on the deployed system, one act after the other.

use std::path::Path;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use stack::story::{self, Api, Narrator, Settings, Waiting};

use crate::agents::{Acknowledged, Agents};
use crate::books::Books;
use crate::build::Build;
use crate::cloud::Cloud;
use crate::deployed::Deployed;
use crate::failure::Failure;
use crate::figures::{Caller, Figures};
use crate::logs::Logs;
use crate::mails;
use crate::patience;

const AGENTS: u32 = 3;
/// Events that the agents get through before something happens, and after it.
const UNDISTURBED: u64 = 20;
const GOES_ON_WITHIN: Duration = Duration::from_secs(120);
const REDELIVERED_WITHIN: Duration = Duration::from_secs(240);
/// The story suspends one customer and takes it back, and bills two.
const MAILS_MIN: usize = 5;
/// More than the tries of one call to Stripe.
const FAILURES: u32 = 50;
const COLD_ROUNDS: u32 = 5;
const LATE: &str = "late";
/// The secret that CloudFormation makes up for the stack, and the one that it does where
/// notifications are posted.
const LINK_SECRET: &str = "DashboardLinkSecret";
const POST_SECRET: &str = "NotificationWebhookSecret";
/// What is in a line of each function, and of no other.
const LOGGED: [(&str, &[&str]); 6] = [
    ("onboarding", &["\"route\":\"/v1/customers\""]),
    ("emission", &["\"route\":\"/v1/usage\""]),
    (
        "report",
        &["\"route\":\"/v1/customers/{customer_id}/usage\""],
    ),
    ("webhook", &["\"route\":\"/\""]),
    ("the rollup", &["\"message\":\"rolled up\""]),
    (
        "redelivery, which delivered one,",
        &["-RedeliveryFunction-", "\"delivered\":1,"],
    ),
];

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Operations of the story.
    pub(crate) operations: u64,
}

/// One test.
pub(crate) struct Acts<'a> {
    cloud: &'a Cloud,
    deployed: &'a Deployed<'a>,
    build: &'a Build,
    folder: &'a Path,
    api: Api,
    /// The one that the agents work for, as it was asked for.
    customer: Value,
    customer_id: String,
    /// Of that customer, all in all.
    acknowledged: Acknowledged,
}

impl<'a> Acts<'a> {
    /// With a customer for the agents.
    pub(crate) async fn begin(
        cloud: &'a Cloud,
        deployed: &'a Deployed<'a>,
        build: &'a Build,
        folder: &'a Path,
    ) -> Result<Self, Failure> {
        let api = Api::new(&deployed.place.url, deployed.place.api_key.clone())?;
        let customer = json!({
            "email": "agents@example.com", "payment_method": "pm_card_visa",
            "external_id": "deploy-test",
        });
        let made = api.post("/v1/customers", &customer).await?;
        if made.status != 201 {
            return Err(Failure::Unexpected(format!(
                "the answer {} to onboarding, {},",
                made.status, made.body
            )));
        }
        Ok(Self {
            cloud,
            deployed,
            build,
            folder,
            api,
            customer,
            customer_id: made.text("/customer_id"),
            acknowledged: Acknowledged::default(),
        })
    }

    /// An event that Stripe does not take: the schedule must bring it there.
    pub(crate) async fn one_is_late(&mut self, narrator: &mut Narrator) -> Result<(), Failure> {
        let place = &self.deployed.place;
        let stripe = Api::new(&place.stripe_url, place.stripe_secret_key.clone())?;
        let fault = json!({
            "kind": "error_before", "status": 503, "method": "POST",
            "path_prefix": "/v2/billing/meter_event_stream", "times": FAILURES,
        });
        let ordered = stripe.post("/_simulator/faults", &fault).await?;
        narrator.figure("Stripe is made to fail", ordered.status, 200);
        let event = json!({
            "event_id": LATE, "customer_id": self.customer_id,
            "quantity": 1, "action_type": "document_processed",
        });
        let answer = self.api.post("/v1/usage", &event).await?;
        let said = format!("{} {}", answer.status, answer.text("/status"));
        narrator.figure("usage meanwhile is", said, "202 pending");
        stripe.call("DELETE", "/_simulator/faults").await?;
        self.acknowledged.events += 1;
        self.acknowledged.units += 1;
        Ok(())
    }

    /// It is there, and redelivery says so.
    pub(crate) async fn the_late_one_comes(&self, narrator: &mut Narrator) -> Result<(), Failure> {
        let path = format!("/v1/usage/{}?event_id={LATE}", self.customer_id);
        let delivered = patience::until("redelivery", REDELIVERED_WITHIN, async || {
            Ok(self.api.get(&path).await?.text("/status") == "delivered")
        });
        match delivered.await {
            Ok(()) | Err(Failure::WaitedInVain(_)) => {}
            Err(failure) => return Err(failure),
        }
        let row = self.api.get(&path).await?;
        narrator.figure("the late event is", row.text("/status"), "delivered");
        Ok(())
    }

    /// What the topic told and there is a mail for, SES has taken, once.
    pub(crate) async fn mails(&self, narrator: &mut Narrator) -> Result<(), Failure> {
        let place = &self.deployed.place;
        let taken = patience::until("the mails", REDELIVERED_WITHIN, async || {
            let due = mails::due(place).await?;
            Ok(due.len() >= MAILS_MIN && mails::sent(self.cloud).await? == due)
        });
        match taken.await {
            Ok(()) | Err(Failure::WaitedInVain(_)) => {}
            Err(failure) => return Err(failure),
        }
        let due = mails::due(place).await?;
        narrator.figure("mails were due", due.len() >= MAILS_MIN, true);
        self.mails_once_more(narrator).await
    }

    /// What is sent a second time is sent after some minutes: it would be there by the end.
    pub(crate) async fn mails_once_more(&self, narrator: &mut Narrator) -> Result<(), Failure> {
        let due = mails::due(&self.deployed.place).await?;
        let sent = mails::sent(self.cloud).await?;
        narrator.figure("mails that SES took", sent.len(), due.len());
        let same = "to whom they go, and what they say, is as the templates have it";
        narrator.figure(same, sent == due, true);
        Ok(())
    }

    /// The main job, as on one machine.
    pub(crate) async fn story(&self, narrator: &mut Narrator, scale: Scale) -> Result<(), Failure> {
        let settings = Settings {
            operations: scale.operations,
            waiting: Waiting {
                look_every_min: Duration::from_millis(200),
                look_every_max: Duration::from_secs(1),
                ..Waiting::on_this_machine()
            },
            ..Settings::default()
        };
        story::play(self.deployed.place.clone(), &settings, narrator).await?;
        Ok(())
    }

    /// Roles are real: emission without its permission to record cannot.
    pub(crate) async fn forbidden(&mut self, narrator: &mut Narrator) -> Result<(), Failure> {
        let deployment = &self.deployed.deployment;
        let folder = self.folder.join("forbidden");
        let forbidden = self
            .build
            .without_statement(&folder, "EmissionRole", "RecordUsage")?;
        deployment.deploy(&forbidden).await?;
        let event = json!({
            "event_id": "forbidden", "customer_id": self.customer_id,
            "quantity": 1, "action_type": "document_processed",
        });
        let refused = self.api.post("/v1/usage", &event).await?;
        narrator.figure("usage is answered", refused.status, 503);
        deployment.deploy(self.build).await?;
        let taken = self.api.post("/v1/usage", &event).await?;
        narrator.figure("with the permission again", taken.status, 200);
        self.acknowledged.events += 1;
        self.acknowledged.units += 1;
        Ok(())
    }

    /// Every function gets a new build while agents emit.
    pub(crate) async fn update(&mut self, narrator: &mut Narrator) -> Result<(), Failure> {
        let newer = self.build.newer(&self.folder.join("newer"), 2)?;
        let agents = self.agents("update")?;
        self.goes_on(&agents).await?;
        let before = agents.acknowledged();
        self.deployed.deployment.deploy(&newer).await?;
        let during = agents.acknowledged() - before;
        let status = self.deployed.deployment.status().await?;
        narrator.figure("the stack is", status, "UPDATE_COMPLETE");
        narrator.figure("events are acknowledged meanwhile", during > 0, true);
        narrator.say(format!("{during} while sam deploy ran"));
        self.goes_on(&agents).await?;
        self.count(agents, narrator).await
    }

    /// A version that does not start, and the two ways back: by the alias at once,
    /// then by the former build.
    pub(crate) async fn broken(&mut self, narrator: &mut Narrator) -> Result<(), Failure> {
        let deployment = &self.deployed.deployment;
        let broken = self.build.broken(&self.folder.join("broken"))?;
        let former = self.build.newer(&self.folder.join("former"), 2)?;
        let agents = self.agents("broken")?;
        self.goes_on(&agents).await?;
        let version = deployment.live_version("EmissionFunction").await?;
        deployment.deploy(&broken).await?;
        let failed = agents.failed();
        patience::until("a failure", GOES_ON_WITHIN, async || {
            Ok(agents.failed() > failed + u64::from(AGENTS))
        })
        .await?;
        let status = self.probe().await?;
        narrator.figure("the broken emission answers 5xx", status >= 500, true);
        let moved = deployment.set_live_version("EmissionFunction", &version);
        moved.await?;
        self.goes_on(&agents).await?;
        let status = self.probe().await?;
        narrator.figure(
            &format!("by the alias, version {version} answers"),
            status,
            400,
        );
        deployment.deploy(&former).await?;
        self.goes_on(&agents).await?;
        let status = self.probe().await?;
        narrator.figure("the former build, deployed, answers", status, 400);
        self.count(agents, narrator).await
    }

    /// What emission answers to a call that means nothing.
    async fn probe(&self) -> Result<u16, Failure> {
        Ok(self.api.post("/v1/usage", &json!({})).await?.status)
    }

    /// An update that fails half-way: CloudFormation goes back by itself.
    pub(crate) async fn refused(&mut self, narrator: &mut Narrator) -> Result<(), Failure> {
        let refused = self.build.undeployable(&self.folder.join("refused"), 3)?;
        let agents = self.agents("refused")?;
        self.goes_on(&agents).await?;
        let deployed = self.deployed.deployment.deploy(&refused).await;
        let failed = matches!(deployed, Err(Failure::Program { .. }));
        narrator.figure("sam deploy says that it failed", failed, true);
        let status = self.deployed.deployment.status().await?;
        narrator.figure("the stack is", status, "UPDATE_ROLLBACK_COMPLETE");
        self.goes_on(&agents).await?;
        self.count(agents, narrator).await
    }

    /// The time of calls to new environments, and to warm ones.
    pub(crate) async fn measure(&mut self) -> Result<Figures, Failure> {
        let caller = Caller::new(&self.deployed.place, &self.customer_id, &self.customer)?;
        let mut figures = Figures::default();
        let mut emitted = 0;
        for round in 0..COLD_ROUNDS {
            let folder = self.folder.join(format!("cold-{round}"));
            let newer = self.build.newer(&folder, 10 + round)?;
            self.deployed.deployment.deploy(&newer).await?;
            emitted += caller.call_cold(round, &mut figures).await?;
        }
        emitted += caller.call_warm(&mut figures).await?;
        self.acknowledged.events += emitted;
        self.acknowledged.units += emitted;
        Ok(figures)
    }

    /// The books once more, with all that was ever acknowledged.
    pub(crate) async fn close(&self, narrator: &mut Narrator) -> Result<(), Failure> {
        let books = Books::new(&self.deployed.place, &self.customer_id)?;
        books.compare(narrator, &self.acknowledged).await
    }

    /// What can be read by those who may not know any secret.
    pub(crate) async fn nothing_leaks(&self, narrator: &mut Narrator) -> Result<(), Failure> {
        let logs = Logs::read(self.cloud, &self.deployed.deployment).await?;
        narrator.say(format!("{} lines of the functions' logs", logs.len()));
        let other = logs.other_than_json();
        // The broken emission speaks no JSON.
        let other: Vec<_> = other.into_iter().filter(|line| *line != "broken").collect();
        narrator.figure("lines that are no JSON", other.len(), 0);
        for line in other.iter().take(5) {
            narrator.say(line);
        }
        for (function, words) in LOGGED {
            narrator.figure(
                &format!("{function} has logged"),
                logs.with(words) > 0,
                true,
            );
        }
        let own = self.secrets_of_the_stack().await?;
        let secrets = self.deployed.secrets.iter().chain(&own);
        let mut secrets: Vec<&str> = secrets.map(ExposeSecret::expose_secret).collect();
        secrets.extend(["sk_test_", "whsec_", "Bearer "]);
        narrator.figure("lines that hold a secret", logs.with_any(&secrets), 0);
        let outputs = self.deployed.deployment.outputs().values();
        let outputs = outputs.filter(|output| secrets.iter().any(|secret| output.contains(secret)));
        narrator.figure("outputs that hold a secret", outputs.count(), 0);
        Ok(())
    }

    /// What nobody but the functions has ever read.
    async fn secrets_of_the_stack(&self) -> Result<Vec<SecretString>, Failure> {
        let deployment = &self.deployed.deployment;
        let mut ids = vec![deployment.physical_id(LINK_SECRET)?];
        // Without its channel the stack has none.
        ids.extend(deployment.physical_id(POST_SECRET).ok());
        let mut secrets = Vec::new();
        for id in ids {
            let read = ["secretsmanager", "get-secret-value", "--secret-id", id];
            let secret = self.cloud.aws(&read).await?;
            let secret = secret["SecretString"].as_str();
            let secret = secret.ok_or_else(|| Failure::unexpected("a secret of the stack"))?;
            secrets.push(SecretString::from(secret));
        }
        Ok(secrets)
    }

    fn agents(&self, job: &str) -> Result<Agents, Failure> {
        let place = &self.deployed.place;
        Agents::start(&place.url, &place.api_key, &self.customer_id, job, AGENTS)
    }

    /// The agents get through some events more.
    async fn goes_on(&self, agents: &Agents) -> Result<(), Failure> {
        let before = agents.acknowledged();
        patience::until("the agents", GOES_ON_WITHIN, async || {
            Ok(agents.acknowledged() >= before + UNDISTURBED)
        })
        .await
    }

    async fn count(&mut self, agents: Agents, narrator: &mut Narrator) -> Result<(), Failure> {
        let acknowledged = agents.finish().await?;
        for (status, count) in &acknowledged.retried {
            narrator.say(format!("sent again {count} times for an answer {status}"));
        }
        self.acknowledged.add(acknowledged);
        self.close(narrator).await
    }
}
