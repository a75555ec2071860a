//! What `sam build` made, and others of it: a newer build, a broken one, one that
//! cannot be deployed.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::failure::Failure;

/// Where `sam build` leaves it.
pub(crate) const BUILT: &str = ".aws-sam/build";
const PROGRAM: &str = "bootstrap";
const FUNCTION: &str = "AWS::Serverless::Function";
const ALARM: &str = "AWS::CloudWatch::Alarm";
const DASHBOARD: &str = "AWS::CloudWatch::Dashboard";
const SEND_EMAIL: &str = "ses:SendEmail";

/// A build, ready for `sam deploy`, in a folder of its own.
#[derive(Debug)]
pub(crate) struct Build {
    folder: PathBuf,
    template: Value,
}

impl Build {
    /// Copies what `sam build` made in `built` into `folder`, without what ministack
    /// does not have: alarms that calculate with metrics, the dashboard that shows
    /// them, and CodeDeploy, which goes back by them. Mails may be sent by any identity.
    pub(crate) fn of_sam(built: &Path, folder: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(built.join("template.yaml"));
        let text = text.map_err(|_| Failure::NotBuilt(built.join("template.yaml")))?;
        let mut template: Value = yaml_serde::from_str(&text)?;
        let resources = template["Resources"].as_object_mut();
        let resources = resources.ok_or_else(|| Failure::unexpected("the built template"))?;
        resources.retain(|_, resource| {
            let is_alarm_of_several =
                resource["Type"] == ALARM && !resource["Properties"]["Metrics"].is_null();
            resource["Type"] != DASHBOARD && !is_alarm_of_several
        });
        for resource in resources.values_mut() {
            if resource["Type"] == FUNCTION
                && let Some(properties) = resource["Properties"].as_object_mut()
            {
                properties.remove("DeploymentPreference");
            }
            if let Some(policies) = resource.pointer_mut("/Properties/Policies") {
                widen(policies);
            }
        }
        let build = Self {
            folder: folder.to_owned(),
            template,
        };
        build.copy_programs(built)?;
        build.write_template()?;
        Ok(build)
    }

    /// The same programs with other bytes at their ends: each function is new, and
    /// does what it did.
    pub(crate) fn newer(&self, folder: &Path, version: u32) -> Result<Self, Failure> {
        let build = self.copy(folder)?;
        for function in build.functions() {
            let program = build.program(&function);
            let append = || {
                let mut program = OpenOptions::new().append(true).open(program)?;
                writeln!(program, "version {version}")
            };
            append().map_err(Failure::io("a program cannot be changed"))?;
        }
        Ok(build)
    }

    /// The same with an emission that ends before it takes a call.
    pub(crate) fn broken(&self, folder: &Path) -> Result<Self, Failure> {
        let build = self.copy(folder)?;
        let program = build.program("EmissionFunction");
        let replace = || {
            fs::write(&program, "#!/bin/sh\necho 'broken' >&2\nexit 1\n")?;
            fs::set_permissions(&program, Permissions::from_mode(0o755))
        };
        replace().map_err(Failure::io("a program cannot be replaced"))?;
        Ok(build)
    }

    /// The same programs, but a statement of a role's policy is missing.
    pub(crate) fn without_statement(
        &self,
        folder: &Path,
        role: &str,
        sid: &str,
    ) -> Result<Self, Failure> {
        let mut build = self.copy(folder)?;
        let policies = &mut build.template["Resources"][role]["Properties"]["Policies"];
        let statements = policies[0]["PolicyDocument"]["Statement"].as_array_mut();
        let statements = statements.ok_or_else(|| Failure::unexpected("a role's policy"))?;
        let before = statements.len();
        statements.retain(|statement| statement["Sid"] != sid);
        if statements.len() == before {
            return Err(Failure::Unexpected(format!("the policy of {role}")));
        }
        build.write_template()?;
        Ok(build)
    }

    /// A newer build with a queue that AWS refuses, after its functions are changed.
    pub(crate) fn undeployable(&self, folder: &Path, version: u32) -> Result<Self, Failure> {
        let mut build = self.newer(folder, version)?;
        let functions = build.functions();
        build.template["Resources"]["RefusedQueue"] = json!({
            "Type": "AWS::SQS::Queue",
            "DependsOn": functions,
            "Properties": { "MessageRetentionPeriod": 1 },
        });
        build.write_template()?;
        Ok(build)
    }

    /// For `sam deploy`.
    pub(crate) fn template_file(&self) -> PathBuf {
        self.folder.join("template.json")
    }

    fn functions(&self) -> Vec<String> {
        let resources = self.template["Resources"].as_object();
        let resources = resources.into_iter().flatten();
        let functions = resources.filter(|(_, resource)| resource["Type"] == FUNCTION);
        functions.map(|(name, _)| name.clone()).collect()
    }

    fn program(&self, function: &str) -> PathBuf {
        self.folder.join(function).join(PROGRAM)
    }

    fn copy(&self, folder: &Path) -> Result<Self, Failure> {
        let build = Self {
            folder: folder.to_owned(),
            template: self.template.clone(),
        };
        build.copy_programs(&self.folder)?;
        build.write_template()?;
        Ok(build)
    }

