//! `$densify`: documents for the values that a sequence leaves out.

use super::edit::{Edit, edited};
use super::group::key_of;
use super::{Budget, DocStream};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::expression::date::civil::Zone;
use crate::expression::date::{Unit, add_units};
use crate::expression::{FieldPath, compare_present};
use crate::number::arithmetic::{self, Number};
use crate::raw::{DocBuf, Raw, RawDoc};
use crate::value::Value;

/// Most documents one stage makes up; the server's default.
const MAX_GENERATED: usize = 500_000;

/// A parsed `$densify`.
#[derive(Debug)]
pub struct Densify {
    field: FieldPath,
    partition_by: Vec<FieldPath>,
    step: Number,
    unit: Option<Unit>,
    bounds: Bounds,
    ctx: Context,
}

#[derive(Debug)]
enum Bounds {
    Full,
    Partition,
    /// The upper is exclusive.
    Explicit(Value, Value),
}

/// The values one partition is to have.
struct Span {
    low: Value,
    high: Value,
    inclusive: bool,
}

impl Densify {
    pub(super) fn parse(spec: Raw<'_>, ctx: &Context) -> Result<Densify> {
        let Raw::Document(spec) = spec else {
            return Err(Error::new(
                5733201,
                format!("The $densify stage specification must be an object, found {}", spec.type_name()),
            ));
        };
        let (mut field, mut partition_by, mut range) = (None, Vec::new(), None);
        for (name, value) in spec.iter() {
            match (name, value) {
                ("field", Raw::String(path)) => field = Some(FieldPath::parse(path)?),
                ("partitionByFields", Raw::Array(items)) => {
                    for item in items.values() {
                        let path = item
                            .as_str()
                            .ok_or_else(|| Error::type_mismatch("'partitionByFields' elements must be strings"))?;
                        partition_by.push(FieldPath::parse(path)?);
                    }
                }
                ("range", Raw::Document(doc)) => range = Some(doc),
                ("field" | "partitionByFields" | "range", other) => {
                    return Err(Error::type_mismatch(format!(
                        "BSON field '$densify.{name}' is the wrong type '{}'",
                        other.type_name()
                    )));
                }
                _ => return Err(Error::new(40415, format!("BSON field '$densify.{name}' is an unknown field."))),
            }
        }
        let missing =
            |name: &str| Error::new(40414, format!("BSON field '$densify.{name}' is missing but a required field"));
        let field = field.ok_or_else(|| missing("field"))?;
        let (step, unit, bounds) = parse_range(range.ok_or_else(|| missing("range"))?)?;
        if matches!(bounds, Bounds::Partition) && partition_by.is_empty() {
            return Err(Error::new(
                5733408,
                "one may not specify the bounds as 'partition' without specifying a non-empty array of partitionByFields.",
            ));
        }
        Ok(Densify { field, partition_by, step, unit, bounds, ctx: ctx.clone() })
    }

