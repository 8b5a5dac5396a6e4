//! find, aggregate, count, distinct: arguments in, a cursor or values out.

use std::sync::atomic::Ordering;

use document::{DocBuf, Raw, Value};
use engine::documents::{Aggregate, Count, Distinct, Find, Origin, Tail};
use engine::{BatchLimit, Cursor, Error, Result};

use super::args::{Args, too_small, wrong_type};
use super::caller::{self, caller, check_read_concern, reader};
use super::cursor::{self, Opening};
use super::generic::Level;
use super::{Context, Request, names};
use crate::reply::Reply;

const FIND_FIELDS: &[&str] = &[
    "filter",
    "sort",
    "projection",
    "hint",
    "skip",
    "limit",
    "batchSize",
    "singleBatch",
    "ntoreturn",
    "max",
    "min",
    "returnKey",
    "showRecordId",
    "tailable",
    "oplogReplay",
    "noCursorTimeout",
    "awaitData",
    "allowPartialResults",
    "collation",
    "allowDiskUse",
    "let",
    "options",
    "term",
    "readOnce",
    "runtimeConstants",
    "legacyRuntimeConstants",
    "requestResumeToken",
    "resumeAfter",
    "startAt",
    "encryptionInformation",
    "includeQueryStatsMetrics",
    "querySettings",
];

pub async fn find(ctx: &Context, request: &Request) -> Result<Reply> {
    let parsed = parse_find(request)?;
    check_read_concern(ctx, request)?;
    ctx.server.counters.queries.fetch_add(1, Ordering::Relaxed);
    let caller = reader(ctx, request)?;
    let opening = Opening {
        namespace: parsed.find.namespace.to_string(),
        batch_size: parsed.batch_size,
        single_batch: parsed.single_batch,
        no_timeout: parsed.no_timeout,
        change_stream: false,
        at: caller.read_at,
    };
    let cursor = ctx.server.engine.find(&caller, parsed.find)?;
    cursor::open(ctx, request, cursor, opening).await
}

pub(super) struct ParsedFind {
    pub find: Find,
    batch_size: Option<u64>,
    single_batch: bool,
    no_timeout: bool,
}

pub(super) fn parse_find(request: &Request) -> Result<ParsedFind> {
    let args = Args::command("find", request.body.as_doc(), FIND_FIELDS)?;
    let namespace = names::collection(request)?;
    for unsupported in ["requestResumeToken", "resumeAfter", "startAt", "term", "ntoreturn"] {
        let asked = match args.get(unsupported) {
            None | Some(Raw::Bool(false)) => false,
            Some(Raw::Document(doc)) => !doc.is_empty(),
            Some(_) => true,
        };
        if asked {
            return Err(Error::new(115, format!("the option '{unsupported}' of find is not supported")));
        }
    }
    let tailable = args.bool("tailable")?.unwrap_or(false);
    let awaits = args.bool("awaitData")?.unwrap_or(false);
    let single_batch = args.bool("singleBatch")?.unwrap_or(false);
    let tail = match (tailable, awaits) {
        (false, true) => return Err(Error::new(9, "Cannot set 'awaitData' without also setting 'tailable'")),
        (true, _) if single_batch => {
            return Err(Error::new(2, "cannot use tailable option with the 'singleBatch' option"));
        }
        (true, true) => Tail::Await,
        (true, false) => Tail::Tail,
        (false, false) => Tail::No,
    };
    let find = Find {
        namespace,
        filter: args.document_or_empty("filter")?,
        projection: args.document_buf("projection")?,
        sort: args.document_buf("sort")?,
        hint: caller::hint(&args, "hint")?,
        skip: args.size("skip")?.unwrap_or(0),
        limit: args.size("limit")?.filter(|limit| *limit > 0),
        collation: args.document_buf("collation")?.filter(|doc| !doc.is_empty()),
        variables: args.document_buf("let")?,
        tail,
        show_record_id: args.bool("showRecordId")?.unwrap_or(false),
        min: args.document_buf("min")?.filter(|doc| !doc.is_empty()),
        max: args.document_buf("max")?.filter(|doc| !doc.is_empty()),
        return_key: args.bool("returnKey")?.unwrap_or(false),
    };
    check_bounds(&find)?;
    if tail != Tail::No && find.sort.as_ref().is_some_and(|sort| !is_natural(sort)) {
        return Err(Error::new(2, "cannot use tailable option with a sort other than {$natural: 1}"));
    }
    args.bool("allowDiskUse")?;
    args.bool("allowPartialResults")?;
    Ok(ParsedFind {
        find,
        batch_size: args.size("batchSize")?,
        single_batch,
        no_timeout: args.bool("noCursorTimeout")?.unwrap_or(false),
    })
}

