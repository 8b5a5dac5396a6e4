//! PostgreSQL's numbers for types.

use sql::Type;

/// The object identifier of a type, and of its array type.
const NUMBERS: [(Type, u32, u32, i16); 24] = [
    (Type::Bool, 16, 1000, 1),
    (Type::Bytea, 17, 1001, -1),
    (Type::Char, 18, 1002, 1),
    (Type::Name, 19, 1003, 64),
    (Type::Int8, 20, 1016, 8),
    (Type::Int2, 21, 1005, 2),
    (Type::Int4, 23, 1007, 4),
    (Type::Regproc, 24, 1008, 4),
    (Type::Text, 25, 1009, -1),
    (Type::Oid, 26, 1028, 4),
    (Type::Float4, 700, 1021, 4),
    (Type::Float8, 701, 1022, 8),
    (Type::Unknown, 705, 1009, -2),
    (Type::Varchar(None), 1043, 1015, -1),
    (Type::Date, 1082, 1182, 4),
    (Type::Time, 1083, 1183, 8),
    (Type::Timestamp, 1114, 1115, 8),
    (Type::Timestamptz, 1184, 1185, 8),
    (Type::Interval, 1186, 1187, 16),
    (Type::Numeric(None), 1700, 1231, -1),
    (Type::Regclass, 2205, 2210, 4),
    (Type::Regtype, 2206, 2211, 4),
    (Type::Uuid, 2950, 2951, 16),
    (Type::Json, 3802, 3807, -1),
];

fn plain(ty: &Type) -> Type {
    match ty {
        Type::Varchar(_) => Type::Varchar(None),
        Type::Numeric(_) => Type::Numeric(None),
        // Record has a number of its own below; what has none is shown as text.
        other => other.clone(),
    }
}

/// The type's number; text for what PostgreSQL has no number for.
pub fn of(ty: &Type) -> u32 {
    match ty {
        Type::Record => 2249,
        Type::Void => 2278,
        Type::Regnamespace => 4089,
        Type::Unknown => 25,
        Type::Array(element) => row(&plain(element)).map_or(1009, |(_, _, array, _)| *array),
        other => row(&plain(other)).map_or(25, |(_, number, _, _)| *number),
    }
}

/// Bytes of the binary form, -1 if they vary.
pub fn length(ty: &Type) -> i16 {
    match ty {
        Type::Array(_) | Type::Unknown => -1,
        other => row(&plain(other)).map_or(-1, |(_, _, _, length)| *length),
    }
}

fn row(ty: &Type) -> Option<&'static (Type, u32, u32, i16)> {
    NUMBERS.iter().find(|(t, _, _, _)| t == ty)
}

/// The type of a number; `None` for 0 (unspecified) and unknown ones.
pub fn type_of(number: u32) -> Option<Type> {
    match number {
        114 => return Some(Type::Json),
        1042 => return Some(Type::Text),
        199 => return Some(Type::array_of(Type::Json)),
        705 => return None,
        _ => {}
    }
    NUMBERS.iter().find_map(|(ty, own, array, _)| {
        if *own == number {
            Some(ty.clone())
        } else if *array == number {
            Some(Type::array_of(ty.clone()))
        } else {
            None
        }
    })
}
