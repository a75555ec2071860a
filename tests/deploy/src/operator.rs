//! What the operator does, in README's order and by README's commands.

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use meterline_cli::secret_file::SecretFile;
use stack::catalog::WEBHOOK_SECRETS_FILE;

use crate::cloud::Cloud;
use crate::command::Run;
use crate::deployment::Deployment;
use crate::failure::Failure;

/// Whoever sets the system up.
pub(crate) struct Operator<'a> {
    pub(crate) cloud: &'a Cloud,
    pub(crate) stripe_url: String,
    pub(crate) stripe_secret_key: SecretString,
    /// Where secrets and keys may be kept for a while.
    pub(crate) folder: PathBuf,
}

impl Operator<'_> {
    /// `aws secretsmanager create-secret`: the new secret's ARN.
    pub(crate) async fn create_secret(
        &self,
        name: &str,
        secret: &SecretString,
    ) -> Result<String, Failure> {
        let file = self.secret_file(secret)?;
        let made = self
            .cloud
            .aws(&[
                "secretsmanager",
                "create-secret",
                "--name",
                name,
                "--secret-string",
                &file,
            ])
            .await?;
        let arn = made["ARN"].as_str();
        arn.map(str::to_owned)
            .ok_or_else(|| Failure::unexpected("a secret's ARN"))
    }

    /// `aws secretsmanager put-secret-value`.
    pub(crate) async fn put_secret(&self, arn: &str, secret: &SecretString) -> Result<(), Failure> {
        let file = self.secret_file(secret)?;
        self.cloud
            .aws(&[
                "secretsmanager",
                "put-secret-value",
                "--secret-id",
                arn,
                "--secret-string",
                &file,
            ])
            .await
            .map(|_| ())
    }

    /// A command line is visible to every process; `aws` reads a file as well.
    fn secret_file(&self, secret: &SecretString) -> Result<String, Failure> {
        let file = self.folder.join("secret");
        std::fs::write(&file, secret.expose_secret())
            .map_err(Failure::io("a secret cannot be written"))?;
        Ok(format!("file://{}", file.display()))
    }

    /// `meterline setup`: what it says of the catalog.
    pub(crate) async fn set_up(&self) -> Result<Value, Failure> {
        self.meterline(&["setup", "--json"], Vec::new()).await
    }

    /// `meterline setup --webhook-url`: what webhooks are signed with.
    pub(crate) async fn set_up_webhook(&self, url: &str) -> Result<SecretString, Failure> {
        let file = self.folder.join(WEBHOOK_SECRETS_FILE);
        self.meterline(
            &[
                "setup",
                "--json",
                "--webhook-url",
                url,
                "--webhook-name",
                &self.folder.to_string_lossy(),
                "--webhook-secret-file",
                &file.to_string_lossy(),
            ],
            Vec::new(),
        )
        .await?;
        Ok(SecretFile::new(&file).joined()?)
    }

    /// `meterline keys create`: a key that may do everything.
    pub(crate) async fn create_key(
        &self,
        deployment: &Deployment<'_>,
    ) -> Result<SecretString, Failure> {
        let tables = deployment.table_names()?;
        let made = self
            .meterline(&["keys", "create", "--scope", "admin", "--json"], tables)
            .await?;
        let key = made["key"].as_str();
        key.map(SecretString::from)
            .ok_or_else(|| Failure::unexpected("a new key"))
    }

    /// What `meterline` prints, as JSON.
    pub(crate) async fn meterline(
        &self,
        arguments: &[&str],
        tables: Vec<(&'static str, String)>,
    ) -> Result<Value, Failure> {
        let name = format!("meterline {}", arguments.first().unwrap_or(&""));
        let printed = Run::new(&beside(Path::new("meterline"))?)
            .named(&name)
            .args(arguments)
            .env(self.cloud.variables())
            .env([
                ("STRIPE_SECRET_KEY", self.stripe_secret_key.expose_secret()),
                ("STRIPE_API_BASE", &self.stripe_url),
            ])
            .env(tables)
            .output()
            .await?;
        serde_json::from_str(&printed)
            .map_err(|_| Failure::Unexpected(format!("what {name} prints")))
    }
}

/// A program that was built with this one.
fn beside(program: &Path) -> Result<PathBuf, Failure> {
    let this = std::env::current_exe().map_err(Failure::io("no folder of programs"))?;
    Ok(this.with_file_name(program))
}