    pub(super) fn run(&self, input: DocStream<'_>) -> Result<Vec<DocBuf>> {
        let mut budget = Budget::new("$densify");
        let (mut results, mut rows) = (Vec::new(), Vec::new());
        for doc in budget.gather(input)? {
            match self.field.read_raw(doc.as_doc()) {
                None | Some(Value::Null | Value::Undefined) => results.push(doc),
                Some(value) => {
                    self.check_type(&value)?;
                    let parts: Vec<Value> = self
                        .partition_by
                        .iter()
                        .map(|path| path.read_raw(doc.as_doc()).unwrap_or(Value::Null))
                        .collect();
                    rows.push((key_of(&Value::Array(parts), &self.ctx), value, doc));
                }
            }
        }
        rows.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| compare_present(&self.ctx, &a.1, &b.1)));
        let by_value = |a: &&Value, b: &&Value| compare_present(&self.ctx, a, b);
        let all = || rows.iter().map(|(_, value, _)| value);
        let full = all().min_by(by_value).cloned().zip(all().max_by(by_value).cloned());
        let mut generated = 0;
        let mut start = 0;
        while start < rows.len() {
            let len = rows[start..].partition_point(|row| row.0 == rows[start].0);
            let partition = &rows[start..start + len];
            let span = match (&self.bounds, &full) {
                (Bounds::Explicit(low, high), _) => Span { low: low.clone(), high: high.clone(), inclusive: false },
                (Bounds::Full, Some((low, high))) => Span { low: low.clone(), high: high.clone(), inclusive: true },
                _ => Span { low: partition[0].1.clone(), high: partition[len - 1].1.clone(), inclusive: true },
            };
            self.fill(partition, &span, &mut generated, &mut results)?;
            start += len;
        }
        if rows.is_empty()
            && self.partition_by.is_empty()
            && let Bounds::Explicit(low, high) = &self.bounds
        {
            let span = Span { low: low.clone(), high: high.clone(), inclusive: false };
            self.fill(&[], &span, &mut generated, &mut results)?;
        }
        Ok(results)
    }

    fn check_type(&self, value: &Value) -> Result<()> {
        match (value, self.unit) {
            (Value::Date(_), Some(_)) => Ok(()),
            (Value::Date(_), None) => Err(Error::new(6053600, "$densify step must be specified with a unit for dates")),
            (value, None) if Number::from_value(value).is_some() => Ok(()),
            (value, None) => Err(Error::new(
                5733201,
                format!("Densify field type must be numeric or Date, but found {}", value.type_name()),
            )),
            (value, Some(_)) => Err(Error::new(
                6053600,
                format!("Encountered non-date value ({}) in collection when step has a date unit", value.type_name()),
            )),
        }
    }

    /// Merges a partition's documents with the ones its span lacks.
    fn fill(
        &self,
        rows: &[(Vec<u8>, Value, DocBuf)],
        span: &Span,
        generated: &mut usize,
        results: &mut Vec<DocBuf>,
    ) -> Result<()> {
        let base = self.template(rows.first().map(|row| row.2.as_doc()));
        let mut rest = rows.iter().peekable();
        for k in 0i64.. {
            let Some(value) = self.value(&span.low, k) else { break };
            let order = compare_present(&self.ctx, &value, &span.high);
            if order.is_gt() || (order.is_eq() && !span.inclusive) {
                break;
            }
            let mut present = false;
            while let Some((_, next, doc)) = rest.next_if(|row| compare_present(&self.ctx, &row.1, &value).is_le()) {
                present |= compare_present(&self.ctx, next, &value).is_eq();
                results.push(doc.clone());
            }
            if !present {
                *generated += 1;
                if *generated > MAX_GENERATED {
                    return Err(Error::new(
                        5897900,
                        format!(
                            "Generated {generated} documents in $densify, which is over the limit of {MAX_GENERATED}."
                        ),
                    ));
                }
                results.push(edited(base.as_doc(), self.field.parts(), Edit::Value(&value)));
            }
        }
        results.extend(rest.map(|row| row.2.clone()));
        Ok(())
    }

    fn value(&self, low: &Value, k: i64) -> Option<Value> {
        match (low, self.unit) {
            (Value::Date(ms), Some(unit)) => {
                let amount = self.step.as_whole()?.checked_mul(k)?;
                add_units(*ms, unit, amount, &Zone::Utc).map(Value::Date)
            }
            (low, _) => {
                let steps = arithmetic::multiply(self.step, Number::narrow(k));
                Some(arithmetic::add(Number::from_value(low)?, steps).into())
            }
        }
    }

    /// What a made-up document has besides its value: the fields of its partition.
    fn template(&self, doc: Option<RawDoc<'_>>) -> DocBuf {
        let mut template = DocBuf::default();
        let Some(doc) = doc else { return template };
        for path in &self.partition_by {
            if let Some(value) = path.read_raw(doc) {
                template = edited(template.as_doc(), path.parts(), Edit::Value(&value));
            }
        }
        template
    }
}

fn parse_range(range: RawDoc<'_>) -> Result<(Number, Option<Unit>, Bounds)> {
    let (mut step, mut unit, mut bounds) = (None, None, None);
    for (name, value) in range.iter() {
        match name {
            "step" => {
                let n = Number::from_raw(value).filter(|n| n.to_f64() > 0.0);
                step = Some(n.ok_or_else(|| {
                    Error::new(
                        5733401,
                        "the step parameter in a range statement must be a strictly positive numeric value",
                    )
                })?);
            }
            "unit" => {
                let unknown = || Error::failed_to_parse("unknown time unit value in $densify");
                unit = Some(value.as_str().and_then(Unit::parse).ok_or_else(unknown)?);
            }
            "bounds" => bounds = Some(value),
            _ => return Err(Error::new(40415, format!("BSON field 'RangeStatement.{name}' is an unknown field."))),
        }
    }
    let missing =
        |name: &str| Error::new(40414, format!("BSON field 'RangeStatement.{name}' is missing but a required field"));
    let step = step.ok_or_else(|| missing("step"))?;
    if unit.is_some() && step.as_whole().is_none() {
        return Err(Error::new(
            6586400,
            "The step parameter in a range statement must be a whole number when densifying a date range",
        ));
    }
    let bounds = match bounds.ok_or_else(|| missing("bounds"))? {
        Raw::String("full") => Bounds::Full,
        Raw::String("partition") => Bounds::Partition,
        Raw::Array(items) => {
            let items: Vec<Value> = items.values().map(Raw::to_value).collect();
            let Ok([low, high]) = <[Value; 2]>::try_from(items) else {
                return Err(Error::new(
                    5733403,
                    "a bounding array in a range statement must have exactly two elements",
                ));
            };
            let dates = matches!((&low, &high), (Value::Date(_), Value::Date(_)));
            let numbers = Number::from_value(&low).is_some() && Number::from_value(&high).is_some();
            if !(dates && unit.is_some() || numbers && unit.is_none()) {
                return Err(Error::new(
                    5733406,
                    "a bounding array must contain either both dates (with a unit) or both numeric types",
                ));
            }
            if crate::compare::compare_values(&low, &high).is_gt() {
                return Err(Error::new(5733402, "the bounds in a range statement must be in ascending order"));
            }
            Bounds::Explicit(low, high)
        }
        _ => {
            return Err(Error::new(
                5946802,
                "the bounds in a range statement must be the string 'full', 'partition', or an array of two values",
            ));
        }
    };
    Ok((step, unit, bounds))
}
