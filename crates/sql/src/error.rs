//! Errors as PostgreSQL clients read them.

pub type Result<T, E = SqlError> = std::result::Result<T, E>;

/// An error for the client: SQLSTATE, message, and where it helps a hint and a position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SqlError {
    /// Five characters, PostgreSQL appendix A.
    pub code: &'static str,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    /// 1-based character offset into the statement's text.
    pub position: Option<usize>,
}

impl SqlError {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        SqlError { code, message: message.into(), detail: None, hint: None, position: None }
    }

    /// 0A000: known to SQL, not offered here.
    pub fn unsupported(what: impl std::fmt::Display) -> Self {
        SqlError::new("0A000", format!("{what} is not supported"))
    }

    /// 42601 syntax error.
    pub fn syntax(message: impl Into<String>) -> Self {
        SqlError::new("42601", message)
    }

    /// XX000: our bug.
    pub fn internal(message: impl Into<String>) -> Self {
        SqlError::new("XX000", message)
    }

    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Keeps an earlier (more precise) position.
    pub fn at(mut self, position: Option<usize>) -> Self {
        self.position = self.position.or(position);
        self
    }
}

/// Something the client should know although the statement succeeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub message: String,
    pub hint: Option<String>,
    pub position: Option<usize>,
}
