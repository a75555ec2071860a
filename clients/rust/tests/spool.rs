//! Events that outlive the network, and the process. Kill and restart are in
//! `clients/conformance`.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod support;

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meterline_client::{Emit, Meterline, ReservationRequest, Status, Usage};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{Scripted, Step, answer, problem_body};

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
    assert_eq!(before.flush().await.unwrap().waiting, 3);
    before.close().await;
    meterline.always(None);
    let after = client(&meterline, &folder);
    assert_eq!(after.flush().await.unwrap().waiting, 0);
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
    let flushed = client.flush().await.unwrap();
    let what = "a refused key is no refused event";
    assert_eq!((flushed.waiting, flushed.set_aside), (1, 0), "{what}");
    meterline.always(None);
    let flushed = client.flush().await.unwrap();
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
    assert_eq!(later.emit(usage(1)).await.unwrap().status, Status::Spooled);
    assert_eq!(later.flush().await.unwrap().waiting, 1);
    meterline.always(None);
    assert_eq!(later.flush().await.unwrap().waiting, 0);
    assert_eq!(meterline.recorded(), [("event-1".to_owned(), 1)].into());
}

/// It was said to be safe, and a gateway without a way to Meterline says nothing of it.
#[tokio::test]
async fn who_is_not_meterline_gives_nothing_up_that_is_safe() {
    let (meterline, folder) = (Scripted::start([]).await, TempDir::new().unwrap());
    let lost = json!({ "message": "Not Found" });
    meterline.always(Some(Step::Answer(404, lost, None)));
    let client = client(&meterline, &folder);
    assert_eq!(client.emit(usage(1)).await.unwrap().status, Status::Spooled);
    let left = client.flush().await.unwrap();
    assert_eq!((left.waiting, left.set_aside), (1, 0));
    meterline.always(None);
    assert_eq!(client.flush().await.unwrap().waiting, 0);
    assert_eq!(meterline.recorded(), [("event-1".to_owned(), 1)].into());
}

/// Two calls with one event: the one that gives up is told that the event is
/// safe, the other meets a refused key afterwards.
#[tokio::test]
async fn a_call_does_not_give_up_what_another_was_promised() {
    let soon = Step::Answer(429, problem_body(429, "rate-limited"), Some(1));
    let never = Step::Answer(503, problem_body(503, "unavailable"), Some(3_600));
    let script = [soon, never, answer(401, "unauthorized")];
    let (meterline, folder) = (Scripted::start(script).await, TempDir::new().unwrap());
    let client = meterline.builder().spool(folder.path()).build().unwrap();
    let first = tokio::spawn({
        let client = client.clone();
        async move { client.emit(usage(1)).await }
    });
    while meterline.requests().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.emit(usage(1)).await.unwrap().status, Status::Spooled);
    assert_eq!(first.await.unwrap().unwrap().status, Status::Spooled);
    assert_eq!(client.flush().await.unwrap().waiting, 0);
    assert_eq!(meterline.recorded(), [("event-1".to_owned(), 1)].into());
}

/// A hundred events that a refused key keeps where they are let the next one by.
#[tokio::test]
async fn what_cannot_be_sent_keeps_nothing_from_being_sent() {
    let (meterline, folder) = (Scripted::start([]).await, TempDir::new().unwrap());
    meterline.always(Some(Step::Vanish));
    let client = client(&meterline, &folder);
    for n in 1..=101 {
        client.emit(usage(n)).await.unwrap();
    }
    meterline.always(None);
    meterline.refuse_key_for_all_but("event-101");
    assert_eq!(client.flush().await.unwrap().waiting, 100);
    assert_eq!(meterline.recorded(), [("event-101".to_owned(), 101)].into());
}

/// What is logged, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Three batches wait for a key that may emit for others alone.
#[tokio::test]
async fn what_a_key_holds_up_is_told_in_one_line_a_round() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone());
    let _logged = tracing::subscriber::set_default(subscriber.with_ansi(false).finish());
    let (meterline, folder) = (Scripted::start([]).await, TempDir::new().unwrap());
    meterline.refuse_key_for_all_but("nothing");
    let client = client(&meterline, &folder);
    for n in 0..201 {
        let event = json!({ "event": {
            "event_id": n.to_string(), "customer_id": "cus_1", "quantity": 1,
            "action_type": "operation",
        }});
        let path = folder.path().join(format!("waiting/{n}.json"));
        fs::write(path, event.to_string()).unwrap();
    }
    assert_eq!(client.flush().await.unwrap().waiting, 201);
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let mut lines = log.lines().filter(|line| line.contains("refuses the key"));
    // The round of the flush, and perhaps the first of the background.
    assert!(lines.clone().count() >= 1, "{log}");
    assert!(lines.all(|line| line.contains("events=201")), "{log}");
}

/// That another attempt comes to the same is known at once.
#[tokio::test]
async fn a_flush_does_not_ask_again_under_a_refused_key() {
    let (meterline, folder) = (Scripted::start([]).await, TempDir::new().unwrap());
    meterline.always(Some(Step::Vanish));
    client(&meterline, &folder).emit(usage(1)).await.unwrap();
    for (status, kind) in [(401, "unauthorized"), (403, "forbidden")] {
        meterline.always(Some(answer(status, kind)));
        let patient = meterline.builder().spool(folder.path()).build().unwrap();
        let requests_before = meterline.requests().len();
        assert_eq!(patient.flush().await.unwrap().waiting, 1);
        // Its own, and at most the first of the background.
        assert!(meterline.requests().len() - requests_before <= 2);
    }
}