/// `min` and `max` are keys of one index.
fn check_bounds(find: &Find) -> Result<()> {
    let (Some(min), Some(max)) = (&find.min, &find.max) else { return Ok(()) };
    let names = |bound: &DocBuf| bound.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
    if names(min) == names(max) {
        return Ok(());
    }
    Err(Error::new(51176, "min and max must have the same field names"))
}

fn is_natural(sort: &DocBuf) -> bool {
    sort.is_empty() || sort.get("$natural").and_then(Raw::as_whole) == Some(1)
}

const AGGREGATE_FIELDS: &[&str] = &[
    "pipeline",
    "explain",
    "cursor",
    "allowDiskUse",
    "bypassDocumentValidation",
    "collation",
    "hint",
    "let",
    "needsMerge",
    "fromMongos",
    "fromRouter",
    "exchange",
    "isMapReduceCommand",
    "runtimeConstants",
    "legacyRuntimeConstants",
    "collectionUUID",
    "passthroughToShard",
    "encryptionInformation",
    "includeQueryStatsMetrics",
    "querySettings",
    "requestReshardingResumeToken",
    "isClusterQueryWithoutShardKeyCmd",
];

pub(super) struct ParsedAggregate {
    pub aggregate: Aggregate,
    pub explain: bool,
    batch_size: Option<u64>,
}

pub(super) fn parse_aggregate(request: &Request, needs_cursor: bool) -> Result<ParsedAggregate> {
    let args = Args::command("aggregate", request.body.as_doc(), AGGREGATE_FIELDS)?;
    let origin = match args.get("aggregate") {
        Some(number) if number.is_number() => {
            if number.as_whole() != Some(1) {
                return Err(Error::new(
                    9,
                    "Invalid command format: the 'aggregate' field must specify a collection name or 1",
                ));
            }
            Origin::Database(request.db.clone())
        }
        Some(Raw::String(_)) => Origin::Collection(names::collection(request)?),
        Some(other) => return Err(wrong_type("aggregate.aggregate", other, "types '[string, number]'")),
        None => return Err(args.missing("aggregate")),
    };
    let stages = args.array("pipeline")?.ok_or_else(|| args.missing("pipeline"))?;
    let pipeline = caller::pipeline(&args, "pipeline", stages)?;
    let explain = args.bool("explain")?.unwrap_or(false);
    let cursor = args.document("cursor")?;
    if cursor.is_none() && !explain && needs_cursor {
        return Err(Error::new(9, "The 'cursor' option is required, except for aggregate with the explain argument"));
    }
    let batch_size = match cursor {
        None => None,
        Some(cursor) => Args::nested("cursor", cursor, &["batchSize"])?.size("batchSize")?,
    };
    args.bool("allowDiskUse")?;
    let aggregate = Aggregate {
        origin,
        pipeline,
        hint: caller::hint(&args, "hint")?,
        collation: args.document_buf("collation")?.filter(|doc| !doc.is_empty()),
        variables: args.document_buf("let")?,
        bypass_validation: args.flag("bypassDocumentValidation")?,
    };
    Ok(ParsedAggregate { aggregate, explain, batch_size })
}

pub async fn aggregate(ctx: &Context, request: &Request) -> Result<Reply> {
    let parsed = parse_aggregate(request, true)?;
    if parsed.explain {
        return super::explain::aggregate(ctx, request, parsed.aggregate);
    }
    let change_stream = is_change_stream(&parsed.aggregate.pipeline);
    request.reads_change_stream.store(change_stream, Ordering::Relaxed);
    if change_stream {
        check_change_stream_concern(request)?;
    }
    check_read_concern(ctx, request)?;
    check_output_concern(request, &parsed.aggregate.pipeline)?;
    ctx.server.counters.queries.fetch_add(1, Ordering::Relaxed);
    let namespace = match &parsed.aggregate.origin {
        Origin::Collection(namespace) => namespace.to_string(),
        Origin::Database(db) => format!("{db}.$cmd.aggregate"),
    };
    let caller = reader(ctx, request)?;
    let opening = Opening {
        namespace,
        batch_size: parsed.batch_size,
        single_batch: false,
        no_timeout: false,
        change_stream,
        at: caller.read_at,
    };
    let opened = ctx.server.engine.aggregate(&caller, parsed.aggregate).await?;
    let mut reply = cursor::open(ctx, request, opened.cursor, opening).await?;
    reply.operation_time = opened.time;
    Ok(reply)
}

fn is_change_stream(pipeline: &[DocBuf]) -> bool {
    pipeline.first().is_some_and(|stage| stage.as_doc().contains("$changeStream"))
}

