//! T4, T8, T9: the same text with a meaning that fits change events.

use crate::error::Notice;

/// T9: an object's keys in a SELECT list are one array; in FROM they are rows.
pub(crate) fn keys_as_array(function: &str, position: Option<usize>) -> Notice {
    Notice {
        message: format!("{function} in an expression gives one array of the keys"),
        hint: Some("Read it in FROM for a row per key.".into()),
        position,
    }
}

/// T8: what the grouped key of an event determines needs no GROUP BY of its own.
pub(crate) fn determined_column(column: &str) -> Notice {
    Notice {
        message: format!("\"{column}\" is taken from the group because the grouped key determines it"),
        hint: None,
        position: None,
    }
}

/// T4: keys of `updatedFields` are dotted paths.
pub(crate) fn touched_path(path: &str, position: Option<usize>) -> Notice {
    Notice {
        message: format!("? '{path}' is true if {path}, a part of it or a value around it changed"),
        hint: None,
        position,
    }
}
