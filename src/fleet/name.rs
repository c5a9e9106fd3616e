//! Names: of products, groups and rollouts, and every other text that an operator writes and a header or a log may carry.
//!
//! L3 refuses CR, LF and NUL; we refuse every ASCII control byte, since an escape sequence in a terminal is no better.

use serde::{Deserialize, Serialize};
use std::{borrow::Borrow, fmt, sync::Arc};

/// The longest name of a product, group, rollout, resource or hardware, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// The longest locator of an artifact or resource, in bytes.
pub const LOCATOR_BYTES_MAX: usize = 2_048;

/// Why a text cannot be a name, version or locator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextFault {
    /// Nothing in it.
    #[error("is empty: give it at least one character")]
    Empty,
    /// Longer than the limit, in bytes, that is named.
    #[error("is longer than {0} bytes")]
    TooLong(usize),
    /// An ASCII control byte: it would end up in a header or a log.
    #[error("has a control character (CR, LF, NUL, tab or the like): remove it")]
    Control,
}

/// Checks `text` against the rules of this file.
pub(crate) fn check_text(text: &str, bytes_max: usize) -> Result<(), TextFault> {
    if text.is_empty() {
        Err(TextFault::Empty)
    } else if text.len() > bytes_max {
        Err(TextFault::TooLong(bytes_max))
    } else if text.bytes().any(|byte| byte.is_ascii_control()) {
        Err(TextFault::Control)
    } else {
        Ok(())
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Cheap to clone: the text is shared. At most [`NAME_BYTES_MAX`] bytes, not empty, no control characters.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and takes the text.
            ///
            /// # Errors
            /// The text is empty, too long, or has a control character.
            pub fn new(text: &str) -> Result<Self, TextFault> {
                check_text(text, NAME_BYTES_MAX).map(|()| Self(text.into()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = TextFault;
            fn try_from(text: String) -> Result<Self, TextFault> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), &self.0)
            }
        }
    };
}

name! {
    /// The name of a product: a device model on sale, the root of everything.
    ProductId
}
name! {
    /// The name of a group inside its product.
    GroupId
}
name! {
    /// The name of a rollout inside its group; also its salt, unless one is given (R2).
    RolloutId
}

impl ProductId {
    /// A name that no product can have, since it has a control character: what is asked for when nobody is meant. Not NUL, which some databases
    /// cannot take in a text.
    pub(crate) fn nobody() -> Self {
        Self("\u{1}".into())
    }
}
