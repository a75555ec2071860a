//! What `sam build` made, and others of it: a newer build, a broken one, one that
//! cannot be deployed.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::failure::Failure;

/// Where `sam build` leaves it.
const BUILT: &str = ".aws-sam/build";
const PROGRAM: &str = "bootstrap";
const FUNCTION: &str = "AWS::Serverless::Function";
const ALARM: &str = "AWS::CloudWatch::Alarm";
const DASHBOARD: &str = "AWS::CloudWatch::Dashboard";

/// A build, ready for `sam deploy`, in a folder of its own.
#[derive(Debug)]
pub(crate) struct Build {
    folder: PathBuf,
    template: Value,
}

impl Build {
    /// Copies what `sam build` made into `folder`, without what ministack does not
    /// have: alarms that calculate with metrics, the dashboard that shows them, and
    /// CodeDeploy, which goes back by them.
    pub(crate) fn of_sam(folder: &Path) -> Result<Self, Failure> {
        let built = Path::new(BUILT);
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

    /// The same programs, but a statement of a function's policy is missing.
    pub(crate) fn without_statement(
        &self,
        folder: &Path,
        function: &str,
        sid: &str,
    ) -> Result<Self, Failure> {
        let mut build = self.copy(folder)?;
        let policies = &mut build.template["Resources"][function]["Properties"]["Policies"];
        let statements = policies[0]["Statement"].as_array_mut();
        let statements = statements.ok_or_else(|| Failure::unexpected("a function's policy"))?;
        let before = statements.len();
        statements.retain(|statement| statement["Sid"] != sid);
        if statements.len() == before {
            return Err(Failure::Unexpected(format!("the policy of {function}")));
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
