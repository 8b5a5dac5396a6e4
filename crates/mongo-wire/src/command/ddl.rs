//! Commands that create, change, list and drop collections, views and indexes.

use document::{Doc, DocBuf, Raw, RawDoc, Value};
use engine::documents::{CollMod, CreateCollection, IndexChange, RenameCollection};
use engine::{Error, Result};

use super::args::{Args, too_small, wrong_type};
use super::caller::caller;
use super::query::{listing, listing_batch_size};
use super::{Context, Request, names};
use crate::reply::Reply;

const CREATE_FIELDS: &[&str] = &[
    "capped",
    "autoIndexId",
    "idIndex",
    "size",
    "max",
    "storageEngine",
    "validator",
    "validationLevel",
    "validationAction",
    "indexOptionDefaults",
    "viewOn",
    "pipeline",
    "collation",
    "changeStreamPreAndPostImages",
    "timeseries",
    "clusteredIndex",
    "expireAfterSeconds",
    "encryptedFields",
    "temp",
    "flags",
    "recordIdsReplicated",
];

pub async fn create(ctx: &Context, request: &Request) -> Result<Reply> {
    let namespace = names::collection(request)?;
    let args = Args::command("create", request.body.as_doc(), CREATE_FIELDS)?;
    names::check_writable(&namespace)?;
    for unsupported in ["timeseries", "encryptedFields"] {
        if args.get(unsupported).is_some() {
            return Err(Error::new(115, format!("'{unsupported}' collections are not supported")));
        }
    }
    if args.lenient_bool("autoIndexId")? == Some(false) {
        let message =
            format!("autoIndexId:false is not allowed for collection {namespace} because it can be replicated");
        return Err(Error::new(50001, message));
    }
    let create = CreateCollection { namespace, options: create_options(&args)? };
    let time = ctx.server.engine.create_collection(&caller(request), create).await?;
    Ok(Reply { operation_time: Some(time), ..Reply::new() })
}

fn positive(args: &Args<'_>, name: &str, least: i64) -> Result<Option<i64>> {
    match args.integer(name)? {
        Some(n) if n < least => Err(too_small(name, n, least)),
        other => Ok(other),
    }
}

fn one_of(args: &Args<'_>, command: &str, name: &str, allowed: &[&str]) -> Result<Option<String>> {
    match args.string(name)? {
        None => Ok(None),
        Some(value) if allowed.contains(&value) => Ok(Some(value.to_owned())),
        Some(other) => {
            let message = format!("Enumeration value '{other}' for field '{command}.{name}' is not a valid value.");
            Err(Error::new(2, message))
        }
    }
}

const LEVELS: &[&str] = &["off", "strict", "moderate"];
const ACTIONS: &[&str] = &["error", "warn", "errorAndLog"];

