//! Sort specifications: keys taken from documents, compared in order.
