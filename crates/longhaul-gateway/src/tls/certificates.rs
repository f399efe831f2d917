//! The certificates of the process: which one a client sees, and how one takes another's place
//! while clients come and go.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::pair::{Pair, PairFault};

/// The certificates of the process, found by the name that a client asks for.
///
/// A handshake takes no lock. One that has begun goes on with the certificate that it began with.
#[derive(Debug)]
pub(crate) struct Certificates {
    table: ArcSwap<Table>,
    records: Mutex<Vec<Record>>,
}

/// One pair of files, and how it fared since the start.
#[derive(Debug)]
struct Record {
    pair: Pair,
    swaps: u64,
    refusals: u64,
    last_refusal: Option<String>,
}

/// One certificate at one moment.
#[derive(Debug, Clone)]
pub struct CertificateSnapshot {
    /// The file it came from.
    pub file: PathBuf,
    /// The names it is shown for.
    pub names: Vec<String>,
    /// Its last moment.
    pub not_after: SystemTime,
    /// How often a new one took its place since the start.
    pub swaps: u64,
    /// How often new files were refused since the start, and the old pair kept.
    pub refusals: u64,
    /// What was wrong with the files that are there now; `None` when nothing is.
    pub last_refusal: Option<String>,
}

/// Indices of certificates by name, in the order of the config.
#[derive(Debug)]
struct Table {
    certificates: Vec<Arc<CertifiedKey>>,
    exact: HashMap<String, Vec<usize>>,
    /// By the domain behind the star.
    below: HashMap<String, Vec<usize>>,
}

impl Record {
    fn new(pair: &Pair) -> Self {
        Self { pair: pair.clone(), swaps: 0, refusals: 0, last_refusal: None }
    }
}

impl Certificates {
    pub(crate) fn new(pairs: &[Pair]) -> Self {
        Self {
            table: ArcSwap::from_pointee(Table::new(pairs)),
            records: Mutex::new(pairs.iter().map(Record::new).collect()),
        }
    }

    pub(crate) fn snapshot(&self) -> Vec<CertificateSnapshot> {
        let snapshot = |record: &Record| CertificateSnapshot {
            file: record.pair.certificate().to_owned(),
            names: record.pair.names().to_vec(),
            not_after: record.pair.not_after(),
            swaps: record.swaps,
            refusals: record.refusals,
            last_refusal: record.last_refusal.clone(),
        };
        self.records().iter().map(snapshot).collect()
    }

    /// The pairs in use.
    pub(super) fn pairs(&self) -> Vec<Pair> {
        self.records().iter().map(|record| record.pair.clone()).collect()
    }

    /// Puts other pairs into the place of all, for every handshake that begins from now on. A pair of
    /// files that stays keeps its counts.
    pub(crate) fn replace(&self, pairs: &[Pair]) {
        let mut records = self.records();
        let mut before = std::mem::take(&mut *records);
        for pair in pairs {
            let known = before.iter().position(|record| record.pair.is_at_same_files(pair));
            let mut record = match known {
                Some(at) => before.swap_remove(at),
                None => Record::new(pair),
            };
            if record.pair != *pair {
                record.pair = pair.clone();
                record.swaps += 1;
                record.last_refusal = None;
            }
            records.push(record);
        }
        self.table.store(Arc::new(Table::new(pairs)));
    }

    /// Puts a pair into the place of the one at `index`, for every handshake that begins from now on.
    pub(super) fn swap(&self, index: usize, pair: Pair) {
        let mut records = self.records();
        records[index].pair = pair;
        records[index].swaps += 1;
        records[index].last_refusal = None;
        let pairs: Vec<Pair> = records.iter().map(|record| record.pair.clone()).collect();
        self.table.store(Arc::new(Table::new(&pairs)));
    }

    /// Notes that the files at `index` are no pair, and that the old one stays.
    pub(super) fn refuse(&self, index: usize, fault: &PairFault) {
        let record = &mut self.records()[index];
        record.refusals += 1;
        record.last_refusal = Some(fault.to_string());
    }

    fn records(&self) -> MutexGuard<'_, Vec<Record>> {
        // Its values are whole between any two lines that change them.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn new(pairs: &[Pair]) -> Self {
        let mut table = Self {
            certificates: pairs.iter().map(|pair| pair.certified.clone()).collect(),
            exact: HashMap::new(),
            below: HashMap::new(),
        };
        for (index, pair) in pairs.iter().enumerate() {
            for name in pair.names() {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(domain) => (&mut table.below, domain),
                    None => (&mut table.exact, name.as_str()),
                };
                names.entry(name.to_owned()).or_default().push(index);
            }
        }
        table
    }

    /// The certificates for this name: its own, else those of the star above it, else the first.
    fn find(&self, name: Option<&str>) -> &[usize] {
        let name = name.map(str::to_ascii_lowercase).unwrap_or_default();
        // A star stands for one label (RFC 6125 §6.4.3).
        let domain = name.split_once('.').map_or("", |(_, domain)| domain);
        let named = self.exact.get(&name).or_else(|| self.below.get(domain));
        named.map_or(&[0], Vec::as_slice)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let table = self.table.load();
        let mut found =
            table.find(hello.server_name()).iter().filter_map(|&at| table.certificates.get(at));
        let first = found.next()?;
        // One name may have certificates of several kinds; the client says which kinds it knows.
        let is_known =
            |it: &&Arc<CertifiedKey>| it.key.choose_scheme(hello.signature_schemes()).is_some();
        let chosen = std::iter::once(first).chain(found).find(is_known).unwrap_or(first);
        Some(chosen.clone())
    }
}