/// A wait that would end after the time for retries is not begun, nor is the
/// answer asked for sooner.
#[tokio::test]
async fn a_flush_asks_no_sooner_than_it_is_told() {
    let (meterline, folder) = (Scripted::start([]).await, TempDir::new().unwrap());
    let later = Step::Answer(429, problem_body(429, "rate-limited"), Some(3_600));
    meterline.always(Some(Step::Vanish));
    client(&meterline, &folder).emit(usage(1)).await.unwrap();
    meterline.always(Some(later));
    let patient = meterline.builder().spool(folder.path()).build().unwrap();
    let requests_before = meterline.requests().len();
    assert_eq!(patient.flush().await.unwrap().waiting, 1);
    // Its own, and at most the first of the background.
    assert!(meterline.requests().len() - requests_before <= 2);
}

#[tokio::test]
async fn each_content_that_is_refused_under_an_id_is_kept() {
    let (meterline, folder) = (Scripted::start([]).await, TempDir::new().unwrap());
    meterline.refuse("event-1");
    let client = client(&meterline, &folder);
    for units in [5, 6, 6] {
        client.emit(usage(1).quantity(units)).await.unwrap_err();
    }
    let mut refused: Vec<u64> = Vec::new();
    refused.extend(
        client
            .refused()
            .unwrap()
            .iter()
            .map(|refused| refused.quantity),
    );
    refused.sort_unstable();
    assert_eq!(refused, [5, 6]);
}

/// A time as unix seconds, as another language's client may have it.
#[tokio::test]
async fn what_another_client_left_is_sent_and_what_is_no_event_is_set_aside() {
    let (meterline, folder) = (Scripted::start([]).await, TempDir::new().unwrap());
    let client = client(&meterline, &folder);
    let waiting = folder.path().join("waiting");
    let event = serde_json::json!({ "event": {
        "event_id": "theirs", "customer_id": "cus_1", "quantity": 2, "action_type": "operation",
        "occurred_at": 1_769_860_800,
    }});
    fs::write(waiting.join("a.json"), event.to_string()).unwrap();
    fs::write(waiting.join("b.json"), "no event").unwrap();
    fs::write(folder.path().join("refused/c.json"), "no event").unwrap();
    let flushed = client.flush().await.unwrap();
    assert_eq!((flushed.waiting, flushed.set_aside), (0, 2));
    assert_eq!(meterline.recorded(), [("theirs".to_owned(), 2)].into());
    assert!(client.refused().unwrap().is_empty());
    let kept = fs::read_to_string(folder.path().join("refused/b.json")).unwrap();
    assert_eq!(kept, "no event");
}

/// What is no event at an event's place is not in its way, and nothing is lost of it.
#[tokio::test]
async fn an_event_takes_the_place_of_what_is_no_event() {
    let (meterline, folder) = (Scripted::start([]).await, TempDir::new().unwrap());
    meterline.always(Some(Step::Vanish));
    let client = client(&meterline, &folder);
    client.emit(usage(3)).await.unwrap();
    let name = "3ca10f53460492a2b1b0606b77df2afcbc671ee0fec0453f5f0f51d1140171fd.json";
    for torn in ["one", "two"] {
        fs::write(folder.path().join("waiting").join(name), torn).unwrap();
        assert_eq!(client.emit(usage(3)).await.unwrap().status, Status::Spooled);
    }
    assert_eq!(files(&folder.path().join("refused")), 2);
    meterline.always(None);
    assert_eq!(client.flush().await.unwrap().waiting, 0);
    assert_eq!(meterline.recorded(), [("event-3".to_owned(), 3)].into());
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
    assert_eq!(client.flush().await.unwrap().waiting, 1);
}

/// The units were held for it; and an event is the same event with and without them.
#[tokio::test]
async fn what_waits_keeps_its_reservation() {
    let (meterline, folder) = (Scripted::start([]).await, TempDir::new().unwrap());
    let client = client(&meterline, &folder);
    let request = ReservationRequest::new("cus_1", "operation", 5);
    client
        .reserve(request.reservation_id("run-1"))
        .await
        .unwrap();
    meterline.always(Some(Step::Vanish));
    for usage in [usage(3).reservation_id("run-1"), usage(3)] {
        let spooled = client.emit(usage).await.unwrap();
        assert_eq!(
            (spooled.status, spooled.reservation),
            (Status::Spooled, None)
        );
    }
    meterline.always(None);
    assert_eq!(client.flush().await.unwrap().waiting, 0);
    assert_eq!(meterline.recorded(), [("event-3".to_owned(), 3)].into());
    assert_eq!(meterline.reservation("run-1"), Some("settled"));
}

#[tokio::test]
async fn a_folder_that_cannot_be_is_an_error_at_the_start() {
    let (meterline, folder) = (Scripted::start([]).await, TempDir::new().unwrap());
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(meterline.builder().spool(file).build().is_err());
}