/// The options in the order in which `listCollections` shows them.
fn create_options(args: &Args<'_>) -> Result<DocBuf> {
    let mut options = Doc::new();
    let capped = args.flag("capped")?;
    let (size, max) = (positive(args, "size", 1)?, args.integer("max")?);
    if capped {
        let size = size.ok_or_else(|| Error::new(72, "the 'size' field is required when 'capped' is true"))?;
        options.push("capped", true);
        options.push("size", narrow(size.saturating_add(255) / 256 * 256));
        if let Some(max) = max.filter(|max| *max > 0) {
            options.push("max", narrow(max));
        }
    } else if size.is_some() || max.is_some() {
        let message = "the 'capped' field needs to be true when either the 'size' or 'max' fields are present";
        return Err(Error::new(72, message));
    }
    if let Some(images) = images(args, "create")? {
        options.push("changeStreamPreAndPostImages", Doc::new().with("enabled", true));
        if !images {
            options.remove("changeStreamPreAndPostImages");
        }
    }
    if let Some(validator) = args.document("validator")? {
        options.push("validator", validator.to_doc());
    }
    if let Some(level) = one_of(args, "create", "validationLevel", LEVELS)? {
        options.push("validationLevel", level);
    }
    if let Some(action) = one_of(args, "create", "validationAction", ACTIONS)? {
        options.push("validationAction", action);
    }
    if let Some(collation) = args.document("collation")? {
        options.push("collation", collation.to_doc());
    }
    let view_on = args.string("viewOn")?;
    let pipeline = args.array("pipeline")?;
    if let Some(source) = view_on {
        options.push("viewOn", source);
        let stages = pipeline.map(|stages| stages.values().map(Raw::to_value).collect()).unwrap_or_default();
        options.push("pipeline", Value::Array(stages));
    } else if pipeline.is_some() {
        return Err(Error::new(72, "'pipeline' requires 'viewOn' to also be specified"));
    }
    if let Some(clustered) = args.get("clusteredIndex") {
        options.push("clusteredIndex", clustered_index(clustered)?);
    }
    if let Some(seconds) = args.integer("expireAfterSeconds")? {
        options.push("expireAfterSeconds", seconds);
    }
    for kept in ["storageEngine", "indexOptionDefaults"] {
        if let Some(doc) = args.document(kept)?
            && !doc.is_empty()
        {
            options.push(kept, doc.to_doc());
        }
    }
    Ok(options.to_buf())
}

/// `_id` is always the clustering key; every collection here is looked up by it alike.
fn clustered_index(value: Raw<'_>) -> Result<Doc> {
    let Raw::Document(spec) = value else {
        return Err(wrong_type("create.clusteredIndex", value, "type 'object'"));
    };
    let args = Args::nested("create.clusteredIndex", spec, &["v", "key", "name", "unique"])?;
    let key = args.require_document("key")?;
    let on_id = key.iter().count() == 1 && key.get("_id").and_then(Raw::as_whole) == Some(1);
    if !on_id {
        return Err(Error::new(197, "The clustered index key must be {_id: 1}"));
    }
    if args.bool("unique")? != Some(true) {
        return Err(Error::new(5_979_700, "The clustered index must be unique"));
    }
    let name = args.string("name")?.unwrap_or("_id_").to_owned();
    Ok(Doc::new().with("v", 2).with("key", Doc::new().with("_id", 1)).with("name", name).with("unique", true))
}

fn narrow(n: i64) -> Value {
    i32::try_from(n).map_or(Value::Int64(n), Value::Int32)
}

fn images(args: &Args<'_>, command: &str) -> Result<Option<bool>> {
    let Some(doc) = args.document("changeStreamPreAndPostImages")? else { return Ok(None) };
    let nested = Args::nested(format!("{command}.changeStreamPreAndPostImages"), doc, &["enabled"])?;
    nested.bool("enabled")?.map(Some).ok_or_else(|| nested.missing("enabled"))
}

pub async fn coll_mod(ctx: &Context, request: &Request) -> Result<Reply> {
    let fields = [
        "index",
        "validator",
        "validationLevel",
        "validationAction",
        "viewOn",
        "pipeline",
        "expireAfterSeconds",
        "changeStreamPreAndPostImages",
        "timeseries",
        "cappedSize",
        "cappedMax",
        "recordPreImages",
        "dryRun",
        "isTimeseriesNamespace",
    ];
    let namespace = names::collection(request)?;
    let args = Args::command("collMod", request.body.as_doc(), &fields)?;
    for unsupported in ["timeseries", "recordPreImages", "dryRun"] {
        if args.get(unsupported).is_some() {
            return Err(Error::new(115, format!("collMod option '{unsupported}' is not supported")));
        }
    }
    let mut modify = CollMod { namespace, description: description_of(request.body.as_doc()), ..CollMod::default() };
    if let Some(index) = args.document("index")? {
        modify.index = Some(index_change(index)?);
    }
    modify.validator = args.document_buf("validator")?;
    modify.validation_level = one_of(&args, "collMod", "validationLevel", LEVELS)?;
    modify.validation_action = one_of(&args, "collMod", "validationAction", ACTIONS)?;
    modify.view_on = args.string("viewOn")?.map(str::to_owned);
    modify.pipeline = args.documents("pipeline")?.map(|stages| stages.into_iter().map(RawDoc::to_buf).collect());
    modify.images = images(&args, "collMod")?;
    modify.capped_size = positive(&args, "cappedSize", 1)?;
    modify.capped_max = args.integer("cappedMax")?;
    modify.expire_after_seconds = args.get("expireAfterSeconds").map(Raw::to_value);
    let done = ctx.server.engine.coll_mod(modify).await?;
    Ok(Reply { operation_time: Some(done.time), ..Reply::from(done.changes) })
}

