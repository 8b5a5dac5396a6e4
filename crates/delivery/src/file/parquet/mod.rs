//! Parquet: a folder of files of columns, each complete and each with the position after it.
//!
//! ```text
//!   sinks/orders.parquet/
//!     part-00000001.parquet      headwater.sink, headwater.low, headwater.finished in its metadata
//!     part-00000002.parquet
//!     .part-00000003.tmp         being written; a reader of the folder passes over it
//! ```
//!
//! A batch is a file: `batch_size`, `batch_bytes` and `batch_delay` say when one is closed.
//!
//! # Invariants
//! - A file appears whole (synced, then renamed) or not at all.
//! - Rows and position are in one file, so a restart neither loses nor repeats any.

mod columns;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;

pub use columns::{Column, ColumnKind};

use crate::event::{Event, Position};
use crate::target::{Delivery, Fault, Marks, Target};

const SINK: &str = "headwater.sink";
const LOW: &str = "headwater.low";
const FINISHED: &str = "headwater.finished";

/// Where and what to write.
#[derive(Clone, Debug)]
pub struct ParquetOptions {
    pub directory: PathBuf,
    /// Of the events' bodies.
    pub columns: Vec<Column>,
    /// Rows of a view or query: columns say what happened to them.
    pub changes: bool,
    /// The sink's life.
    pub sink: String,
}

pub struct Parquet(Arc<Folder>);

/// The folder, and what is known of it.
struct Folder {
    options: ParquetOptions,
    known: Mutex<Option<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    /// The number of the next file.
    next: u64,
    low: Position,
    finished: BTreeSet<Position>,
}

impl Known {
    fn has(&self, position: Position) -> bool {
        position < self.low || self.finished.contains(&position)
    }

    fn add(&mut self, marks: &Marks) {
        self.low = self.low.max(marks.low);
        self.finished.extend(&marks.finished);
        self.finished = self.finished.split_off(&self.low);
    }
}

impl Parquet {
    /// # Errors
    /// A sentence, if two columns would have one name.
    pub fn new(options: ParquetOptions) -> Result<Self, String> {
        if let Some(taken) = options.columns.iter().find(|column| columns::is_ours(&column.name)) {
            return Err(format!("the column \"{}\" is one that the sink adds itself", taken.name));
        }
        if options.columns.is_empty() {
            return Err("a file of columns needs a column".to_owned());
        }
        Ok(Parquet(Arc::new(Folder { options, known: Mutex::new(None) })))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let folder = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || work(&folder)).await;
        done.unwrap_or_else(|error| Err(Fault::failed(error)))
    }
}

impl Folder {
    fn path(&self, number: u64) -> PathBuf {
        self.options.directory.join(format!("part-{number:08}.parquet"))
    }

    fn io(&self, error: &std::io::Error) -> Fault {
        Fault::unreachable(format!("{}: {error}", self.options.directory.display()))
    }

    fn parquet(&self, error: &ParquetError) -> Fault {
        Fault::unreachable(format!("{}: {error}", self.options.directory.display()))
    }

