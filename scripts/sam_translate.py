"""What SAM makes of a template, as CloudFormation gets it: on standard output.

    sam_translate.py template.yaml GradualDeployment=true

`sam validate --lint` reads the template as it is written. What SAM adds (aliases,
CodeDeploy's groups and role) depends on the parameters, and only this shows it to
cfn-lint. Runs in .venv, and asks nothing of AWS.
"""

import json
import logging
import sys

from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform

FUNCTION = "AWS::Serverless::Function"


class NoManagedPolicies:
    """The translator's names of AWS's own policies: the template uses none by name."""

    def load(self):
        return {}


def main(path, overrides):
    # It warns of switches of its own that are nobody's here.
    logging.getLogger("samtranslator").setLevel(logging.ERROR)
    with open(path, encoding="utf-8") as file:
        template = yaml_parse(file.read())
    for name, value in overrides.items():
        # So that the linter, which goes by defaults, sees the same.
        template["Parameters"][name]["Default"] = value
    for resource in template["Resources"].values():
        if resource["Type"] == FUNCTION:
            # `sam package` would put it there.
            resource["Properties"]["CodeUri"] = "s3://bucket/key"
    json.dump(transform(template, {}, NoManagedPolicies()), sys.stdout, indent=2)


if __name__ == "__main__":
    main(sys.argv[1], dict(override.split("=", 1) for override in sys.argv[2:]))
