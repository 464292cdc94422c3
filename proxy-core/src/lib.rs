//! Take a captured connection to where it may go.
