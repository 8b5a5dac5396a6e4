//! How an operation would be executed, in the shape of the server's `explain`.

use document::{Doc, DocBuf, Value};
use store::{Namespace, Reader};

use super::access::Query;
use super::requests::{Aggregate, Caller, Count, Distinct, Find, Hint, Origin};
use super::views;
use crate::{Error, Headwater, Result, blocking};

/// Something that can be explained.
#[derive(Clone, Debug)]
pub enum Explained {
    Find(Find),
    Count(Count),
    Distinct(Distinct),
    Aggregate(Aggregate),
    /// The filter of an update, delete or findAndModify, and the stage that would write.
    Write {
        namespace: Namespace,
        filter: DocBuf,
        hint: Option<Hint>,
        collation: Option<DocBuf>,
        stage: &'static str,
    },
}

struct Asked<'a> {
    namespace: Namespace,
    filter: DocBuf,
    sort: Option<&'a DocBuf>,
    hint: Option<&'a Hint>,
    collation: Option<&'a DocBuf>,
    /// The keys of the index that a find is confined to.
    bounds: (Option<DocBuf>, Option<DocBuf>),
    /// Stages above the access path, innermost first.
    above: Vec<(&'static str, Doc)>,
}

impl Headwater {
    /// `queryPlanner`, and `executionStats` if the query is to be run.
    pub fn explain(&self, caller: &Caller, what: &Explained, run: bool) -> Result<Doc> {
        let snapshot = self.view(caller)?;
        if let Explained::Aggregate(aggregate) = what {
            if super::watch::is_change_stream(&aggregate.pipeline) {
                return self.explain_change_stream(aggregate);
            }
            // Parses, so that a wrong pipeline is an error here as well.
            self.prepare_pipeline(&snapshot, aggregate)?;
        }
        let asked = asked(what);
        let resolved = views::resolve(snapshot.catalog(), &asked.namespace)?;
        let collection = snapshot.catalog().collection(&resolved.namespace).cloned();
        let context = self.evaluation(None).context(asked.collation, collection.as_deref())?;
        let query =
            Query::parse(&asked.filter, asked.sort, asked.hint, &context)?.within(asked.bounds.0, asked.bounds.1);
        let mut planner = Doc::new()
            .with("namespace", resolved.namespace.to_string())
            .with("parsedQuery", asked.filter.clone())
            .with("indexFilterSet", false)
            .with("maxIndexedOrSolutionsReached", false)
            .with("maxIndexedAndSolutionsReached", false)
            .with("maxScansToExplodeReached", false);
        let mut stats = None;
        let winning = match &collection {
            None => Doc::new().with("stage", "EOF"),
            Some(collection) => {
                let plan = query.plan(collection)?;
                if run {
                    let rows = blocking(|| query.places(&snapshot, collection))?;
                    stats = Some(rows.len() as i64);
                }
                let mut stage = plan.explain(asked.filter.as_doc());
                if asked.sort.is_some_and(|sort| !sort.is_empty()) && !plan.sorted {
                    let sort = Doc::new().with("sortPattern", asked.sort.cloned().unwrap_or_default());
                    stage = wrap("SORT", sort, stage);
                }
                for (name, fields) in asked.above {
                    stage = wrap(name, fields, stage);
                }
                stage
            }
        };
        planner.push("winningPlan", winning.clone());
        planner.push("rejectedPlans", Vec::<Value>::new());
        let mut explained = Doc::new().with("explainVersion", "1").with("queryPlanner", planner);
        if let Some(found) = stats {
            let stats = Doc::new()
                .with("executionSuccess", true)
                .with("nReturned", found as i32)
                .with("executionTimeMillis", 0)
                .with("totalKeysExamined", found as i32)
                .with("totalDocsExamined", found as i32)
                .with("executionStages", winning);
            explained.push("executionStats", stats);
        }
        Ok(explained)
    }

