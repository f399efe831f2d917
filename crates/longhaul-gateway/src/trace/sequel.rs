//! What is told of a WebSocket whose handshake was followed.

use std::sync::Arc;

use longhaul_proto::otlp::Value;
use longhaul_proto::otlp::traces::{Kind, Span};
use longhaul_proto::trace::{Context, SpanId, TraceId};

use super::{Began, Trace, Tracer};
use crate::relay::Ended;
use crate::telemetry::Card;

/// A WebSocket that began with a request that was followed. Its whole life would be one span of
/// hours, which collectors see only at the end; so the end is told of as a moment.
#[derive(Debug)]
pub(crate) struct Sequel {
    tracer: Arc<Tracer>,
    trace: TraceId,
    parent: SpanId,
}

impl Trace {
    /// What comes behind a 101, to be told of when it has ended.
    pub(crate) fn sequel(&self) -> Sequel {
        Sequel { tracer: self.0.tracer.clone(), trace: self.0.trace, parent: self.0.id }
    }
}

impl Sequel {
    /// As another process can take it up.
    pub(crate) fn carried(&self) -> String {
        Context { trace: self.trace, span: self.parent, is_sampled: true }.to_string()
    }

    /// That of another process, which is told to this one's collector.
    pub(crate) fn take_up(tracer: &Arc<Tracer>, carried: &str) -> Option<Self> {
        let Context { trace, span: parent, .. } = Context::parse(carried.as_bytes())?;
        Some(Self { tracer: tracer.clone(), trace, parent })
    }

    /// It has ended.
    pub(crate) fn end(&self, card: &Card, ended: &Ended) {
        let now = Began::now().ns;
        let count = |number: u64| Value::Number(number.cast_signed());
        let attributes = vec![
            ("longhaul.id", count(card.id)),
            ("longhaul.closed_by", ended.cause.closer().into()),
            ("longhaul.cause", ended.cause.name().into()),
            ("longhaul.duration_s", Value::Real(card.opened_at.elapsed().as_secs_f64())),
            ("longhaul.messages_up", count(ended.up.messages)),
            ("longhaul.messages_down", count(ended.down.messages)),
            ("longhaul.bytes_up", count(ended.up.bytes)),
            ("longhaul.bytes_down", count(ended.down.bytes)),
        ];
        self.tracer.tell(vec![Span {
            trace: self.trace,
            id: SpanId::of(fastrand::u64(..)),
            parent: Some(self.parent),
            name: "websocket closed".into(),
            kind: Kind::Internal,
            began_ns: now,
            ended_ns: now,
            attributes,
            error: None,
        }]);
    }
}