    fn copy_programs(&self, from: &Path) -> Result<(), Failure> {
        for function in self.functions() {
            let source = from.join(&function).join(PROGRAM);
            let target = self.program(&function);
            let copy = || -> io::Result<()> {
                fs::create_dir_all(self.folder.join(&function))?;
                fs::copy(&source, target)?;
                Ok(())
            };
            copy().map_err(|_| Failure::NotBuilt(source.clone()))?;
        }
        Ok(())
    }

    fn write_template(&self) -> Result<(), Failure> {
        fs::write(self.template_file(), self.template.to_string())
            .map_err(Failure::io("the template cannot be written"))
    }
}

/// ministack holds SendEmail against no identity: whoever may send by one alone may not
/// send there.
fn widen(policies: &mut Value) {
    match policies {
        Value::Array(values) => values.iter_mut().for_each(widen),
        Value::Object(statement) if statement.get("Action") == Some(&json!(SEND_EMAIL)) => {
            statement.insert("Resource".to_owned(), json!("*"));
        }
        Value::Object(members) => members.values_mut().for_each(widen),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = "
Resources:
  EmissionFunction:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: EmissionFunction
      DeploymentPreference: { Enabled: true }
  EmissionRole:
    Type: AWS::IAM::Role
    Properties:
      Policies:
        - PolicyName: emission
          PolicyDocument:
            Statement:
              - { Sid: FindCustomer, Effect: Allow }
              - { Sid: RecordUsage, Effect: Allow }
              - Fn::If:
                  - SendsMails
                  - { Sid: SendMails, Effect: Allow, Action: ses:SendEmail, Resource: an identity }
                  - { Ref: AWS::NoValue }
  Calculated:
    Type: AWS::CloudWatch::Alarm
    Properties: { Metrics: [{ Expression: a + b }] }
  Plain:
    Type: AWS::CloudWatch::Alarm
    Properties: { MetricName: Errors }
";

    struct Built {
        folder: tempfile::TempDir,
        build: Build,
    }

    impl Built {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let built = folder.path().join("built");
            fs::create_dir_all(built.join("EmissionFunction")).unwrap();
            fs::write(built.join("template.yaml"), TEMPLATE).unwrap();
            fs::write(built.join("EmissionFunction/bootstrap"), "program\n").unwrap();
            let build = Build::of_sam(&built, &folder.path().join("build")).unwrap();
            Self { folder, build }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }
    }

    fn template(build: &Build) -> Value {
        let text = fs::read_to_string(build.template_file()).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn statements(template: &Value) -> &Value {
        let properties = &template["Resources"]["EmissionRole"]["Properties"];
        &properties["Policies"][0]["PolicyDocument"]["Statement"]
    }

    fn program(build: &Build) -> String {
        fs::read_to_string(build.program("EmissionFunction")).unwrap()
    }

    #[test]
    fn what_ministack_does_not_have_is_left_out_and_nothing_else() {
        let template = template(&Built::new().build);
        let resources = template["Resources"].as_object().unwrap();
        let names: Vec<_> = resources.keys().map(String::as_str).collect();
        assert_eq!(names, ["EmissionFunction", "EmissionRole", "Plain"]);
        let properties = &resources["EmissionFunction"]["Properties"];
        assert_eq!(properties["DeploymentPreference"], Value::Null);
        assert_eq!(properties["CodeUri"], "EmissionFunction");
        let statements = statements(&template);
        assert_eq!(statements[2]["Fn::If"][1]["Resource"], "*");
        assert_eq!(
            statements[1],
            json!({ "Sid": "RecordUsage", "Effect": "Allow" })
        );
    }

    #[test]
    fn other_builds_leave_the_first_as_it_is() {
        let built = Built::new();
        let build = &built.build;
        let newer = build.newer(&built.path("newer"), 2).unwrap();
        assert_eq!(program(&newer), "program\nversion 2\n");
        assert_eq!(template(&newer), template(build));
        let broken = build.broken(&built.path("broken")).unwrap();
        assert!(program(&broken).contains("exit 1"));
        let refused = build.undeployable(&built.path("refused"), 3).unwrap();
        let queue = &template(&refused)["Resources"]["RefusedQueue"];
        assert_eq!(queue["DependsOn"], json!(["EmissionFunction"]));
        assert_eq!(program(build), "program\n");
    }

    #[test]
    fn a_statement_is_taken_away_by_its_name() {
        let built = Built::new();
        let without = |sid: &str| {
            let folder = built.path(sid);
            built.build.without_statement(&folder, "EmissionRole", sid)
        };
        let build = without("RecordUsage").unwrap();
        let template = template(&build);
        let left = statements(&template);
        assert_eq!(left.as_array().map(Vec::len), Some(2));
        assert_eq!(left[0]["Sid"], "FindCustomer");
        assert!(without("Unknown").is_err());
    }

    #[test]
    fn what_is_not_built_is_said_to_be_missing() {
        let folder = tempfile::tempdir().unwrap();
        let missing = Build::of_sam(&folder.path().join("nothing"), folder.path());
        assert!(matches!(missing, Err(Failure::NotBuilt(_))));
    }
}
