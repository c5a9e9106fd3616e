//! A value that a store found: borrowed from it, or shared with it.

use std::ops::Deref;
use std::sync::Arc;

/// What a store found. A store in memory lends it, a database caches it behind an [`Arc`] or makes it on the spot.
#[derive(Debug)]
pub enum Lent<'v, T> {
    /// Lent by the view.
    Borrowed(&'v T),
    /// Shared with a cache, or made for this decision.
    Shared(Arc<T>),
}

impl<T> Clone for Lent<'_, T> {
    fn clone(&self) -> Self {
        match self {
            Self::Borrowed(value) => Self::Borrowed(value),
            Self::Shared(value) => Self::Shared(value.clone()),
        }
    }
}

impl<T> Deref for Lent<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        match self {
            Self::Borrowed(value) => value,
            Self::Shared(value) => value,
        }
    }
}

impl<'v, T> From<&'v T> for Lent<'v, T> {
    fn from(value: &'v T) -> Self {
        Self::Borrowed(value)
    }
}

impl<T> From<Arc<T>> for Lent<'_, T> {
    fn from(value: Arc<T>) -> Self {
        Self::Shared(value)
    }
}

impl<T> From<T> for Lent<'_, T> {
    fn from(value: T) -> Self {
        Self::Shared(Arc::new(value))
    }
}
