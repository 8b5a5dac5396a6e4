//! Which stages may follow `$changeStream`.

use document::{Raw, RawDoc};

use crate::error::{Error, Result, code};

pub(crate) const SPLIT: &str = "$changeStreamSplitLargeEvent";

const ALLOWED: [&str; 9] =
    ["$match", "$project", "$addFields", "$set", "$unset", "$replaceRoot", "$replaceWith", "$redact", SPLIT];

/// Stages that exist, do not run in a change stream, and are named so in the server's refusal.
const REFUSED: [(&str, &str); 32] = [
    ("$group", "$group"),
    ("$sort", "$sort"),
    ("$limit", "$limit"),
    ("$skip", "$skip"),
    ("$sample", "$sample"),
    ("$unwind", "$unwind"),
    ("$lookup", "$lookup"),
    ("$graphLookup", "$graphLookup"),
    ("$bucket", "$group"),
    ("$bucketAuto", "$bucketAuto"),
    ("$facet", "$facet"),
    ("$out", "$out"),
    ("$merge", "$merge"),
    ("$count", "$group"),
    ("$sortByCount", "$group"),
    ("$indexStats", "$indexStats"),
    ("$collStats", "$collStats"),
    ("$unionWith", "$unionWith"),
    ("$setWindowFields", "$_internalSetWindowFields"),
    ("$fill", "$_internalSetWindowFields"),
    ("$densify", "$_internalDensify"),
    ("$geoNear", "$geoNear"),
    ("$planCacheStats", "$planCacheStats"),
    ("$documents", "$documents"),
    ("$search", "$search"),
    ("$searchMeta", "$searchMeta"),
    ("$vectorSearch", "$vectorSearch"),
    ("$rankFusion", "$rankFusion"),
    ("$listSampledQueries", "$listSampledQueries"),
    ("$listSearchIndexes", "$listSearchIndexes"),
    ("$querySettings", "$querySettings"),
    ("$shardedDataDistribution", "$shardedDataDistribution"),
];

/// Does the pipeline begin with `$changeStream`?
pub fn is_change_stream(pipeline: &[RawDoc<'_>]) -> bool {
    pipeline.first().and_then(|stage| stage.iter().next()).is_some_and(|(name, _)| name == "$changeStream")
}

/// Checks the stages after `$changeStream` by name, and takes off the split stage. What remains is
/// for the pipeline parser. Returns those stages, and whether large events are split.
///
/// # Errors
/// 40323 for a stage without exactly one field, 40324 for an unknown one, 20 for one that may not
/// follow, 40602 for a second `$changeStream`, 7182802 for a split stage that is not the last.
pub fn check_stages<'a>(stages: &[RawDoc<'a>]) -> Result<(Vec<RawDoc<'a>>, bool)> {
    let names = stages.iter().map(|stage| single_field(*stage)).collect::<Result<Vec<_>>>()?;
    if let Some((unknown, _)) = names.iter().find(|(name, _)| !is_stage(name)) {
        return Err(Error::new(40324, format!("Unrecognized pipeline stage name: '{unknown}'")));
    }
    for (at, (name, value)) in names.iter().enumerate() {
        check_stage(name, *value, at + 1 == names.len())?;
    }
    let splits = names.last().is_some_and(|(name, _)| *name == SPLIT);
    Ok((stages[..stages.len() - usize::from(splits)].to_vec(), splits))
}

fn single_field<'a>(stage: RawDoc<'a>) -> Result<(&'a str, Raw<'a>)> {
    let mut fields = stage.iter();
    match (fields.next(), fields.next()) {
        (Some(field), None) => Ok(field),
        _ => Err(Error::new(40323, "A pipeline stage specification object must contain exactly one field.")),
    }
}

fn is_stage(name: &str) -> bool {
    ALLOWED.contains(&name)
        || refused_as(name).is_some()
        || matches!(name, "$changeStream" | "$currentOp")
        || matches!(name, "$listSessions" | "$listLocalSessions")
}

fn refused_as(name: &str) -> Option<&'static str> {
    REFUSED.iter().find(|(stage, _)| *stage == name).map(|(_, shown)| *shown)
}

fn check_stage(name: &str, value: Raw<'_>, last: bool) -> Result<()> {
    match name {
        "$changeStream" => Err(Error::new(40602, "$changeStream is only valid as the first stage in a pipeline.")),
        "$currentOp" => Err(Error::new(
            code::INVALID_NAMESPACE,
            "$currentOp must be run against the 'admin' database with {aggregate: 1}",
        )),
        "$listSessions" => {
            Err(Error::new(code::INVALID_NAMESPACE, "$listSessions may only be run against config.system.sessions"))
        }
        "$listLocalSessions" => Err(Error::new(
            code::INVALID_NAMESPACE,
            "$listLocalSessions must be run against the database with {aggregate: 1}",
        )),
        SPLIT => match value {
            Raw::Document(spec) if !spec.is_empty() => {
                Err(Error::new(7182800, "$changeStreamSplitLargeEvent spec should be an empty object"))
            }
            Raw::Document(_) if !last => {
                Err(Error::new(7182802, "$changeStreamSplitLargeEvent must be the last stage in the pipeline"))
            }
            Raw::Document(_) => Ok(()),
            _ => Err(Error::new(7182800, "$changeStreamSplitLargeEvent spec should be an empty object")),
        },
        _ => match refused_as(name) {
            Some(shown) => Err(Error::new(
                code::ILLEGAL_OPERATION,
                format!("{shown} is not permitted in a $changeStream pipeline"),
            )),
            None => Ok(()),
        },
    }
}