/// A `modify` event's `operationDescription`: the arguments without the generic ones.
fn description_of(body: RawDoc<'_>) -> DocBuf {
    let generic = ["lsid", "writeConcern", "comment", "maxTimeMS", "readConcern", "apiVersion", "txnNumber"];
    let kept = body.iter().skip(1).filter(|(name, _)| !name.starts_with('$') && !generic.contains(name));
    let mut description: Doc = kept.map(|(name, value)| (name.to_owned(), value.to_value())).collect();
    if let Some(Value::Document(index)) = description.get_mut("index")
        && let Some(seconds) = index.get("expireAfterSeconds").and_then(Value::as_whole)
    {
        index.set("expireAfterSeconds", seconds);
    }
    description.to_buf()
}

fn index_change(doc: RawDoc<'_>) -> Result<IndexChange> {
    let fields = ["name", "keyPattern", "expireAfterSeconds", "hidden", "unique", "prepareUnique", "forceNonUnique"];
    let args = Args::nested("collMod.index", doc, &fields)?;
    let change = IndexChange {
        name: args.string("name")?.map(str::to_owned),
        key_pattern: args.document_buf("keyPattern")?,
        expire_after_seconds: args.integer("expireAfterSeconds")?,
        hidden: args.lenient_bool("hidden")?,
        unique: args.lenient_bool("unique")?,
        prepare_unique: args.lenient_bool("prepareUnique")?,
    };
    match (&change.name, &change.key_pattern) {
        (Some(_), Some(_)) => return Err(Error::new(72, "Cannot specify both key pattern and name.")),
        (None, None) => return Err(Error::new(72, "Must specify either index name or key pattern.")),
        _ => {}
    }
    if change.expire_after_seconds.is_none()
        && change.hidden.is_none()
        && change.unique.is_none()
        && change.prepare_unique.is_none()
    {
        return Err(Error::new(72, "no expireAfterSeconds or hidden field"));
    }
    Ok(change)
}

pub async fn drop(ctx: &Context, request: &Request) -> Result<Reply> {
    Args::command("drop", request.body.as_doc(), &["collectionUUID"])?;
    let namespace = names::collection(request)?;
    let dropped = ctx.server.engine.drop_collection(namespace.clone()).await?;
    let mut reply = Reply::new();
    if let Some(indexes) = dropped.indexes {
        reply = reply.with("nIndexesWas", indexes as i32);
    }
    reply = reply.with("ns", namespace.to_string());
    ctx.server.cursors.kill_where(|owner| !owner.change_stream && owner.namespace == namespace.to_string());
    reply.operation_time = Some(dropped.time);
    Ok(reply)
}

pub async fn drop_database(ctx: &Context, request: &Request) -> Result<Reply> {
    let args = Args::command("dropDatabase", request.body.as_doc(), &[])?;
    if args.get("dropDatabase").and_then(Raw::as_whole) != Some(1) {
        return Err(Error::new(5_255_100, "Have to pass 1 as 'drop' parameter"));
    }
    match request.db.as_str() {
        "admin" | "config" => {
            return Err(Error::new(20, format!("Dropping the '{}' database is prohibited.", request.db)));
        }
        "local" => return Err(Error::new(20, "Cannot drop 'local' database while replication is active")),
        _ => {}
    }
    let dropped = ctx.server.engine.drop_database(&request.db).await?;
    let mut reply = Reply::new();
    if dropped.value {
        reply = reply.with("dropped", request.db.as_str());
    }
    let prefix = format!("{}.", request.db);
    ctx.server.cursors.kill_where(|owner| !owner.change_stream && owner.namespace.starts_with(&prefix));
    reply.operation_time = Some(dropped.time);
    Ok(reply)
}

