//! C1 to C18.
