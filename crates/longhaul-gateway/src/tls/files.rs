//! Reads small files, and tells whether they changed since.

use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The largest bundle of authorities in use is a quarter of this; /dev/zero would never end.
const BYTES_MAX: u64 = 4 << 20;

/// A file that could not be read, or is not what it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileFault {
    /// The system refused it.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Longer than any file of its kind.
    #[error("{path} is longer than 4 MiB")]
    TooLong {
        /// Which file.
        path: PathBuf,
    },
    /// Between the markers stands something else than base64.
    #[error("{path} is broken PEM: {reason}")]
    Pem {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It may be PEM, but nothing in it is what was looked for.
    #[error("{path} has no {what} in PEM form")]
    Missing {
        /// Which file.
        path: PathBuf,
        /// What it should have.
        what: &'static str,
    },
}

impl FileFault {
    /// The file that it is about.
    pub fn path(&self) -> &Path {
        match self {
            Self::Unreadable { path, .. }
            | Self::TooLong { path }
            | Self::Pem { path, .. }
            | Self::Missing { path, .. } => path,
        }
    }
}

/// Reads a whole file, unless it is far too long.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, FileFault> {
    let unreadable = |source| FileFault::Unreadable { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(FileFault::TooLong { path: path.to_owned() });
    }
    Ok(bytes)
}

/// What tells a changed file from one that is as it was. A file that is replaced, rewritten or put
/// behind another symbolic link has another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp(Option<(u64, u64, u64, i64, i64, i64, i64)>);

impl Stamp {
    /// The stamp of a file as it is now; of one that cannot be seen, all are alike.
    pub fn of(path: &Path) -> Self {
        Self(std::fs::metadata(path).ok().map(|file| {
            let changed = (file.ctime(), file.ctime_nsec());
            let times = (file.mtime(), file.mtime_nsec(), changed.0, changed.1);
            (file.dev(), file.ino(), file.size(), times.0, times.1, times.2, times.3)
        }))
    }
}