pub async fn rename_collection(ctx: &Context, request: &Request) -> Result<Reply> {
    let args =
        Args::command("renameCollection", request.body.as_doc(), &["to", "dropTarget", "stayTemp", "collectionUUID"])?;
    let from = full_namespace(args.require_string("renameCollection")?)?;
    let to = full_namespace(args.require_string("to")?)?;
    // The option may be the UUID of the collection to drop.
    let drop_target = match args.get("dropTarget") {
        None | Some(Raw::Bool(false)) => false,
        Some(Raw::Bool(true) | Raw::Binary { .. }) => true,
        Some(other) => return Err(wrong_type("renameCollection.dropTarget", other, "types '[bool, binData]'")),
    };
    names::check_database(&to.db)?;
    for namespace in [&from, &to] {
        names::check_writable(namespace).map_err(|error| Error::new(20, error.message()))?;
    }
    let time = ctx.server.engine.rename_collection(RenameCollection { from, to, drop_target }).await?;
    Ok(Reply { operation_time: Some(time), ..Reply::new() })
}

fn full_namespace(text: &str) -> Result<engine::Namespace> {
    match text.split_once('.') {
        Some((db, collection)) => names::namespace(db, collection),
        None => Err(Error::new(73, format!("Invalid namespace specified '{text}'"))),
    }
}

pub async fn create_indexes(ctx: &Context, request: &Request) -> Result<Reply> {
    let fields = ["indexes", "ignoreUnknownIndexOptions", "commitQuorum", "v", "isTimeseriesNamespace"];
    let args = Args::command("createIndexes", request.body.as_doc(), &fields)?;
    let namespace = names::collection(request)?;
    names::check_writable(&namespace)?;
    let specs = args.documents("indexes")?.ok_or_else(|| args.missing("indexes"))?;
    if specs.is_empty() {
        return Err(Error::new(2, "Must specify at least one index to create"));
    }
    let specs = specs.into_iter().map(RawDoc::to_buf).collect();
    let created = ctx.server.engine.create_indexes(&caller(request), namespace, specs).await?;
    let mut reply = Reply::new()
        .with("numIndexesBefore", created.before as i32)
        .with("numIndexesAfter", created.after as i32)
        .with("createdCollectionAutomatically", created.created_collection);
    if created.before == created.after {
        reply = Reply::new()
            .with("numIndexesBefore", created.before as i32)
            .with("numIndexesAfter", created.after as i32)
            .with("note", "all indexes already exist");
    } else {
        reply = reply.with("commitQuorum", "votingMembers");
    }
    reply.operation_time = created.time;
    Ok(reply)
}

pub async fn drop_indexes(ctx: &Context, request: &Request) -> Result<Reply> {
    let args =
        Args::command("dropIndexes", request.body.as_doc(), &["index", "collectionUUID", "isTimeseriesNamespace"])?;
    let namespace = names::collection(request)?;
    let which = args.get("index").ok_or_else(|| args.missing("index"))?;
    let which = match which {
        Raw::String(_) | Raw::Document(_) | Raw::Array(_) => which.to_value(),
        other => return Err(wrong_type("dropIndexes.index", other, "types '[string, array, object]'")),
    };
    let all = which.as_str() == Some("*");
    let dropped = ctx.server.engine.drop_indexes(namespace, which).await?;
    let mut reply = Reply::new().with("nIndexesWas", dropped.value as i32);
    if all {
        reply = reply.with("msg", "non-_id indexes dropped for collection");
    }
    reply.operation_time = Some(dropped.time);
    Ok(reply)
}

