//! JSON containers of typed values, for the JSON aggregates.

use crate::datum::Datum;
use crate::error::Result;
use crate::json::build;
use crate::types::Type;

/// The zone in which aggregates write timestamps: they are state of views, which know no session.
const TIME_ZONE: &str = "UTC";

/// A JSON array of the values.
pub fn array(items: impl IntoIterator<Item = (Datum, Type)>) -> Result<Datum> {
    let mut result = Ok(());
    let array = build::array(|writer, index| {
        for (item, ty) in items {
            result = build::write(writer, index.next(), &item, &ty, TIME_ZONE);
            if result.is_err() {
                return;
            }
        }
    });
    result.map(|()| Datum::Json(array))
}

/// A JSON object of the fields; of a repeated name the last value counts.
pub fn object(fields: impl IntoIterator<Item = (String, Datum, Type)>) -> Result<Datum> {
    let fields: Vec<(String, Datum, Type)> = fields.into_iter().collect();
    let mut last = rustc_hash::FxHashMap::default();
    for (i, (name, _, _)) in fields.iter().enumerate() {
        build::key(name)?;
        last.insert(name.as_str(), i);
    }
    let mut result = Ok(());
    let object = build::object(|writer| {
        for (i, (name, value, ty)) in fields.iter().enumerate() {
            if last.get(name.as_str()) != Some(&i) {
                continue;
            }
            result = build::write(writer, name, value, ty, TIME_ZONE);
            if result.is_err() {
                return;
            }
        }
    });
    result.map(|()| Datum::Json(object))
}
