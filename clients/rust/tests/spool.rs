//! Events that outlive the network, and the process. Kill and restart are in
//! `clients/conformance`.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use meterline_client::{Emit, Meterline, Status, Usage};
use support::{Scripted, Step, answer};
use tempfile::TempDir;

fn usage(n: u64) -> Usage {
    let usage = Usage::new("cus_1", "operation");
    usage.event_id(format!("event-{n}")).quantity(n)
}

fn client(meterline: &Scripted, folder: &TempDir) -> Meterline {
    let builder = meterline.builder().spool(folder.path());
    builder.retry_budget(Duration::ZERO).build().unwrap()
}

fn files(folder: &Path) -> usize {
    folder.read_dir().unwrap().count()
}

#[tokio::test]
async fn what_is_recorded_leaves_nothing_behind() {
    let (meterline, folder) = (Scripted::start([]).await, TempDir::new().unwrap());
    let client = client(&meterline, &folder);
    let recorded = client.emit(usage(3)).await.unwrap();
    assert_eq!(recorded.status, Status::Delivered);
    assert_eq!(files(&folder.path().join("waiting")), 0);
    assert_eq!(files(folder.path()), 2, "nothing but the two folders");
}

/// The format is that of every language.
#[tokio::test]
async fn what_waits_is_written_as_every_client_reads_it() {
    let (meterline, folder) = (Scripted::start([]).await, TempDir::new().unwrap());
    meterline.always(Some(Step::Vanish));
    let recorded = client(&meterline, &folder).emit(usage(3)).await.unwrap();
    assert_eq!(recorded.status, Status::Spooled);
    // printf 'cus_1\nevent-3' | sha256sum
    let name = "3ca10f53460492a2b1b0606b77df2afcbc671ee0fec0453f5f0f51d1140171fd";
    let path = folder.path().join("waiting").join(format!("{name}.json"));
    let file: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let event = serde_json::json!({
        "event_id": "event-3", "customer_id": "cus_1", "quantity": 3, "action_type": "operation",
    });
    assert_eq!(file, serde_json::json!({ "event": event }));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
    }
}

#[tokio::test]
async fn the_next_client_sends_what_the_last_one_could_not() {
    let (meterline, folder) = (Scripted::start([]).await, TempDir::new().unwrap());
    meterline.always(Some(Step::Vanish));
    let before = client(&meterline, &folder);
    for n in 1..=3 {
        assert_eq!(before.emit(usage(n)).await.unwrap().status, Status::Spooled);
    }
    assert_eq!(before.flush().await.waiting, 3);
    before.close().await;
    meterline.always(None);
    let after = client(&meterline, &folder);
    assert_eq!(after.flush().await.waiting, 0);
    let expected = [("event-1", 1), ("event-2", 2), ("event-3", 3)];
    let expected = expected.map(|(id, units)| (id.to_owned(), units));
    assert_eq!(meterline.recorded(), expected.into());
}

#[tokio::test]
async fn what_is_refused_later_is_kept_and_named() {
    let (meterline, folder) = (Scripted::start([]).await, TempDir::new().unwrap());
    meterline.refuse("event-1");
    meterline.always(Some(Step::Vanish));
    let client = client(&meterline, &folder);
    client.emit(usage(1)).await.unwrap();
    meterline.always(Some(answer(401, "unauthorized")));
    let flushed = client.flush().await;
    let what = "a refused key is no refused event";
    assert_eq!((flushed.waiting, flushed.set_aside), (1, 0), "{what}");
    meterline.always(None);
    let flushed = client.flush().await;
    assert_eq!((flushed.waiting, flushed.set_aside), (0, 1));
    let refused = client.refused().unwrap();
    assert_eq!(refused.len(), 1);
    assert_eq!(
        (refused[0].event_id.as_str(), refused[0].quantity),
        ("event-1", 1)
    );
    assert_eq!(refused[0].problem.kind(), "invalid-field");
}

/// What an earlier call was told to be safe does not fall to a later call whose
/// key is refused.
#[tokio::test]
async fn a_refused_key_gives_nothing_up_that_is_safe() {
    let (meterline, folder) = (Scripted::start([]).await, TempDir::new().unwrap());
    meterline.always(Some(Step::Vanish));
    client(&meterline, &folder).emit(usage(1)).await.unwrap();
    meterline.always(Some(answer(403, "forbidden")));
    let later = client(&meterline, &folder);
    assert!(!later.emit(usage(1)).await.unwrap_err().is_retryable());
    assert_eq!(later.flush().await.waiting, 1);
    meterline.always(None);
    assert_eq!(later.flush().await.waiting, 0);
    assert_eq!(meterline.recorded(), [("event-1".to_owned(), 1)].into());
}

#[tokio::test]
async fn one_id_in_the_spool_has_one_content() {
    let (meterline, folder) = (Scripted::start([]).await, TempDir::new().unwrap());
    meterline.always(Some(Step::Vanish));
    let client = client(&meterline, &folder);
    for _ in 0..2 {
        client.emit(usage(1)).await.unwrap();
    }
    let other = usage(1).quantity(2);
    let conflict = client.emit(other).await.unwrap_err();
    assert_eq!(conflict.problem().unwrap().kind(), "conflict");
    assert_eq!(client.flush().await.waiting, 1);
}

#[tokio::test]
async fn a_folder_that_cannot_be_is_an_error_at_the_start() {
    let (meterline, folder) = (Scripted::start([]).await, TempDir::new().unwrap());
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(meterline.builder().spool(file).build().is_err());
}
