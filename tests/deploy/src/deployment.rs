//! The stack, as `sam deploy` makes it, and how it is reached.

use std::collections::BTreeMap;

use ledger::{Ledger, TableNames};
use serde_json::Value;
use stack::connection::Connection;

use crate::build::Build;
use crate::cloud::{Cloud, REGION};
use crate::failure::Failure;

/// Another than the configuration's: what it does to a stack of that name must
/// never happen by a slip of the environment.
pub(crate) const STACK: &str = "meterline-deploy-test";

/// By which callers reach a function: the template's `AutoPublishAlias`.
const ALIAS: &str = "live";

/// The deployed stack.
pub(crate) struct Deployment<'a> {
    cloud: &'a Cloud,
    parameters: Vec<String>,
    outputs: BTreeMap<String, String>,
    /// Physical ids by logical ones.
    resources: BTreeMap<String, String>,
}

impl<'a> Deployment<'a> {
    /// Deploys for the first time, and connects the API's routes.
    pub(crate) async fn first(
        cloud: &'a Cloud,
        build: &Build,
        parameters: Vec<String>,
    ) -> Result<Self, Failure> {
        let mut deployment = Self {
            cloud,
            parameters,
            outputs: BTreeMap::new(),
            resources: BTreeMap::new(),
        };
        deployment.deploy(build).await?;
        deployment.read().await?;
        deployment.connect_routes().await?;
        Ok(deployment)
    }

