//! Tests of the whole system, and of what its parts must agree on. There is
//! nothing here but `tests/`.
