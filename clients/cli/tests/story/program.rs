//! The program itself.

use ledger::TableNames;
use secrecy::ExposeSecret;
use tokio::process::Command;

use super::Story;

impl Story {
    /// Runs `meterline` in the surroundings of this system: its exit status and
    /// what it prints on stdout and stderr.
    pub(crate) async fn meterline(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        self.meterline_with(arguments, &[]).await
    }

    /// The same, with more variables.
    pub(crate) async fn meterline_with(
        &self,
        arguments: &[&str],
        more: &[(&str, &str)],
    ) -> (Option<i32>, String, String) {
        let mut command = self.meterline_command(arguments);
        let output = command.envs(more.iter().copied()).output().await.unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }

    /// `meterline` in the surroundings of this system, ready to be run.
    pub(crate) fn meterline_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meterline"));
        command.args(arguments).env_clear();
        for (variable, table) in TableNames::VARIABLES {
            command.env(variable, table);
        }
        command
            .env("STRIPE_API_BASE", self.system.stripe_url())
            .env("STRIPE_METER_EVENTS_BASE", self.system.meter_events_url())
            .env(
                "STRIPE_SECRET_KEY",
                self.system.stripe_secret_key().expose_secret(),
            )
            .env("USAGE_API", self.system.stripe().usage_api().to_string())
            .env("AWS_ENDPOINT_URL_DYNAMODB", self.system.dynamodb_url())
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "local")
            .env("AWS_SECRET_ACCESS_KEY", "local");
        command
    }
}