    /// Makes the folder and reads how far it is; removes what a crash left half written.
    fn look(&self) -> Result<Known, Fault> {
        let directory = &self.options.directory;
        std::fs::create_dir_all(directory).map_err(|error| self.io(&error))?;
        let mut numbers = BTreeSet::new();
        for entry in std::fs::read_dir(directory).map_err(|error| self.io(&error))? {
            let entry = entry.map_err(|error| self.io(&error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(".part-") && name.ends_with(".tmp") {
                std::fs::remove_file(entry.path()).map_err(|error| self.io(&error))?;
            }
            let number: Option<u64> =
                name.strip_prefix("part-").and_then(|rest| rest.strip_suffix(".parquet")?.parse().ok());
            numbers.extend(number);
        }
        let mut known = Known { next: numbers.last().map_or(1, |last: &u64| last + 1), ..Known::default() };
        for number in numbers.into_iter().rev() {
            let path = self.path(number);
            let marks = read_marks(&path, &self.options.sink);
            if let Some(marks) = marks.map_err(|error| Fault::unreachable(format!("{}: {error}", path.display())))? {
                known.add(&marks);
                break;
            }
        }
        Ok(known)
    }

    /// Runs something that needs to know how far the folder is.
    fn with_known<T>(&self, work: impl FnOnce(&mut Known) -> Result<T, Fault>) -> Result<T, Fault> {
        let mut held = self.known.lock();
        let known = match held.take() {
            Some(known) => known,
            None => self.look()?,
        };
        work(held.insert(known))
    }

    fn write(&self, delivery: &Delivery) -> Result<(), Fault> {
        self.with_known(|known| {
            // An attempt that was given up may have come to its end after all.
            let fresh: Vec<&Event> =
                delivery.events.iter().map(|event| &**event).filter(|event| !known.has(event.position)).collect();
            if fresh.is_empty() {
                return Ok(());
            }
            known.add(&delivery.marks);
            self.write_file(&fresh, known).inspect(|()| known.next += 1)
        })
        // What was written is not known: look again.
        .inspect_err(|_| *self.known.lock() = None)
    }

    fn write_file(&self, events: &[&Event], known: &Known) -> Result<(), Fault> {
        let unfinished = self.options.directory.join(format!(".part-{:08}.tmp", known.next));
        let file = File::create(&unfinished).map_err(|error| self.io(&error))?;
        let schema = columns::schema(&self.options).map_err(|error| self.parquet(&error))?;
        let finished: Vec<String> = known.finished.iter().map(Position::to_string).collect();
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("headwater version ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_key_value_metadata(Some(vec![
                KeyValue::new(SINK.to_owned(), self.options.sink.clone()),
                KeyValue::new(LOW.to_owned(), known.low.to_string()),
                KeyValue::new(FINISHED.to_owned(), finished.join(" ")),
            ]))
            .build();
        let writer = SerializedFileWriter::new(&file, schema, Arc::new(properties));
        let mut writer = writer.map_err(|error| self.parquet(&error))?;
        columns::write(&mut writer, &self.options, events)?;
        writer.close().map_err(|error| self.parquet(&error))?;
        let shown = || {
            file.sync_all()?;
            std::fs::rename(&unfinished, self.path(known.next))?;
            File::open(&self.options.directory)?.sync_all()
        };
        shown().map_err(|error| self.io(&error))
    }
}

/// The marks in a file of this sink; `None` if another one wrote it.
fn read_marks(path: &Path, sink: &str) -> Result<Option<Marks>, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let reader = SerializedFileReader::new(file).map_err(|error| error.to_string())?;
    let pairs = reader.metadata().file_metadata().key_value_metadata();
    let value =
        |name: &str| pairs.into_iter().flatten().find(|pair| pair.key == name).and_then(|pair| pair.value.as_deref());
    if value(SINK) != Some(sink) {
        return Ok(None);
    }
    let position = |text: &str| text.parse::<Position>().map_err(|()| "its metadata holds no position".to_owned());
    let low = position(value(LOW).unwrap_or_default())?;
    let finished = value(FINISHED).unwrap_or_default().split_whitespace().map(position).collect::<Result<_, _>>()?;
    Ok(Some(Marks { low, finished }))
}

#[async_trait]
impl Target for Parquet {
    async fn check(&self) -> Result<(), Fault> {
        self.blocking(|folder| folder.look().map(|_| ())).await
    }

    fn keeps_marks(&self) -> bool {
        true
    }

    async fn marks(&self, _fence: u64) -> Result<Option<Marks>, Fault> {
        self.blocking(|folder| {
            folder.with_known(|known| {
                // An empty folder says nothing about where the sink begins.
                let begun = known.low > Position::START || !known.finished.is_empty();
                Ok(begun.then(|| Marks { low: known.low, finished: known.finished.iter().copied().collect() }))
            })
        })
        .await
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<(), Fault> {
        let delivery = delivery.clone();
        self.blocking(move |folder| folder.write(&delivery)).await
    }
}