/// What writes cannot promise to have read the newest state.
fn check_output_concern(request: &Request, pipeline: &[DocBuf]) -> Result<()> {
    let last = pipeline.last().and_then(|stage| stage.iter().next()).map_or("", |(name, _)| name);
    if matches!(last, "$out" | "$merge") && request.generic.read_concern.level == Some(Level::Linearizable) {
        return Err(Error::new(
            72,
            format!(
                "Aggregation stage {last} cannot run with a readConcern other than 'local' or 'majority'. Current readConcern: linearizable"
            ),
        ));
    }
    Ok(())
}

fn check_change_stream_concern(request: &Request) -> Result<()> {
    match request.generic.read_concern.level {
        None | Some(Level::Majority) => Ok(()),
        Some(level) => Err(Error::new(
            72,
            format!(
                "Aggregation stage $changeStream cannot run with a readConcern other than 'majority'. \
                 Current readConcern: {}",
                level.name()
            ),
        )),
    }
}

pub async fn count(ctx: &Context, request: &Request) -> Result<Reply> {
    let parsed = parse_count(request)?;
    check_read_concern(ctx, request)?;
    let n = ctx.server.engine.count(&caller(request), parsed)?;
    Ok(Reply::new().with("n", narrow(n)))
}

pub(super) fn parse_count(request: &Request) -> Result<Count> {
    let fields = [
        "query",
        "limit",
        "skip",
        "hint",
        "collation",
        "fields",
        "queryOptions",
        "collectionUUID",
        "encryptionInformation",
        "includeQueryStatsMetrics",
    ];
    let args = Args::command("count", request.body.as_doc(), &fields)?;
    let skip = args.integer("skip")?.unwrap_or(0);
    if skip < 0 {
        return Err(Error::new(9, format!("Expected a positive number in: skip: {skip}")));
    }
    // A negative limit means its absolute value, a relic of the legacy protocol.
    let limit = args.integer("limit")?.unwrap_or(0).unsigned_abs();
    Ok(Count {
        namespace: names::collection(request)?,
        filter: args.document_or_empty("query")?,
        skip: skip.unsigned_abs(),
        limit: (limit > 0).then_some(limit),
        hint: caller::hint(&args, "hint")?,
        collation: args.document_buf("collation")?.filter(|doc| !doc.is_empty()),
    })
}

/// Counts are 32-bit while they fit.
pub(super) fn narrow(n: u64) -> Value {
    match i32::try_from(n) {
        Ok(n) => Value::Int32(n),
        Err(_) => Value::Int64(i64::try_from(n).unwrap_or(i64::MAX)),
    }
}

pub async fn distinct(ctx: &Context, request: &Request) -> Result<Reply> {
    let parsed = parse_distinct(request)?;
    check_read_concern(ctx, request)?;
    let caller = reader(ctx, request)?;
    let values = ctx.server.engine.distinct(&caller, parsed)?;
    let mut reply = Reply::new();
    reply.body.array("values", values.as_doc());
    if let Some(at) = caller.read_at {
        reply.body.timestamp("atClusterTime", at);
    }
    Ok(reply)
}

pub(super) fn parse_distinct(request: &Request) -> Result<Distinct> {
    let fields = ["key", "query", "collation", "hint", "queryOptions", "collectionUUID"];
    let args = Args::command("distinct", request.body.as_doc(), &fields)?;
    Ok(Distinct {
        namespace: names::collection(request)?,
        key: args.require_string("key")?.to_owned(),
        filter: args.document_or_empty("query")?,
        hint: caller::hint(&args, "hint")?,
        collation: args.document_buf("collation")?.filter(|doc| !doc.is_empty()),
    })
}

/// A first batch of listing commands.
pub(super) fn listing_batch_size(args: &Args<'_>) -> Result<Option<u64>> {
    match args.document("cursor")? {
        None => Ok(None),
        Some(cursor) => {
            let cursor = Args::nested("cursor", cursor, &["batchSize"])?;
            match cursor.integer("batchSize")? {
                Some(n) if n < 0 => Err(too_small("batchSize", n, 0)),
                Some(n) => Ok(Some(n.unsigned_abs())),
                None => Ok(None),
            }
        }
    }
}

/// Opens a cursor over documents that are at hand.
pub(super) async fn listing(
    ctx: &Context,
    request: &Request,
    namespace: String,
    documents: Vec<DocBuf>,
    batch_size: Option<u64>,
) -> Result<Reply> {
    let opening =
        Opening { namespace, batch_size, single_batch: false, no_timeout: false, change_stream: false, at: None };
    cursor::open_with_default(
        ctx,
        request,
        Cursor::of(documents),
        opening,
        BatchLimit { documents: usize::MAX, bytes: cursor::MAX_BATCH_BYTES },
    )
    .await
}
