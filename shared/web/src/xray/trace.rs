//! The trace that the work under way is part of.

use std::future::Future;

use lambda_runtime::Context;

tokio::task_local! {
    static CURRENT: Option<Trace>;
}

/// A sampled trace, and the segment in it that an invocation is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// `1-`, eight hexadecimal digits of the time, `-`, 24 more.
    pub(super) trace_id: String,
    /// 16 hexadecimal digits.
    pub(super) parent_id: String,
}

/// Does `work` as part of `trace`: the calls that it makes are told to X-Ray.
pub async fn traced<F: Future>(trace: Option<Trace>, work: F) -> F::Output {
    CURRENT.scope(trace, work).await
}

/// The trace of the work that asks.
pub(super) fn current() -> Option<Trace> {
    CURRENT.try_with(Clone::clone).ok().flatten()
}

impl Trace {
    /// That of the invocation; none where Lambda has not sampled it.
    pub fn of(context: &Context) -> Option<Self> {
        Self::parse(context.xray_trace_id.as_deref()?)
    }

    /// Reads a tracing header (AWS X-Ray Developer Guide: "Tracing header"), such as
    /// `Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1`.
    /// None of what is not sampled, or not of this form: callers can send one, too.
    fn parse(header: &str) -> Option<Self> {
        let (mut root, mut parent, mut is_sampled) = (None, None, false);
        for part in header.split(';') {
            match part.trim().split_once('=') {
                Some(("Root", value)) => root = Some(value),
                Some(("Parent", value)) => parent = Some(value),
                Some(("Sampled", value)) => is_sampled = value == "1",
                _ => {}
            }
        }
        let trace_id = root.filter(|id| is_trace_id(id))?.to_owned();
        let parent_id = parent.filter(|id| is_hex(id, 16))?.to_owned();
        is_sampled.then_some(Self {
            trace_id,
            parent_id,
        })
    }
}

fn is_trace_id(id: &str) -> bool {
    match id.split('-').collect::<Vec<_>>().as_slice() {
        ["1", time, rest] => is_hex(time, 8) && is_hex(rest, 24),
        _ => false,
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "1-5759e988-bd862e3fe1be46a994272793";
    const PARENT: &str = "53995c3f42cd8ad8";

    #[test]
    fn only_a_sampled_trace_of_the_right_form_is_followed() {
        let is_followed = |header: &str| Trace::parse(header).is_some();
        for header in [
            format!("Root={ROOT};Parent={PARENT};Sampled=1"),
            format!("Sampled=1; Root={ROOT}; Parent={PARENT}"),
            format!("Root={ROOT};Parent={PARENT};Sampled=1;Lineage=1:a87bd80c:0"),
        ] {
            let trace = Trace::parse(&header).unwrap();
            assert_eq!((&*trace.trace_id, &*trace.parent_id), (ROOT, PARENT));
        }
        for header in [
            "",
            "Sampled=1",
            &format!("Root={ROOT};Parent={PARENT};Sampled=0"),
            &format!("Root={ROOT};Parent={PARENT};Sampled=?"),
            &format!("Root={ROOT};Parent={PARENT}"),
            &format!("Root={ROOT};Sampled=1"),
            &format!("Root={ROOT}0;Parent={PARENT};Sampled=1"),
            &format!("Root=2{};Parent={PARENT};Sampled=1", &ROOT[1..]),
            &format!("Root={ROOT};Parent=\"{PARENT}\";Sampled=1"),
            &format!("Root=1-{ROOT};Parent={PARENT};Sampled=1"),
        ] {
            assert!(!is_followed(header), "{header}");
        }
    }

    #[tokio::test]
    async fn each_invocation_has_its_own_trace_and_other_work_none() {
        assert_eq!(current(), None);
        let mut context = Context::default();
        context.xray_trace_id = Some(format!("Root={ROOT};Parent={PARENT};Sampled=1"));
        let (inside, beside) = tokio::join!(
            traced(Trace::of(&context), async { current() }),
            traced(None, async { current() }),
        );
        assert_eq!(inside.unwrap().parent_id, PARENT);
        assert_eq!(beside, None);
        assert_eq!(current(), None);
    }
}