    fn explain_change_stream(&self, aggregate: &Aggregate) -> Result<Doc> {
        // Opening checks everything; what was opened is dropped unread.
        self.watch(aggregate.clone())?;
        let planner = Doc::new()
            .with("namespace", "local.oplog.rs")
            .with("winningPlan", Doc::new().with("stage", "COLLSCAN").with("direction", "forward"))
            .with("rejectedPlans", Vec::<Value>::new());
        let mut stages = vec![Value::Document(Doc::new().with("$cursor", Doc::new().with("queryPlanner", planner)))];
        stages.extend(aggregate.pipeline.iter().map(|stage| Value::Document(stage.to_doc())));
        Ok(Doc::new().with("explainVersion", "1").with("stages", stages))
    }
}

fn wrap(name: &str, fields: Doc, input: Doc) -> Doc {
    let mut stage = Doc::new().with("stage", name);
    stage.0.extend(fields.0);
    stage.with("inputStage", input)
}

fn asked(what: &Explained) -> Asked<'_> {
    match what {
        Explained::Find(find) => {
            let mut above = Vec::new();
            if find.skip > 0 {
                above.push(("SKIP", Doc::new().with("skipAmount", find.skip as i64)));
            }
            if let Some(limit) = find.limit {
                above.push(("LIMIT", Doc::new().with("limitAmount", limit as i64)));
            }
            if let Some(projection) = find.projection.as_ref().filter(|projection| !projection.is_empty()) {
                above.push(("PROJECTION_DEFAULT", Doc::new().with("transformBy", projection.clone())));
            }
            Asked {
                namespace: find.namespace.clone(),
                filter: find.filter.clone(),
                sort: find.sort.as_ref(),
                hint: find.hint.as_ref(),
                collation: find.collation.as_ref(),
                bounds: (find.min.clone(), find.max.clone()),
                above,
            }
        }
        Explained::Count(count) => Asked {
            namespace: count.namespace.clone(),
            filter: count.filter.clone(),
            sort: None,
            hint: count.hint.as_ref(),
            collation: count.collation.as_ref(),
            bounds: (None, None),
            above: vec![("COUNT", Doc::new())],
        },
        Explained::Distinct(distinct) => Asked {
            namespace: distinct.namespace.clone(),
            filter: distinct.filter.clone(),
            sort: None,
            hint: distinct.hint.as_ref(),
            collation: distinct.collation.as_ref(),
            bounds: (None, None),
            above: Vec::new(),
        },
        Explained::Aggregate(aggregate) => {
            let namespace = match &aggregate.origin {
                Origin::Collection(namespace) => namespace.clone(),
                Origin::Database(db) => Namespace::new(db.as_str(), "$cmd.aggregate"),
            };
            let filter = match aggregate.pipeline.first().and_then(|stage| stage.get("$match")) {
                Some(document::Raw::Document(filter)) => filter.to_buf(),
                _ => DocBuf::default(),
            };
            Asked {
                namespace,
                filter,
                sort: None,
                hint: aggregate.hint.as_ref(),
                collation: aggregate.collation.as_ref(),
                bounds: (None, None),
                above: Vec::new(),
            }
        }
        Explained::Write { namespace, filter, hint, collation, stage } => Asked {
            namespace: namespace.clone(),
            filter: filter.clone(),
            sort: None,
            hint: hint.as_ref(),
            collation: collation.as_ref(),
            bounds: (None, None),
            above: vec![(*stage, Doc::new())],
        },
    }
}

/// 2: an unknown verbosity.
pub fn check_verbosity(verbosity: &str) -> Result<bool> {
    match verbosity {
        "queryPlanner" => Ok(false),
        "executionStats" | "allPlansExecution" => Ok(true),
        other => {
            let message = format!("Enumeration value '{other}' for field 'explain.verbosity' is not a valid value.");
            Err(Error::new(2, message))
        }
    }
}
