//! The program itself: its environment, its output, and how it ends.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::support::{Caller, start, totals, variables};

const PROGRAM: &str = env!("CARGO_BIN_EXE_meterline-local");

fn program(folder: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .arg("serve")
        .env("LOCAL_DIR", folder)
        .env_remove("AWS_ENDPOINT_URL_DYNAMODB")
        .env_remove("STRIPE_API_BASE");
    for port in ["METERLINE_PORT", "DYNAMODB_PORT", "STRIPE_PORT"] {
        command.env(port, "0");
    }
    command
}

/// The program, and the end of its output: it ends where nobody listens.
struct Serving {
    child: Child,
    _output: BufReader<ChildStdout>,
}

/// Starts it and waits until it has said where everything is.
fn serve(folder: &Path) -> Serving {
    let mut child = program(folder).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let env_file = output
        .by_ref()
        .lines()
        .map(Result::unwrap)
        .find(|line| line.contains("source"));
    assert!(env_file.is_some(), "it ended at once");
    Serving {
        child,
        _output: output,
    }
}

fn caller(folder: &Path) -> Caller {
    let variables = variables(&folder.join("env"));
    let key = variables["METERLINE_API_KEY"].as_str();
    Caller::new(&variables["METERLINE_URL"], key.into())
}

#[tokio::test]
async fn what_was_answered_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut serving = serve(folder.path());
    let caller = caller(folder.path());
    let customer_id = caller.onboard("first").await;
    caller.emit(&customer_id, "event", 50).await;
    serving.child.kill().unwrap();
    serving.child.wait().unwrap();

    let system = start(folder.path()).await;
    crate::support::pump_all(&system).await;
    assert_eq!(totals(system.ledger(), &customer_id).await, (50, 0));
    assert_eq!(Caller::of(&system).onboard("first").await, customer_id);
    system.stop().await.unwrap();
}

#[test]
fn a_second_program_in_the_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut serving = serve(folder.path());
    let refused = program(folder.path()).output().unwrap();
    assert!(!refused.status.success());
    let complaint = String::from_utf8(refused.stderr).unwrap();
    assert!(complaint.contains("LOCAL_DIR"), "{complaint}");
    serving.child.kill().unwrap();
    serving.child.wait().unwrap();
}

#[test]
fn told_to_end_it_leaves_in_order() {
    for signal in ["TERM", "INT"] {
        let folder = tempfile::tempdir().unwrap();
        let mut serving = serve(folder.path());
        let pid = serving.child.id().to_string();
        let sent = Command::new("kill")
            .args(["-s", signal, &pid])
            .status()
            .unwrap();
        assert!(sent.success());
        assert!(serving.child.wait().unwrap().success(), "{signal}");
        assert!(!folder.path().join("env").exists());
    }
}

/// An address where nobody answers.
const NOWHERE: &str = "http://127.0.0.1:9";

#[test]
fn what_is_wrong_with_the_environment_is_said() {
    let stripe = ("STRIPE_API_BASE", NOWHERE);
    let cases: [(&[(&str, &str)], &str); 5] = [
        (
            &[("METERLINE_PORT", "eighty")],
            "METERLINE_PORT is \"eighty\"",
        ),
        (&[stripe], "STRIPE_SECRET_KEY must be"),
        (
            &[stripe, ("STRIPE_SECRET_KEY", "sk_test_1")],
            "unset STRIPE_API_BASE",
        ),
        (
            &[stripe, ("STRIPE_SECRET_KEY", "sk_live_1")],
            "bills nobody",
        ),
        (
            &[("AWS_ENDPOINT_URL_DYNAMODB", NOWHERE)],
            "unset AWS_ENDPOINT_URL_DYNAMODB",
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (variables, complaint) in cases {
        let mut command = program(folder.path());
        command
            .env_remove("STRIPE_SECRET_KEY")
            .envs(variables.iter().copied());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{variables:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(complaint), "{said}");
        assert!(!said.contains("sk_"), "{said}");
    }
}