    /// `sam deploy` of a build, as README has it.
    pub(crate) async fn deploy(&self, build: &Build) -> Result<(), Failure> {
        let root = std::env::current_dir().map_err(Failure::io("no current folder"))?;
        let mut arguments: Vec<String> = [
            "deploy",
            "--config-env",
            "dev",
            "--stack-name",
            STACK,
            "--no-progressbar",
            "--config-file",
            &root.join("samconfig.toml").to_string_lossy(),
            "--template-file",
            &build.template_file().to_string_lossy(),
            "--parameter-overrides",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.extend(self.parameters.iter().cloned());
        self.cloud.sam(&arguments).await
    }

    async fn read(&mut self) -> Result<(), Failure> {
        let stacks = self
            .cloud
            .aws(&["cloudformation", "describe-stacks", "--stack-name", STACK])
            .await?;
        self.outputs = pairs(&stacks["Stacks"][0]["Outputs"], "OutputKey", "OutputValue");
        let resources = self
            .cloud
            .aws(&[
                "cloudformation",
                "describe-stack-resources",
                "--stack-name",
                STACK,
            ])
            .await?;
        self.resources = pairs(
            &resources["StackResources"],
            "LogicalResourceId",
            "PhysicalResourceId",
        );
        Ok(())
    }

    /// The stack's state in CloudFormation's words.
    pub(crate) async fn status(&self) -> Result<String, Failure> {
        let stacks = self
            .cloud
            .aws(&["cloudformation", "describe-stacks", "--stack-name", STACK])
            .await?;
        let status = stacks["Stacks"][0]["StackStatus"].as_str();
        Ok(status.unwrap_or_default().to_owned())
    }

    /// The version that callers of a function reach.
    pub(crate) async fn live_version(&self, function: &str) -> Result<String, Failure> {
        let function = self.physical_id(function)?;
        let alias = self
            .cloud
            .aws(&[
                "lambda",
                "get-alias",
                "--function-name",
                function,
                "--name",
                ALIAS,
            ])
            .await?;
        let version = alias["FunctionVersion"].as_str();
        version
            .map(str::to_owned)
            .ok_or_else(|| Failure::unexpected("an alias"))
    }

    /// Leads callers of a function to another version, past CloudFormation.
    pub(crate) async fn set_live_version(
        &self,
        function: &str,
        version: &str,
    ) -> Result<(), Failure> {
        let function = self.physical_id(function)?;
        self.cloud
            .aws(&[
                "lambda",
                "update-alias",
                "--function-name",
                function,
                "--name",
                ALIAS,
                "--function-version",
                version,
            ])
            .await
            .map(|_| ())
    }

    /// The outputs by name.
    pub(crate) const fn outputs(&self) -> &BTreeMap<String, String> {
        &self.outputs
    }

    /// An output.
    pub(crate) fn output(&self, name: &str) -> Result<&str, Failure> {
        let found = self.outputs.get(name).map(String::as_str);
        found.ok_or_else(|| Failure::Unexpected(format!("the output {name}")))
    }

    /// What AWS calls a resource of the template.
    pub(crate) fn physical_id(&self, logical_id: &str) -> Result<&str, Failure> {
        let found = self.resources.get(logical_id).map(String::as_str);
        found.ok_or_else(|| Failure::Unexpected(format!("the resource {logical_id}")))
    }

    /// The API's address: `ApiUrl` says what it would be on AWS, this is where
    /// ministack serves it.
    pub(crate) fn api_url(&self) -> Result<String, Failure> {
        let api = self.physical_id("Api")?;
        let base = self.cloud.url();
        Ok(format!("{base}/_aws/execute-api/{api}/$default"))
    }

    /// The webhook's function URL, likewise.
    pub(crate) fn webhook_url(&self) -> Result<String, Failure> {
        let url = self.output("WebhookUrl")?;
        let id = url.trim_start_matches("https://").split('.').next();
        let id = id.unwrap_or_default();
        Ok(format!("{}/_aws/lambda-url/{id}/", self.cloud.url()))
    }

    /// The tables' names, by the variables that the commands read.
    pub(crate) fn table_names(&self) -> Result<Vec<(&'static str, String)>, Failure> {
        let names = TableNames::VARIABLES.into_iter();
        let named = names.map(|(variable, logical_id)| {
            Ok((
                variable,
                self.output(&format!("{logical_id}Name"))?.to_owned(),
            ))
        });
        named.collect()
    }

    /// The tables.
    pub(crate) fn ledger(&self) -> Result<Ledger, Failure> {
        let names = self.table_names()?;
        let names = TableNames::from_variables(|variable| {
            let found = names.iter().find(|(name, _)| *name == variable);
            found.map(|(_, table)| table.clone())
        });
        Ok(Ledger::new(
            Connection::embedded(self.cloud.url()).client(),
            names,
        ))
    }

    /// Ministack imports no `Body` of an API. What AWS makes of it, a route and an
    /// integration for each method of a path, is made here by the calls for it, from
    /// the `Body` of the template that is deployed.
    async fn connect_routes(&self) -> Result<(), Failure> {
        let template = self
            .cloud
            .aws(&[
                "cloudformation",
                "get-template",
                "--stack-name",
                STACK,
                "--template-stage",
                "Processed",
            ])
            .await?;
        let body = &template["TemplateBody"]["Resources"]["Api"]["Properties"]["Body"];
        let paths = body["paths"].as_object();
        let paths = paths.ok_or_else(|| Failure::unexpected("the API's body"))?;
        let api = self.physical_id("Api")?;
        let mut integrations = BTreeMap::new();
        for (path, methods) in paths {
            for (method, operation) in methods.as_object().into_iter().flatten() {
                let integration = &operation["x-amazon-apigateway-integration"];
                let uri = self.resolve(&integration["uri"])?;
                let id = match integrations.get(&uri) {
                    Some(id) => String::clone(id),
                    None => self.integrate(api, &uri, integration).await?,
                };
                let route = format!("{} {path}", method.to_uppercase());
                let target = format!("integrations/{id}");
                self.cloud
                    .aws(&[
                        "apigatewayv2",
                        "create-route",
                        "--api-id",
                        api,
                        "--route-key",
                        &route,
                        "--target",
                        &target,
                    ])
                    .await?;
                integrations.insert(uri, id);
            }
        }
        Ok(())
    }

    async fn integrate(
        &self,
        api: &str,
        uri: &str,
        integration: &Value,
    ) -> Result<String, Failure> {
        let format = integration["payloadFormatVersion"].as_str();
        let made = self
            .cloud
            .aws(&[
                "apigatewayv2",
                "create-integration",
                "--api-id",
                api,
                "--integration-type",
                "AWS_PROXY",
                "--integration-method",
                "POST",
                "--integration-uri",
                uri,
                "--payload-format-version",
                format.unwrap_or("2.0"),
            ])
            .await?;
        let id = made["IntegrationId"].as_str();
        id.map(str::to_owned)
            .ok_or_else(|| Failure::unexpected("an integration"))
    }

    /// A `Fn::Sub` of resources and of what AWS knows itself.
    fn resolve(&self, text: &Value) -> Result<String, Failure> {
        let text = text["Fn::Sub"].as_str();
        let text = text.ok_or_else(|| Failure::unexpected("an integration's address"))?;
        let mut resolved = String::new();
        for (number, part) in text.split("${").enumerate() {
            let Some((name, rest)) = part.split_once('}').filter(|_| number > 0) else {
                resolved.push_str(part);
                continue;
            };
            resolved.push_str(match name {
                "AWS::Partition" => "aws",
                "AWS::Region" => REGION,
                resource => self.physical_id(resource)?,
            });
            resolved.push_str(rest);
        }
        Ok(resolved)
    }
}

fn pairs(list: &Value, key: &str, value: &str) -> BTreeMap<String, String> {
    let list = list.as_array().into_iter().flatten();
    let pairs = list.filter_map(|entry| {
        let key = entry[key].as_str()?;
        Some((key.to_owned(), entry[value].as_str()?.to_owned()))
    });
    pairs.collect()
}