pub async fn list_indexes(ctx: &Context, request: &Request) -> Result<Reply> {
    let args = Args::command(
        "listIndexes",
        request.body.as_doc(),
        &["cursor", "includeBuildUUIDs", "includeIndexBuildInfo", "isTimeseriesNamespace"],
    )?;
    let namespace = names::collection(request)?;
    let batch_size = listing_batch_size(&args)?;
    let indexes = ctx.server.engine.list_indexes(&namespace)?;
    listing(ctx, request, namespace.to_string(), indexes, batch_size).await
}

pub async fn list_collections(ctx: &Context, request: &Request) -> Result<Reply> {
    let fields = ["cursor", "filter", "nameOnly", "authorizedCollections"];
    let args = Args::command("listCollections", request.body.as_doc(), &fields)?;
    let batch_size = listing_batch_size(&args)?;
    let filter = args.document_or_empty("filter")?;
    let name_only = args.lenient_bool("nameOnly")?.unwrap_or(false);
    let found = ctx.server.engine.list_collections(&request.db, &filter, name_only)?;
    listing(ctx, request, format!("{}.$cmd.listCollections", request.db), found, batch_size).await
}

pub fn list_databases(ctx: &Context, request: &Request) -> Result<Reply> {
    let args = Args::command("listDatabases", request.body.as_doc(), &["filter", "nameOnly", "authorizedDatabases"])?;
    let filter = args.document_or_empty("filter")?;
    let name_only = args.lenient_bool("nameOnly")?.unwrap_or(false);
    let found = ctx.server.engine.list_databases(&filter, name_only)?;
    let total: i64 = found.iter().filter_map(|db| db.get("sizeOnDisk")?.as_whole()).sum();
    let mut reply = Reply::new().with("databases", found.into_iter().map(Value::Document).collect::<Vec<_>>());
    if !name_only {
        reply = reply.with("totalSize", total).with("totalSizeMb", total / (1024 * 1024));
    }
    Ok(reply)
}

pub fn coll_stats(ctx: &Context, request: &Request) -> Result<Reply> {
    let args = Args::command("collStats", request.body.as_doc(), &["scale", "verbose", "waitForLock", "numericOnly"])?;
    let namespace = names::collection(request)?;
    let scale = positive(&args, "scale", 1)?.unwrap_or(1);
    Ok(ctx.server.engine.collection_stats(&namespace, scale)?.into())
}

pub fn db_stats(ctx: &Context, request: &Request) -> Result<Reply> {
    let args = Args::command("dbStats", request.body.as_doc(), &["scale", "freeStorage"])?;
    let scale = positive(&args, "scale", 1)?.unwrap_or(1);
    Ok(ctx.server.engine.database_stats(&request.db, scale)?.into())
}

pub fn data_size(ctx: &Context, request: &Request) -> Result<Reply> {
    let args = Args::command("dataSize", request.body.as_doc(), &["keyPattern", "min", "max", "estimate"])?;
    let namespace = full_namespace(args.require_string("dataSize")?)?;
    let stats = ctx.server.engine.collection_stats(&namespace, 1)?;
    let field = |name: &str| stats.get(name).cloned().unwrap_or(Value::Int32(0));
    Ok(Reply::new().with("size", field("size")).with("numObjects", field("count")).with("millis", 0))
}

pub fn validate(ctx: &Context, request: &Request) -> Result<Reply> {
    let fields = [
        "full",
        "background",
        "repair",
        "metadata",
        "checkBSONConformance",
        "enforceFastCount",
        "fixMultikey",
        "collHash",
        "hashPrefixes",
        "unhash",
    ];
    Args::command("validate", request.body.as_doc(), &fields)?;
    let namespace = names::collection(request)?;
    Ok(ctx.server.engine.validate(&namespace)?.into())
}
